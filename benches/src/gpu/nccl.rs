//! NCCL on the cards of this machine, in a process of its own: a library that hangs or crashes takes nothing along.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::talker::Talker;

pub(crate) mod ranks;

/// What the process is asked to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Indices of the cards; each is a rank.
    pub(super) cards: Vec<u32>,
    /// Of each length in bytes the all-reduce is measured.
    pub(super) lengths: Vec<usize>,
    pub(super) repetitions: usize,
    /// All-reduces of one repetition.
    pub(super) batch: usize,
    /// How long ranks wait for each other, at each step.
    pub(super) within: Duration,
}

/// Its first line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Library {
    Found { version: String, file: String },
    Unavailable(String),
}

/// Its second line, if there is an NCCL.
type Outcome = Result<Vec<Rate>, String>;

/// All-reduces of f32, in place of none of their input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Rate {
    /// What a rank has.
    pub(super) bytes: usize,
    /// The median, of the slowest rank; where a card is faster than the host's calls, it is these that are measured.
    pub(super) microseconds: f64,
    pub(super) bytes_per_s: f64,
    /// What each link has to carry for it, 2 (n - 1) / n of that: zero of a single rank.
    pub(super) bus_bytes_per_s: f64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// It cannot be had here, which is no fault.
    Unavailable(String),
    /// Sums, scatters and gathers were exact on all ranks.
    Checked { version: String, file: String, ranks: usize, all_reduce: Vec<Rate> },
}

/// # Errors
/// If what ranks hold is not what it must be, NCCL or a card fails, or there is no answer by `end`.
pub(super) fn ask(asked: &Asked, environment: &[(&str, PathBuf)], end: Instant) -> anyhow::Result<Answer> {
    let mut command = Command::new(env::current_exe().context("this program's path")?);
    command.args([VERB, &serde_json::to_string(asked)?]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let mut process = Talker::start("the process that asks NCCL".to_owned(), command)?;
    let end = end.min(Instant::now() + LIMIT);
    let left = || end.saturating_duration_since(Instant::now());
    let (version, file) = match process.hear_within(left().min(LOADING))? {
        Library::Unavailable(reason) => return Ok(Answer::Unavailable(reason)),
        Library::Found { version, file } => (version, file),
    };
    let name = format!("NCCL {version} ({file})");
    match process.hear_within::<Outcome>(left()).with_context(|| name.clone())? {
        Ok(all_reduce) => Ok(Answer::Checked { version, file, ranks: asked.cards.len(), all_reduce }),
        Err(error) => bail!("{name}: {error}"),
    }
}

/// As which this program is that process.
pub(crate) const VERB: &str = "nccl-ranks";
/// It starts threads and looks at all network interfaces, which takes seconds at most.
const LOADING: Duration = Duration::from_secs(30);
/// Many times what all of it takes.
const LIMIT: Duration = Duration::from_secs(120);
