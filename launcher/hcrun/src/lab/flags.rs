//! Flags that would have no effect beside others: what is asked for is done or refused.

use crate::cli::LabArgs;
use crate::codes;
use crate::failure::{Failure, Result};

/// # Errors
/// The first flag that `verb` would ignore.
pub(super) fn check(args: &LabArgs, verb: &str) -> Result<()> {
    let format = args.trace.as_deref().and_then(|trace| trace.split_once(':')).map(|(format, _)| format);
    let replays = args.replay.is_some();
    // A variable of the environment is what holds where nothing else is said.
    let from_environment = std::env::var("HCRUN_CLUSTER").ok();
    if replays && args.cluster.is_some() && args.cluster != from_environment {
        return Err(refuse("--cluster", "a recording has the cluster that its jobs ran on")
            .hint("leave it out, or give the recording as a trace: `--trace hcrun:FILE --cluster ...`"));
    }
    if args.columns.is_some() && format != Some("csv") {
        let whose = match format {
            Some(format) => format!("the trace format `{format}` has columns of its own"),
            None => "a recording has columns of its own".to_owned(),
        };
        return Err(refuse("--columns", &whose).hint("a mapping of columns is for `--trace csv:FILE`"));
    }
    let once = [("--seeds", args.seeds > 1), ("--threads", args.threads.is_some()), ("--check", args.check)];
    if let Some((flag, _)) = once.iter().find(|(_, given)| *given && verb == "why") {
        return Err(
            refuse(flag, "`hcrun why` looks at one simulation, of the trace as it is").hint("leave it out")
        );
    }
    // Beside what happened stands what was recorded, and nothing else.
    let changed = [
        ("--spot", !args.spot.is_empty()),
        ("--estimate", args.estimate != "oracle"),
        ("--start-overhead", args.start_overhead > 0),
    ];
    if let Some((flag, _)) = changed.iter().find(|(_, given)| *given && replays && verb == "simulate") {
        return Err(refuse(flag, "`simulate --replay` holds the simulation against what really happened")
            .hint("leave it out, or see what it would change with `hcrun compare --replay`"));
    }
    Ok(())
}

fn refuse(flag: &str, why: &str) -> Failure {
    Failure::new(&codes::USAGE, format!("`{flag}` would have no effect here")).because(why)
}
