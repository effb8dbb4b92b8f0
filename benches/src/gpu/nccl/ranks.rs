//! The process whose threads are the ranks, one for each card.

use std::time::Duration;
use std::{env, thread};

use anyhow::{Context, anyhow, ensure};
use hcrun_kernels::cuda::{Code, CudaDevice, CudaStream, Driver, Sources, StreamTimer, probe};
use hcrun_kernels::device::{Device, DeviceBuffer};
use hcrun_kernels::nccl::{Communicator, CommunicatorError, Nccl, Operation, Span, UniqueId, find};
use hcrun_protocol::dtype::{DType, ReduceOp};
use serde::Serialize;

use super::{Asked, Library, Outcome, Rate};

/// Says a line of what there is, and one of what it found.
///
/// # Errors
/// If it was not asked as [`super::ask`] does.
pub(crate) fn run() -> anyhow::Result<()> {
    let asked: Asked = serde_json::from_str(&env::args().nth(2).context("what is asked")?)?;
    let nccl = match find() {
        Ok(nccl) => nccl,
        Err(reason) => return say(&Library::Unavailable(format!("{}: {reason}", reason.code()))),
    };
    let (version, file) = (nccl.version().to_string(), nccl.file().display().to_string());
    say(&Library::Found { version, file })?;
    let outcome: Outcome = check_and_measure(&nccl, &asked).map_err(|error| format!("{error:#}"));
    say(&outcome)
}

fn say(line: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(line)?);
    Ok(())
}

fn check_and_measure(nccl: &Nccl, asked: &Asked) -> anyhow::Result<Vec<Rate>> {
    let driver = probe()?;
    let cards: Vec<Card> =
        asked.cards.iter().map(|&index| Card::open(&driver, index)).collect::<Result<_, _>>()?;
    let mut group = Group::meet(nccl, &driver, asked)?;
    for collective in COLLECTIVES {
        check(&cards, &mut group, collective).with_context(|| collective.name)?;
    }
    let rates = asked.lengths.iter().map(|bytes| measure(&cards, &mut group, *bytes, asked));
    let rates = rates.collect::<anyhow::Result<_>>()?;
    group.finish()?;
    Ok(rates)
}

struct Card {
    device: CudaDevice,
}

impl Card {
    fn open(driver: &Driver, index: u32) -> anyhow::Result<Card> {
        // It launches nothing.
        Ok(Card { device: CudaDevice::open(driver, index, Code::new(Sources { files: &[], headers: &[] }))? })
    }

    fn holding(&self, values: &[f32]) -> anyhow::Result<DeviceBuffer> {
        let buffer = self.device.allocate(size_of_val(values))?;
        self.device.write(&buffer, 0, bytemuck::cast_slice(values))?;
        Ok(buffer)
    }

    fn values(&self, buffer: &DeviceBuffer) -> anyhow::Result<Vec<f32>> {
        let mut values = vec![0.0; buffer.bytes() / 4];
        self.device.read(buffer, 0, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }
}

/// The ranks, each of which waits on a thread of its own.
struct Group {
    ranks: Vec<(Communicator, StreamTimer)>,
    within: Duration,
}

impl Group {
    fn meet(nccl: &Nccl, driver: &Driver, asked: &Asked) -> anyhow::Result<Group> {
        let id = UniqueId::new(nccl, asked.within).context("an id for the ranks")?;
        let count = u32::try_from(asked.cards.len())?;
        let streams = asked.cards.iter().map(|&index| CudaStream::open(driver, index));
        let streams = streams.collect::<Result<Vec<_>, _>>()?;
        let ranks = together((0..count).zip(streams), |(rank, stream)| {
            let timer = stream.timer()?;
            Ok((Communicator::init(nccl, Box::new(stream), &id, rank, count, asked.within)?, timer))
        })?;
        Ok(Group { ranks, within: asked.within })
    }

    /// Each rank does its own of `work`.
    fn each<W: Send, T: Send>(
        &mut self,
        work: impl IntoIterator<Item = W>,
        run: impl Fn(&mut Communicator, &StreamTimer, W, Duration) -> anyhow::Result<T> + Sync,
    ) -> anyhow::Result<Vec<T>> {
        let within = self.within;
        together(self.ranks.iter_mut().zip(work), |((communicator, timer), work)| {
            run(communicator, timer, work, within)
        })
    }

    fn finish(self) -> Result<(), anyhow::Error> {
        let within = self.within;
        together(self.ranks, |(communicator, _)| Ok(communicator.finish(within)?)).map(drop)
    }
}

/// At once, since each waits for the others; all that failed say so.
fn together<W: Send, T: Send>(
    work: impl IntoIterator<Item = W>,
    run: impl Fn(W) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    let run = &run;
    let results: Vec<anyhow::Result<T>> = thread::scope(|scope| {
        let threads: Vec<_> = work.into_iter().map(|work| scope.spawn(move || run(work))).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended.map(|result| result.unwrap_or_else(|_| Err(anyhow!("its thread panicked")))).collect()
    });
    let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let bad: Vec<String> =
        bad.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(bad.is_empty(), "{}", bad.join("; "));
    good.into_iter().collect()
}

/// An operation whose result is known.
struct Collective {
    name: &'static str,
    operation: fn(from: Span, to: Span) -> Operation,
    /// How many parts a rank gives and gets, of so many ranks.
    parts: fn(ranks: usize) -> [usize; 2],
    /// Element of what a rank holds afterwards, by number of ranks, its own number and the element's.
    expected: fn(ranks: usize, rank: usize, element: usize) -> f32,
}

const COLLECTIVES: &[Collective] = &[
    Collective {
        name: "reduce-scatter",
        operation: |from, to| Operation::ReduceScatter { from, to, op: ReduceOp::Sum },
        parts: |ranks| [ranks, 1],
        expected: |ranks, rank, element| sum(ranks, rank * PART_ELEMS + element),
    },
    Collective {
        name: "all-gather",
        operation: |from, to| Operation::AllGather { from, to },
        parts: |ranks| [1, ranks],
        expected: |_, _, element| value(element / PART_ELEMS, element % PART_ELEMS),
    },
    Collective {
        name: "all-reduce",
        operation: sum_of_all,
        parts: |_| [1, 1],
        expected: |ranks, _, element| sum(ranks, element),
    },
];

fn sum_of_all(from: Span, to: Span) -> Operation {
    Operation::AllReduce { from, to, op: ReduceOp::Sum }
}

/// Whole numbers, whose sums are exact in any order.
fn value(rank: usize, element: usize) -> f32 {
    f32::from(u16::try_from((element * 31 + rank * 17 + 1) % 1021).unwrap_or_default())
}

fn sum(ranks: usize, element: usize) -> f32 {
    (0..ranks).map(|rank| value(rank, element)).sum()
}

/// Prime: no part of it is aligned to more than a float.
const PART_ELEMS: usize = 1_009;

fn check(cards: &[Card], group: &mut Group, collective: &Collective) -> anyhow::Result<()> {
    let [given, got] = (collective.parts)(cards.len()).map(|parts| parts * PART_ELEMS);
    let buffers = cards.iter().enumerate().map(|(rank, card)| {
        let values: Vec<f32> = (0..given).map(|element| value(rank, element)).collect();
        // What was not written is seen.
        Ok((card.holding(&values)?, card.holding(&vec![f32::NAN; got])?))
    });
    let buffers = buffers.collect::<anyhow::Result<Vec<_>>>()?;
    let operations = operations(&buffers, collective.operation)?;
    group
        .each(operations, |communicator, _, operation, within| Ok(communicator.run(&[operation], within)?))?;
    for (rank, (card, (_, to))) in cards.iter().zip(&buffers).enumerate() {
        for (element, found) in card.values(to)?.into_iter().enumerate() {
            let expected = (collective.expected)(cards.len(), rank, element);
            ensure!(
                found.to_bits() == expected.to_bits(),
                "rank {rank} of {}: element {element} is {found}, not {expected}",
                cards.len()
            );
        }
    }
    Ok(())
}

fn operations(
    buffers: &[(DeviceBuffer, DeviceBuffer)],
    operation: impl Fn(Span, Span) -> Operation,
) -> anyhow::Result<Vec<Operation>> {
    let whole = |buffer: &DeviceBuffer| Span::new(buffer, DType::F32, 0..buffer.bytes() / 4);
    buffers.iter().map(|(from, to)| Ok(operation(whole(from)?, whole(to)?))).collect()
}

fn measure(cards: &[Card], group: &mut Group, bytes: usize, asked: &Asked) -> anyhow::Result<Rate> {
    let buffers = cards.iter().map(|card| Ok((card.device.allocate(bytes)?, card.device.allocate(bytes)?)));
    let buffers = buffers.collect::<anyhow::Result<Vec<_>>>()?;
    for (card, (from, _)) in cards.iter().zip(&buffers) {
        card.device.write(from, 0, &vec![0; bytes])?;
    }
    let operations = operations(&buffers, sum_of_all)?;
    // The first one, which makes connections, does not count.
    let mut times = Vec::new();
    for repetition in 0..=asked.repetitions {
        let took = group.each(operations.iter().copied(), |communicator, timer, operation, within| {
            timer.start()?;
            let all = (0..asked.batch).try_for_each(|_| communicator.enqueue(&[operation], within));
            all.map_err(|error: CommunicatorError| anyhow!(error))?;
            timer.stop()?;
            communicator.wait(within)?;
            Ok(timer.elapsed()?)
        })?;
        if repetition > 0 {
            times.extend(took.into_iter().max());
        }
    }
    times.sort();
    let time = times.get(times.len() / 2).context("a repetition")?.as_secs_f64() / asked.batch as f64;
    ensure!(time > 0.0, "the card says that {bytes} bytes took no time");
    let (bytes_per_s, ranks) = (bytes as f64 / time, cards.len() as f64);
    let bus_bytes_per_s = bytes_per_s * 2.0 * (ranks - 1.0) / ranks;
    Ok(Rate { bytes, microseconds: time * 1e6, bytes_per_s, bus_bytes_per_s })
}
