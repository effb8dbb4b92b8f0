//! The training loop of one rank: compute, exchange, decide alike, update, gather, report.
//!
//! A bucket's round starts as soon as backward has finished the bucket, while backward goes on. The update
//! starts when all reduce rounds of the step have ended here and the gathered norm is known; gathered
//! parameters land in a second arena that becomes current at once. So a rank applies a step whole or not at
//! all. What is reported to the coordinator travels while the next step computes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use hcrun_engine::batch::Sums;
use hcrun_engine::clip;
use hcrun_engine::trainer::Trainer;
use hcrun_kernels::any_buffers::AnyBuffers;
use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::group::Group;
use hcrun_protocol::batch::BatchPlan;
use hcrun_protocol::control::{Activity, EvaluationSums, SentBytes, StepReport, ToCoordinator};
use hcrun_protocol::exchange::{ExchangePlan, evaluation_scalars, step_scalars};
use hcrun_protocol::job::Job;
use hcrun_protocol::member::Command;
use hcrun_protocol::state_transfer::Origin;
use hcrun_protocol::{Generation, JobId, Rank, Span, Step, ZoneId};

use crate::node::NodeGroup;
use crate::session::{Order, Session};
use crate::state;

mod collect;
mod failure;
mod floor;

pub use failure::TrainFailure;

use collect::{Collect, Pending};

/// What a rank trains with.
pub(crate) struct Training<'a, T> {
    pub(crate) job: &'a Job,
    pub(crate) job_id: JobId,
    pub(crate) generation: Generation,
    pub(crate) me: Rank,
    /// By rank.
    pub(crate) zones: &'a [ZoneId],
    pub(crate) exchange: &'a ExchangePlan,
    pub(crate) batches: &'a BatchPlan,
    pub(crate) group: &'a Arc<Group<AnyBuffers>>,
    /// Who it sums with on its node.
    pub(crate) node: Option<&'a NodeGroup>,
    pub(crate) session: &'a Session,
    pub(crate) trainer: &'a mut T,
    /// Whether this rank's zone hands its state to the coordinator.
    pub(crate) hands_state: bool,
    /// Whether this rank speaks for its zone where one voice is enough.
    pub(crate) speaks: bool,
    /// Held-out rows and training rows by zone, for the floors of sums that cross a border.
    pub(crate) floors: floor::Floors,
}

pub(crate) use floor::Floors;

/// How a rank's training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) steps: u64,
    pub(crate) stopped: bool,
    pub(crate) samples: u64,
}

/// What lives from step to step.
struct Work<'a> {
    collect: Collect<'a>,
    stopping: bool,
    samples: u64,
}

/// What one step summed up to, on all ranks alike.
struct Summed {
    loss_sum: f64,
    weight: f64,
    samples: f64,
    stop: bool,
}

impl<T: Trainer> Training<'_, T> {
    /// Trains from `start` to the job's end or to a stop that all ranks agree on.
    pub(crate) fn run(&mut self, start: Step) -> Result<Finished, TrainFailure> {
        let mut work = Work {
            collect: Collect {
                group: self.group,
                node: self.node,
                generation: self.generation,
                me: self.me,
                progress: self.session.progress(),
            },
            stopping: false,
            samples: 0,
        };
        self.gather_statistics(&mut work, start)?;
        let mut step = start;
        loop {
            self.hear(&mut work)?;
            let stop = self.step(&mut work, step)?;
            let last = step.next().0 >= self.job.train.steps;
            let due = |every: u64| every > 0 && step.next().0.is_multiple_of(every);
            if last || stop || due(self.job.train.evaluate_every) {
                self.evaluate(&mut work, step)?;
            }
            if self.hands_state && (last || stop || due(self.job.train.checkpoint_every)) {
                self.hand_state(step)?;
            }
            if last || stop {
                let stopped = stop && !last;
                return Ok(Finished { steps: step.next().0, stopped, samples: work.samples });
            }
            step = step.next();
        }
    }

    /// Takes what the coordinator has said meanwhile.
    fn hear(&self, work: &mut Work<'_>) -> Result<(), TrainFailure> {
        while let Some(order) = self.session.try_order()? {
            match order {
                Order::Command(Command::Stop) => work.stopping = true,
                other => return Err(TrainFailure::Order { got: format!("{other:?}") }),
            }
        }
        Ok(())
    }

    /// One step; tells whether somebody voted for a stop.
    fn step(&mut self, work: &mut Work<'_>, step: Step) -> Result<bool, TrainFailure> {
        let min = self.job.min_contributors();
        self.floors.check_contributors(self.batches, self.exchange.zones(), step, min)?;
        let started = Instant::now();
        self.session.progress().enter(Activity::Computing);
        let (sums, rounds) = self.compute(work, step)?;
        let computed = Instant::now();

        let samples = self.trainer.samples(step);
        work.samples += samples;
        let summed = self.sum_scalars(work, step, sums, samples)?;
        for (bucket, round) in rounds {
            self.trainer.take_gradient(bucket, work.collect.finish(round)?);
        }
        let squares = self.sum_of_squares(work, step)?;
        let clip = clip::clip(squares, summed.weight, self.job.train.clip);
        let exchanged = Instant::now();

        self.session.progress().enter(Activity::Computing);
        self.trainer.apply(step, &clip)?;
        let updated = Instant::now();
        self.gather_parameters(work, step)?;
        let gathered = Instant::now();
        let digests = self.trainer.digests()?;
        self.trainer.advance()?;

        let report = StepReport {
            loss_sum: summed.loss_sum,
            weight: summed.weight,
            learning_rate: self.trainer.learning_rate(step),
            gradient_norm: clip.norm,
            skipped: clip.skip,
            samples: whole(summed.samples),
            own_samples: samples,
            compute: span(started, computed),
            exchange: span(computed, exchanged) + span(updated, gathered),
            update: span(exchanged, updated) + span(gathered, Instant::now()),
            sent: self.sent(),
        };
        self.session.say(ToCoordinator::StepDone { step, digests, report });
        Ok(summed.stop)
    }

    /// Forward and backward; each bucket's round starts as soon as it and all behind it are final. So ranks start
    /// rounds in one order, also those whose part of the batch is empty, where all buckets are final at once.
    fn compute(
        &mut self,
        work: &mut Work<'_>,
        step: Step,
    ) -> Result<(Sums, Vec<(usize, Pending)>), TrainFailure> {
        let (exchange, collect) = (self.exchange, &work.collect);
        let mut rounds = Vec::with_capacity(exchange.buckets().len());
        let mut is_final = BTreeMap::new();
        let sums = self.trainer.forward_backward(step, &mut |bucket, own| {
            is_final.insert(bucket, own);
            while let Some(bucket) = (exchange.buckets().len() - rounds.len()).checked_sub(1)
                && let Some(own) = is_final.remove(&bucket)
            {
                rounds.push((bucket, collect.submit(&exchange.gradients()[bucket], step, own)));
            }
        })?;
        Ok((sums, rounds))
    }

    fn sum_scalars(
        &self,
        work: &mut Work<'_>,
        step: Step,
        sums: Sums,
        samples: u64,
    ) -> Result<Summed, TrainFailure> {
        let mut own = vec![0.0; step_scalars::COUNT];
        own[step_scalars::LOSS_SUM] = sums.loss_sum;
        own[step_scalars::WEIGHT_SUM] = sums.weight;
        own[step_scalars::SAMPLES] = samples as f64;
        own[step_scalars::STOP_VOTES] = if work.stopping { 1.0 } else { 0.0 };
        let round = work.collect.submit(self.exchange.scalars(), step, HostBuffers::new(own));
        let total = work.collect.sums(round)?;
        Ok(Summed {
            loss_sum: total[step_scalars::LOSS_SUM],
            weight: total[step_scalars::WEIGHT_SUM],
            samples: total[step_scalars::SAMPLES],
            stop: total[step_scalars::STOP_VOTES] > 0.0,
        })
    }

    /// Of the summed gradient, folded in chunk order from partials that every rank of the zone holds.
    fn sum_of_squares(&mut self, work: &mut Work<'_>, step: Step) -> Result<f64, TrainFailure> {
        let chunk = self.exchange.chunk_elems();
        let Some(norms) = self.exchange.norms() else {
            let mut partials = Vec::new();
            self.trainer.norm_partials(&(0..self.trainer.arena_elems()), chunk, &mut partials)?;
            return Ok(clip::fold_partials(&partials));
        };
        let mut own = vec![0.0; norms.schedule.elems()];
        for range in self.exchange.updated(self.me) {
            let mut partials = Vec::new();
            self.trainer.norm_partials(&range, chunk, &mut partials)?;
            own[range.start / chunk..][..partials.len()].copy_from_slice(&partials);
        }
        let round = work.collect.submit(norms, step, HostBuffers::new(own));
        Ok(clip::fold_partials(&work.collect.sums(round)?))
    }

    fn gather_parameters(&mut self, work: &mut Work<'_>, step: Step) -> Result<(), TrainFailure> {
        let mut rounds = Vec::new();
        for (bucket, round) in self.exchange.parameters().iter().enumerate() {
            rounds.push(work.collect.submit(round, step, self.trainer.lend_parameters(bucket)));
        }
        for (bucket, round) in rounds.into_iter().enumerate() {
            self.trainer.take_parameters(bucket, work.collect.finish(round)?);
        }
        Ok(())
    }

    fn evaluate(&mut self, work: &mut Work<'_>, step: Step) -> Result<(), TrainFailure> {
        self.floors.check_evaluation(self.job.policy.min_rows)?;
        self.session.progress().enter(Activity::Computing);
        let (sums, rows) = self.trainer.evaluate()?;
        let mut own = vec![0.0; evaluation_scalars::COUNT];
        own[evaluation_scalars::LOSS_SUM] = sums.loss_sum;
        own[evaluation_scalars::WEIGHT_SUM] = sums.weight;
        own[evaluation_scalars::CORRECT] = sums.correct;
        own[evaluation_scalars::SQUARED_ERROR] = sums.squared_error;
        own[evaluation_scalars::ROWS] = rows as f64;
        let round = work.collect.submit(self.exchange.evaluation(), step, HostBuffers::new(own));
        let total = work.collect.sums(round)?;
        if self.speaks {
            let sums = EvaluationSums {
                loss_sum: total[evaluation_scalars::LOSS_SUM],
                weight: total[evaluation_scalars::WEIGHT_SUM],
                correct: total[evaluation_scalars::CORRECT],
                squared_error: total[evaluation_scalars::SQUARED_ERROR],
                rows: total[evaluation_scalars::ROWS],
            };
            self.session.say(ToCoordinator::Evaluated { step, sums });
        }
        Ok(())
    }

    /// Before the first step of a table job that is not resumed.
    fn gather_statistics(&mut self, work: &mut Work<'_>, start: Step) -> Result<(), TrainFailure> {
        let Some(own) = self.trainer.statistics()? else { return Ok(()) };
        self.floors.check_statistics(self.job.policy.min_rows)?;
        let round = self.exchange.statistics(own.len())?;
        let round = work.collect.submit(&round, start, HostBuffers::new(own));
        let total = work.collect.sums(round)?;
        self.trainer.set_statistics(&total)?;
        if self.speaks {
            self.session.say(ToCoordinator::Statistics { sums: total });
        }
        Ok(())
    }

    fn hand_state(&self, step: Step) -> Result<(), TrainFailure> {
        let mut owned = Vec::new();
        for (bucket, round) in self.exchange.buckets().iter().zip(self.exchange.gradients()) {
            let place = |range: &Range<usize>| bucket.start + range.start..bucket.start + range.end;
            owned.extend(round.schedule.owned(self.me).iter().map(place));
        }
        let arenas = self.trainer.snapshot(&owned)?;
        // For the link to the coordinator.
        self.session.progress().enter(Activity::Waiting);
        let origin = Origin { job: self.job_id, generation: self.generation, rank: self.me, step };
        for (header, payload) in state::segments(&origin, &owned, &arenas) {
            self.session.send_segment(&header, payload);
            self.session.progress().tick();
        }
        self.session.say(ToCoordinator::StateSent { step });
        Ok(())
    }

    /// Frame bytes that left this rank's zone, by zone and class.
    pub(crate) fn sent(&self) -> Vec<SentBytes> {
        state::border_ledger(self.group, self.me, self.zones)
    }
}

fn span(from: Instant, to: Instant) -> Span {
    Span::from_micros(u64::try_from((to - from).as_micros()).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count summed as f64")]
fn whole(count: f64) -> u64 {
    count as u64
}
