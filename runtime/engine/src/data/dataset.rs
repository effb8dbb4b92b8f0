//! What one worker holds, by residency class, and the micro-batches made from it.
//!
//! A class is held whole or not at all: every worker of an allowed zone opens all of its shards. Samples of
//! a class are numbered over its shards in the class's order, so a sample id means the same on every worker
//! that may hold it.

use std::ops::Range;

use hcrun_protocol::batch::{Sample, even_part};
use hcrun_protocol::job::{Data, Job, Model};
use hcrun_protocol::manifest::{Content, ShardManifest};
use hcrun_protocol::split::Split;
use hcrun_protocol::{Rank, ShardId, split};

use super::rows::{RowTargets, Rows};
use super::schema::Schema;
use super::split::{RowSplit, split_rows};
use super::statistics::{Statistics, Sums};
use super::table::{Table, TableError};
use super::text::Text;
use crate::batch::{Batch, Targets};

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DataError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("shard `{shard}` is described as {found}, and the job's data.format is {expected}")]
    Format { shard: ShardId, found: &'static str, expected: &'static str },
    #[error(
        "shard `{shard}` has {found} rows, its manifest says {expected}: index it again with `hcrun shard index`"
    )]
    Rows { shard: ShardId, expected: u64, found: u64 },
    #[error("the job's tables need a schema")]
    NoSchema,
    #[error("residency class {class} is not held here")]
    NotHeld { class: usize },
    #[error("sample {index} of residency class {class}, which has {samples}")]
    Range { class: usize, index: u64, samples: u64 },
    #[error("rows cannot be encoded before the statistics of all workers are known")]
    NoStatistics,
}

/// Samples of one micro-batch, copied together in the form that models take.
#[derive(Debug, Clone, PartialEq)]
pub enum MicroBatch {
    Tokens { inputs: Vec<u8>, targets: Vec<u8>, context: usize },
    Classes { features: Vec<f32>, classes: Vec<u32> },
    Values { features: Vec<f32>, values: Vec<f32> },
}

impl MicroBatch {
    pub fn as_batch(&self) -> Batch<'_> {
        match self {
            MicroBatch::Tokens { inputs, targets, context } => {
                Batch::Tokens { inputs, targets, context: *context }
            }
            MicroBatch::Classes { features, classes } => {
                Batch::Rows { features, targets: Targets::Class(classes) }
            }
            MicroBatch::Values { features, values } => {
                Batch::Rows { features, targets: Targets::Value(values) }
            }
        }
    }
}

/// The data of one worker.
#[derive(Debug)]
pub struct Dataset {
    format: Format,
    seed: u64,
    held_out: f64,
    /// By class; empty for a class that is not held.
    classes: Vec<Class>,
    statistics: Option<Statistics>,
}

#[derive(Debug)]
enum Format {
    Text { context: usize },
    Table { schema: Schema },
}

#[derive(Debug, Default)]
struct Class {
    shards: Vec<HeldShard>,
    samples: Split,
}

#[derive(Debug)]
struct HeldShard {
    content: HeldContent,
    samples: Split,
}

#[derive(Debug)]
enum HeldContent {
    Text(Text),
    Table { rows: Rows, split: RowSplit },
}

/// Which side of the split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Training,
    HeldOut,
}

impl Dataset {
    /// An empty data set of `classes` residency classes. Tables need a schema, text has none.
    pub fn new(job: &Job, schema: Option<Schema>, classes: usize) -> Result<Dataset, DataError> {
        let (format, held_out) = match (&job.data, schema) {
            (Data::Text { held_out }, _) => (Format::Text { context: context(job) }, *held_out),
            (Data::Csv { held_out, .. }, Some(schema)) => (Format::Table { schema }, *held_out),
            (Data::Csv { .. }, None) => return Err(DataError::NoSchema),
        };
        let classes = (0..classes).map(|_| Class::default()).collect();
        Ok(Dataset { format, seed: job.seed, held_out, classes, statistics: None })
    }

    /// Adds the next shard of a class, in the class's order; `bytes` as
    /// [`open_checked`](super::shard_file::open_checked) returned them.
    pub fn add(&mut self, class: usize, manifest: &ShardManifest, bytes: Vec<u8>) -> Result<(), DataError> {
        let shard = &manifest.id;
        let wrong = |found, expected| DataError::Format { shard: shard.clone(), found, expected };
        let (content, samples) = match (&self.format, &manifest.content) {
            (Format::Text { context }, Content::Text) => {
                let text = Text::new(bytes, self.held_out, *context);
                let samples = text.counts();
                (HeldContent::Text(text), samples)
            }
            (Format::Table { schema }, Content::Csv { rows: expected, .. }) => {
                let rows = Rows::encode(schema, &Table::parse(shard, &bytes)?)?;
                let (expected, found) = (*expected, rows.len() as u64);
                if expected != found {
                    return Err(DataError::Rows { shard: shard.clone(), expected, found });
                }
                let samples = split::row_split(found, self.held_out);
                let split = self.split(shard, &rows, samples);
                (HeldContent::Table { rows, split }, samples)
            }
            (Format::Text { .. }, Content::Csv { .. }) => return Err(wrong("csv", "text")),
            (Format::Table { .. }, Content::Text) => return Err(wrong("text", "csv")),
        };
        let samples_of = self.classes.len();
        let class = self.classes.get_mut(class).ok_or(DataError::Range {
            class,
            index: 0,
            samples: samples_of as u64,
        })?;
        class.samples.training += samples.training;
        class.samples.held_out += samples.held_out;
        class.shards.push(HeldShard { content, samples });
        Ok(())
    }

    /// The samples held of a class; the coordinator compares them with the plan's.
    pub fn samples(&self, class: usize) -> Split {
        self.classes.get(class).map_or_else(Split::default, |class| class.samples)
    }

    /// The schema of tables.
    pub fn schema(&self) -> Option<&Schema> {
        match &self.format {
            Format::Table { schema } => Some(schema),
            Format::Text { .. } => None,
        }
    }

    /// From now on rows are standardised by these. Text needs none.
    pub fn set_statistics(&mut self, statistics: Statistics) {
        self.statistics = Some(statistics);
    }

    pub fn statistics(&self) -> Option<&Statistics> {
        self.statistics.as_ref()
    }

    /// Sums over training rows given as index ranges per class (see [`even_parts`]); none for text.
    pub fn sums(&self, parts: &[(usize, Range<u64>)]) -> Result<Option<Sums>, DataError> {
        let Format::Table { schema } = &self.format else { return Ok(None) };
        let mut sums = Sums::zero(schema);
        for (class, indices) in parts {
            for index in indices.clone() {
                let (shard, index) = self.locate(Side::Training, *class, index)?;
                if let HeldContent::Table { rows, split } = &shard.content {
                    sums.add_row(schema, rows, split.training[index]);
                }
            }
        }
        Ok(Some(sums))
    }

    /// A worker's part of a step as at most `count` micro-batches of nearly equal size, none of them
    /// empty; so none at all for a worker without samples.
    pub fn micro_batches(&self, samples: &[Sample], count: usize) -> Result<Vec<MicroBatch>, DataError> {
        let count = count.clamp(1, samples.len().max(1));
        let bound = |index: usize| samples.len() * index / count;
        let pieces = (0..count).map(|index| &samples[bound(index)..bound(index + 1)]);
        let mut batches = Vec::with_capacity(count);
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            let mut builder = self.builder()?;
            for sample in piece {
                builder.push(self, Side::Training, sample.class, sample.index)?;
            }
            batches.extend(builder.finish());
        }
        Ok(batches)
    }

    /// Held-out samples given as index ranges per class (see [`even_parts`]), in batches of at most
    /// `max_samples`; a short last window of a text is a batch of its own.
    pub fn held_out_batches(
        &self,
        parts: &[(usize, Range<u64>)],
        max_samples: usize,
    ) -> Result<Vec<MicroBatch>, DataError> {
        let mut batches = Vec::new();
        let mut builder = self.builder()?;
        for (class, indices) in parts {
            for index in indices.clone() {
                if builder.samples == max_samples.max(1) {
                    batches.extend(std::mem::replace(&mut builder, self.builder()?).finish());
                }
                if let Some(full) = builder.push(self, Side::HeldOut, *class, index)? {
                    batches.push(full);
                }
            }
        }
        batches.extend(builder.finish());
        Ok(batches)
    }

    fn split(&self, shard: &ShardId, rows: &Rows, samples: Split) -> RowSplit {
        let held_out = usize::try_from(samples.held_out).expect("at most the number of rows");
        match rows.targets() {
            RowTargets::Class(labels) => split_rows(self.seed, shard, labels, held_out),
            RowTargets::Value(values) => split_rows(self.seed, shard, &vec![0; values.len()], held_out),
        }
    }

    fn builder(&self) -> Result<Builder, DataError> {
        let batch = match (&self.format, &self.statistics) {
            (Format::Text { context }, _) => {
                MicroBatch::Tokens { inputs: Vec::new(), targets: Vec::new(), context: *context }
            }
            (Format::Table { .. }, None) => return Err(DataError::NoStatistics),
            (Format::Table { schema }, Some(statistics)) => match statistics.target(schema) {
                Some(_) => MicroBatch::Values { features: Vec::new(), values: Vec::new() },
                None => MicroBatch::Classes { features: Vec::new(), classes: Vec::new() },
            },
        };
        Ok(Builder { batch, samples: 0 })
    }

    /// The shard that has a sample of a class, and its index there.
    fn locate(&self, side: Side, class: usize, index: u64) -> Result<(&HeldShard, usize), DataError> {
        let held = self.classes.get(class).filter(|held| !held.shards.is_empty());
        let held = held.ok_or(DataError::NotHeld { class })?;
        let mut rest = index;
        for shard in &held.shards {
            let samples = side.of(shard.samples);
            if rest < samples {
                return Ok((shard, usize::try_from(rest).expect("an index into memory")));
            }
            rest -= samples;
        }
        Err(DataError::Range { class, index, samples: side.of(held.samples) })
    }
}

/// The part of each class's items that `rank` takes of an evaluation or of the statistics: `items` and the
/// ranks that may hold it, by class. All items once over all ranks.
pub fn even_parts<'a>(
    classes: impl IntoIterator<Item = (u64, &'a [Rank])>,
    rank: Rank,
) -> Vec<(usize, Range<u64>)> {
    let parts = classes.into_iter().enumerate();
    parts
        .map(|(class, (items, ranks))| (class, even_part(items, ranks, rank)))
        .filter(|(_, part)| !part.is_empty())
        .collect()
}

impl Side {
    fn of(self, samples: Split) -> u64 {
        match self {
            Side::Training => samples.training,
            Side::HeldOut => samples.held_out,
        }
    }
}

/// A micro-batch that grows sample by sample.
struct Builder {
    batch: MicroBatch,
    samples: usize,
}

impl Builder {
    /// Adds a sample. A window of another length than those before begins a new batch; the finished one is
    /// returned.
    fn push(
        &mut self,
        data: &Dataset,
        side: Side,
        class: usize,
        index: u64,
    ) -> Result<Option<MicroBatch>, DataError> {
        let (shard, index) = data.locate(side, class, index)?;
        let finished = match &shard.content {
            HeldContent::Text(text) => self.push_window(text, side, index),
            HeldContent::Table { rows, split } => {
                let row = match side {
                    Side::Training => split.training[index],
                    Side::HeldOut => split.held_out[index],
                };
                self.push_row(data, rows, row);
                None
            }
        };
        self.samples += 1;
        Ok(finished)
    }

    fn push_window(&mut self, text: &Text, side: Side, index: usize) -> Option<MicroBatch> {
        let (new_inputs, new_targets) = match side {
            Side::Training => text.training_window(index),
            Side::HeldOut => text.held_out_window(index),
        };
        let mut finished = None;
        if let MicroBatch::Tokens { context, .. } = &mut self.batch {
            if self.samples == 0 {
                *context = new_inputs.len();
            } else if *context != new_inputs.len() {
                let context = new_inputs.len();
                let empty = MicroBatch::Tokens { inputs: Vec::new(), targets: Vec::new(), context };
                finished = Some(std::mem::replace(&mut self.batch, empty));
                self.samples = 0;
            }
        }
        if let MicroBatch::Tokens { inputs, targets, .. } = &mut self.batch {
            inputs.extend_from_slice(new_inputs);
            targets.extend_from_slice(new_targets);
        }
        finished
    }

    fn push_row(&mut self, data: &Dataset, rows: &Rows, row: usize) {
        let (Some(schema), Some(statistics)) = (data.schema(), &data.statistics) else { return };
        match (&mut self.batch, rows.targets()) {
            (MicroBatch::Classes { features, classes }, RowTargets::Class(labels)) => {
                statistics.standardise(schema, rows.features(row), features);
                classes.push(labels[row]);
            }
            (MicroBatch::Values { features, values }, RowTargets::Value(targets)) => {
                statistics.standardise(schema, rows.features(row), features);
                values.extend(statistics.target(schema).map(|target| target.standardise(targets[row])));
            }
            // One schema decides both the batch and the rows.
            _ => unreachable!("rows of a dataset are encoded by its schema"),
        }
    }

    fn finish(self) -> Option<MicroBatch> {
        (self.samples > 0).then_some(self.batch)
    }
}

fn context(job: &Job) -> usize {
    match job.model {
        Model::Gpt { context, .. } => usize::try_from(context).expect("at most 2^20: Job::check"),
        Model::Mlp { .. } => 1,
    }
}

#[cfg(test)]
mod tests;
