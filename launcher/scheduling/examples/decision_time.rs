//! How long elastic strategies take to decide: Pollux's workloads on 64 devices, and as many of them at once as
//! 2,048 devices hold.
//!
//!     cargo run --release -p hcrun-scheduling --example decision_time [STRATEGY...]
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_types,
    reason = "a measurement, not a part of the crate"
)]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "pollux/workloads.rs"]
mod workloads;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hcrun_scheduling::simulator::{Checks, Observer, observe};
use hcrun_scheduling::{Decision, Fleet, JobSpec, State, Workload, strategies};

fn main() {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names = ["demand", "sia"].map(str::to_owned).to_vec();
    }
    let Some(folder) = common::traces_folder() else { return };
    for name in names {
        for (nodes, copies) in [(16, 1), (512, 32)] {
            let mut clock = Clock::default();
            for number in 1..=(if copies == 1 { 8 } else { 1 }) {
                let jobs = workloads::read(&folder, number).into_jobs();
                let copy = |copy: usize| {
                    jobs.iter().map(move |job| JobSpec { id: format!("{}-{copy}", job.id), ..job.clone() })
                };
                let workload = Workload::new((0..copies).flat_map(copy).collect()).unwrap();
                let fleet = Arc::new(Fleet::uniform(nodes, 4).unwrap());
                let mut strategy = strategies::by_name(&name).unwrap();
                observe(&fleet, workload, &mut strategy, Checks::Totals, &mut clock).unwrap();
            }
            clock.times.sort_unstable();
            let ms = |share: usize| {
                let index = (clock.times.len() * share / 1000).min(clock.times.len() - 1);
                clock.times[index].as_secs_f64() * 1e3
            };
            println!(
                "{name:8} {:5} devices  {:6} decisions  up to {:4} jobs  p50 {:8.3} ms  p95 {:8.3} ms  p99 {:8.3} ms  max {:8.3} ms",
                nodes * 4,
                clock.times.len(),
                clock.most,
                ms(500),
                ms(950),
                ms(990),
                ms(1000)
            );
        }
    }
}

#[derive(Default)]
struct Clock {
    asked: Option<Instant>,
    times: Vec<Duration>,
    most: usize,
}

impl Observer for Clock {
    fn deciding(&mut self, state: &State) {
        self.most = self.most.max(state.running_count() + state.waiting_count());
        self.asked = Some(Instant::now());
    }

    fn decided(&mut self, _state: &State, _decisions: &[Decision]) {
        self.times.extend(self.asked.map(|asked| asked.elapsed()));
    }
}
