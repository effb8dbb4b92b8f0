//! What is to be simulated, from the command line.

use std::path::Path;
use std::sync::Arc;

use hcrun_protocol::time::Span;
use hcrun_scheduling::comparison::Estimates;
use hcrun_scheduling::simulator::Checks;
use hcrun_scheduling::traces::hcrun::Recording;
use hcrun_scheduling::traces::openb;
use hcrun_scheduling::{Fleet, Workload, strategies};

use super::spot::{self, SpotPool};
use super::{flags, trace};
use crate::cli::LabArgs;
use crate::failure::{Failure, Result};
use crate::settings::schema::nearest;
use crate::{cluster_file, codes};

#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) workload: Workload,
    pub(crate) strategies: Vec<&'static str>,
    pub(crate) seeds: u32,
    pub(crate) spot: Vec<SpotPool>,
    pub(crate) estimates: Estimates,
    pub(crate) checks: Checks,
    pub(crate) threads: usize,
    /// As given: for titles and the command that gives the same again.
    pub(crate) trace: String,
    pub(crate) cluster: String,
    pub(crate) command: String,
    /// What is to be known of trace and cluster.
    pub(crate) notes: Vec<String>,
    /// How the jobs really went, for a trace that a queue recorded.
    pub(crate) recording: Option<Recording>,
}

/// Reads trace and cluster; `strategies` empty means all. `verb` is the command that was given.
pub(crate) fn read(args: &LabArgs, names: &[String], verb: &str) -> Result<Inputs> {
    flags::check(args, verb)?;
    let recording = args.replay.as_deref().map(trace::recording).transpose()?;
    let strategies = match &recording {
        Some(recording) if names.is_empty() && verb == "simulate" => {
            strategies(std::slice::from_ref(&recording.strategy))?
        }
        _ => strategies(names)?,
    };
    let estimates = estimates(&args.estimate)?;
    let (fleet, mut workload, notes) = match &recording {
        Some(recording) => (recording.fleet.clone(), recording.workload.clone(), Vec::new()),
        None => {
            let fleet = fleet(args.cluster.as_deref().unwrap_or_default())?;
            let (workload, notes) = trace::workload(args, &fleet)?;
            (fleet, workload, notes)
        }
    };
    let fleet = Arc::new(fleet);
    let spot = spot::read_all(&args.spot, &fleet)?;
    let overhead = Span::from_secs(args.start_overhead.into());
    workload.jobs_mut().for_each(|job| job.start_overhead = job.start_overhead.max(overhead));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Inputs {
        fleet,
        workload,
        command: command(args, &strategies, verb),
        strategies,
        seeds: args.seeds,
        spot,
        estimates,
        checks: if args.check { Checks::Everything } else { Checks::Totals },
        threads: args.threads.map_or(cores, usize::from),
        trace: trace_words(args),
        cluster: match recording {
            Some(_) => "the recording's".to_owned(),
            None => args.cluster.clone().unwrap_or_default(),
        },
        notes,
        recording,
    })
}

fn strategies(names: &[String]) -> Result<Vec<&'static str>> {
    if names.is_empty() {
        return Ok(strategies::ALL.iter().map(|about| about.name).collect());
    }
    let mut found: Vec<&'static str> = Vec::new();
    for name in names {
        let known = strategies::ALL.iter().find(|about| about.name == name.trim());
        let Some(known) = known else {
            let failure = Failure::new(&codes::STRATEGY_UNKNOWN, format!("there is no strategy `{name}`"))
                .because(format!("the strategies are {}", strategies::names()));
            let near = nearest(name, strategies::ALL.iter().map(|about| about.name));
            return Err(match near {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure,
            });
        };
        if !found.contains(&known.name) {
            found.push(known.name);
        }
    }
    Ok(found)
}

fn estimates(text: &str) -> Result<Estimates> {
    let refuse = || {
        Failure::new(&codes::USAGE, format!("`--estimate {text}` cannot be understood"))
            .hint("write `oracle`, `none`, or `noisy:0.5` with a sigma between 0 and 5")
    };
    match text.split_once(':') {
        None if text == "oracle" => Ok(Estimates::Oracle),
        None if text == "none" => Ok(Estimates::None),
        Some(("noisy", sigma)) => match sigma.parse() {
            Ok(sigma) if (0.0..=5.0).contains(&sigma) => Ok(Estimates::Noisy { sigma }),
            _ => Err(refuse()),
        },
        _ => Err(refuse()),
    }
}

fn fleet(text: &str) -> Result<Fleet> {
    let refuse = |cause: String| {
        Failure::new(&codes::CLUSTER_INVALID, format!("cannot simulate the cluster `{text}`"))
            .because(cause)
            .hint("write `pool:64` for 64 devices, `nodes:8x8` for 8 nodes of 8 devices, `openb:FOLDER`, or the path of a cluster file")
    };
    let number =
        |text: &str| text.parse::<u32>().map_err(|_| refuse(format!("`{text}` is not a number of devices")));
    if let Some(devices) = text.strip_prefix("pool:") {
        return Fleet::flat(number(devices)?).map_err(|error| refuse(error.to_string()));
    }
    if let Some(nodes) = text.strip_prefix("nodes:") {
        let (nodes, devices) =
            nodes.split_once('x').ok_or_else(|| refuse("there is no `x` in it".to_owned()))?;
        return Fleet::uniform(number(nodes)?, number(devices)?).map_err(|error| refuse(error.to_string()));
    }
    if let Some(folder) = text.strip_prefix("openb:") {
        let path = trace::in_folder(Path::new(folder), "openb_node_list_gpu_node.csv");
        let nodes = trace::read_text(&path)?;
        return openb::fleet(&nodes)
            .map_err(|error| refuse(error.to_string()).at(path.display().to_string()));
    }
    let path = Path::new(text);
    cluster_file::fleet(&cluster_file::read(path)?, path)
}

/// For titles.
fn trace_words(args: &LabArgs) -> String {
    match (&args.replay, &args.trace) {
        (Some(path), _) => format!("hcrun:{}", path.display()),
        (None, trace) => trace.clone().unwrap_or_default(),
    }
}

/// The command that gives the same figures again.
fn command(args: &LabArgs, strategies: &[&str], verb: &str) -> String {
    let mut words = vec![
        format!("hcrun {verb}"),
        match &args.replay {
            Some(path) => format!("--replay {}", quoted(&path.display().to_string())),
            None => {
                let (trace, cluster) = (args.trace.as_deref(), args.cluster.as_deref());
                let (trace, cluster) = (trace.unwrap_or_default(), cluster.unwrap_or_default());
                format!("--trace {} --cluster {}", quoted(trace), quoted(cluster))
            }
        },
        format!("--strategy {}", strategies.join(",")),
    ];
    words.extend(args.columns.iter().map(|columns| format!("--columns {}", quoted(columns))));
    words.extend(args.spot.iter().map(|spot| format!("--spot {}", quoted(spot))));
    if args.seeds > 1 {
        words.push(format!("--seeds {}", args.seeds));
    }
    if args.estimate != "oracle" {
        words.push(format!("--estimate {}", quoted(&args.estimate)));
    }
    if args.start_overhead > 0 {
        words.push(format!("--start-overhead {}", args.start_overhead));
    }
    words.join(" ")
}

/// As a shell takes it.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_understood_is_refused_with_what_to_write() {
        for (text, cause) in [
            ("pool:0", "zero"),
            ("pool:-4", "not a number"),
            ("pool:4000000000", "is the most"),
            ("nodes:8", "no `x`"),
            ("nodes:0x8", "no devices"),
        ] {
            let failure = fleet(text).unwrap_err();
            let said = failure.to_string();
            assert!(said.contains("write `pool:64`") && (cause == "zero" || said.contains(cause)), "{said}");
        }
        assert!(
            strategies(&["fifo-skp".to_owned()])
                .unwrap_err()
                .to_string()
                .contains("did you mean `fifo-skip`?")
        );
        for text in ["noisy", "noisy:x", "noisy:-1", "perfect"] {
            assert!(estimates(text).is_err(), "{text}");
        }
    }
}
