//! Reads `job.toml`, with changes from the command line, into a checked [`Job`].

use std::path::{Path, PathBuf};

use hcrun_protocol::job::{Job, JobError};

use crate::cli::JobArgs;
use crate::codes;
use crate::failure::{Failure, Result};
use crate::settings::tree::Document;
use crate::settings::{self, job_keys};

/// A job and where it came from.
#[derive(Debug)]
pub struct JobFile {
    pub job: Job,
    pub path: PathBuf,
    document: Document,
}

impl JobFile {
    /// Reads the job file that the command line names.
    pub fn from_args(args: &JobArgs) -> Result<JobFile> {
        JobFile::read(&args.job, args.seed, &args.set)
    }

    pub fn read(path: &Path, seed: Option<u64>, set: &[String]) -> Result<JobFile> {
        // `hcrun run demo` means the job in that directory.
        let path = if path.is_dir() { path.join("job.toml") } else { path.to_owned() };
        let text = settings::read_text(&path, "job file").map_err(|failure| {
            if path.exists() {
                failure
            } else {
                failure.hint("name a job file, or make one with `hcrun init`")
            }
        })?;
        JobFile::parse(text, &path, seed, set)
    }

    pub fn parse(text: String, path: &Path, seed: Option<u64>, set: &[String]) -> Result<JobFile> {
        let mut document = Document::parse(text, path.display().to_string(), "job file")?;
        for assignment in set {
            document.set(assignment)?;
        }
        let mut job: Job = settings::parse(&document, job_keys::JOB)?;
        job.seed = seed.unwrap_or(job.seed);
        let file = JobFile { job, path: path.to_owned(), document };
        file.job.check().map_err(|error| file.out_of_range(&error))?;
        Ok(file)
    }

    /// The directory that paths of shards are relative to.
    pub fn directory(&self) -> PathBuf {
        match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Where a key such as `shard[1].home` is written.
    pub fn find(&self, key: &str) -> String {
        self.document.find(key)
    }

    /// The job as TOML, every default filled in: what a run directory keeps.
    pub fn resolved_toml(&self) -> String {
        resolved_toml(&self.job)
    }

    fn out_of_range(&self, error: &JobError) -> Failure {
        Failure::new(&codes::JOB_OUT_OF_RANGE, "cannot use the job file")
            .at(self.find(&error.key))
            .because(error.to_string())
            .hint(format!("change `{}`", error.key))
    }
}

pub fn resolved_toml(job: &Job) -> String {
    toml::to_string(job).expect("a job has string keys, and numbers within TOML's range: check")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"name = "demo"
model = { kind = "mlp", hidden = [8] }
data = { format = "csv", held_out = 0.2, target = "y", classes = ["a", "b"] }
workers = { private = 2 }
[train]
loss = "cross-entropy"
optimizer = "adamw"
learning_rate = 1e-3
batch = 8
steps = 10
[[shard]]
id = "one"
path = "one.csv"
home = "private"
"#;

    fn parse(text: &str, set: &[&str]) -> Result<JobFile> {
        let set: Vec<String> = set.iter().map(|flag| (*flag).to_owned()).collect();
        JobFile::parse(text.to_owned(), Path::new("job.toml"), None, &set)
    }

    fn refusal(text: &str, set: &[&str]) -> String {
        let failure = parse(text, set).expect_err("the file was taken");
        let place = failure.place.as_deref().unwrap_or("-");
        format!("{} {place} | {} | {}", failure.code.id, failure.causes.join(": "), failure.hint_text())
    }

    /// Each case: what is replaced in a good file, by what, and the refusal.
    #[test]
    fn bad_files_are_refused_with_place_cause_and_remedy() {
        let cases = [
            (
                "batch = 8",
                "bach = 8",
                "HC2004 job.toml:9:1 | unknown key `train.bach` | did you mean `batch`?",
            ),
            ("[train]", "[trian]", "HC2004 job.toml:5:2 | unknown key `trian` | did you mean `train`?"),
            (
                "hidden = [8]",
                "hiden = [8]",
                "HC2004 job.toml:2:25 | unknown key `model.hiden` | did you mean `hidden`?",
            ),
            (
                "hidden = [8]",
                "hidden = [8], layers = 2",
                "HC2004 job.toml:2:39 | unknown key `model.layers` | the keys of `model` are hidden, kind",
            ),
            (
                "home = \"private\"",
                "home = \"private\"\nhoem = 1",
                "HC2004 job.toml:15:1 | unknown key `shard[0].hoem` | did you mean `home`?",
            ),
            (
                "batch = 8",
                "batch = \"8\"",
                "HC2005 job.toml:9:9 | `train.batch` must be a whole number between 0 and 4294967295, not the text \"8\" \
                 | give `train.batch` a whole number between 0 and 4294967295",
            ),
            (
                "batch = 8",
                "batch = -8",
                "HC2005 job.toml:9:9 | `train.batch` must be a whole number between 0 and 4294967295, not -8 | give \
                 `train.batch` a whole number between 0 and 4294967295",
            ),
            (
                "kind = \"mlp\"",
                "kind = \"mpl\"",
                "HC2005 job.toml:2:18 | `model.kind` must be one of \"gpt\", \"mlp\", not the text \"mpl\" | did you mean \
                 \"mlp\"?",
            ),
            (
                "optimizer = \"adamw\"",
                "optimizer = \"adamx\"",
                "HC2005 job.toml:7:13 | `train.optimizer` must be one of \"sgd\", \"momentum\", \"nesterov\", \"adam\", \
                 \"adamw\", not the text \"adamx\" | did you mean \"adam\"?",
            ),
            (
                "workers = { private = 2 }",
                "workers = 2",
                "HC2005 job.toml:4:11 | `workers` must be a table from names, each to a whole number between 0 and 65535, \
                 not 2 | give `workers` a table from names, each to a whole number between 0 and 65535",
            ),
            (
                "steps = 10\n",
                "",
                "HC2005 job.toml:5:2 | `train.steps` is missing | add `steps`, a whole number of at least 0",
            ),
            ("name = \"demo\"", "", "HC2005 job.toml | `name` is missing | add `name`, a text in quotes"),
            (
                "id = \"one\"",
                "id = \"One Shard\"",
                "HC2005 job.toml:12:6 | `shard[0].id` must be a name of 1 to 40 lower-case letters, digits and `-`, not \
                 the text \"One Shard\" | give `shard[0].id` a name of 1 to 40 lower-case letters, digits and `-`",
            ),
            (
                "private = 2",
                "private = 0",
                "HC2006 job.toml:4:1 | workers is zero in total: at least one worker is needed | change `workers`",
            ),
            (
                "held_out = 0.2",
                "held_out = 1.5",
                "HC2006 job.toml:3:26 | data.held_out is 1.5: must lie between 0 and 1, both excluded | change `data.held_out`",
            ),
            (
                "home = \"private\"\n",
                "",
                "HC2006 job.toml:11:1 | shard[0].home is missing: every shard that is not public names its home zone | \
                 change `shard[0].home`",
            ),
            (
                "steps = 10",
                "steps = 10 10",
                "HC2003 job.toml:10:9 | string values must be quoted, expected literal string | correct the line shown; `hcrun \
                 init` writes a job file to compare with",
            ),
        ];
        for (from, to, expected) in cases {
            assert!(GOOD.contains(from));
            assert_eq!(refusal(&GOOD.replacen(from, to, 1), &[]), expected, "{from:?} -> {to:?}");
        }
    }

    #[test]
    fn changes_from_the_command_line_are_laid_over_the_file() {
        let file = parse(
            GOOD,
            &["train.steps=500", "policy.min_contributors=1", "train.loss=mse", "data.classes=[]"],
        );
        let job = file.unwrap().job;
        assert_eq!((job.train.steps, job.policy.min_contributors), (500, 1));
        assert_eq!(job.train.loss, hcrun_protocol::job::Loss::Mse);
    }

    #[test]
    fn bad_changes_name_the_flag() {
        let cases = [
            (
                "train.stepz=5",
                "HC2004 --set train.stepz=5 | unknown key `train.stepz` | did you mean `steps`?",
            ),
            (
                "seed=\"x\"",
                "HC2005 --set seed=\"x\" | `seed` must be a whole number of at least 0, not the text \"x\" | give `seed` a \
                 whole number of at least 0",
            ),
            (
                "train.batch=0",
                "HC2006 --set train.batch=0 | train.batch is 0: must be between 1 and 1048576 | change `train.batch`",
            ),
            (
                "steps",
                "HC2001 - | there is no `=` | write --set KEY=VALUE with the key as in the job file: `--set \
                 train.steps=500`",
            ),
        ];
        for (flag, expected) in cases {
            assert_eq!(refusal(GOOD, &[flag]), expected, "{flag}");
        }
    }

    #[test]
    fn unreadable_files_say_why() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("job.toml");
        let cause = |path: &Path| JobFile::read(path, None, &[]).unwrap_err().causes.join(": ");
        assert_eq!(cause(&path), "No such file or directory (os error 2)");
        for (bytes, expected) in [
            (&b" \n"[..], "the file is empty"),
            (b"name = \"\xff\"", "byte 8 is not UTF-8"),
            (&[b'#'; 1_048_577], "it is larger than 1048576 bytes"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(cause(&path), expected);
        }
        // A directory stands for the job file in it.
        std::fs::write(&path, GOOD).unwrap();
        assert!(JobFile::read(directory.path(), None, &[]).is_ok());
    }

    #[test]
    fn a_resolved_job_reads_back_equal() {
        let file = parse(GOOD, &[]).unwrap();
        let again = parse(&file.resolved_toml(), &[]).unwrap();
        assert_eq!(file.job, again.job);
    }

    #[test]
    fn documented_defaults_are_the_real_ones() {
        use crate::settings::schema::Kind;
        let mut set = Vec::new();
        for key in job_keys::JOB {
            let Kind::Table(keys) = &key.kind else { continue };
            let defaults = keys.iter().filter_map(|inner| Some((inner.name, inner.default?)));
            set.extend(defaults.map(|(name, default)| format!("{}.{name}={default}", key.name)));
        }
        assert!(set.len() > 15);
        let explicit = JobFile::parse(GOOD.to_owned(), Path::new("job.toml"), None, &set).unwrap();
        assert_eq!(explicit.job, parse(GOOD, &[]).unwrap().job);
    }
}
