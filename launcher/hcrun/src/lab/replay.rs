//! A recorded queue beside its simulation: how far the simulator is from what really happened.

use std::collections::BTreeMap;

use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::simulator::{self, Checks};
use hcrun_scheduling::strategies;
use hcrun_scheduling::traces::hcrun::{End, Real, Recording};
use serde::Serialize;

use super::Inputs;
use super::metrics::seconds;
use super::table::aligned;
use crate::codes;
use crate::failure::{Failure, Result};

/// Times are seconds; errors are relative to what really happened.
#[derive(Debug, Serialize)]
pub(crate) struct Replay {
    strategy: String,
    jobs: Vec<Job>,
    mean_jct: Pair,
    makespan: Pair,
    preemptions: Preemptions,
    /// Jobs that were not trained to their end, by how they left. They are simulated, and not compared.
    left_out: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Serialize)]
struct Job {
    job: String,
    name: String,
    jct: Pair,
    preemptions: Preemptions,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Pair {
    simulated_s: f64,
    real_s: f64,
    error: f64,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Preemptions {
    simulated: u32,
    real: u32,
}

impl Pair {
    fn of(simulated: f64, real: f64) -> Pair {
        let error = if real > 0.0 { simulated / real - 1.0 } else { 0.0 };
        Pair { simulated_s: simulated, real_s: real, error }
    }
}

/// Simulates the recording under the strategy that it was run with.
pub(crate) fn replay(inputs: &Inputs, recording: &Recording) -> Result<Replay> {
    let mut strategy = strategies::by_name(&recording.strategy).ok_or_else(|| {
        Failure::new(&codes::STRATEGY_UNKNOWN, format!("there is no strategy `{}`", recording.strategy))
            .at(inputs.trace.clone())
    })?;
    let outcome =
        simulator::simulate(&inputs.fleet, inputs.workload.clone(), &mut strategy, Checks::Everything)
            .map_err(|error| {
                Failure::new(&codes::SIMULATION_STUCK, "the recording cannot be simulated").caused_by(&error)
            })?;
    let pairs: Vec<(&simulator::JobOutcome, &Real)> = outcome.jobs.iter().zip(&recording.real).collect();
    let done = || pairs.iter().filter(|(_, real)| real.state == End::Done);
    let mut left_out = BTreeMap::new();
    for (_, real) in pairs.iter().filter(|(_, real)| real.state != End::Done) {
        *left_out.entry(real.state.name()).or_default() += 1;
    }
    let jobs = done().map(|(simulated, real)| {
        let jct = simulated.completion_time().map_or(0.0, Span::as_secs_f64);
        Job {
            job: real.id.clone(),
            name: real.name.clone(),
            jct: Pair::of(jct, real.end.since(simulated.submit).as_secs_f64()),
            preemptions: Preemptions { simulated: simulated.preemptions, real: real.preemptions },
        }
    });
    let jobs: Vec<Job> = jobs.collect();
    let mean = |of: fn(&Job) -> f64| jobs.iter().map(of).sum::<f64>() / jobs.len().max(1) as f64;
    let real_end = done().map(|(_, real)| real.end).max().unwrap_or(Time::ZERO);
    let end = done().filter_map(|(simulated, _)| simulated.end).max().unwrap_or(Time::ZERO);
    let seconds = |end: Time| end.since(Time::ZERO).as_secs_f64();
    Ok(Replay {
        strategy: recording.strategy.clone(),
        mean_jct: Pair::of(mean(|job| job.jct.simulated_s), mean(|job| job.jct.real_s)),
        makespan: Pair::of(seconds(end), seconds(real_end)),
        preemptions: Preemptions {
            simulated: jobs.iter().map(|job| job.preemptions.simulated).sum(),
            real: jobs.iter().map(|job| job.preemptions.real).sum(),
        },
        left_out,
        jobs,
    })
}

pub(crate) fn replay_text(replay: &Replay) -> String {
    let row = |name: String, pair: Pair, preemptions: Option<Preemptions>| {
        let preempted = |count: fn(Preemptions) -> u32| {
            preemptions.map(|preemptions| count(preemptions).to_string()).unwrap_or_default()
        };
        vec![
            name,
            seconds(pair.simulated_s),
            seconds(pair.real_s),
            format!("{:+.1} %", pair.error * 100.0),
            preempted(|preemptions| preemptions.simulated),
            preempted(|preemptions| preemptions.real),
        ]
    };
    let header = [&format!("under {}", replay.strategy), "simulated", "real", "error", "preempted", "really"];
    let mut rows = vec![header.iter().map(|cell| (*cell).to_owned()).collect()];
    for job in &replay.jobs {
        rows.push(row(format!("{} {}: JCT", job.job, job.name), job.jct, Some(job.preemptions)));
    }
    rows.push(row("mean JCT".to_owned(), replay.mean_jct, Some(replay.preemptions)));
    rows.push(row("makespan".to_owned(), replay.makespan, None));
    let mut lines = aligned(&rows);
    if !replay.left_out.is_empty() {
        let left_out: Vec<String> =
            replay.left_out.iter().map(|(end, count)| format!("{count} {end}")).collect();
        lines.push(format!("simulated and not compared: {}", left_out.join(", ")));
    }
    lines.join("\n")
}
