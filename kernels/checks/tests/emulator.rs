//! All checks on the emulator, for several orders of lanes; and that mistakes in kernels are found.

use std::collections::BTreeSet;
use std::thread;

use hcrun_emulator::{Emulator, MUTANTS};
use hcrun_kernel_checks::{Case, cases, cases_of_the_last_block};

/// Orders of blocks and lanes to try.
const SEEDS: u64 = 3;

/// A case, on an emulator that it is made for.
fn run(case: &Case, last_block: bool, emulator: Emulator) -> (Option<String>, BTreeSet<&'static str>) {
    let device = if last_block { emulator.with_last_blocks(1) } else { emulator };
    let failure = (case.run)(&device).err().map(|why| format!("{}: {why}", case.name));
    (failure, device.files())
}

/// Each with whether it wants the last block alone.
fn all_cases() -> Vec<(Case, bool)> {
    let whole = cases().into_iter().map(|case| (case, false));
    whole.chain(cases_of_the_last_block().into_iter().map(|case| (case, true))).collect()
}

#[test]
fn the_emulator_computes_as_the_cpu_for_any_order_of_lanes() {
    let failures = |seed| {
        let failure = |(case, last): &(Case, bool)| run(case, *last, Emulator::new(seed)).0;
        all_cases().iter().filter_map(failure).collect::<Vec<_>>()
    };
    let seeds: Vec<_> = (1..=SEEDS).map(|seed| thread::spawn(move || failures(seed))).collect();
    for (index, failed) in seeds.into_iter().map(|seed| seed.join().unwrap()).enumerate() {
        assert!(failed.is_empty(), "seed {}:\n{}", index + 1, failed.join("\n"));
    }
}

#[test]
fn every_mistake_in_a_kernel_is_caught() {
    let cases = all_cases();
    let files: Vec<_> = cases.iter().map(|(case, last)| run(case, *last, Emulator::new(1)).1).collect();
    let caught = |mutant, file| {
        let mut of_the_file = cases.iter().zip(&files).filter(|(_, files)| files.contains(file));
        of_the_file
            .any(|((case, last), _)| run(case, *last, Emulator::new(1).with_mutant(mutant)).0.is_some())
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let missed: Vec<_> = thread::scope(|scope| {
        let missed_by = |worker| {
            let own = MUTANTS.iter().skip(worker).step_by(workers);
            own.filter(|(mutant, file)| !caught(mutant, file)).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(move || missed_by(worker))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(missed.is_empty(), "no check fails for {missed:?}: see kernels/emulator/mutants.rs");
}
