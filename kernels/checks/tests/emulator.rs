//! All checks on the emulator, for several orders of lanes; and that mistakes in kernels are found.

use std::thread;

use hcrun_emulator::{Emulator, MUTANTS};
use hcrun_kernel_checks::{cases, cases_of_the_last_block};

/// Orders of blocks and lanes to try.
const SEEDS: u64 = 3;

/// One line a case that failed.
fn failures(emulator: impl Fn() -> Emulator) -> Vec<String> {
    let whole = cases().into_iter().map(|case| (case, emulator()));
    let last = cases_of_the_last_block().into_iter().map(|case| (case, emulator().with_last_blocks(1)));
    let run = whole.chain(last).map(|(case, device)| (case.name, (case.run)(&device)));
    run.filter_map(|(name, result)| result.err().map(|why| format!("{name}: {why}"))).collect()
}

#[test]
fn the_emulator_computes_as_the_cpu_for_any_order_of_lanes() {
    let seeds: Vec<_> =
        (1..=SEEDS).map(|seed| thread::spawn(move || failures(|| Emulator::new(seed)))).collect();
    for (index, failed) in seeds.into_iter().map(|seed| seed.join().unwrap()).enumerate() {
        assert!(failed.is_empty(), "seed {}:\n{}", index + 1, failed.join("\n"));
    }
}

#[test]
fn every_mistake_in_a_kernel_is_caught() {
    for mutant in MUTANTS {
        let failed = failures(|| Emulator::new(1).with_mutant(mutant));
        assert!(!failed.is_empty(), "{}: no check sees `{}` as `{}`", mutant.name, mutant.from, mutant.to);
    }
}
