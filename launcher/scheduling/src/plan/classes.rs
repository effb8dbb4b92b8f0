//! Residency classes of a placed job: their samples, and whether enough workers contribute.

use std::collections::BTreeMap;

use hcrun_protocol::batch::{BatchError, BatchPlan, ClassSize, even_part};
use hcrun_protocol::job::{Data, Job};
use hcrun_protocol::placement::Placement;
use hcrun_protocol::plan::{PlannedClass, PlannedShard};
use hcrun_protocol::residency;
use hcrun_protocol::split::{Split, split};
use hcrun_protocol::{Rank, Step, ZoneId};

use super::Inputs;
use super::constraint::{Constraint, Infeasible};
use super::place::sums_leave;

/// Steps over which the expected parts of a worker are averaged.
const AVERAGED_STEPS: u64 = 64;

pub(crate) fn classes(inputs: &Inputs<'_>, placement: &Placement) -> Result<Vec<PlannedClass>, Infeasible> {
    let splits = splits(inputs)?;
    let classes = residency::classes(&inputs.job.shards, inputs.cluster).map_err(Constraint::Residency)?;
    let total: u64 = splits.values().map(|split| split.training).sum();
    let classes = classes
        .into_iter()
        .map(|class| {
            let in_class = |zone: &ZoneId| class.zones.contains(zone);
            let shards: Vec<PlannedShard> =
                class.shards.iter().map(|id| PlannedShard { id: id.clone(), samples: splits[id] }).collect();
            let samples = Split {
                training: shards.iter().map(|shard| shard.samples.training).sum(),
                held_out: shards.iter().map(|shard| shard.samples.held_out).sum(),
            };
            let ranks = placement.workers.iter().filter(|worker| in_class(&worker.zone));
            PlannedClass {
                ranks: ranks.map(|worker| worker.rank).collect(),
                zones: inputs.cluster.zones.iter().map(|zone| zone.name.clone()).filter(in_class).collect(),
                shards,
                samples,
                batch_share: if total == 0 { 0.0 } else { samples.training as f64 / total as f64 },
            }
        })
        .collect::<Vec<_>>();
    check(inputs, placement, &classes)?;
    Ok(classes)
}

fn splits(inputs: &Inputs<'_>) -> Result<BTreeMap<hcrun_protocol::ShardId, Split>, Infeasible> {
    let format = match inputs.job.data {
        Data::Text { .. } => "text",
        Data::Csv { .. } => "csv",
    };
    let (mut splits, mut binding) = (BTreeMap::new(), Vec::new());
    for shard in &inputs.job.shards {
        let id = shard.id.clone();
        match inputs.manifests.get(&id).map(|manifest| split(inputs.job, manifest)) {
            None => binding.push(Constraint::NoManifest { shard: id }),
            Some(None) => binding.push(Constraint::WrongFormat { shard: id, format }),
            Some(Some(split)) => drop(splits.insert(id, split)),
        }
    }
    if binding.is_empty() { Ok(splits) } else { Err(Infeasible { binding }) }
}

fn check(inputs: &Inputs<'_>, placement: &Placement, classes: &[PlannedClass]) -> Result<(), Infeasible> {
    let job = inputs.job;
    let mut binding = Vec::new();
    let samples: u64 = classes.iter().map(|class| class.samples.training).sum();
    let held: u64 = classes.iter().map(|class| class.samples.held_out).sum();
    let workers = placement.workers.len();
    if samples < workers as u64 {
        binding.push(Constraint::MoreWorkersThanSamples { samples, workers });
    }
    if held == 0 {
        let (Data::Text { held_out } | Data::Csv { held_out, .. }) = job.data;
        binding.push(Constraint::NothingHeldOut { samples: samples + held, held_out });
    }
    if sums_leave(job, inputs.cluster, placement) {
        let floors =
            inputs.manifests.iter().filter(|(id, _)| job.shards.iter().any(|shard| shard.id == **id));
        let below = floors.filter_map(|(_, manifest)| manifest.check_floors(&job.policy).err());
        binding.extend(below.map(Constraint::BelowFloor));
        let zones = placement.zones();
        let min = job.min_contributors();
        for (zone, ranks) in zones.iter().filter(|(_, ranks)| ranks.len() < min) {
            binding.push(Constraint::FewWorkers { zone: zone.clone(), workers: ranks.len(), min });
        }
        check_rows(job, &zones, classes, &mut binding);
    }
    if binding.is_empty() { Ok(()) } else { Err(Infeasible { binding }) }
}

/// Sums over a zone's rows cross a border only over at least `min_rows`, or over none.
fn check_rows(
    job: &Job,
    zones: &[(ZoneId, Vec<Rank>)],
    classes: &[PlannedClass],
    binding: &mut Vec<Constraint>,
) {
    let min = job.policy.min_rows;
    // Only tables have statistics, which are over training rows; everything is evaluated.
    let tables = matches!(job.data, Data::Csv { .. });
    for (zone, ranks) in zones {
        for (split, rows) in [
            ("training", rows_of(classes, ranks, |samples| samples.training)),
            ("held-out", rows_of(classes, ranks, |samples| samples.held_out)),
        ] {
            if (1..min).contains(&rows) && (tables || split == "held-out") {
                binding.push(Constraint::FewRows { zone: zone.clone(), rows, split, min });
            }
        }
    }
}

/// Rows that `ranks` read when each class is dealt evenly, as evaluation and statistics are.
fn rows_of(classes: &[PlannedClass], ranks: &[Rank], count: impl Fn(&Split) -> u64) -> u64 {
    let part = |class: &PlannedClass, rank: &Rank| {
        let rows = even_part(count(&class.samples), &class.ranks, *rank);
        rows.end - rows.start
    };
    classes.iter().map(|class| ranks.iter().map(|rank| part(class, rank)).sum::<u64>()).sum()
}

/// The composition of the job's batches, checked for contributors at every step.
pub(crate) fn batches(
    inputs: &Inputs<'_>,
    placement: &Placement,
    classes: &[PlannedClass],
) -> Result<BatchPlan, Infeasible> {
    let job = inputs.job;
    let sizes = classes
        .iter()
        .map(|class| ClassSize { samples: class.samples.training, ranks: class.ranks.clone() })
        .collect();
    let speeds = vec![1.0; placement.workers.len()];
    let batches = BatchPlan::new(job.seed, job.train.batch, sizes, speeds)
        .map_err(|error: BatchError| Constraint::Exchange(error.to_string()))?;
    let (names, zones): (Vec<ZoneId>, Vec<Vec<Rank>>) = placement.zones().into_iter().unzip();
    if sums_leave(job, inputs.cluster, placement) {
        let min = job.min_contributors();
        if let Some(few) = batches.few_contributors(&zones, min, job.train.steps) {
            let zone = names[few.zone].clone();
            let (step, contributors) = (few.step.0, few.contributors);
            return Err(Constraint::FewContributors { zone, step, contributors, min }.into());
        }
    }
    Ok(batches)
}

/// Mean samples of a step per rank.
pub(crate) fn samples_per_step(batches: &BatchPlan, ranks: usize) -> Vec<f64> {
    let mut sums = vec![0u64; ranks];
    for step in 0..AVERAGED_STEPS {
        let batch = batches.compose(Step(step));
        for (index, sum) in sums.iter_mut().enumerate() {
            *sum += batch.samples_of(Rank::from_index(index));
        }
    }
    sums.into_iter().map(|sum| sum as f64 / AVERAGED_STEPS as f64).collect()
}
