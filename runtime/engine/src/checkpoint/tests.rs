mod compressed;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hcrun_protocol::job::Job;
use hcrun_protocol::{Rank, Step, ZoneId};

use super::files::{Disk, Files};
use super::write::write_with;
use super::*;
use crate::data::Schema;
use crate::data::statistics::Moments;

const JOB: &str = r#"{"name":"t","model":{"kind":"mlp","hidden":[3]},
    "data":{"format":"csv","held_out":0.2,"target":"y","classes":["n","p"]},
    "train":{"loss":"cross-entropy","optimizer":"adam","learning_rate":0.1,"batch":4,"steps":9},
    "workers":{"private":2},"shard":[{"id":"a","path":"data/a.csv","sensitivity":"public"}]}"#;

/// A checkpoint whose every number depends on the step.
fn checkpoint(step: u64) -> Checkpoint {
    let job: Job = serde_json::from_str(JOB).unwrap();
    let schema: Schema = serde_json::from_str(
        r#"{"inputs":[{"column":"x","role":{"use":"number","feature":0}}],
            "target":{"kind":"class","column":"y","classes":["n","p"]},"features":1,"outputs":2}"#,
    )
    .unwrap();
    let moments = Moments { column: "x".to_owned(), mean: 0.1, deviation: 1.0 / 3.0 };
    let statistics = Statistics { rows: 40, columns: vec![moments] };
    let model = ModelDescription::new(&job, Some(schema), Some(statistics));
    let profile = model.spec().unwrap().profile();
    let (elems, parameters) = (profile.arena_elems, profile.parameters);
    let arena = |salt: u16, used: usize| -> Vec<f32> {
        let value = |index: usize| if index < used { f32::from(salt) + index as f32 / 7.0 } else { 0.0 };
        (0..elems).map(value).collect()
    };
    let salt = u16::try_from(step).unwrap();
    let workers =
        vec![WorkerPlace { rank: Rank(0), slot: "private-0".into(), zone: ZoneId::new("private").unwrap() }];
    Checkpoint {
        meta: Meta {
            job_digest: job.digest(),
            job: job.canonical_json(),
            step: Step(step),
            seed: job.seed,
            cursor: step,
            workers,
            build: "0.1.0 (test)".to_owned(),
            cpu_features: "avx2".to_owned(),
            node_groups: Vec::new(),
        },
        model,
        params: arena(salt, parameters),
        optimizer: vec![
            ("exp_avg".to_owned(), arena(salt + 1, elems)),
            ("exp_avg_sq".to_owned(), arena(salt + 2, elems)),
        ],
    }
}

fn found_step(root: &Path) -> Option<u64> {
    let found = latest_good(root).ok()?;
    assert_eq!(found.checkpoint, checkpoint(found.checkpoint.meta.step.0), "another state was loaded");
    Some(found.checkpoint.meta.step.0)
}

fn names(root: &Path) -> BTreeSet<String> {
    fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_is_written_loads_equal_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("checkpoints");
    let written = write(&root, &checkpoint(5), KEEP).unwrap();
    assert_eq!(load(&written.path).unwrap(), checkpoint(5));
    assert_eq!(fs::read_to_string(root.join("latest")).unwrap(), "step-5\n");
    let manifest = fs::read_to_string(written.path.join("MANIFEST.json")).unwrap();
    assert!(!manifest.contains("data/a.csv"), "the manifest names a path");
}

#[test]
fn tensors_have_pytorch_names_and_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let written = write(folder.path(), &checkpoint(1), KEEP).unwrap();
    let bytes = fs::read(written.path.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut shapes: Vec<_> =
        tensors.iter().map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec())).collect();
    shapes.sort();
    let shape = |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec());
    assert_eq!(
        shapes,
        [
            shape("layers.0.bias", &[3]),
            shape("layers.0.weight", &[3, 1]),
            shape("layers.1.bias", &[2]),
            shape("layers.1.weight", &[2, 3]),
        ]
    );
}

#[test]
fn the_newest_are_kept_and_each_names_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    for step in 1..=5 {
        write(folder.path(), &checkpoint(step), 3).unwrap();
    }
    let expected = ["latest", "step-3", "step-4", "step-5"].map(str::to_owned);
    assert_eq!(names(folder.path()), expected.into());
    let manifest = |step: u64| {
        let text = fs::read(folder.path().join(format!("step-{step}/MANIFEST.json"))).unwrap();
        Manifest::open(&text).unwrap()
    };
    assert_eq!(manifest(5).parent, Some(manifest(4).digest()));
}

#[test]
fn a_step_can_be_written_again_and_later_ones_go() {
    let folder = tempfile::tempdir().unwrap();
    for step in [1, 2, 3, 2] {
        write(folder.path(), &checkpoint(step), 3).unwrap();
    }
    assert_eq!(names(folder.path()), ["latest", "step-1", "step-2"].map(str::to_owned).into());
    assert_eq!(found_step(folder.path()), Some(2));
}

/// Damages one file of the newest of two checkpoints and returns the reason it is passed over.
fn damaged(file: &str, damage: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &checkpoint(1), KEEP).unwrap();
    let newest = write(folder.path(), &checkpoint(2), KEEP).unwrap().path;
    damage(&newest.join(file));
    let found = latest_good(folder.path()).unwrap();
    assert_eq!(found.checkpoint, checkpoint(1));
    let [skipped] = &found.skipped[..] else { panic!("{:?}", found.skipped) };
    assert_eq!(skipped.path, newest);
    skipped.reason.to_string().replace(newest.to_str().unwrap(), "AT")
}

#[test]
fn a_damaged_checkpoint_is_passed_over_with_the_reason() {
    let files = ["model.safetensors", "optimizer.safetensors", "model.json", "MANIFEST.json"];
    for file in files {
        let reason = damaged(file, |path| fs::remove_file(path).unwrap());
        assert!(reason.starts_with(&format!("checkpoint AT has no {file}")), "{reason}");

        let shorter = |path: &Path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 9]).unwrap();
        };
        let reason = damaged(file, shorter);
        let is_manifest = file == "MANIFEST.json";
        let expected = if is_manifest { "makes no sense" } else { "bytes," };
        assert!(reason.contains(file) && reason.contains(expected), "{reason}");

        // Every byte counts, also in the manifest.
        let flipped = |path: &Path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        };
        let reason = damaged(file, flipped);
        let expected = if is_manifest { "makes no sense" } else { "is damaged: its SHA-256 is" };
        assert!(reason.contains(file) && reason.contains(expected), "{reason}");
    }
}

#[test]
fn a_relabelled_step_and_a_newer_schema_are_refused() {
    let relabelled = damaged("MANIFEST.json", |path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace("\"step\": 2", "\"step\": 7")).unwrap();
    });
    assert!(relabelled.contains("does not have the digest"), "{relabelled}");
    let newer = damaged("MANIFEST.json", |path| {
        fs::write(path, r#"{"schema": 4, "anything": "else"}"#).unwrap();
    });
    assert!(newer.contains("written by a newer hcrun (schema 4, this one reads up to 3)"), "{newer}");

    let folder = tempfile::tempdir().unwrap();
    let written = write(folder.path(), &checkpoint(1), KEEP).unwrap().path;
    fs::rename(&written, folder.path().join("step-9")).unwrap();
    let error = latest_good(folder.path()).unwrap_err();
    assert!(matches!(error, LoadError::NoneGood { .. }), "{error}");
    assert!(error.to_string().contains("the folder was renamed"), "{error}");
}

#[test]
fn an_empty_or_absent_folder_has_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    for root in [folder.path().to_owned(), folder.path().join("absent")] {
        assert!(matches!(latest_good(&root), Err(LoadError::None { .. })));
    }
}

#[test]
fn a_state_of_another_length_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut short = checkpoint(1);
    short.optimizer[1].1.pop();
    let error = write(folder.path(), &short, KEEP).unwrap_err();
    assert!(matches!(error, WriteError::Length { got: 1023, expected: 1024, .. }), "{error}");
    assert_eq!(names(folder.path()), BTreeSet::new());
}

/// A disk that fails from some operation on.
struct Failing {
    /// Operations that still succeed.
    left: usize,
    mode: Mode,
    /// Files that have been written and not synced.
    unsynced: BTreeSet<PathBuf>,
    failed: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Nothing happens any more; what was not synced is lost in part.
    Crash,
    /// One operation finds the disk full; afterwards it works again.
    Full,
}

impl Failing {
    fn new(left: usize, mode: Mode) -> Failing {
        Failing { left, mode, unsynced: BTreeSet::new(), failed: false }
    }

    fn next(&mut self) -> io::Result<()> {
        if self.failed && self.mode == Mode::Full {
            return Ok(());
        }
        if self.left == 0 {
            self.failed = true;
            let kind =
                if self.mode == Mode::Full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            return Err(kind.into());
        }
        self.left -= 1;
        Ok(())
    }

    /// What a power cut does to files that were not synced.
    fn lose_unsynced(&self) {
        for path in self.unsynced.iter().filter(|path| path.exists()) {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
}

impl Files for Failing {
    fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        self.next()?;
        Disk.create_folder(path)
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.next() {
            // Torn: some of it got there.
            if self.left == 0 && path.parent().is_some_and(Path::is_dir) {
                let _ = Disk.write(path, &bytes[..bytes.len() / 2]);
            }
            return Err(error);
        }
        self.unsynced.insert(path.to_owned());
        Disk.write(path, bytes)
    }

    fn sync(&mut self, path: &Path) -> io::Result<()> {
        // Not handed on: a real sync takes long and tells this test nothing.
        self.next()?;
        self.unsynced.remove(path);
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.next()?;
        let moved = |path: &PathBuf| match path.strip_prefix(from) {
            Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
            Ok(rest) => to.join(rest),
            Err(_) => path.clone(),
        };
        self.unsynced = self.unsynced.iter().map(moved).collect();
        Disk.rename(from, to)
    }

    fn remove_folder(&mut self, path: &Path) -> io::Result<()> {
        if let Err(error) = self.next() {
            // Interrupted: one of the files is gone.
            if let Some(Ok(first)) = fs::read_dir(path)?.next() {
                fs::remove_file(first.path())?;
            }
            return Err(error);
        }
        Disk.remove_folder(path)
    }
}

/// Invariant: a crash at any instant leaves a checkpoint that loads, at least the last acknowledged one.
#[test]
fn invariant_a_crash_after_any_operation_leaves_the_last_acknowledged_checkpoint() {
    // The second sequence writes steps again, as a run does that went back.
    for steps in [&[1, 2, 3, 4][..], &[1, 2, 3, 3, 2, 2]] {
        for left in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("checkpoints");
            let mut files = Failing::new(left, Mode::Crash);
            let mut acknowledged = None;
            for step in steps {
                match write_with(&mut files, &root, &checkpoint(*step), 2) {
                    // What a crash cuts off after this moment is only the removal of others.
                    Ok(_) => acknowledged = Some(*step),
                    Err(_) => break,
                }
                if files.failed {
                    break;
                }
            }
            let crashed = files.failed;
            files.lose_unsynced();
            let found = found_step(&root);
            match (acknowledged, found) {
                (None, None) => {}
                (acknowledged, Some(found)) => {
                    let next = steps.iter().position(|step| Some(*step) == acknowledged);
                    let later = &steps[next.unwrap_or(0)..];
                    assert!(later.contains(&found), "{left}: {found} after {acknowledged:?}");
                    if steps.is_sorted_by(|a, b| a < b) {
                        assert!(Some(found) >= acknowledged, "{left}: {found} before {acknowledged:?}");
                    }
                }
                (Some(step), None) => panic!("{left}: step {step} was acknowledged and nothing loads"),
            }
            // Whatever was left behind, the next write works and tidies up.
            write_with(&mut Failing::new(usize::MAX, Mode::Crash), &root, &checkpoint(5), 2).unwrap();
            assert_eq!(found_step(&root), Some(5));
            let leftover = |name: &String| name.contains(".tmp-") || name.contains(".old");
            assert!(!names(&root).iter().any(leftover), "{left}: {:?}", names(&root));
            if !crashed {
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_is_named_and_the_previous_checkpoint_untouched() {
    for left in 0.. {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &checkpoint(1), 3).unwrap();
        let mut files = Failing::new(left, Mode::Full);
        let result = write_with(&mut files, folder.path(), &checkpoint(2), 3);
        if !files.failed {
            assert!(left > 10, "only {left} operations");
            break;
        }
        let error = result.unwrap_err();
        assert!(matches!(error, WriteError::DiskFull { step: Step(2), .. }), "{left}: {error}");
        assert_eq!(load(&folder.path().join("step-1")).unwrap(), checkpoint(1));
        assert!(!names(folder.path()).iter().any(|name| name.contains(".tmp-")), "{left}");
        assert!(found_step(folder.path()) >= Some(1));
    }
}

/// So that a program that knows nothing of them says that it is too old, not that the file is damaged.
#[test]
fn a_checkpoint_with_node_groups_is_of_a_newer_schema() {
    let schema = |node_groups: Vec<String>| {
        let root = tempfile::tempdir().unwrap();
        let mut checkpoint = checkpoint(3);
        checkpoint.meta.node_groups = node_groups;
        let path = write(root.path(), &checkpoint, KEEP).unwrap().path;
        let text = std::fs::read_to_string(path.join(folder::MANIFEST)).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["schema"].clone()
    };
    assert_eq!(schema(Vec::new()), 1);
    assert_eq!(schema(vec!["a-0, a-1".to_owned()]), 3);
}
