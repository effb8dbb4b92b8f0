//! Bytes from anywhere: nothing that reads them may panic.
//!
//! The targets are plain functions over bytes. `corpus/<target>/` is replayed on every run, each file named for
//! what it shows. `cargo xtask fuzz --seconds N` mutates the corpus for so long and adds the input that fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "a failed run says what it had run")]

use std::env;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hcrun_protocol::Prng;
use hcrun_protocol::prng::hash_bytes;

mod buffers;
mod frames;
mod rounds;
mod seeds;

struct Target {
    name: &'static str,
    run: fn(&[u8]),
}

const TARGETS: [Target; 3] = [
    Target { name: "frames", run: frames::run },
    Target { name: "rounds", run: rounds::run },
    Target { name: "buffers", run: buffers::run },
];
/// Mutations do not make inputs longer than this.
const LONGEST: usize = 4_096;

#[test]
fn the_corpus_passes() {
    for target in TARGETS {
        let corpus = corpus(&target);
        assert!(!corpus.is_empty(), "{} has a corpus", target.name);
        for (path, input) in corpus {
            println!("{}", path.display());
            (target.run)(&input);
        }
    }
}

/// Also without `HCRUN_FUZZ_SECONDS`, for a moment.
#[test]
fn mutations_of_the_corpus_pass() {
    let text = env::var("HCRUN_FUZZ_SECONDS").ok();
    let seconds: Option<u64> = text.map(|text| text.parse().expect("HCRUN_FUZZ_SECONDS is a number"));
    let seed: u64 =
        env::var("HCRUN_FUZZ_SEED").map_or(1, |text| text.parse().expect("HCRUN_FUZZ_SEED is a number"));
    let within = seconds.map_or(Duration::from_millis(300), Duration::from_secs);
    for target in TARGETS {
        fuzz(&target, seed, within);
    }
}

fn fuzz(target: &Target, seed: u64, within: Duration) {
    let mut prng = Prng::keyed(&[seed, hash_bytes(target.name.as_bytes())]);
    let corpus: Vec<Vec<u8>> = corpus(target).into_iter().map(|(_, input)| input).collect();
    let (started, mut runs) = (Instant::now(), 0_u64);
    while started.elapsed() < within {
        let input = mutated(&corpus, &mut prng);
        if catch_unwind(|| (target.run)(&input)).is_err() {
            let path = folder(target).join(format!("failed-{:016x}", hash_bytes(&input)));
            fs::write(&path, &input).unwrap();
            panic!(
                "{} failed after {runs} runs of seed {seed}; the input is {}: replay it by \
                 `cargo test -p hcrun-tests --test fuzz the_corpus_passes`",
                target.name,
                path.display()
            );
        }
        runs += 1;
    }
    println!("{}: {runs} inputs of seed {seed}", target.name);
}

fn pick(prng: &mut Prng, bound: usize) -> usize {
    usize::try_from(prng.below(bound as u64)).unwrap()
}

fn mutated(corpus: &[Vec<u8>], prng: &mut Prng) -> Vec<u8> {
    let mut input = corpus[pick(prng, corpus.len())].clone();
    for _ in 0..=pick(prng, 8) {
        let at = pick(prng, input.len() + 1);
        let [byte, ..] = prng.next_u64().to_le_bytes();
        match pick(prng, 6) {
            0 => input.insert(at, byte),
            1 if at < input.len() => drop(input.remove(at)),
            2 if at < input.len() => input[at] ^= 1 << (byte % 8),
            3 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][usize::from(byte) % 5],
            // The head of this one and the tail of another.
            4 => {
                let other = &corpus[pick(prng, corpus.len())];
                input.truncate(at);
                input.extend(&other[at.min(other.len())..]);
            }
            _ if at < input.len() => input[at] = byte,
            _ => input.push(byte),
        }
    }
    input.truncate(LONGEST);
    input
}

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name)
}

/// In the order of their names, so that a seed means the same everywhere.
fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// What an input says, byte by byte; zeros when it has ended.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Below `bound`, which is at most 256.
    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    fn word(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }
}
