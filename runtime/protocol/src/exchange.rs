//! The rounds of one step: which buffers are exchanged, by which schedules, under which tags.
//!
//! A step of an unsharded job is one all-reduce per bucket. With a sharded optimizer it is a reduce-scatter
//! per bucket, a gather of chunk norms, and a gather of updated parameters per bucket: gradient sums are all
//! that crosses a zone border. Every step also sums [`step_scalars`]; an evaluation sums
//! [`evaluation_scalars`]; tables sum their statistics once. Tags are unique among all of them, so a step, an
//! evaluation after it and the statistics before it cannot be mixed up.
//!
//! The plan is a function of job, zones and model, equal on all ranks, and its byte formula is what `plan`
//! prints and the ledger must equal.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dtype::{Codec, DType};
use crate::frame::FrameClass;
use crate::ids::Rank;
use crate::job::{Algorithm, Job};
use crate::model::ModelProfile;
use crate::schedule::{Border, Collective, Coverage, Flow, Schedule, ScheduleError, Shape, Violation};
use crate::units::{bucket_ranges, chunk_elems};

/// Elements of the f64 sum that ends each step.
pub mod step_scalars {
    pub const LOSS_SUM: usize = 0;
    /// Tokens or rows behind the loss and gradient sums: what both are divided by.
    pub const WEIGHT_SUM: usize = 1;
    pub const SAMPLES: usize = 2;
    /// Workers that were asked to stop; above 0 all stop after this step.
    pub const STOP_VOTES: usize = 3;
    pub const COUNT: usize = 4;
}

/// Elements of the f64 sum of an evaluation.
pub mod evaluation_scalars {
    pub const LOSS_SUM: usize = 0;
    pub const WEIGHT_SUM: usize = 1;
    pub const CORRECT: usize = 2;
    pub const SQUARED_ERROR: usize = 3;
    pub const ROWS: usize = 4;
    pub const COUNT: usize = 5;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoundKind {
    /// Sums of one bucket's gradients; f32, buffer = the bucket.
    Gradient { bucket: usize },
    /// Sums of squares, one f64 per chunk of the arena; a sum that is not finite tells that the chunk is not.
    Norms,
    /// Updated parameters of one bucket, from their owners to their zone; f32, buffer = the bucket.
    Parameters { bucket: usize },
    /// [`step_scalars`].
    Scalars,
    /// [`evaluation_scalars`].
    Evaluation,
    /// Count, sum and sum of squares per numeric column; f64.
    Statistics,
}

/// One collective of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRound {
    pub kind: RoundKind,
    /// Unique within a step.
    pub tag: u32,
    pub dtype: DType,
    pub schedule: Arc<Schedule>,
}

impl PlannedRound {
    /// The class of a frame of this round.
    pub fn class(&self, coverage: Coverage) -> FrameClass {
        match (self.kind, coverage) {
            (RoundKind::Gradient { .. }, Coverage::Partial) => FrameClass::Gradient,
            (RoundKind::Gradient { .. }, Coverage::Complete) => FrameClass::GradientSum,
            (RoundKind::Norms | RoundKind::Parameters { .. }, _) => FrameClass::Parameters,
            (RoundKind::Scalars | RoundKind::Evaluation, _) => FrameClass::Metrics,
            (RoundKind::Statistics, _) => FrameClass::Statistics,
        }
    }
}

/// Frame bytes per border and class; only what really crosses is listed.
pub type BorderTraffic = BTreeMap<Border, BTreeMap<FrameClass, Flow>>;

/// Why a job cannot be exchanged as it is set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    #[error("no schedule for {kind:?}")]
    Schedule {
        kind: RoundKind,
        #[source]
        source: ScheduleError,
    },
    #[error("the schedule for {kind:?} breaks a rule")]
    Violation {
        kind: RoundKind,
        #[source]
        source: Violation,
    },
    #[error("{parts} rounds in one step are more than a tag can name")]
    TooManyRounds { parts: usize },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangePlan {
    zones: Vec<Vec<Rank>>,
    min_contributors: usize,
    codec: Codec,
    algorithm: Algorithm,
    segment_bytes: usize,
    chunk_elems: usize,
    buckets: Vec<Range<usize>>,
    gradients: Vec<PlannedRound>,
    norms: Option<PlannedRound>,
    parameters: Vec<PlannedRound>,
    scalars: PlannedRound,
    evaluation: PlannedRound,
}

impl ExchangePlan {
    /// `zones`: the ranks of each zone that takes part, in zone order and rank order.
    pub fn new(
        job: &Job,
        zones: &[Vec<Rank>],
        profile: &ModelProfile,
    ) -> Result<ExchangePlan, ExchangeError> {
        let buckets = bucket_ranges(profile.arena_elems, job.exchange.bucket_bytes);
        let build = Builder {
            zones,
            algorithm: job.exchange.algorithm,
            segment_bytes: segment_bytes(job),
            chunk_elems: chunk_elems(profile.arena_elems),
            codec: job.exchange.codec,
            nodes: &[],
        };
        let tags = Tags::new(buckets.len())?;
        let min_contributors = job.min_contributors();
        let (gradients, parameters) =
            build.buckets(&buckets, job.exchange.sharded, min_contributors, &tags)?;
        let mut norms = None;
        if job.exchange.sharded {
            let owned = owned_chunks(&buckets, &gradients, build.chunk_elems);
            norms = Some(build.norms(profile.arena_elems, &owned, tags.norms())?);
        }
        Ok(ExchangePlan {
            zones: zones.to_vec(),
            min_contributors,
            codec: build.codec,
            algorithm: build.algorithm,
            segment_bytes: build.segment_bytes,
            chunk_elems: build.chunk_elems,
            gradients,
            norms,
            parameters,
            scalars: build.sums(RoundKind::Scalars, step_scalars::COUNT, tags.scalars())?,
            evaluation: build.sums(RoundKind::Evaluation, evaluation_scalars::COUNT, tags.evaluation())?,
            buckets,
        })
    }

    /// The same where the ranks of each of these groups sum buckets among themselves ([`NodeGroup`]): who owns what,
    /// tags, and what crosses a border stay as they are.
    ///
    /// [`NodeGroup`]: crate::schedule::NodeGroup
    ///
    /// # Errors
    /// If a group is none of one zone, or the algorithm leaves nothing to groups.
    pub fn with_node_groups(self, nodes: &[Vec<Rank>]) -> Result<ExchangePlan, ExchangeError> {
        if nodes.is_empty() {
            return Ok(self);
        }
        let (is_sharded, tags) = (self.is_sharded(), Tags::new(self.buckets.len())?);
        let build = Builder { nodes, ..self.builder() };
        let (gradients, parameters) =
            build.buckets(&self.buckets, is_sharded, self.min_contributors, &tags)?;
        Ok(ExchangePlan { gradients, parameters, ..self })
    }

    pub fn zones(&self) -> &[Vec<Rank>] {
        &self.zones
    }

    /// The arena's elements per norm, digest and shard grain.
    pub fn chunk_elems(&self) -> usize {
        self.chunk_elems
    }

    /// In arena order; backward finishes the last one first.
    pub fn buckets(&self) -> &[Range<usize>] {
        &self.buckets
    }

    pub fn is_sharded(&self) -> bool {
        self.norms.is_some()
    }

    /// One per bucket.
    pub fn gradients(&self) -> &[PlannedRound] {
        &self.gradients
    }

    /// Only with a sharded optimizer: otherwise every rank holds the whole gradient.
    pub fn norms(&self) -> Option<&PlannedRound> {
        self.norms.as_ref()
    }

    /// One per bucket with a sharded optimizer, otherwise none.
    pub fn parameters(&self) -> &[PlannedRound] {
        &self.parameters
    }

    pub fn scalars(&self) -> &PlannedRound {
        &self.scalars
    }

    pub fn evaluation(&self) -> &PlannedRound {
        &self.evaluation
    }

    /// The sum of `elems` statistics, once before the first step.
    pub fn statistics(&self, elems: usize) -> Result<PlannedRound, ExchangeError> {
        self.builder().sums(RoundKind::Statistics, elems, Tags::new(self.buckets.len())?.statistics())
    }

    fn builder(&self) -> Builder<'_> {
        Builder {
            zones: &self.zones,
            algorithm: self.algorithm,
            segment_bytes: self.segment_bytes,
            chunk_elems: self.chunk_elems,
            codec: self.codec,
            nodes: &[],
        }
    }

    /// Every round of a step, in no particular order.
    pub fn step_rounds(&self) -> impl Iterator<Item = &PlannedRound> {
        let buckets = self.gradients.iter().chain(&self.parameters);
        buckets.chain(&self.norms).chain([&self.scalars])
    }

    /// The arena's ranges that the rank updates, merged, in arena order.
    pub fn updated(&self, rank: Rank) -> Vec<Range<usize>> {
        if !self.is_sharded() {
            return self.buckets.last().map(|last| 0..last.end).into_iter().collect();
        }
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for (bucket, round) in self.buckets.iter().zip(&self.gradients) {
            for range in round.schedule.owned(rank) {
                let range = bucket.start + range.start..bucket.start + range.end;
                match ranges.last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => ranges.push(range),
                }
            }
        }
        ranges
    }

    pub fn bytes_per_step(&self) -> BorderTraffic {
        border_traffic(self.step_rounds())
    }

    pub fn bytes_per_evaluation(&self) -> BorderTraffic {
        border_traffic([&self.evaluation])
    }

    pub fn bytes_of_statistics(&self, elems: usize) -> Result<BorderTraffic, ExchangeError> {
        Ok(border_traffic([&self.statistics(elems)?]))
    }
}

fn segment_bytes(job: &Job) -> usize {
    usize::try_from(job.exchange.segment_bytes.0).unwrap_or(usize::MAX)
}

/// What crosses is complete: the verifier has seen to it.
fn border_traffic<'a>(rounds: impl IntoIterator<Item = &'a PlannedRound>) -> BorderTraffic {
    let mut total = BorderTraffic::new();
    for round in rounds {
        for (border, flow) in round.schedule.traffic(round.dtype).borders {
            *total.entry(border).or_default().entry(round.class(Coverage::Complete)).or_default() += flow;
        }
    }
    total
}

/// The arena's chunks of each rank, as the owners of the buckets have them.
fn owned_chunks(
    buckets: &[Range<usize>],
    rounds: &[PlannedRound],
    chunk_elems: usize,
) -> BTreeMap<Rank, Vec<Range<usize>>> {
    let mut chunks: BTreeMap<Rank, Vec<Range<usize>>> = BTreeMap::new();
    for (bucket, round) in buckets.iter().zip(rounds) {
        for rank in round.schedule.ranks() {
            let in_chunks = |range: &Range<usize>| {
                (bucket.start + range.start) / chunk_elems..(bucket.start + range.end).div_ceil(chunk_elems)
            };
            chunks.entry(rank).or_default().extend(round.schedule.owned(rank).iter().map(in_chunks));
        }
    }
    chunks
}

/// Tags by kind: gradients first, then the rest; the numbering is part of the wire.
struct Tags {
    buckets: u32,
}

impl Tags {
    fn new(buckets: usize) -> Result<Tags, ExchangeError> {
        let parts = buckets.saturating_mul(2).saturating_add(4);
        u32::try_from(parts).map_err(|_| ExchangeError::TooManyRounds { parts })?;
        Ok(Tags { buckets: u32::try_from(buckets).map_err(|_| ExchangeError::TooManyRounds { parts })? })
    }

    fn gradient(&self, bucket: usize) -> u32 {
        u32::try_from(bucket).unwrap_or(u32::MAX)
    }

    fn parameters(&self, bucket: usize) -> u32 {
        self.buckets + self.gradient(bucket)
    }

    fn norms(&self) -> u32 {
        2 * self.buckets
    }

    fn scalars(&self) -> u32 {
        2 * self.buckets + 1
    }

    fn evaluation(&self) -> u32 {
        2 * self.buckets + 2
    }

    fn statistics(&self) -> u32 {
        2 * self.buckets + 3
    }
}

struct Builder<'a> {
    zones: &'a [Vec<Rank>],
    algorithm: Algorithm,
    segment_bytes: usize,
    chunk_elems: usize,
    /// Of gradients; everything else travels as it is.
    codec: Codec,
    /// Who sums buckets among themselves.
    nodes: &'a [Vec<Rank>],
}

impl Builder<'_> {
    /// The rounds of gradients, and those of parameters that a sharded optimizer needs.
    fn buckets(
        &self,
        buckets: &[Range<usize>],
        is_sharded: bool,
        min_contributors: usize,
        tags: &Tags,
    ) -> Result<(Vec<PlannedRound>, Vec<PlannedRound>), ExchangeError> {
        let collective = if is_sharded { Collective::ReduceScatter } else { Collective::AllReduce };
        let gradients = self.per_bucket(buckets, collective, min_contributors, |bucket| {
            (RoundKind::Gradient { bucket }, tags.gradient(bucket))
        })?;
        let parameters = match is_sharded {
            true => self.per_bucket(buckets, Collective::Gather, 1, |bucket| {
                (RoundKind::Parameters { bucket }, tags.parameters(bucket))
            })?,
            false => Vec::new(),
        };
        Ok((gradients, parameters))
    }

    /// One f32 round per bucket; buckets of one length share their schedule.
    fn per_bucket(
        &self,
        buckets: &[Range<usize>],
        collective: Collective,
        min_contributors: usize,
        name: impl Fn(usize) -> (RoundKind, u32),
    ) -> Result<Vec<PlannedRound>, ExchangeError> {
        let mut by_length: BTreeMap<usize, Arc<Schedule>> = BTreeMap::new();
        let round = |(bucket, range): (usize, &Range<usize>)| {
            let (kind, tag) = name(bucket);
            let schedule = match by_length.get(&range.len()) {
                Some(schedule) => Arc::clone(schedule),
                None => {
                    let codec = if collective == Collective::Gather { Codec::None } else { self.codec };
                    let nodes = self.nodes.to_vec();
                    let shape = Shape { codec, nodes, ..self.shape(range.len(), DType::F32) };
                    let built = Schedule::build(collective, &shape);
                    let schedule = checked(kind, built, min_contributors)?;
                    by_length.insert(range.len(), Arc::clone(&schedule));
                    schedule
                }
            };
            Ok(PlannedRound { kind, tag, dtype: DType::F32, schedule })
        };
        buckets.iter().enumerate().map(round).collect()
    }

    fn norms(
        &self,
        arena_elems: usize,
        owned: &BTreeMap<Rank, Vec<Range<usize>>>,
        tag: u32,
    ) -> Result<PlannedRound, ExchangeError> {
        let kind = RoundKind::Norms;
        let shape = self.shape(arena_elems.div_ceil(self.chunk_elems), DType::F64);
        let schedule = checked(kind, Schedule::gather(&shape, owned), 1)?;
        Ok(PlannedRound { kind, tag, dtype: DType::F64, schedule })
    }

    /// An f64 sum over all ranks. Its floor is counted in rows, not in workers.
    fn sums(&self, kind: RoundKind, elems: usize, tag: u32) -> Result<PlannedRound, ExchangeError> {
        // A handful of numbers: one owner per zone takes fewer frames than an even cut.
        let shape = Shape { align: elems.max(1), ..self.shape(elems, DType::F64) };
        let schedule = checked(kind, Schedule::build(Collective::AllReduce, &shape), 1)?;
        Ok(PlannedRound { kind, tag, dtype: DType::F64, schedule })
    }

    fn shape(&self, elems: usize, dtype: DType) -> Shape {
        Shape {
            zones: self.zones.to_vec(),
            elems,
            align: self.chunk_elems,
            segment_elems: self.segment_bytes / dtype.bytes(),
            algorithm: self.algorithm,
            codec: Codec::None,
            nodes: Vec::new(),
        }
    }
}

fn checked(
    kind: RoundKind,
    built: Result<Schedule, ScheduleError>,
    min_contributors: usize,
) -> Result<Arc<Schedule>, ExchangeError> {
    let schedule = built.map_err(|source| ExchangeError::Schedule { kind, source })?;
    schedule.verify(min_contributors).map_err(|source| ExchangeError::Violation { kind, source })?;
    Ok(Arc::new(schedule))
}

#[cfg(test)]
mod tests;
