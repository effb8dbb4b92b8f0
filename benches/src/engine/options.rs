//! The arguments of the bench.

use std::path::PathBuf;

use anyhow::bail;

use super::workload::Workload;
use crate::arguments::Words;

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench engine [--only NAME,NAME] [--rounds N] [--peer torch --python PATH] [--json] [--out FILE]";

pub(crate) struct Options {
    pub(crate) workloads: Vec<Workload>,
    pub(crate) rounds: usize,
    /// The Python that has PyTorch, if there is a peer.
    pub(crate) python: Option<String>,
    pub(crate) json: bool,
    pub(crate) out: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(mut words: Words) -> anyhow::Result<Options> {
        let (workloads, rounds) = (Workload::all(), 9);
        let mut options = Options { workloads, rounds, python: None, json: false, out: None };
        let mut peer = None;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--only" => options.workloads = named(&words.value(&word)?)?,
                "--rounds" => options.rounds = words.count(&word)?,
                "--peer" => peer = Some(words.value(&word)?),
                "--python" => options.python = Some(words.value(&word)?),
                "--json" => options.json = true,
                "--out" => options.out = Some(words.value(&word)?.into()),
                _ => return Err(words.unknown(&word)),
            }
        }
        match (peer.as_deref(), &options.python) {
            (Some("torch"), None) => Err(words.missing("--python")),
            (None, Some(_)) => Err(words.missing("--peer torch")),
            (None | Some("torch"), _) => Ok(options),
            (Some(other), _) => bail!("there is no peer `{other}`: torch is the one\n{USAGE}"),
        }
    }
}

fn named(names: &str) -> anyhow::Result<Vec<Workload>> {
    let find = |name: &str| match Workload::all().into_iter().find(|workload| workload.name == name) {
        Some(workload) => Ok(workload),
        None => {
            let known: Vec<&str> = Workload::all().iter().map(|workload| workload.name).collect();
            bail!("there is no workload `{name}`: {}", known.join(", "))
        }
    };
    names.split(',').map(find).collect()
}
