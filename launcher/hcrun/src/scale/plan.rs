//! Which numbers of workers can be run, and how each is spread over the job's pools.

use hcrun_protocol::PoolId;
use hcrun_protocol::job::Job;
use hcrun_scheduling::scaling::MIN_SIZES;

use crate::cli::{JobArgs, ScaleArgs, ServeArgs};
use crate::codes::{self, Code};
use crate::failure::{Failure, Result};
use crate::job_file::JobFile;
use crate::lab::quoted;
use crate::prepare::{self, Prepared};
use crate::{cluster_file, run};

/// All that a scaling experiment is to do.
#[derive(Debug)]
pub(crate) struct Experiment {
    pub(super) job: String,
    /// Ascending.
    pub(super) sizes: Vec<Size>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) repeats: u32,
    pub(super) scaling: Scaling,
    pub(super) predict: Vec<u32>,
    pub(super) cores: usize,
    /// Gives the same experiment again.
    pub(super) command: String,
}

/// A number of workers that can be run.
#[derive(Debug)]
pub(super) struct Size {
    pub(super) workers: u16,
    pub(super) spread: Vec<(PoolId, u16)>,
    /// Why it is not spread as the job file spreads its workers.
    pub(super) instead: Option<String>,
    pub(super) batch: u32,
    pub(super) prepared: Prepared,
}

/// A number of workers that cannot.
#[derive(Debug)]
pub(super) struct Skipped {
    pub(super) workers: u16,
    pub(super) reason: String,
}

/// What stays the same while workers become more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scaling {
    /// The global batch.
    Strong { batch: u32 },
    /// The batch of a worker, as in the job file.
    Weak { batch: u32, workers: u32 },
}

/// The first steps of a run warm caches and connections; a tenth of them is left out, and these have to be left.
const LEAST_STEPS: u64 = 3;

/// Reads the job and tries to place every size.
pub(crate) fn plan(args: &ScaleArgs) -> Result<Experiment> {
    let file = JobFile::from_args(&args.job)?;
    let cluster = cluster_file::load(args.job.cluster.as_deref(), &file.directory())?;
    if file.job.train.steps < LEAST_STEPS {
        let steps = file.job.train.steps;
        return Err(Failure::new(&codes::USAGE, "the job is too short to be measured")
            .at(file.find("train.steps"))
            .because(format!("train.steps is {steps}; it takes {LEAST_STEPS} and more are better"))
            .hint("add `--set train.steps=100`"));
    }
    let in_order = cluster.pools.iter().map(|pool| &pool.name);
    let named = in_order.filter_map(|pool| Some((pool.clone(), *file.job.workers.get(pool)?)));
    let pools: Vec<(PoolId, u16)> = named.filter(|(_, count)| *count > 0).collect();
    let scaling = Scaling::of(&file.job, args.weak);
    let mut wanted = args.workers.clone();
    wanted.sort_unstable();
    wanted.dedup();
    let (mut sizes, mut skipped, mut first) = (Vec::new(), Vec::new(), None);
    for workers in wanted {
        match size(&args.job, &pools, workers, scaling) {
            Ok(size) => sizes.push(size),
            Err(failure) if is_of_the_size(failure.code) => {
                skipped.push(Skipped { workers, reason: reason(&failure) });
                first.get_or_insert(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    if let (true, Some(failure)) = (sizes.is_empty(), first) {
        return Err(failure);
    }
    let mut predict = args.predict.clone();
    predict.sort_unstable();
    predict.dedup();
    if !predict.is_empty() && sizes.len() < MIN_SIZES {
        let left_out: Vec<String> = skipped.iter().map(Skipped::to_string).collect();
        let failure =
            Failure::new(&codes::USAGE, "there are too few numbers of workers to predict others").because(
                format!("{} can be run, it takes {MIN_SIZES} to say how wrong a prediction is", sizes.len()),
            );
        let failure = left_out.into_iter().fold(failure, Failure::because);
        return Err(failure.hint("name more under --workers, or leave --predict out"));
    }
    Ok(Experiment {
        job: file.job.name.clone(),
        sizes,
        skipped,
        repeats: args.repeat,
        scaling,
        predict,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        command: command(args),
    })
}

/// The first that can be placed: spread over all pools of the job, else over fewer, from the first on.
fn size(args: &JobArgs, pools: &[(PoolId, u16)], workers: u16, scaling: Scaling) -> Result<Size> {
    let mut refused: Option<(Vec<(PoolId, u16)>, Failure)> = None;
    for count in (1..=pools.len().max(1)).rev() {
        let spread = spread(&pools[..count.min(pools.len())], workers);
        if refused.as_ref().is_some_and(|(before, _)| *before == spread) {
            continue;
        }
        let mut args = args.clone();
        let batch = scaling.batch(workers.into());
        let zero = pools.iter().map(|(pool, _)| (pool.clone(), 0));
        let counts =
            zero.chain(spread.iter().cloned()).map(|(pool, count)| format!("workers.{pool}={count}"));
        args.set.extend(counts);
        args.set.push(format!("train.batch={batch}"));
        let serve = ServeArgs { wait_for_workers: false, listen: None, parent: None };
        let prepared = prepare::prepare(&args)
            .and_then(|prepared| run::check_serving(&prepared, &serve).map(|()| prepared));
        match prepared {
            Ok(prepared) => {
                let instead = refused
                    .map(|(before, failure)| format!("{} cannot be: {}", words(&before), reason(&failure)));
                return Ok(Size { workers, spread, instead, batch, prepared });
            }
            Err(failure) if is_of_the_size(failure.code) => drop(refused.get_or_insert((spread, failure))),
            Err(failure) => return Err(failure),
        }
    }
    Err(refused.expect("at least one spread is tried").1)
}

/// Whether another number of workers may do.
fn is_of_the_size(code: &'static Code) -> bool {
    // What this launcher cannot start or this machine cannot hold, and what a plan refuses.
    [
        &codes::NO_PLACEMENT,
        &codes::MANIFEST_CONTRADICTS,
        &codes::DOCTOR_FAILED,
        &codes::USAGE,
        &codes::JOB_OUT_OF_RANGE,
    ]
    .contains(&code)
}

fn reason(failure: &Failure) -> String {
    if failure.causes.is_empty() { failure.what.clone() } else { failure.causes.join("; ") }
}

/// In proportion to the pools' own counts; what does not come out even goes where most is missing, to the first of
/// equals.
fn spread(pools: &[(PoolId, u16)], workers: u16) -> Vec<(PoolId, u16)> {
    let total: u64 = pools.iter().map(|(_, count)| u64::from(*count)).sum();
    let share = |count: u16| u64::from(workers) * u64::from(count);
    let whole = |count: u16| u16::try_from(share(count) / total.max(1)).unwrap_or(u16::MAX);
    let mut spread: Vec<(PoolId, u16)> =
        pools.iter().map(|(pool, count)| (pool.clone(), whole(*count))).collect();
    let mut left: Vec<usize> = (0..pools.len()).collect();
    left.sort_by_key(|index| std::cmp::Reverse(share(pools[*index].1) % total.max(1)));
    let given: u16 = spread.iter().map(|(_, count)| count).sum();
    for index in left.into_iter().take(usize::from(workers - given)) {
        spread[index].1 += 1;
    }
    spread.retain(|(_, count)| *count > 0);
    spread
}

/// `private 2 + public 2`.
pub(super) fn words(spread: &[(PoolId, u16)]) -> String {
    spread.iter().map(|(pool, count)| format!("{pool} {count}")).collect::<Vec<_>>().join(" + ")
}

impl Scaling {
    fn of(job: &Job, weak: bool) -> Scaling {
        let batch = job.train.batch;
        match weak {
            false => Scaling::Strong { batch },
            true => {
                Scaling::Weak { batch, workers: job.workers.values().map(|count| u32::from(*count)).sum() }
            }
        }
    }

    /// Samples of a global batch for this many workers.
    pub(super) fn batch(self, workers: u32) -> u32 {
        match self {
            Scaling::Strong { batch } => batch,
            Scaling::Weak { batch, workers: of } => {
                let (batch, of) = (u64::from(batch), u64::from(of.max(1)));
                let grown = (batch * u64::from(workers) + of / 2) / of;
                u32::try_from(grown.max(1)).unwrap_or(u32::MAX)
            }
        }
    }

    pub(super) fn words(self) -> String {
        match self {
            Scaling::Strong { batch } => format!("a batch of {batch} over all workers (strong scaling)"),
            Scaling::Weak { batch, workers } => {
                format!("a batch of {batch} for {workers} workers, growing with them (weak scaling)")
            }
        }
    }
}

impl Experiment {
    /// What a reader has to know before he believes the figures.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.skipped.iter().map(|skipped| format!("left out: {skipped}")).collect();
        let others = self.sizes.iter().filter_map(|size| {
            let instead = size.instead.as_ref()?;
            Some(format!("{} workers are {}, because {instead}", size.workers, words(&size.spread)))
        });
        warnings.extend(others);
        let more: Vec<String> = self
            .sizes
            .iter()
            .filter(|size| self.shares_cores(size))
            .map(|size| size.workers.to_string())
            .collect();
        if !more.is_empty() {
            warnings.push(format!(
                "{} workers share the {} of this machine: their efficiency says nothing about scaling",
                more.join(", "),
                crate::report::format::plural(self.cores, "core")
            ));
        }
        warnings
    }

    pub(super) fn shares_cores(&self, size: &Size) -> bool {
        usize::from(size.workers) > self.cores
    }
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} workers: {}", self.workers, self.reason)
    }
}

fn command(args: &ScaleArgs) -> String {
    let numbers = |list: Vec<String>| list.join(",");
    let mut words = vec![format!("hcrun scale {}", quoted(&args.job.job.display().to_string()))];
    words.extend(
        args.job.cluster.iter().map(|file| format!("--cluster {}", quoted(&file.display().to_string()))),
    );
    words.extend(args.job.seed.map(|seed| format!("--seed {seed}")));
    words.extend(args.job.set.iter().map(|set| format!("--set {}", quoted(set))));
    words.push(format!("--workers {}", numbers(args.workers.iter().map(u16::to_string).collect())));
    words.push(format!("--repeat {}", args.repeat));
    words.extend(args.weak.then(|| "--weak".to_owned()));
    if !args.predict.is_empty() {
        words.push(format!("--predict {}", numbers(args.predict.iter().map(u32::to_string).collect())));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_spread_as_the_job_file_spreads_them() {
        let pools = |counts: &[(&str, u16)]| -> Vec<(PoolId, u16)> {
            counts.iter().map(|(pool, count)| (PoolId::new(*pool).unwrap(), *count)).collect()
        };
        for (own, workers, expected) in [
            (&[("a", 2), ("b", 2)][..], 4, "a 2 + b 2"),
            (&[("a", 2), ("b", 2)], 1, "a 1"),
            (&[("a", 2), ("b", 2)], 7, "a 4 + b 3"),
            (&[("a", 1), ("b", 3)], 4, "a 1 + b 3"),
            (&[("a", 1), ("b", 3)], 2, "a 1 + b 1"),
            (&[("a", 1), ("b", 3)], 1, "b 1"),
            (&[("a", 5), ("b", 1), ("c", 1)], 65_535, "a 46811 + b 9362 + c 9362"),
        ] {
            assert_eq!(words(&spread(&pools(own), workers)), expected, "{own:?} {workers}");
        }
    }

    #[test]
    fn a_batch_grows_with_the_workers_or_stays() {
        assert_eq!(Scaling::Strong { batch: 32 }.batch(8), 32);
        let weak = Scaling::Weak { batch: 32, workers: 4 };
        assert_eq!([1, 4, 64].map(|workers| weak.batch(workers)), [8, 32, 512]);
    }

    fn args(words: &[&str]) -> ScaleArgs {
        use clap::Parser;
        let job = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/hospital/job.toml");
        let words = ["hcrun", "scale", job].into_iter().chain(words.iter().copied());
        match crate::cli::CommandLine::try_parse_from(words).unwrap().verb {
            crate::cli::Verb::Scale(args) => args,
            other => panic!("{other:?}"),
        }
    }

    /// Each hospital needs two workers before anything leaves it, and a worker of its own to hold its patients.
    #[test]
    fn sizes_that_cannot_be_placed_are_named_with_the_reason() {
        let experiment = plan(&args(&["--workers", "6,4,1,4,200"])).unwrap();
        let sizes: Vec<u16> = experiment.sizes.iter().map(|size| size.workers).collect();
        assert_eq!(sizes, [4, 6]);
        let skipped: Vec<String> = experiment.skipped.iter().map(Skipped::to_string).collect();
        assert!(
            skipped[0].starts_with("1 workers: ") && skipped[0].contains("no worker may hold shard"),
            "{skipped:?}"
        );
        assert!(skipped[1].contains("which has 8 slots"), "{skipped:?}");
        let failure = plan(&args(&["--workers", "1,2"])).unwrap_err();
        assert_eq!(failure.code, &codes::NO_PLACEMENT, "{failure}");
        let failure = plan(&args(&["--workers", "1,4,6", "--predict", "64"])).unwrap_err();
        assert_eq!(failure.code, &codes::USAGE, "{failure}");
        assert!(failure.to_string().contains("2 can be run, it takes 3"), "{failure}");
    }
}
