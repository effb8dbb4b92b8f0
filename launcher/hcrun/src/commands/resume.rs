//! `hcrun resume`: go on from the newest checkpoint that can be used.

use std::collections::BTreeMap;
use std::process::ExitCode;

use hcrun_engine::checkpoint::{self, Found, LoadError, Meta};
use hcrun_protocol::ZoneId;
use hcrun_protocol::job::Job;
use hcrun_protocol::manifest::Sensitivity;
use hcrun_protocol::placement::PlacedShard;
use serde_json::Value;

use super::trained;
use crate::cli::{Global, ResumeArgs};
use crate::codes;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::prepare::{self, Prepared};
use crate::run;
use crate::run_dir::{RunDir, files};

/// Keys that may differ between a run and its continuation; a trailing dot means all keys below.
const MAY_CHANGE: [&str; 7] = [
    "train.steps",
    "train.evaluate_every",
    "train.checkpoint_every",
    "train.learning_rate",
    "train.final_learning_rate",
    "exchange.nccl",
    "workers.",
];

pub(crate) fn resume(args: &ResumeArgs, global: &Global, output: &Output) -> Result<ExitCode> {
    run::die_with(args.serve.parent)?;
    trained::refuse_compressed(&global.runs_dir, &args.run.run)?;
    let dir = RunDir::open(&global.runs_dir, &args.run.run)?.lock_soon()?;
    let found = newest_checkpoint(&dir, output)?;
    let prepared = prepare::prepare_run(&dir, &args.set)?;
    let meta = &found.checkpoint.meta;
    check_job(&prepared, meta, &dir)?;
    check_workers(&prepared, meta)?;
    if meta.step.0 >= prepared.file.job.train.steps {
        return Err(Failure::new(&codes::USAGE, "there is nothing left to train")
            .at(found.path.display().to_string())
            .because(format!("the checkpoint holds all {} steps", meta.step))
            .hint("ask for more: `--set train.steps=N`"));
    }
    tell_differences(&prepared, meta, output);
    output.note(&format!("going on after {} steps", meta.step));
    run::resume(&prepared, &args.serve, &dir, found.checkpoint, output)
}

/// The checkpoint to use; newer ones that cannot be are named.
pub(super) fn newest_checkpoint(dir: &RunDir, output: &Output) -> Result<Found> {
    let folder = dir.file(files::CHECKPOINTS);
    let found = checkpoint::latest_good(&folder).map_err(|error| {
        let newest = match &error {
            LoadError::NoneGood { skipped, .. } => skipped.first().map_or(&error, |skipped| &skipped.reason),
            error => error,
        };
        Failure::new(trained::code(newest), "no checkpoint can be used")
            .at(folder.display().to_string())
            .caused_by(&error)
    })?;
    for skipped in &found.skipped {
        output.warn(&format!("{}; using {} instead", skipped.reason, found.path.display()));
    }
    Ok(found)
}

/// What would make it another training is refused by name.
fn check_job(prepared: &Prepared, meta: &Meta, dir: &RunDir) -> Result<()> {
    let unreadable = |error: serde_json::Error| {
        Failure::new(&codes::CHECKPOINT_MISSING, "the checkpoint's job cannot be read").caused_by(&error)
    };
    let before: Job = serde_json::from_str(&meta.job).map_err(unreadable)?;
    let value = |job: &Job| serde_json::to_value(job.without_paths()).map_err(unreadable);
    let mut changed = Vec::new();
    differences("", &value(&before)?, &value(&prepared.file.job)?, &mut changed);
    let allowed =
        |key: &str| MAY_CHANGE.iter().any(|may| key == *may || (may.ends_with('.') && key.starts_with(may)));
    changed.retain(|(key, ..)| !allowed(key));
    if changed.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(&codes::SETTING_FIXED, "a setting differs from the checkpoint's")
        .at(dir.file(files::JOB).display().to_string());
    for (key, before, now) in changed {
        failure = failure.because(format!("`{key}` is {now}, the checkpoint was trained with {before}"));
    }
    Err(failure)
}

/// Keys whose values differ, with both values.
fn differences(prefix: &str, before: &Value, now: &Value, changed: &mut Vec<(String, String, String)>) {
    let name = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match (before, now) {
        (Value::Object(old), Value::Object(new)) => {
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let (old, new) = (old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null));
                differences(&name(key), old, new, changed);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                differences(&format!("{prefix}[{index}]"), old, new, changed);
            }
        }
        _ if before != now => changed.push((prefix.to_owned(), before.to_string(), now.to_string())),
        _ => {}
    }
}

/// Steps after the checkpoint may have been trained before. A zone's sum over the same samples tells nothing
/// new, one over a few samples more or less tells their gradient: so what several zones may hold, and not
/// everybody, is dealt to as many workers of each as before.
fn check_workers(prepared: &Prepared, meta: &Meta) -> Result<()> {
    let placement = &prepared.plan.placement;
    let count = |zones: &mut dyn Iterator<Item = &ZoneId>| {
        zones.fold(BTreeMap::new(), |mut counts: BTreeMap<ZoneId, usize>, zone| {
            *counts.entry(zone.clone()).or_default() += 1;
            counts
        })
    };
    let before = count(&mut meta.workers.iter().map(|worker| &worker.zone));
    let now = count(&mut placement.workers.iter().map(|worker| &worker.zone));
    if before == now {
        return Ok(());
    }
    let in_use = |zone: &&ZoneId| before.contains_key(zone) || now.contains_key(zone);
    let dealt = |shard: &&PlacedShard| {
        shard.sensitivity != Sensitivity::Public && shard.zones.iter().filter(in_use).count() > 1
    };
    let Some(shard) = placement.shards.iter().find(dealt) else { return Ok(()) };
    Err(Failure::new(&codes::SETTING_FIXED, "this run's numbers of workers may not change")
        .at(prepared.file.find("workers"))
        .because(format!(
            "shard `{}` is dealt to workers of several zones ({}): a repeated step would sum a few of its \
             samples more or less, and the difference would be their gradient",
            shard.id, shard.rule
        ))
        .hint("resume with the numbers of workers of before"))
}

/// "To the bit" holds for the same build, CPU features and placement; where they differ, that is said.
fn tell_differences(prepared: &Prepared, meta: &Meta, output: &Output) {
    let features = hcrun_worker::process::cpu_features();
    let job = &prepared.file.job;
    let now = Meta::new(job, meta.step, &prepared.plan.placement, &run::build().program, &features);
    let differ = meta.differences(&now);
    if !differ.is_empty() {
        output.note(&format!(
            "not as at the checkpoint: {}; the run goes on, its losses may differ in the last bits",
            differ.join(", ")
        ));
    }
    let codec = job.exchange.codec;
    if codec.is_lossy() {
        output.note(&format!(
            "what codec `{codec}` had rounded away by then is not in the checkpoint: losses differ a little from those of a run that was not stopped"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_by_key() {
        let before =
            serde_json::json!({ "seed": 1, "train": { "steps": 5, "batch": 8 }, "shard": [{ "id": "a" }] });
        let now =
            serde_json::json!({ "seed": 1, "train": { "steps": 9, "batch": 4 }, "shard": [{ "id": "b" }] });
        let mut changed = Vec::new();
        differences("", &before, &now, &mut changed);
        let keys: Vec<&str> = changed.iter().map(|(key, ..)| key.as_str()).collect();
        assert_eq!(keys, ["shard[0].id", "train.batch", "train.steps"]);
        assert_eq!((changed[1].1.as_str(), changed[1].2.as_str()), ("8", "4"));
    }

    const JOB: &str = r#"name = "demo"
model = { kind = "gpt", layers = 1, width = 8, heads = 1, context = 4 }
data = { format = "text", held_out = 0.2 }
workers = { north = 2, south = 2 }
train = { loss = "cross-entropy", optimizer = "sgd", learning_rate = 1e-3, batch = 16, steps = 10 }
[[shard]]
id = "one"
path = "one.txt"
sensitivity = "restricted"
home = "north"
allowed_zones = ["south"]
"#;

    /// The differences of repeated steps would be gradients of the samples that moved to another zone.
    #[test]
    fn a_shard_dealt_to_two_zones_fixes_the_numbers_of_workers() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        let zone = |name: &str| {
            format!(
                "[[zone]]\nname = \"{name}\"\ntrust = \"private\"\nowner = \"us\"\n\
                 [[pool]]\nname = \"{name}\"\nzone = \"{name}\"\nslots = 4\n"
            )
        };
        write("cluster.toml", &format!("launcher_zone = \"north\"\n{}{}", zone("north"), zone("south")));
        write("one.txt", &"some text to read, ".repeat(200));
        let prepared = |job: &str, set: &[&str]| {
            write("job.toml", job);
            let job = directory.path().join("job.toml");
            let file = crate::job_file::JobFile::read(&job, None, &[]).unwrap();
            let manifest = crate::manifests::index(&file, &file.job.shards[0]).unwrap();
            crate::manifests::write(&file, &manifest).unwrap();
            let set = set.iter().map(|&set| set.to_owned()).collect();
            prepare::prepare(&crate::cli::JobArgs { job, cluster: None, seed: None, set }).unwrap()
        };
        let meta = |prepared: &Prepared| {
            Meta::new(&prepared.file.job, hcrun_protocol::Step(1), &prepared.plan.placement, "", "")
        };
        let before = meta(&prepared(JOB, &[]));
        assert!(check_workers(&prepared(JOB, &[]), &before).is_ok());
        for set in [["workers.south=3"], ["workers.south=0"]] {
            let failure = check_workers(&prepared(JOB, &set), &before).unwrap_err();
            assert_eq!(failure.code, &codes::SETTING_FIXED, "{set:?}: {failure}");
            assert!(failure.to_string().contains("shard `one`"), "{set:?}: {failure}");
        }
        let home_alone = JOB.replace("allowed_zones = [\"south\"]\n", "");
        let before = meta(&prepared(&home_alone, &[]));
        assert!(check_workers(&prepared(&home_alone, &["workers.south=3"]), &before).is_ok());
    }
}
