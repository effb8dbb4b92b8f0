//! The arguments of the bench.

use std::path::PathBuf;

use anyhow::{Context, bail};
use hcrun_protocol::dtype::Codec;
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::link::{Congestion, LinkSpec};
use hcrun_protocol::{BitsPerSec, Bytes, Span};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use super::rank::Emulate;
use crate::arguments::Words;

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench collectives [--ranks 2] [--sizes 64KiB,64MiB] [--codec none,bf16] [--count 1]
         [--algorithm NAME] [--lanes N] [--segment 256KiB] [--mtu N] [--congestion NAME]
         [--rate 200Mbit --round-trip-ms 40 [--emulate [--loss 0.001]]] [--rounds N]
          [--peer gloo --python PATH] [--json] [--out FILE]";

pub(crate) struct Options {
    pub(crate) ranks: usize,
    pub(crate) sizes: Vec<usize>,
    pub(crate) codecs: Vec<Codec>,
    pub(crate) count: usize,
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) lanes: usize,
    pub(crate) segment_bytes: usize,
    pub(crate) link: LinkSpec,
    pub(crate) emulate: Option<Emulate>,
    pub(crate) rounds: usize,
    /// The Python that has PyTorch, if there is a peer.
    pub(crate) python: Option<String>,
    pub(crate) json: bool,
    pub(crate) out: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(mut words: Words) -> anyhow::Result<Options> {
        let mut options = Options {
            ranks: 2,
            sizes: (0..26).step_by(2).map(|power| 8 << power).chain([256 << 20]).collect(),
            codecs: vec![Codec::None],
            count: 1,
            algorithm: None,
            lanes: 1,
            segment_bytes: 256 << 10,
            link: LinkSpec::default(),
            emulate: None,
            rounds: 5,
            python: None,
            json: false,
            out: None,
        };
        let (mut peer, mut emulate, mut loss) = (None, false, 0.0);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--ranks" => options.ranks = words.count(&word)?,
                "--sizes" => options.sizes = list(&words.value(&word)?, size)?,
                "--codec" => options.codecs = list(&words.value(&word)?, name)?,
                "--count" => options.count = words.count(&word)?,
                "--algorithm" => options.algorithm = Some(name(&words.value(&word)?)?),
                "--lanes" => options.lanes = words.count(&word)?,
                "--segment" => options.segment_bytes = size(&words.value(&word)?)?,
                "--mtu" => options.link.mtu = Some(words.count(&word)?),
                "--congestion" => options.link.congestion = name::<Congestion>(&words.value(&word)?)?,
                "--rate" => options.link.rate = Some(BitsPerSec::parse(&words.value(&word)?)?),
                "--round-trip-ms" => {
                    options.link.round_trip = Some(Span::from_millis(words.count(&word)?));
                }
                "--emulate" => emulate = true,
                "--loss" => loss = words.value(&word)?.parse().context("--loss")?,
                "--rounds" => options.rounds = words.count(&word)?,
                "--peer" => peer = Some(words.value(&word)?),
                "--python" => options.python = Some(words.value(&word)?),
                "--json" => options.json = true,
                "--out" => options.out = Some(words.value(&word)?.into()),
                _ => return Err(words.unknown(&word)),
            }
        }
        if emulate {
            let (Some(rate), Some(round_trip)) = (options.link.rate, options.link.round_trip) else {
                bail!("--emulate needs --rate and --round-trip-ms\n{USAGE}");
            };
            options.emulate = Some(Emulate { rate, round_trip, loss });
            // Loopback would try longer packets than the links that are emulated.
            options.link.mtu.get_or_insert(1_452);
        }
        match (peer.as_deref(), &options.python) {
            (None | Some("gloo"), None) if peer.is_some() => Err(words.missing("--python")),
            (None, Some(_)) => Err(words.missing("--peer gloo")),
            (None | Some("gloo"), _) => Ok(options),
            (Some(other), _) => bail!("there is no peer `{other}`: gloo is the one\n{USAGE}"),
        }
    }
}

fn list<T>(text: &str, item: fn(&str) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    text.split(',').map(item).collect()
}

fn size(text: &str) -> anyhow::Result<usize> {
    Ok(usize::try_from(Bytes::parse(text)?.0)?)
}

/// The word by which job and cluster files know a choice.
fn name<T: for<'a> Deserialize<'a>>(text: &str) -> anyhow::Result<T> {
    let word: StrDeserializer<'_, Error> = text.into_deserializer();
    T::deserialize(word).with_context(|| format!("`{text}`"))
}
