//! What is to be simulated, from the command line.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hcrun_protocol::time::Span;
use hcrun_scheduling::comparison::Estimates;
use hcrun_scheduling::simulator::Checks;
use hcrun_scheduling::traces::hcrun::Recording;
use hcrun_scheduling::traces::{self, Beside, TraceError};
use hcrun_scheduling::{Fleet, Workload, strategies};

use super::spot::{self, SpotPool};
use crate::cli::LabArgs;
use crate::failure::{Failure, Result};
use crate::settings::schema::nearest;
use crate::{cluster_file, codes, settings};

/// Far above any published trace.
const MAX_TRACE_BYTES: u64 = 1 << 30;

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
    /// How the jobs really went, for a trace that a queue recorded.
    pub(crate) recording: Option<Recording>,
}

/// Reads trace and cluster; `strategies` empty means all. `verb` is the command that was given.
pub(crate) fn read(args: &LabArgs, names: &[String], verb: &str) -> Result<Inputs> {
    let recording = args.replay.as_deref().map(recording).transpose()?;
    let strategies = match &recording {
        Some(recording) if names.is_empty() && verb == "simulate" => {
            strategies(std::slice::from_ref(&recording.strategy))?
        }
        _ => strategies(names)?,
    };
    let estimates = estimates(&args.estimate)?;
    let (fleet, mut workload) = match &recording {
        Some(recording) => (recording.fleet.clone(), recording.workload.clone()),
        None => (fleet(args.cluster.as_deref().unwrap_or_default())?, workload(args)?),
    };
    let fleet = Arc::new(fleet);
    let spot = args.spot.iter().map(|text| spot::read(text, &fleet)).collect::<Result<_>>()?;
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
        threads: args.threads.unwrap_or(cores).max(1),
        trace: trace_words(args),
        cluster: match recording {
            Some(_) => "the recording's".to_owned(),
            None => args.cluster.clone().unwrap_or_default(),
        },
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
            .hint("write `pool:64` for 64 devices, `nodes:8x8` for 8 nodes of 8 devices, or the path of a cluster file")
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
    let path = Path::new(text);
    cluster_file::fleet(&cluster_file::read(path)?, path)
}

fn workload(args: &LabArgs) -> Result<Workload> {
    let trace = args.trace.as_deref().unwrap_or_default();
    let Some((format, path)) = trace.split_once(':') else {
        return Err(Failure::new(&codes::USAGE, format!("`--trace {trace}` does not name its format"))
            .because("a trace is given as FORMAT:PATH")
            .hint(format!("write the format before the path; there are {}", traces::names())));
    };
    let fail = |error: &TraceError| malformed(path, format, error);
    let known = traces::format(format).map_err(|error| fail(&error))?;
    if known.is_settings {
        return traces::read(format, path).map_err(|error| fail(&error));
    }
    if let Some(folder) = known.folder {
        let folder = Path::new(path).parent().unwrap_or(Path::new(".")).join(folder);
        let text = read_text(Path::new(path))?;
        return traces::read_with(format, &text, &beside(&folder)?).map_err(|error| fail(&error));
    }
    let bytes = read_bytes(Path::new(path))?;
    traces::read_bytes(format, &bytes, args.columns.as_deref()).map_err(|error| fail(&error))
}

fn recording(path: &Path) -> Result<Recording> {
    let fail = |error: &TraceError| malformed(&path.display().to_string(), "hcrun", error);
    traces::hcrun::recording(&read_text(path)?).map_err(|error| fail(&error))
}

fn malformed(path: &str, format: &str, error: &TraceError) -> Failure {
    Failure::new(&codes::TRACE_MALFORMED, format!("cannot use the trace `{path}` as {format}"))
        .at(path.to_owned())
        .because(error.to_string())
}

fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        unreadable(path, format!("byte {at} is not UTF-8"))
    })
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    settings::read_bounded(path, MAX_TRACE_BYTES).map_err(|cause| unreadable(path, cause))
}

fn unreadable(path: &Path, cause: String) -> Failure {
    Failure::new(&codes::FILE_UNREADABLE, "cannot read the trace")
        .at(path.display().to_string())
        .because(cause)
}

/// The files of a trace's folder, one level deep.
fn beside(folder: &Path) -> Result<Beside> {
    let unreadable = |path: &Path, cause: String| {
        Failure::new(&codes::FILE_UNREADABLE, "cannot read the folder that belongs to the trace")
            .at(path.display().to_string())
            .because(cause)
    };
    let list = |path: &Path| {
        let entries = std::fs::read_dir(path).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()
        });
        entries.map_err(|error| unreadable(path, error.to_string()))
    };
    let mut files = BTreeMap::new();
    for inner in list(folder)?.into_iter().filter(|path| path.is_dir()) {
        for path in list(&inner)?.into_iter().filter(|path| path.is_file()) {
            let bytes = settings::read_bounded(&path, settings::MAX_FILE_BYTES);
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()));
            let text = text.map_err(|cause| unreadable(&path, cause))?;
            let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
            files.insert(name, text);
        }
    }
    Ok(Beside::new(files))
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
