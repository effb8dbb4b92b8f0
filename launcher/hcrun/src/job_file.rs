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
                failure.hint("name a job file, or make one with `hcrun init demo`")
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
            .hint(format!("change `{}`: it {}", error.key, error.rule))
    }
}

pub fn resolved_toml(job: &Job) -> String {
    toml::to_string(job).expect("a job has string keys, and numbers within TOML's range: check")
}
