//! Bytes that leave zones: data at starts, exchanges and checkpoints while a job runs.
//!
//! What a job reads, and what it writes its checkpoints to, is in the home of its data. What enters or leaves a zone is
//! counted where it leaves, by month, for that is what providers bill.

use std::collections::BTreeMap;

use hcrun_protocol::time::Time;

use super::{Job, Stop};
use crate::fleet::{Fleet, ZoneIndex};
use crate::free::Allocation;
use crate::job::JobSpec;
use crate::work::Work;

/// Months are counted from the start, of 30 days each.
const MONTH: u64 = 30 * 86_400 * 1_000_000;

/// Bytes by month and zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sent(BTreeMap<(u32, ZoneIndex), u64>);

/// A run of a job that just ended.
pub(super) struct Run<'a> {
    pub(super) allocation: &'a Allocation,
    /// From its first step on.
    pub(super) from: Time,
    pub(super) to: Time,
    /// What it did, also what was lost again.
    pub(super) worked: Work,
    /// None: it is done.
    pub(super) stop: Option<Stop>,
}

impl Sent {
    /// Zone, month and bytes, by month.
    pub(super) fn totals(&self) -> Vec<(ZoneIndex, u32, u64)> {
        self.0.iter().map(|((month, zone), bytes)| (*zone, *month, *bytes)).collect()
    }

    /// Zones that get the job's data for the first time fetch it, and one gets its last checkpoint.
    pub(super) fn start(&mut self, now: Time, fleet: &Fleet, job: &mut Job, allocation: &Allocation) {
        let Some(home) = home(fleet, &job.spec) else { return };
        let away: Vec<ZoneIndex> =
            zones(fleet, allocation).into_iter().filter(|zone| *zone != home).collect();
        for zone in &away {
            if job.fetched >> zone.0 & 1 == 0 {
                job.fetched |= 1 << zone.0;
                self.add(now, home, job.spec.data_bytes);
            }
        }
        if job.starts > 0 && !away.is_empty() {
            self.add(now, home, job.spec.checkpoint_bytes);
        }
    }

    pub(super) fn end(&mut self, fleet: &Fleet, spec: &JobSpec, run: &Run<'_>) {
        let zones = zones(fleet, run.allocation);
        if let Some(exchange) = spec.exchange.as_ref().filter(|_| zones.len() > 1) {
            let bytes = exchange.sent(zones.len(), run.worked);
            zones.iter().for_each(|zone| self.spread(run, *zone, bytes));
        }
        // One zone writes: the home, if the job has workers there, and then nothing leaves.
        let at_home = home(fleet, spec).is_some_and(|home| zones.contains(&home));
        if let Some(writer) = zones.first().filter(|_| !at_home) {
            let bytes = spec.checkpoint_bytes.saturating_mul(checkpoints(spec, run));
            self.spread(run, *writer, bytes);
        }
    }

    fn add(&mut self, at: Time, zone: ZoneIndex, bytes: u64) {
        if bytes > 0 {
            let month = u32::try_from(at.0 / MONTH).unwrap_or(u32::MAX);
            let sum = self.0.entry((month, zone)).or_default();
            *sum = sum.saturating_add(bytes);
        }
    }

    /// Evenly over the months of a run.
    fn spread(&mut self, run: &Run<'_>, zone: ZoneIndex, bytes: u64) {
        let (length, mut at, mut sent) = (run.to.since(run.from).0.max(1), run.from.0, 0);
        while at < run.to.0 {
            let next = (at / MONTH + 1).saturating_mul(MONTH).min(run.to.0);
            let until = u128::from(bytes) * u128::from(next - run.from.0) / u128::from(length);
            let until = u64::try_from(until).unwrap_or(u64::MAX);
            self.add(Time(at), zone, until - sent);
            (at, sent) = (next, until);
        }
        self.add(run.to, zone, bytes - sent);
    }
}

/// One at each interval, and one at the end, unless that came without a warning.
fn checkpoints(spec: &JobSpec, run: &Run<'_>) -> u64 {
    let last = u64::from(run.stop != Some(Stop::Lost));
    let before = run.to.since(run.from).0.saturating_sub(last);
    before.checked_div(spec.checkpoint_interval.0).unwrap_or(0) + last
}

/// Where the job's data is.
fn home(fleet: &Fleet, spec: &JobSpec) -> Option<ZoneIndex> {
    let home = spec.shards.iter().find_map(|shard| shard.home.as_ref())?;
    let place = fleet.zones.iter().position(|zone| zone.name == *home)?;
    u8::try_from(place).ok().map(ZoneIndex)
}

/// In the order of the allocation, each once.
fn zones(fleet: &Fleet, allocation: &Allocation) -> Vec<ZoneIndex> {
    let mut zones = Vec::new();
    for (node, _) in allocation.parts() {
        let zone = fleet.node(*node).zone;
        if !zones.contains(&zone) {
            zones.push(zone);
        }
    }
    zones
}
