//! All-reduces among processes, in the manner of nccl-tests, and beside Gloo's on the same link.
//!
//! For each size and codec the sides measure in turns, round by round. A round's time is the median of its
//! iterations, an iteration's the slowest rank's; what is reported is the median over rounds. Sums are checked
//! before anything is timed.

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::Value;

mod bounds;
mod options;
mod party;
pub(crate) mod rank;

use crate::arguments::Words;
use crate::link::Link;
use crate::machine::Machine;
use options::Options;
use party::Party;
use rank::{Measure, Measured};

pub(crate) use options::USAGE;

#[derive(Serialize)]
struct Results {
    schema: u32,
    bench: &'static str,
    machine: Machine,
    network: Link,
    sides: Vec<Value>,
    ranks: usize,
    rounds: usize,
    rows: Vec<Row>,
    /// Bounds that this run was held to, and how it stands.
    bounds: Vec<bounds::Verdict>,
}

#[derive(Serialize, Clone)]
struct Row {
    bytes: usize,
    count: usize,
    codec: hcrun_protocol::dtype::Codec,
    hcrun: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    gloo: Option<Figures>,
    /// Of the times, hcrun's by the peer's: below 1 is faster.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
}

#[derive(Serialize, Clone)]
struct Figures {
    /// The medians of the rounds.
    round_s: Vec<f64>,
    /// The median of them.
    median_s: f64,
    p50_s: f64,
    p99_s: f64,
    /// Bytes of the buffers by the time.
    algbw_gb_per_s: f64,
    /// The same by 2 (N − 1) / N: what each link carries at the least.
    busbw_gb_per_s: f64,
    /// Processor time of all ranks by the bytes of the buffers.
    cpu_s_per_gb: f64,
    max_rss_mib: u64,
    /// The most that waited for its turn at any rank so far; unknown of a peer.
    most_staged_bytes: u64,
    /// Frame bytes that all ranks sent in one iteration; unknown of a peer.
    sent_bytes: u64,
    /// Datagrams that the kernel dropped so far; unknown of a peer.
    dropped: u64,
}

/// About how many bytes a round moves, so that small sizes are repeated often and large ones seldom.
const ROUND_BYTES: usize = 1 << 28;
const MAX_ITERATIONS: usize = 200;
const MIN_ITERATIONS: usize = 3;
/// Laboratory links are slow: fewer repetitions there.
const SLOW_ROUND_BYTES: usize = 1 << 25;

pub(crate) fn run(words: Words) -> anyhow::Result<()> {
    let options = Options::parse(words)?;
    let link = Link::from_environment(1)?;
    let mut hcrun = Party::hcrun(&options, &link)?;
    let mut gloo = match &options.python {
        Some(python) => Some(Party::gloo(&options, python, &link)?),
        None => None,
    };
    let mut rows = Vec::new();
    if !options.json {
        println!("{}, {} ranks", link, options.ranks);
        println!("{}", HEAD);
    }
    for bytes in &options.sizes {
        for codec in &options.codecs {
            let wanted = measure(&options, &link, *bytes, *codec);
            let row = row(&mut hcrun, gloo.as_mut(), &wanted, &options)
                .with_context(|| format!("all-reduce of {bytes} bytes as `{codec}`"))?;
            if !options.json {
                print_row(&row);
            }
            rows.push(row);
        }
    }
    let sides = [Some(&hcrun), gloo.as_ref()].into_iter().flatten();
    let sides = sides.map(|party| party.description.clone()).collect();
    let bounds = bounds::judge(&link, &options, &rows);
    let (schema, rounds) = (1, options.rounds);
    let results = Results {
        schema,
        bench: "collectives",
        machine: Machine::this(),
        network: link,
        sides,
        ranks: options.ranks,
        rounds,
        rows,
        bounds,
    };
    report(&options, &results)
}

fn report(options: &Options, results: &Results) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(results)?;
    if let Some(path) = &options.out {
        std::fs::write(path, format!("{json}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if options.json {
        println!("{json}");
    } else {
        results.bounds.iter().for_each(|verdict| println!("{verdict}"));
    }
    let missed = results.bounds.iter().filter(|verdict| !verdict.kept).count();
    if missed > 0 {
        bail!("{missed} of {} bounds missed", results.bounds.len());
    }
    Ok(())
}

fn measure(options: &Options, link: &Link, bytes: usize, codec: hcrun_protocol::dtype::Codec) -> Measure {
    let slow = link.is_laboratory() || options.emulate.is_some();
    let budget = if slow { SLOW_ROUND_BYTES } else { ROUND_BYTES };
    let iterations = (budget / (bytes * options.count).max(1)).clamp(MIN_ITERATIONS, MAX_ITERATIONS);
    let warmup = (iterations / 5).max(2);
    let (count, algorithm) = (options.count, options.algorithm);
    Measure { bytes, count, warmup, iterations, codec, algorithm }
}

fn row(
    hcrun: &mut Party,
    mut gloo: Option<&mut Party>,
    wanted: &Measure,
    options: &Options,
) -> anyhow::Result<Row> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        ours.push(hcrun.measure(wanted)?);
        if let Some(gloo) = &mut gloo {
            theirs.push(gloo.measure(wanted)?);
        }
    }
    let hcrun = figures(&ours, wanted);
    let gloo = gloo.is_some().then(|| figures(&theirs, wanted));
    let ratio = gloo.as_ref().map(|gloo| hcrun.median_s / gloo.median_s);
    Ok(Row { bytes: wanted.bytes, count: wanted.count, codec: wanted.codec, hcrun, gloo, ratio })
}

/// By round, then by rank.
fn figures(rounds: &[Vec<Measured>], wanted: &Measure) -> Figures {
    let slowest = |ranks: &Vec<Measured>| -> Vec<f64> {
        let of = |index: usize| ranks.iter().map(|rank| rank.seconds[index]).fold(0.0, f64::max);
        (0..wanted.iterations).map(of).collect()
    };
    let by_round: Vec<Vec<f64>> = rounds.iter().map(slowest).collect();
    let round_s: Vec<f64> = by_round.iter().map(|times| quantile(times, 0.5)).collect();
    let all = by_round.concat();
    let ranks = rounds[0].len() as f64;
    let bytes = (wanted.bytes * wanted.count) as f64;
    let median_s = quantile(&round_s, 0.5);
    let each = || rounds.iter().flatten();
    let iterations = (wanted.iterations * rounds.len()) as f64;
    Figures {
        median_s,
        p50_s: quantile(&all, 0.5),
        p99_s: quantile(&all, 0.99),
        algbw_gb_per_s: bytes / median_s / 1e9,
        busbw_gb_per_s: bytes / median_s / 1e9 * 2.0 * (ranks - 1.0) / ranks,
        cpu_s_per_gb: each().map(|rank| rank.cpu_s).sum::<f64>() / iterations / bytes.max(1.0) * 1e9,
        max_rss_mib: each().map(|rank| rank.max_rss_kib).max().unwrap_or(0) / 1_024,
        most_staged_bytes: each().map(|rank| rank.most_staged_bytes).max().unwrap_or(0),
        sent_bytes: rounds[0].iter().map(|rank| rank.sent_bytes).sum(),
        dropped: rounds[rounds.len() - 1].iter().map(|rank| rank.dropped).sum(),
        round_s,
    }
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let index = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

const HEAD: &str = "\
      bytes count codec    median ms     p99 ms  algbw GB/s  busbw GB/s  CPU s/GB  sent bytes    gloo ms  CPU s/GB  ratio";

fn print_row(row: &Row) {
    let Row { bytes, count, codec, hcrun, gloo, ratio } = row;
    print!(
        "{bytes:11} {count:5} {:6} {:11.3} {:10.3} {:11.3} {:11.3} {:9.3} {:11}",
        codec.name(),
        hcrun.median_s * 1e3,
        hcrun.p99_s * 1e3,
        hcrun.algbw_gb_per_s,
        hcrun.busbw_gb_per_s,
        hcrun.cpu_s_per_gb,
        hcrun.sent_bytes
    );
    match (gloo, ratio) {
        (Some(gloo), Some(ratio)) => {
            println!(" {:10.3} {:9.3} {ratio:6.2}", gloo.median_s * 1e3, gloo.cpu_s_per_gb);
        }
        _ => println!(),
    }
}
