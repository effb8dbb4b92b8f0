//! What a run leaves behind while it runs: events, metrics, progress, and the numbers of its summary.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hcrun_engine::data::{Schema, Statistics};
use hcrun_net::join::JoinEvent;
use hcrun_protocol::control::{EvaluationSums, LinkReport, SentBytes, StepReport};
use hcrun_protocol::coordinator::Event;
use hcrun_protocol::frame::FrameClass;
use hcrun_protocol::job::{Data, Job, Loss};
use hcrun_protocol::placement::Placement;
use hcrun_protocol::plan::{Plan, Traffic, border};
use hcrun_protocol::{NodeId, SlotId, Step, ZoneId};
use serde::Serialize;

use super::Learnt;
use super::coordinator::{Observer, Way};
use super::node_groups::NodeSums;
use super::pace::Pace;
use crate::control_socket::{LiveStatus, LiveWorker};
use crate::report::metrics::MetricsFile;
use crate::report::{EvaluationRow, Progress, Row, StepRow};
use crate::run_dir::{RunDir, files};

/// Watches one run.
pub(super) struct Recorder<'a> {
    job: &'a Job,
    placement: &'a Placement,
    launcher_zone: &'a ZoneId,
    schema: Option<&'a Schema>,
    events: File,
    metrics: MetricsFile,
    progress: Progress,
    status: Arc<Mutex<LiveStatus>>,
    started: Instant,
    learnt: Arc<Mutex<Learnt>>,
    pub(super) node_sums: NodeSums,
    warned: bool,
    pub(super) tally: Tally,
}

/// Numbers for the summary.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) steps: u64,
    pub(super) loss_first: Option<f64>,
    pub(super) loss_last: Option<f64>,
    pub(super) evaluation: Option<EvaluationRow>,
    pub(super) evaluations: u64,
    pub(super) step_times: Vec<f64>,
    pub(super) exchange_s: f64,
    pub(super) pace: Pace,
    /// Sum of the times of steps.
    pub(super) steps_s: f64,
    /// State that crossed a border on control links.
    state: Traffic,
    pub(super) samples_by_slot: BTreeMap<SlotId, u64>,
    finished: BTreeSet<SlotId>,
    pub(super) nodes: BTreeMap<SlotId, NodeId>,
    pub(super) statistics: Option<Statistics>,
    pub(super) statistics_gathered: bool,
    /// Handed over whole: stored, or overtaken by a newer one.
    pub(super) checkpoints: u64,
    pub(super) resumed: bool,
    /// Evaluations that the last committed step's reports include.
    pub(super) evaluations_sent: u64,
    sent_by_slot: BTreeMap<SlotId, Vec<SentBytes>>,
    pub(super) parameter_digest: Option<u64>,
    pub(super) skipped: u64,
    pub(super) stored: Option<Step>,
}

/// One line of `events.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    at_s: f64,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(
        dir: &RunDir,
        job: &'a Job,
        plan: &'a Plan,
        schema: Option<&'a Schema>,
        progress: Progress,
        status: Arc<Mutex<LiveStatus>>,
    ) -> std::io::Result<Recorder<'a>> {
        Ok(Recorder {
            job,
            placement: &plan.placement,
            launcher_zone: &plan.launcher_zone,
            schema,
            events: File::options().create(true).append(true).open(dir.file(files::EVENTS))?,
            metrics: MetricsFile::append(&dir.file(files::METRICS))?,
            progress,
            status,
            started: Instant::now(),
            learnt: Arc::default(),
            node_sums: NodeSums::default(),
            warned: false,
            tally: Tally::default(),
        })
    }

    /// Statistics that a resumed model brings along.
    pub(super) fn know_statistics(&mut self, statistics: Statistics) {
        self.tally.statistics = Some(statistics);
    }

    /// Where checkpoints read what is learnt from workers.
    pub(super) fn share(&mut self, learnt: Arc<Mutex<Learnt>>) {
        self.learnt = learnt;
    }

    /// What crossed borders: as all workers said last, which is with the last committed step or at their end.
    pub(super) fn ledger(&self) -> Traffic {
        let mut ledger = self.tally.state.clone();
        for (slot, sent) in &self.tally.sent_by_slot {
            let Some(worker) = self.placement.worker_of(slot) else { continue };
            for row in sent {
                let classes = ledger.entry(border(&worker.zone, &row.to_zone)).or_default();
                *classes.entry(row.class.name().to_owned()).or_default() += row.bytes;
            }
        }
        ledger
    }

    pub(super) fn finish(&mut self) {
        self.progress.finish();
    }

    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub(super) fn say(&mut self, text: &str) {
        self.progress.event(text);
    }

    /// One event is one line: the serialiser escapes whatever a name or text holds.
    fn log(&mut self, event: &str, slot: Option<&SlotId>, detail: Option<String>) {
        let detail = detail.map(|text| text.chars().take(MAX_DETAIL_CHARS).collect());
        let line = Line { at_s: self.seconds(), event, slot: slot.map(SlotId::to_string), detail };
        let mut line = crate::output::to_json(&line).into_bytes();
        line.push(b'\n');
        if let Err(error) = self.events.write_all(&line) {
            self.warn(&format!("events.jsonl cannot be written: {error}"));
        }
    }

    fn metric(&mut self, row: &Row) {
        if let Err(error) = self.metrics.write(row) {
            self.warn(&format!("metrics.jsonl cannot be written: {error}"));
        }
    }

    /// Once: a disk that is full stays so for many steps.
    fn warn(&mut self, text: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            self.progress.event(&format!("warning: {text}"));
        }
    }

    fn on_committed(&mut self, step: Step, reports: &[StepReport]) {
        let Some(first) = reports.first() else { return };
        let step_s = self.tally.pace.commit(step, first.samples, self.started.elapsed()).as_secs_f64();
        let mean = |of: fn(&StepReport) -> f64| reports.iter().map(of).sum::<f64>() / reports.len() as f64;
        let exchange_s = mean(|report| report.exchange.as_secs_f64());
        let loss = first.loss_sum / first.weight;
        let row = StepRow {
            step: step.next().0,
            loss,
            samples_per_s: if step_s > 0.0 { first.samples as f64 / step_s } else { 0.0 },
            step_s,
            compute_s: mean(|report| report.compute.as_secs_f64()),
            exchange_s,
            update_s: mean(|report| report.update.as_secs_f64()),
            learning_rate: first.learning_rate,
            egress_bytes: reports.iter().flat_map(|report| &report.sent).map(|sent| sent.bytes).sum(),
        };
        for (worker, report) in self.placement.workers.iter().zip(reports) {
            // A fast worker may have finished, and said more, before a slow one lets its step be committed.
            if !self.tally.finished.contains(&worker.slot) {
                *self.tally.samples_by_slot.entry(worker.slot.clone()).or_default() += report.own_samples;
                self.tally.sent_by_slot.insert(worker.slot.clone(), report.sent.clone());
            }
        }
        let tally = &mut self.tally;
        // That of this step may be here already; it is not in the reports.
        let early = tally.evaluation.as_ref().is_some_and(|row| row.step > step.0);
        tally.evaluations_sent = tally.evaluations - u64::from(early);
        tally.steps += 1;
        tally.loss_first.get_or_insert(loss);
        tally.loss_last = Some(loss);
        tally.skipped += u64::from(first.skipped);
        if step_s > 0.0 {
            tally.step_times.push(step_s);
            tally.steps_s += step_s;
            tally.exchange_s += exchange_s;
        }
        self.show(step.next().0, Some(loss));
        self.metric(&Row::Step(row.clone()));
        self.progress.step(&row);
    }

    fn show(&self, step: u64, loss: Option<f64>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        (status.step, status.loss) = (step, loss);
    }

    fn state(&self, state: &str) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).state = state.to_owned();
    }

    fn worker_state(&self, slot: &SlotId, state: &str) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slot.to_string();
        match status.workers.iter_mut().find(|worker| worker.slot == slot) {
            Some(worker) => worker.state = state.to_owned(),
            None => status.workers.push(LiveWorker { slot, state: state.to_owned() }),
        }
    }

    fn on_evaluated(&mut self, step: Step, sums: &EvaluationSums) {
        let row = evaluation_row(self.job, step, sums, self.target_deviation());
        self.tally.evaluation = Some(row.clone());
        self.tally.evaluations += 1;
        self.log("evaluated", None, Some(format!("after {} steps: loss {}", row.step, row.loss)));
        self.metric(&Row::Evaluation(row.clone()));
        self.progress.evaluation(&row);
        self.tally.pace.evaluate(step, self.started.elapsed());
    }

    fn learn_cpu(&self, cpu_features: &str) {
        let mut learnt = self.learnt();
        if !learnt.cpu_features.split(" | ").any(|known| known == cpu_features) {
            let separator = if learnt.cpu_features.is_empty() { "" } else { " | " };
            learnt.cpu_features = format!("{}{separator}{cpu_features}", learnt.cpu_features);
        }
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_of_nodes(&mut self) {
        let left_out = self.node_sums.left_out(&self.tally.nodes).into_iter();
        let difference = self.node_sums.difference(&self.learnt().node_groups);
        let told = left_out.map(|text| ("without-nccl", text));
        for (event, text) in told.chain(difference.map(|text| ("node-groups-differ", text))) {
            self.progress.event(&text);
            self.log(event, None, Some(text));
        }
    }

    fn target_deviation(&self) -> f64 {
        let moments = self.schema.zip(self.tally.statistics.as_ref());
        let moments = moments.and_then(|(schema, statistics)| statistics.target(schema));
        moments.map_or(1.0, |moments| moments.deviation)
    }

    fn on_statistics(&mut self, sums: &[f64]) {
        self.tally.statistics_gathered = true;
        let statistics = self.schema.and_then(|schema| Statistics::from_sums(schema, sums).ok());
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner).statistics = statistics.clone();
        self.tally.statistics = statistics;
        self.log("statistics", None, None);
    }

    fn on_linked(&mut self, slot: &SlotId, links: &[LinkReport]) {
        self.log("linked", Some(slot), Some(format!("{} links", links.len())));
        for link in links {
            let Some(peer) = self.placement.worker(link.peer) else { continue };
            let (micros, mtu, skew) = (link.round_trip.0, link.mtu, link.skew_micros);
            let detail = format!(
                "to {}: round trip {micros} us, {mtu} bytes per packet, clock {skew:+} us",
                peer.slot
            );
            self.log("link", Some(slot), Some(detail));
            // Both ends report a link; one warning is enough.
            let first = self.placement.worker_of(slot).is_some_and(|own| own.rank < link.peer);
            if let Some(warning) = skew_warning(slot, &peer.slot, skew).filter(|_| first) {
                self.on_note(&warning);
            }
        }
    }

    fn on_finished(&mut self, slot: &SlotId, samples: u64, sent: &[SentBytes]) {
        self.tally.finished.insert(slot.clone());
        self.tally.samples_by_slot.insert(slot.clone(), samples);
        self.tally.sent_by_slot.insert(slot.clone(), sent.to_vec());
        self.tally.evaluations_sent = self.tally.evaluations;
        self.worker_state(slot, "finished");
        self.log("finished", Some(slot), None);
    }
}

const MAX_DETAIL_CHARS: usize = 2_000;

/// Training needs no common clock. Certificates do: they begin an hour in the past, and logs of hosts whose
/// clocks differ by seconds can hardly be read together.
const SKEW_WARNED: Duration = Duration::from_secs(5);

/// `skew_micros`: the peer's clock less the slot's.
fn skew_warning(slot: &SlotId, peer: &SlotId, skew_micros: i64) -> Option<String> {
    let skew = Duration::from_micros(skew_micros.unsigned_abs());
    let (ahead, behind) = if skew_micros > 0 { (peer, slot) } else { (slot, peer) };
    (skew > SKEW_WARNED).then(|| {
        let seconds = skew.as_secs_f64();
        format!(
            "warning: the clock of {ahead}'s host is {seconds:.1} s ahead of that of {behind}'s: set both by NTP"
        )
    })
}

fn evaluation_row(job: &Job, step: Step, sums: &EvaluationSums, target_deviation: f64) -> EvaluationRow {
    let classes = job.train.loss == Loss::CrossEntropy;
    let unit = match (&job.data, job.train.loss) {
        (Data::Text { .. }, _) => "nats per byte",
        (_, Loss::CrossEntropy) => "nats",
        (_, Loss::Mse) => "squared error, standardised",
    };
    EvaluationRow {
        step: step.next().0,
        loss: sums.loss_sum / sums.weight,
        unit: unit.to_owned(),
        samples: whole(sums.rows),
        accuracy: classes.then(|| sums.correct / sums.weight),
        rmse: (!classes).then(|| (sums.squared_error / sums.weight).sqrt() * target_deviation),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count summed as f64")]
fn whole(count: f64) -> u64 {
    count as u64
}

impl Observer for Recorder<'_> {
    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Joined { slot, zone, node, cpu_features } => {
                self.tally.nodes.insert(slot.clone(), node.clone());
                self.learn_cpu(cpu_features);
                self.worker_state(slot, "joined");
                self.log("joined", Some(slot), Some(format!("zone {zone}, node {node}, {cpu_features}")));
            }
            Event::Refused { slot, reason } => {
                self.log("refused", Some(slot), Some(reason.to_string()));
                self.progress.event(&format!("refused a worker: {reason}"));
            }
            Event::Loaded { slot, samples, held_out } => {
                self.worker_state(slot, "loaded");
                let detail = format!("may hold {samples} training samples, evaluates {held_out}");
                self.log("loaded", Some(slot), Some(detail));
            }
            Event::NodeGroup { slots, version } => {
                let text = self.node_sums.form(slots, version);
                self.progress.event(&text);
                self.learnt().node_groups.push(text.clone());
                self.log("node-group", None, Some(text));
            }
            Event::Linked { slot, links } => {
                self.worker_state(slot, "linked");
                self.on_linked(slot, links);
            }
            Event::Started { step } => {
                self.state("training");
                for worker in &self.placement.workers {
                    self.worker_state(&worker.slot, "training");
                }
                self.tally.pace.start(self.started.elapsed());
                self.tell_of_nodes();
                self.log("started", None, Some(format!("at step {step}")));
            }
            Event::Committed { step, digest, reports } => {
                self.tally.parameter_digest = Some(*digest);
                self.on_committed(*step, reports);
            }
            Event::Evaluated { step, sums } => self.on_evaluated(*step, sums),
            Event::Statistics { sums } => self.on_statistics(sums),
            Event::Stored { step } => {
                self.tally.checkpoints += 1;
                self.tally.stored = Some(*step);
                self.log("checkpoint", None, Some(format!("after {} steps", step.next())));
            }
            Event::Discarded { step } => {
                self.tally.checkpoints += 1;
                let detail = format!("after {} steps: a newer one is complete", step.next());
                self.log("checkpoint-skipped", None, Some(detail));
            }
            Event::StopRequested => {
                self.state("stopping");
                self.log("stop-requested", None, None);
                self.progress
                    .event("stopping after this step, with a checkpoint; press Ctrl-C again to end at once");
            }
            Event::WorkerFinished { slot, samples, sent, .. } => self.on_finished(slot, *samples, sent),
            Event::Failing { slot, sign } => {
                self.state("failing");
                self.log("failing", slot.as_ref(), Some(sign.clone()));
            }
        }
    }

    fn on_join_event(&mut self, event: &JoinEvent) {
        match event {
            JoinEvent::Issued { peer, address } => {
                self.log("certificate-issued", None, Some(format!("{peer} at {address}")));
            }
            JoinEvent::Refused { claimed, address, reason } => {
                let text =
                    format!("refused a certificate to {address}, which says it is {claimed}: {reason}");
                self.log("certificate-refused", None, Some(text.clone()));
                self.progress.event(&text);
            }
        }
    }

    fn on_state(&mut self, slot: &SlotId, way: Way, bytes: u64) {
        let Some(worker) = self.placement.worker_of(slot) else { return };
        if worker.zone != *self.launcher_zone {
            let border = match way {
                Way::FromWorker => border(&worker.zone, self.launcher_zone),
                Way::ToWorker => border(self.launcher_zone, &worker.zone),
            };
            let classes = self.tally.state.entry(border).or_default();
            *classes.entry(FrameClass::Parameters.name().to_owned()).or_default() += bytes;
        }
    }

    fn on_note(&mut self, text: &str) {
        self.log("note", None, Some(text.to_owned()));
        self.progress.event(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_by_seconds_are_warned_about() {
        let slot = |name: &str| SlotId::parse(name).unwrap();
        let warning = |micros| skew_warning(&slot("private-0"), &slot("public-1"), micros);
        assert_eq!(warning(4_900_000), None);
        assert_eq!(warning(-5_000_000), None);
        let expected = |ahead, behind| {
            format!(
                "warning: the clock of {ahead}'s host is 5.2 s ahead of that of {behind}'s: set both by NTP"
            )
        };
        assert_eq!(warning(5_200_000), Some(expected("public-1", "private-0")));
        assert_eq!(warning(-5_200_000), Some(expected("private-0", "public-1")));
        assert!(warning(i64::MIN).is_some());
    }
}
