//! hcrun's side: one job of two private and two public workers, read from its run directory.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::outcome::{Border, Steps};
use super::workload::Workload;
use crate::link::{Counted, Link};
use crate::processes::{Started, end_all, until};

/// The workers' slots, each with its host.
const SLOTS: [(&str, usize); 4] = [("private-0", 0), ("private-1", 0), ("public-0", 1), ("public-1", 1)];

const CLUSTER: &str = r#"
[[zone]]
name = "private"
trust = "private"
owner = "us"
[[zone]]
name = "public"
trust = "public"
owner = "cloud"
[[pool]]
name = "private"
zone = "private"
backend = "manual"
slots = 2
[[pool]]
name = "public"
zone = "public"
backend = "manual"
slots = 2
"#;

/// From command to bundles, on a machine that does other things too.
const START: Duration = Duration::from_secs(60);

/// Builds the release program from this source.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "-p", "hcrun"])
        .current_dir(crate::root())
        .status()
        .context("cannot start cargo to build hcrun: name a program by --hcrun")?;
    ensure!(status.success(), "hcrun cannot be built: {status}");
    // This program lies in a profile's folder of the same target directory.
    let this = env::current_exe().context("this program's path")?;
    let target = this.ancestors().nth(2).context("this program lies in no target directory: use --hcrun")?;
    let program = target.join("release/hcrun");
    ensure!(program.is_file(), "cargo made no {}: name a program by --hcrun", program.display());
    Ok(program)
}

pub(crate) fn train(
    program: &Path,
    codec: &str,
    congestion: &str,
    workload: &Workload,
    link: &Link,
    folder: &Path,
) -> anyhow::Result<(Steps, Border)> {
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text)
            .with_context(|| format!("cannot write {name} in {}", folder.display()))
    };
    write("job.toml", &workload.job())?;
    let mut command = link.command(0, program);
    command.args(["run", "job.toml", "--quiet"]).current_dir(folder);
    for variable in ["HCRUN_RUNS_DIR", "HCRUN_CLUSTER"] {
        command.env_remove(variable);
    }
    if codec != "f32" {
        command.args(["--set", &format!("exchange.codec={codec}")]);
    }
    if let Some((rate_bps, rtt_us, _)) = link.known() {
        let round_trip_ms = (rtt_us / 1_000).max(1);
        let network = format!(
            "[network]\nrate = {rate_bps}\nround_trip_ms = {round_trip_ms}\ncongestion = \"{congestion}\"\n"
        );
        write("cluster.toml", &format!("{network}{CLUSTER}"))?;
        command.args(["--wait-for-workers", "--listen", link.address(0)]);
    }
    let before = link.counted(0)?;
    let mut all = vec![Started::start("hcrun-run", command, folder)?];
    if link.is_laboratory() {
        join(program, workload, link, folder, &mut all)?;
    }
    end_all(all, workload.limit())?;
    let interface = link.counted(0)?.zip(before).map(|(after, before)| after.since(before));
    read(&folder.join("runs/latest"), interface)
}

/// Starts the worker of each slot on its host, as a person would by the launcher's instructions.
fn join(
    program: &Path,
    workload: &Workload,
    link: &Link,
    folder: &Path,
    all: &mut Vec<Started>,
) -> anyhow::Result<()> {
    for (slot, host) in SLOTS {
        let bundle = folder.join("runs/latest/bundles").join(format!("{slot}.json"));
        until(&format!("the join bundle of {slot}"), START, || {
            all.iter_mut().try_for_each(Started::must_live)?;
            // One that is half written is no JSON yet.
            let whole = fs::read(&bundle).is_ok_and(|text| serde_json::from_slice::<Value>(&text).is_ok());
            Ok(whole.then_some(()))
        })?;
        let copy = folder.join(format!("{slot}.json"));
        fs::copy(&bundle, &copy).with_context(|| format!("cannot copy {}", bundle.display()))?;
        let mut command = link.command(host, program);
        command.arg("worker").arg("--bundle").arg(&copy).arg("--data-root").arg(workload.texts());
        command.current_dir(folder);
        all.push(Started::start(slot, command, folder)?);
    }
    Ok(())
}

fn read(run: &Path, interface: Option<Counted>) -> anyhow::Result<(Steps, Border)> {
    let text = |name: &str| {
        let path = run.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let summary: Value = serde_json::from_str(&text("summary.json")?).context("summary.json")?;
    let sent = |border: &str| {
        let classes = summary["egress_bytes"][border].as_object();
        let bytes = classes.into_iter().flatten().map(|(_, bytes)| bytes.as_u64().unwrap_or(0));
        bytes.sum::<u64>()
    };
    let border = Border { sent: sent("private->public"), received: sent("public->private"), interface };
    Ok((steps(&text("metrics.jsonl")?)?, border))
}

pub(super) fn steps(metrics: &str) -> anyhow::Result<Steps> {
    let mut steps = Steps::default();
    for line in metrics.lines() {
        let row: Value = serde_json::from_str(line).context("a line of metrics.jsonl")?;
        if row["kind"] != "step" {
            continue;
        }
        let number = |key: &str| row[key].as_f64().with_context(|| format!("metrics.jsonl: {key} in {line}"));
        steps.loss.push(number("loss")?);
        steps.step_s.push(number("step_s")?);
        steps.compute_s.push(number("compute_s")?);
        steps.exchange_s.push(number("exchange_s")?);
        steps.update_s.push(number("update_s")?);
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_and_other_rows_passed_over() {
        let metrics = r#"{"kind":"step","step":1,"loss":5.5,"step_s":0.0,"compute_s":1,"exchange_s":2,"update_s":3}
{"kind":"evaluation","step":1,"loss":5.0}"#;
        let read = steps(metrics).unwrap();
        assert_eq!((read.loss, read.step_s, read.exchange_s), (vec![5.5], vec![0.0], vec![2.0]));
        let error = steps(r#"{"kind":"step","loss":null}"#).unwrap_err().to_string();
        assert!(error.starts_with("metrics.jsonl: loss in"), "{error}");
    }
}
