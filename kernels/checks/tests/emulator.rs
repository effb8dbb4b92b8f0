//! All checks on the emulator, for several orders of lanes; and that mistakes in kernels are found.

use std::thread;

use hcrun_emulator::{Emulator, MUTANTS};
use hcrun_kernel_checks::{cases, cases_of_the_last_block};

/// Orders of blocks and lanes to try.
const SEEDS: u64 = 3;

/// One line a case that fails, computed as they are asked for.
fn failures(emulator: impl Fn() -> Emulator) -> impl Iterator<Item = String> {
    let all = cases().into_iter().map(|case| (case, false));
    let last = cases_of_the_last_block().into_iter().map(|case| (case, true));
    all.chain(last).filter_map(move |(case, last)| {
        let device = if last { emulator().with_last_blocks(1) } else { emulator() };
        (case.run)(&device).err().map(|why| format!("{}: {why}", case.name))
    })
}

#[test]
fn the_emulator_computes_as_the_cpu_for_any_order_of_lanes() {
    let seeds: Vec<_> = (1..=SEEDS)
        .map(|seed| thread::spawn(move || failures(|| Emulator::new(seed)).collect::<Vec<_>>()))
        .collect();
    for (index, failed) in seeds.into_iter().map(|seed| seed.join().unwrap()).enumerate() {
        assert!(failed.is_empty(), "seed {}:\n{}", index + 1, failed.join("\n"));
    }
}

#[test]
fn every_mistake_in_a_kernel_is_caught() {
    for mutant in MUTANTS {
        let caught = failures(|| Emulator::new(1).with_mutant(mutant)).next();
        assert!(caught.is_some(), "{}: no check sees `{}` as `{}`", mutant.name, mutant.from, mutant.to);
    }
}
