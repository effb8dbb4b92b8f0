//! The command line of `bench train`.

use std::path::PathBuf;

use anyhow::{bail, ensure};
use serde::Serialize;

use super::outcome::WARM_UP_STEPS;
use crate::arguments::Words;

/// Defaults: enough steps for a median, few enough for a coffee.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Options {
    pub(crate) steps: u32,
    pub(crate) rounds: u32,
    /// Samples of one step over all workers. Small batches make exchange the larger part of a step.
    pub(crate) batch: u32,
    /// What hcrun sends gradients as.
    pub(crate) codecs: Vec<String>,
    /// The peer's largest gradient bucket; 25 is DDP's default.
    pub(crate) bucket_mib: u32,
    /// hcrun's congestion controller on a laboratory's link, whose rate and round trip the cluster file says.
    pub(crate) congestion: String,
    #[serde(skip)]
    pub(crate) python: PathBuf,
    /// Built from this source where it is not given.
    #[serde(skip)]
    pub(crate) hcrun: Option<PathBuf>,
    #[serde(skip)]
    pub(crate) json: bool,
    #[serde(skip)]
    pub(crate) out: Option<PathBuf>,
}

const PEER: &str = "torch-ddp";
const CODECS: [&str; 5] = ["f32", "bf16", "f16", "int8", "int4"];
/// A sample of each step for each of four workers, and as many in every zone as may cross its border.
const LEAST_BATCH: u32 = 4;

impl Options {
    pub(crate) fn read(mut words: Words) -> anyhow::Result<Options> {
        let (mut peer, mut python) = (None, None);
        let mut options = Options {
            steps: 40,
            rounds: 3,
            batch: 16,
            codecs: vec!["f32".to_owned()],
            bucket_mib: 25,
            congestion: "provisioned".to_owned(),
            python: PathBuf::new(),
            hcrun: None,
            json: false,
            out: None,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--peer" => peer = Some(words.value("--peer")?),
                "--python" => python = Some(words.value("--python")?.into()),
                "--steps" => options.steps = words.count("--steps")?,
                "--rounds" => options.rounds = words.count("--rounds")?,
                "--batch" => options.batch = words.count("--batch")?,
                "--congestion" => options.congestion = words.value("--congestion")?,
                "--bucket-mib" => options.bucket_mib = words.count("--bucket-mib")?,
                "--codec" => options.codecs = codecs(&words.value("--codec")?)?,
                "--hcrun" => options.hcrun = Some(std::path::absolute(words.value("--hcrun")?)?),
                "--json" => options.json = true,
                "--out" => options.out = Some(words.value("--out")?.into()),
                other => return Err(words.unknown(other)),
            }
        }
        match peer.as_deref() {
            Some(PEER) => {}
            Some(other) => bail!("there is no peer `{other}`: the only one is `{PEER}`"),
            None => return Err(words.missing("--peer")),
        }
        options.python = python.ok_or_else(|| words.missing("--python (one that has torch and numpy)"))?;
        let least = WARM_UP_STEPS * 2;
        ensure!(options.steps as usize >= least, "--steps must be at least {least}: the first ones warm up");
        ensure!(
            options.batch >= LEAST_BATCH && options.batch.is_multiple_of(LEAST_BATCH),
            "--batch must be a multiple of {LEAST_BATCH}, so that all workers compute alike"
        );
        Ok(options)
    }
}

fn codecs(list: &str) -> anyhow::Result<Vec<String>> {
    let codecs: Vec<String> = list.split(',').map(str::to_owned).collect();
    let unknown = codecs.iter().find(|codec| !CODECS.contains(&codec.as_str()));
    match unknown {
        Some(codec) => bail!("--codec: there is no codec `{codec}`: known are {}", CODECS.join(", ")),
        None => Ok(codecs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> anyhow::Result<Options> {
        Options::read(Words::new(line.split_whitespace().map(str::to_owned).collect(), "usage"))
    }

    #[test]
    fn what_is_wrong_is_named() {
        let options = read("--peer torch-ddp --python p --codec f32,int8 --steps 12").unwrap();
        assert_eq!((options.codecs, options.steps), (vec!["f32".to_owned(), "int8".to_owned()], 12));
        for (line, error) in [
            ("--python p", "--peer is missing"),
            ("--peer torch-ddp", "--python (one that has torch and numpy) is missing"),
            ("--peer nccl --python p", "there is no peer `nccl`"),
            ("--peer torch-ddp --python p --steps 3", "--steps must be at least"),
            ("--peer torch-ddp --python p --batch 6", "--batch must be a multiple of 4"),
            ("--codec f64", "there is no codec `f64`"),
            ("--rounds 0", "--rounds must be at least 1"),
            ("--rounds x", "--rounds x: "),
        ] {
            let got = format!("{:#}", read(line).unwrap_err());
            assert!(got.contains(error), "{line}: {got}");
        }
    }
}
