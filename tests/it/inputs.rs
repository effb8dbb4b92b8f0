//! Bad input: what each is answered with, and that nothing was started or lost.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hcrun_engine::checkpoint;
use hcrun_tests::{Ended, Job, Lab, lab};

const RUN: [&str; 2] = ["run", "job.toml"];
const INDEX: [&str; 5] = ["shard", "index", "job.toml", "--shard", "open"];

/// What is wrong, with a job that is right otherwise; exit code, stable code and words of the answer.
type Case = (&'static str, fn(&Lab), &'static [&'static str], i32, &'static str, &'static [&'static str]);

const CASES: [Case; 22] = [
    ("no job file", |_| (), &["run", "absent.toml"], 2, "HC2002", &["absent.toml", "No such file"]),
    ("no data file", |lab| remove(lab, "open.csv"), &INDEX, 2, "HC2002", &["`open`", "open.csv"]),
    ("an empty data file", |lab| write(lab, "open.csv", ""), &INDEX, 2, "HC2002", &["`open`", "empty"]),
    (
        "a ragged table",
        |lab| write(lab, "open.csv", "x,y,label\n1,2,no\n1,2\n"),
        &INDEX,
        2,
        "HC2008",
        &["`open`, line 3", "2 fields"],
    ),
    (
        "text in a column of numbers",
        |lab| write(lab, "open.csv", "x,y,label\n1,2,no\n1,two,no\n"),
        &INDEX,
        2,
        "HC2008",
        &["line 3, column `y`", "not a number"],
    ),
    (
        "an undeclared class",
        |lab| write(lab, "open.csv", "x,y,label\n1,2,no\n1,2,maybe\n"),
        &INDEX,
        2,
        "HC2008",
        &["line 3, column `label`", "data.classes"],
    ),
    (
        "an undeclared category",
        |lab| {
            edit(lab, "target = ", "categories = { y = [\"low\", \"high\"] }, target = ");
            write(lab, "open.csv", "x,y,label\n1,low,no\n1,middle,no\n");
        },
        &INDEX,
        2,
        "HC2008",
        &["line 3, column `y`", "data.categories.y"],
    ),
    ("no target column", |lab| edit(lab, "\"label\"", "\"lable\""), &RUN, 2, "HC2008", &["`lable`", "label"]),
    (
        "an unknown key",
        |lab| edit(lab, "batch = ", "bach = "),
        &RUN,
        2,
        "HC2004",
        &["`train.bach`", "`batch`"],
    ),
    ("a wrong type", |lab| edit(lab, "batch = 16", "batch = \"16\""), &RUN, 2, "HC2005", &["train.batch"]),
    ("zero workers", |lab| workers(lab, "private = 0, public = 0"), &RUN, 2, "HC2006", &["workers is zero"]),
    (
        "an unknown pool",
        |lab| workers(lab, "private = 2, mars = 2"),
        &RUN,
        5,
        "HC5001",
        &["`mars`", "`public`"],
    ),
    (
        "an unknown home",
        |lab| edit(lab, "\"restricted\"\nhome = \"private\"", "\"restricted\"\nhome = \"mars\""),
        &RUN,
        6,
        "HC6001",
        &["`mars`", "`private`"],
    ),
    (
        "more workers than samples",
        |lab| {
            write(lab, "open.csv", "x,y,label\n1,2,no\n2,1,yes\n");
            write(lab, "secret.csv", "x,y,label\n1,2,no\n2,1,yes\n");
            lab.hcrun(["shard", "index"]).succeed();
            workers(lab, "private = 5");
        },
        &RUN,
        5,
        "HC5001",
        &["training samples for 5 workers"],
    ),
    (
        "too few contributors",
        |lab| edit(lab, "[train]", "policy = { min_contributors = 3 }\n[train]"),
        &RUN,
        5,
        "HC5001",
        &["2 of the 3 workers", "policy.min_contributors"],
    ),
    (
        "nobody who may hold a shard",
        |lab| workers(lab, "public = 2"),
        &RUN,
        5,
        "HC5001",
        &["no worker may hold shard `secret`", "home `private` alone"],
    ),
    (
        "a shard that nobody has classified",
        |lab| {
            edit(lab, "sensitivity = \"public\"", "home = \"private\"");
            workers(lab, "public = 2");
        },
        &RUN,
        5,
        "HC5001",
        &["no worker may hold shard `open` (restricted: home `private` alone)"],
    ),
    (
        "a restricted shard without a manifest",
        |lab| remove(lab, "manifests/secret.json"),
        &RUN,
        2,
        "HC2009",
        &["shard `secret` has no manifest", "hcrun shard index"],
    ),
    (
        "a job that is laxer than the owner of a shard",
        |lab| edit(lab, "\"restricted\"", "\"internal\""),
        &RUN,
        6,
        "HC6001",
        &["`secret`", "internal", "restricted"],
    ),
    (
        "a job that lowers the floor of a shard's owner",
        |lab| edit(lab, "[train]", "policy = { min_contributors = 1 }\n[train]"),
        &RUN,
        6,
        "HC6001",
        &["`secret`", "at least 2", "policy.min_contributors = 1", "--shard secret --min-contributors 1"],
    ),
    ("a file where the runs should be", |lab| write(lab, "runs", "a file"), &RUN, 2, "HC2013", &["runs"]),
    (
        "a folder of runs below a file",
        |_| (),
        &["run", "job.toml", "--runs-dir", "job.toml/runs"],
        2,
        "HC2013",
        &["job.toml/runs"],
    ),
];

#[test]
fn bad_input_is_answered_before_anything_starts() {
    let mut complaints = Vec::new();
    for (name, spoil, args, exit, code, words) in CASES {
        let lab = lab!();
        Job::tables().train("steps = 3").write(&lab);
        spoil(&lab);
        let ended = lab.hcrun(args).run();
        complaints.extend(
            complaint(&ended, exit, code, words).map(|missing| format!("{name}: {missing}: {ended}")),
        );
        if !logs(&lab.path().join("runs")).is_empty() {
            complaints.push(format!("{name}: a worker was started"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Only a worker of its zone may look at a restricted file, so these are found once workers run.
#[test]
fn data_that_is_not_what_was_planned_with_is_refused_by_its_workers() {
    type Case = (&'static str, fn(&Lab), &'static [&'static str]);
    let cases: [Case; 3] = [
        ("a changed shard", |lab| replace(lab, "secret.csv", "yes", "no "), &["`secret`", "SHA-256"]),
        ("a longer shard", |lab| replace(lab, "secret.csv", "yes", "yes "), &["`secret`", "bytes"]),
        ("a shard that is gone", |lab| remove(lab, "secret.csv"), &["`secret`", "secret.csv"]),
    ];
    for (name, spoil, words) in cases {
        let lab = lab!();
        Job::tables().train("steps = 3").write(&lab);
        spoil(&lab);
        let ended = lab.hcrun(RUN).run();
        assert_answer(name, &ended, 2, "HC2011", words);
        assert!(ended.stderr.contains("worker private-"), "{name}: {ended}");
        assert_eq!(lab.run().steps(), 0, "{name}");
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_named() {
    let lab = lab!();
    Job::tables().train("steps = 4").write(&lab);
    lab.hcrun(RUN).succeed();
    lab.hcrun(["resume", "latest", "--set", "train.steps=6"]).succeed();
    let run = lab.run();
    let model = |step: u64| run.file(&format!("checkpoints/step-{step}/model.safetensors"));
    let mut bytes = std::fs::read(model(6)).unwrap();
    bytes.pop();
    std::fs::write(model(6), &bytes).unwrap();
    let ended = lab.hcrun(["resume", "latest", "--set", "train.steps=8"]).succeed();
    for word in ["step-6", "step-4", "going on after 4 steps"] {
        assert!(ended.stderr.contains(word), "{word}: {ended}");
    }
    assert_eq!(run.summary()["steps"], 8);

    for step in [4, 8] {
        let mut bytes = std::fs::read(model(step)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(model(step), bytes).unwrap();
    }
    for args in [&["resume", "latest", "--set", "train.steps=9"][..], &["predict", "latest", "open.csv"]] {
        let ended = lab.hcrun(args).run();
        assert_answer("no checkpoint is good", &ended, 2, "HC2015", &["step-8", "damaged"]);
    }
    assert_eq!(run.summary()["steps"], 8, "nothing was lost");
}

#[test]
fn another_training_is_not_a_continuation() {
    let lab = lab!();
    Job::tables().train("steps = 4").write(&lab);
    lab.hcrun(RUN).succeed();
    let changed = ["resume", "latest", "--set", "train.steps=6", "--set", "train.batch=8", "--set", "seed=3"];
    let ended = lab.hcrun(changed).run();
    assert_answer("changed keys", &ended, 2, "HC2017", &["`train.batch` is 8", "with 16", "`seed` is 3"]);
    let ended = lab.hcrun(["resume"]).run();
    assert_answer("nothing to do", &ended, 2, "HC2001", &["all 4 steps", "train.steps=N"]);
    lab.hcrun(["resume", "latest", "--set", "train.steps=6"]).succeed();
    assert_eq!(lab.run().summary()["steps"], 6);
}

/// Needs a file system of its own, which only root can mount; passes without one where it may not.
#[test]
fn a_full_disk_costs_the_checkpoint_that_did_not_fit() {
    let lab = lab!();
    let Some(disk) = Disk::mount(&lab.path().join("disk"), "8m") else { return };
    Job::tables().train("steps = 1000000\ncheckpoint_every = 20").write(&lab);
    let mut launcher = lab.hcrun(["run", "job.toml", "--runs-dir", "disk"]).start();
    let latest = disk.path.join("latest");
    let path = hcrun_tests::until("a run", LIMIT, || std::fs::canonicalize(&latest).ok());
    let run = hcrun_tests::Run::new(path);
    run.wait_event(&mut launcher, "checkpoint");
    let ballast = disk.fill();
    let ended = launcher.end_within(LIMIT);
    assert_answer(
        "a full disk",
        &ended,
        75,
        "HC8003",
        &["a checkpoint could not be stored", "the last checkpoint of this run"],
    );
    assert!(logs(&run.path).len() >= 4, "the run was the one that is looked at");

    std::fs::remove_file(ballast).unwrap();
    let stored = checkpoint::latest_good(&run.file("checkpoints")).unwrap().checkpoint.meta.step.0;
    assert!(stored >= 20 && stored.is_multiple_of(20), "{stored}");
    let steps = format!("train.steps={}", stored + 5);
    lab.hcrun(["resume", "latest", "--runs-dir", "disk", "--set", &steps]).succeed();
    assert_eq!(run.summary()["steps"], stored + 5);
}

const LIMIT: Duration = Duration::from_secs(30);

/// A small file system.
struct Disk {
    path: PathBuf,
}

impl Disk {
    fn mount(path: &Path, size: &str) -> Option<Disk> {
        std::fs::create_dir(path).unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .output();
        mount.is_ok_and(|output| output.status.success()).then(|| Disk { path: path.to_owned() })
    }

    /// Leaves no byte free; returns the file that takes them.
    fn fill(&self) -> PathBuf {
        let path = self.path.join("ballast");
        let mut file = std::fs::File::create(&path).unwrap();
        // Ends at the first write that does not fit.
        drop(std::io::copy(&mut std::io::repeat(0), &mut file));
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg("-l").arg(&self.path).output());
    }
}

#[track_caller]
pub(crate) fn assert_answer(name: &str, ended: &Ended, exit: i32, code: &str, words: &[&str]) {
    if let Some(missing) = complaint(ended, exit, code, words) {
        panic!("{name}: {missing}: {ended}");
    }
}

/// What an answer lacks.
fn complaint(ended: &Ended, exit: i32, code: &str, words: &[&str]) -> Option<String> {
    if ended.code() != Some(exit) {
        return Some(format!("exit code {exit} is expected"));
    }
    let mut words = words.iter().chain([&code, &"hint: "]);
    words.find(|word| !ended.stderr.contains(**word)).map(|word| format!("`{word}` is not said"))
}

/// Logs of workers below a folder of runs or in a run.
fn logs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let below = |path: PathBuf| match path.extension() {
        Some(end) if end == "log" => vec![path],
        _ if path.is_dir() && !path.is_symlink() => logs(&path),
        _ => Vec::new(),
    };
    entries.flat_map(below).collect()
}

fn write(lab: &Lab, name: &str, contents: &str) {
    lab.write(name, contents);
}

fn remove(lab: &Lab, name: &str) {
    std::fs::remove_file(lab.path().join(name)).unwrap();
}

fn edit(lab: &Lab, from: &str, to: &str) {
    replace(lab, "job.toml", from, to);
}

fn workers(lab: &Lab, workers: &str) {
    edit(lab, "private = 2, public = 2", workers);
}

fn replace(lab: &Lab, name: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(lab.path().join(name)).unwrap();
    assert!(text.contains(from), "{name} has no {from}");
    lab.write(name, text.replacen(from, to, 1));
}
