//! Private or public, spot or not, now or later: the pool and size where a job costs least until it is done.
//!
//! Each candidate is a pool that may hold the job's data, with a number of devices. Its cost is the sum of four terms in
//! dollars: delay (hours until the job is done, times what an hour is worth), price (devices times hours), egress
//! (checkpoints that leave the pool's zone for the data's home), and losses (on spot: expected losses times what each takes).
//! Waiting for a pool is a candidate like any other: its delay has the queue in it. Residency is no term: pools that may
//! not hold the data are never candidates.

use std::collections::BTreeMap;
use std::fmt;

use super::spot::{Availability, of_terms, rate_in};
use crate::fleet::{PoolIndex, PoolSet, Terms};
use crate::job::JobIndex;
use crate::state::{Job, Phase, State};
use crate::strategy::{Size, Want};
use crate::work::{Rate, Work};

/// What a job would cost on so many devices of a pool, in dollars.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    pub pool: PoolIndex,
    pub devices: u32,
    /// Before it gets them; infinite if the pool has too few as it is now.
    pub wait_hours: f64,
    pub run_hours: f64,
    pub delay: f64,
    pub price: f64,
    pub egress: f64,
    pub losses: f64,
}

impl Candidate {
    pub fn total(&self) -> f64 {
        self.delay + self.price + self.egress + self.losses
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Candidate { devices, wait_hours, run_hours, delay, price, egress, losses, .. } = self;
        write!(
            f,
            "{devices} devices, {wait_hours:.2} h of waiting and {run_hours:.2} h of running: delay ${delay:.2} + price \
             ${price:.2} + egress ${egress:.2} + losses ${losses:.2} = ${:.2}",
            self.total()
        )
    }
}

#[derive(Debug, Default)]
pub struct Hybrid {
    /// What an hour until a job is done is worth, in dollars for each device it asks for; a job's weight multiplies it. None: the
    /// dearest known price of a device, so that a job whose owner pays for public devices is not kept from them.
    pub usd_per_device_hour: Option<f64>,
    availability: Availability,
    chosen: BTreeMap<JobIndex, Option<Want>>,
    /// Device hours that are already asked of each pool.
    backlog: Vec<f64>,
    /// Devices of each pool that are still free in this decision.
    room: Vec<u64>,
}

impl Size for Hybrid {
    fn is_joint(&self) -> bool {
        true
    }

    fn prepare(&mut self, state: &State, active: &[(JobIndex, PoolSet)]) {
        self.chosen.clear();
        self.look(state);
        for (index, _) in active {
            let job = state.job(*index);
            if job.phase == Phase::Running {
                continue;
            }
            let best = self.candidates(state, job).into_iter().next();
            let want = best.filter(|best| best.wait_hours.is_finite()).and_then(|best| {
                let (pool, devices) = (best.pool.index(), u64::from(best.devices));
                self.backlog[pool] += best.run_hours * f64::from(best.devices);
                self.room[pool] = self.room[pool].checked_sub(devices).filter(|_| best.wait_hours == 0.0)?;
                Some(Want { devices: best.devices, pools: PoolSet::from_iter([best.pool]) })
            });
            self.chosen.insert(*index, want);
        }
    }

    fn size(&self, _state: &State, index: JobIndex, job: &Job) -> Result<Want, &'static str> {
        if job.phase == Phase::Running {
            // Moving costs more than was saved: once begun, a job stays.
            return Ok(Want { devices: job.allocation.devices(), pools: job.pools });
        }
        self.chosen
            .get(&index)
            .copied()
            .flatten()
            .ok_or("waiting for a pool costs less than any that is free")
    }
}

impl Hybrid {
    /// All pools and sizes that the job could have, cheapest first; those it cannot get as things are come last.
    pub fn candidates(&self, state: &State, job: &Job) -> Vec<Candidate> {
        let devices = job.spec.devices;
        let mut sizes = vec![devices.min, devices.requested, devices.max];
        sizes.dedup();
        let pools = state.fleet.pool_indices().filter(|pool| job.pools.contains(*pool));
        let each = pools.flat_map(|pool| sizes.iter().map(move |devices| (pool, *devices)));
        let mut candidates: Vec<Candidate> =
            each.map(|(pool, devices)| self.candidate(state, job, pool, devices)).collect();
        candidates.sort_by(|a, b| {
            let key = |candidate: &Candidate| (candidate.pool, candidate.devices);
            a.total().total_cmp(&b.total()).then(key(a).cmp(&key(b)))
        });
        candidates
    }

    /// Takes in what runs where, how much is free, and what became of spot.
    fn look(&mut self, state: &State) {
        let fleet = &state.fleet;
        self.room = fleet.pool_indices().map(|pool| state.free().in_pool(pool)).collect();
        self.backlog = vec![0.0; fleet.pools.len()];
        for index in state.running() {
            let job = state.job(index);
            let left = hours_at(job.estimated_left(state.now()), job.rate());
            for (node, devices) in job.allocation.parts() {
                self.backlog[fleet.node(*node).pool.index()] += left * f64::from(*devices);
            }
        }
        self.availability.follow(state, of_terms(state, Terms::Spot), 1);
        self.availability.observe(state);
    }

    fn candidate(&self, state: &State, job: &Job, pool: PoolIndex, devices: u32) -> Candidate {
        let (fleet, costs) = (&state.fleet, &state.fleet.costs);
        let there = state.capacity().in_pool(pool);
        let wait_hours = match self.room.get(pool.index()) {
            _ if there < u64::from(devices) => f64::INFINITY,
            Some(room) if *room >= u64::from(devices) => 0.0,
            _ => (self.backlog.get(pool.index()).copied().unwrap_or(0.0) / there as f64).max(1e-6),
        };
        let left = job.estimated_left(state.now());
        let over = (fleet.pool(pool).provisioning + job.spec.start_overhead).as_secs_f64() / 3_600.0;
        let run_hours = over + hours_at(left, rate_in(state, job, pool, devices));
        let worth = self.usd_per_device_hour.unwrap_or_else(|| dearest(state));
        let an_hour = worth * f64::from(job.spec.devices.requested) * job.spec.weight;
        let rent = costs.weight(pool) * f64::from(devices);
        let losses = if fleet.pool(pool).terms == Terms::Spot {
            let rates = self.availability.rates(PoolSet::from_iter([pool]), 1);
            let each = over + job.spec.checkpoint_interval.as_secs_f64() / 7_200.0;
            (rates.fall + rates.hit) * run_hours * each * (rent + an_hour)
        } else {
            0.0
        };
        Candidate {
            pool,
            devices,
            wait_hours,
            run_hours,
            delay: an_hour * (wait_hours + run_hours),
            price: rent * run_hours,
            egress: egress(state, job, pool, left),
            losses,
        }
    }
}

/// Checkpoints go to the home of the data. They leave the pool's zone unless it is that home, or nobody bills for it.
fn egress(state: &State, job: &Job, pool: PoolIndex, left: Work) -> f64 {
    let zone = state.fleet.pool(pool).zone;
    let here = &state.fleet.zone(zone).name;
    let at_home = job.spec.shards.iter().any(|shard| shard.home.as_ref() == Some(here));
    let Some(tiers) = state.fleet.costs.zone(zone).egress.as_ref().filter(|_| !at_home) else { return 0.0 };
    let interval = Work::taking(job.spec.checkpoint_interval).0;
    let checkpoints = left.0.checked_div(interval).map_or(1, |whole| whole + 1);
    let bytes = u128::from(job.spec.checkpoint_bytes) * checkpoints;
    tiers.cost(u64::try_from(bytes).unwrap_or(u64::MAX)).as_usd()
}

fn hours_at(left: Work, rate: Rate) -> f64 {
    if rate == Rate::ZERO { f64::INFINITY } else { left.as_secs_f64() / rate.as_f64() / 3_600.0 }
}

fn dearest(state: &State) -> f64 {
    let pools = state.fleet.pool_indices();
    pools.map(|pool| state.fleet.costs.weight(pool)).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hcrun_protocol::ZoneId;
    use hcrun_protocol::cluster::{Trust, Zone};
    use hcrun_protocol::job::Shard;
    use hcrun_protocol::manifest::Sensitivity;
    use hcrun_protocol::time::{Span, Time};

    use super::*;
    use crate::costs::{Costs, MicroUsd, PerHour, PoolCosts, Tier, Tiers, ZoneCosts};
    use crate::fleet::{Fleet, Kind, Pool, ZoneIndex};
    use crate::job::{JobSpec, Workload};
    use crate::simulator::{Checks, simulate};
    use crate::strategies::by_name;

    /// Two private devices at 0.5 $/h, on-demand ones at 1 $/h and spot at 0.3 $/h; egress at 0.1 $/GB.
    fn cluster() -> Fleet {
        let zone = |name: &str, trust| Zone::new(ZoneId::new(name).unwrap(), trust, "us");
        let pool = |name: &str, zone, terms| Pool {
            name: name.to_owned(),
            zone: ZoneIndex(zone),
            kind: Kind(0),
            terms,
            nodes: 2,
            devices_per_node: 1,
            provisioning: Span::from_secs(300 * u64::from(zone)),
        };
        let pools = vec![
            pool("lab", 0, Terms::Private),
            pool("rented", 1, Terms::OnDemand),
            pool("spot", 1, Terms::Spot),
        ];
        let zones = vec![zone("lab", Trust::Private), zone("cloud", Trust::Public)];
        let fleet = Fleet::new(zones, vec!["device".to_owned()], pools).unwrap();
        let price = |usd| PoolCosts {
            price: MicroUsd::from_usd(usd).map(|usd| PerHour(usd.0)),
            ..PoolCosts::default()
        };
        let tiers = Tiers::new(vec![Tier { up_to: None, per_gb: MicroUsd(100_000) }]).unwrap();
        let zones = vec![ZoneCosts::default(), ZoneCosts { egress: Some(tiers), ..ZoneCosts::default() }];
        let costs = Costs::new(&fleet, [0.5, 1.0, 0.3].map(price).to_vec(), zones).unwrap();
        fleet.with_costs(costs)
    }

    fn job(id: &str, sensitivity: Sensitivity) -> JobSpec {
        let mut job = JobSpec::rigid(id, Time::ZERO, 2, Span::from_secs(36_000));
        let home = Some(ZoneId::new("lab").unwrap());
        let id = hcrun_protocol::ShardId::new(id).unwrap();
        job.shards = vec![Shard { id, path: None, sensitivity, home, allowed_zones: Vec::new() }];
        job
    }

    fn starts(jobs: Vec<JobSpec>) -> Vec<(u64, u64)> {
        let fleet = Arc::new(cluster());
        let mut strategy = by_name("hybrid").unwrap();
        let workload = Workload::new(jobs).unwrap();
        let outcome = simulate(&fleet, workload, &mut strategy, Checks::Everything).unwrap();
        let hours = |time: Option<Time>| time.unwrap().0 / 3_600_000_000;
        outcome.jobs.iter().map(|job| (hours(job.first_start), hours(job.end))).collect()
    }

    #[test]
    fn jobs_burst_when_delay_costs_more_than_devices() {
        use Sensitivity::{Public, Restricted};
        // Lab, spot, on-demand at once; the fourth waits.
        let public = |id: &str| job(id, Public);
        let burst = starts(vec![public("a"), public("b"), public("c"), public("d")]);
        assert_eq!(burst.iter().map(|job| job.0).collect::<Vec<_>>(), [0, 0, 0, 10]);
        // The second may not leave the lab.
        let held = starts(vec![job("a", Restricted), job("b", Restricted)]);
        assert_eq!(held, [(0, 10), (10, 20)]);
    }

    #[test]
    fn every_term_is_there_and_decides() {
        let fleet = Arc::new(cluster());
        let mut plain = job("a", Sensitivity::Public);
        plain.checkpoint_bytes = 1 << 30;
        plain.checkpoint_interval = Span::from_secs(3_600);
        let mut state = State::new(Arc::clone(&fleet), Workload::new(vec![plain]).unwrap());
        state.submit(JobIndex(0));
        let mut hybrid = Hybrid { usd_per_device_hour: Some(0.1), ..Hybrid::default() };
        hybrid.look(&state);
        let of = |pool: u8| {
            let candidates = hybrid.candidates(&state, state.job(JobIndex(0)));
            candidates.into_iter().find(|candidate| candidate.pool == PoolIndex(pool)).unwrap()
        };
        let (lab, rented, spot) = (of(0), of(1), of(2));
        assert!((lab.price - 10.0).abs() < 1e-6 && (lab.delay - 2.0).abs() < 1e-6 && lab.egress == 0.0);
        assert!((rented.egress - 1.1).abs() < 1e-6 && rented.losses == 0.0, "{rented}");
        assert!(spot.losses > 0.0 && spot.price < lab.price, "{spot}");
        let text = "2 devices, 0.00 h of waiting and 10.00 h of running: delay $2.00 + price $10.00 + egress $0.00 + \
                    losses $0.00 = $12.00";
        assert_eq!(lab.to_string(), text);
    }
}
