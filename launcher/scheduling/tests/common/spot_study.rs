//! One job under a deadline on spot and on-demand capacity; shared by the study and its test.

use std::path::Path;
use std::sync::Arc;

use hcrun_protocol::ZoneId;
use hcrun_protocol::cluster::{Trust, Zone};
use hcrun_protocol::prng::Prng;
use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::costs::{Costs, PerHour, PoolCosts, ZoneCosts, bill};
use hcrun_scheduling::fleet::{Kind, Pool, PoolIndex, Terms, ZoneIndex};
use hcrun_scheduling::simulator::{Checks, Course, rehearse};
use hcrun_scheduling::traces::spot::{Hazard, History, counts, fleet};
use hcrun_scheduling::{Fleet, JobSpec, Workload, strategies};

pub(crate) const STRATEGIES: [&str; 3] = ["spot-greedy", "uniform-progress", "deadline"];
/// Hours.
pub(crate) const DEADLINES: [u64; 4] = [52, 60, 72, 92];
const WORK: Span = Span::from_secs(48 * 3_600);
const CHANGEOVER: Span = Span::from_secs(720);
const ON_DEMAND: PerHour = PerHour(1_000_000);
const SPOT: PerHour = PerHour(300_000);

/// Where spot capacity comes from, for a gang of `devices`.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) devices: u32,
    kind: SourceKind,
}

enum SourceKind {
    Recorded(History),
    /// Drawn anew for each start.
    Zones(Vec<Hazard>),
}

impl Source {
    pub(crate) fn zones(&self, start: u64) -> Vec<History> {
        match &self.kind {
            SourceKind::Recorded(history) => vec![history.clone()],
            SourceKind::Zones(zones) => {
                let long = Span::from_secs(200 * 3_600);
                let history = |(zone, hazard): (u64, &Hazard)| {
                    (0..).find_map(|again| {
                        hazard.history(self.devices, long, start * 1_000 + zone + again * 1_000_003).ok()
                    })
                };
                (0..).zip(zones).filter_map(history).collect()
            }
        }
    }

    fn offset(&self, start: u64) -> Span {
        match &self.kind {
            SourceKind::Recorded(history) => Span(Prng::keyed(&[start, 7]).below(history.length.0)),
            SourceKind::Zones(_) => Span(0),
        }
    }
}

/// Zones as scarce and as unsteady as public single-V100 traces, alone and two and three at once, and gangs.
pub(crate) fn made_up() -> Vec<Source> {
    let zone = |availability, losses| Hazard::of_zone(availability, losses);
    let source = |name: &str, devices, zones: Vec<Hazard>| Source {
        name: name.to_owned(),
        devices,
        kind: SourceKind::Zones(zones),
    };
    let gang = Hazard { losses_per_hour: 0.3, correlation: 0.6, recoveries_per_hour: 2.0, ..zone(0.7, 0.2) };
    vec![
        source("zone .91/.10", 1, vec![zone(0.91, 0.10)]),
        source("zone .76/.18", 1, vec![zone(0.76, 0.18)]),
        source("zone .59/.44", 1, vec![zone(0.59, 0.44)]),
        source("zone .47/.67", 1, vec![zone(0.47, 0.67)]),
        source("zone .17/1.39", 1, vec![zone(0.17, 1.39)]),
        source("zones .68/.23 .45/.60", 1, vec![zone(0.68, 0.23), zone(0.45, 0.60)]),
        source("gang of 4", 4, vec![gang]),
    ]
}

/// Gangs of one device to all of Bamboo's fleets.
pub(crate) fn bamboo(folder: &Path) -> Option<Vec<Source>> {
    let read = |name: &str| std::fs::read_to_string(folder.join("spot/bamboo").join(name)).ok();
    let mut sources = Vec::new();
    for (name, file, gangs) in [
        ("p3", "p3-trace.csv", vec![1, 4, 24, 28]),
        ("g4dn", "g4dn-trace.csv", vec![1, 12]),
        ("a100", "a100x1-east1b.txt", vec![54, 60]),
        ("v100", "v100x1-east1c.txt", vec![76, 80]),
    ] {
        let text = read(file)?;
        let history = if file.ends_with("csv") { fleet(&text) } else { counts(&text) };
        let history = history.unwrap_or_else(|error| panic!("{file}: {error}"));
        for devices in gangs {
            let name = format!("bamboo {name}, {devices} of {}", history.slots);
            sources.push(Source { name, devices, kind: SourceKind::Recorded(history.clone()) });
        }
    }
    Some(sources)
}

pub(crate) struct Run {
    /// Share of the on-demand cost without a changeover.
    pub(crate) cost: f64,
    pub(crate) late: bool,
}

pub(crate) fn run(source: &Source, strategy: &str, deadline_hours: u64, start: u64, checks: Checks) -> Run {
    let histories = source.zones(start);
    let fleet = Arc::new(cloud(&histories, source.devices));
    let until = Time(2 * 92 * 3_600_000_000);
    let changes = (1u8..).zip(&histories).flat_map(|(pool, history)| {
        history.changes(&fleet, PoolIndex(pool), source.offset(start), until, Span(0))
    });
    let course = Course::new(&fleet, changes.collect()).expect("histories fit their pools");
    let mut job = JobSpec::rigid("job", Time::ZERO, source.devices, WORK);
    job.start_overhead = CHANGEOVER;
    job.deadline = Some(Time(deadline_hours * 3_600_000_000));
    let workload = Workload::new(vec![job]).expect("one job");
    let mut strategy = strategies::by_name(strategy).expect("a known strategy");
    let outcome = rehearse(&fleet, &course, workload, &mut strategy, checks, &mut ()).expect("it ends");
    let bill = bill(&fleet, &outcome.billed, &[]);
    let on_demand = ON_DEMAND.over(u128::from(WORK.0) * u128::from(source.devices));
    let job = &outcome.jobs[0];
    Run {
        cost: bill.total().as_usd() / on_demand.as_usd(),
        late: job.end.is_none_or(|end| Some(end) > job.deadline),
    }
}

/// An on-demand pool and a spot pool for each history, each in a zone of its own.
fn cloud(histories: &[History], devices: u32) -> Fleet {
    let zone = |index: usize| {
        Zone::new(ZoneId::new(format!("zone-{index}")).expect("a name"), Trust::Public, "cloud")
    };
    let pool = |index: u8, terms, nodes| Pool {
        name: format!("pool-{index}"),
        zone: ZoneIndex(index),
        kind: Kind(0),
        terms,
        nodes,
        devices_per_node: 1,
        provisioning: Span(0),
    };
    let spot = (1u8..).zip(histories).map(|(index, history)| pool(index, Terms::Spot, history.slots));
    let pools: Vec<Pool> = std::iter::once(pool(0, Terms::OnDemand, devices)).chain(spot).collect();
    let zones = (0..pools.len()).map(zone).collect();
    let fleet = Fleet::new(zones, vec!["v100".to_owned()], pools).expect("a fleet");
    let costs = |pool: &Pool| PoolCosts {
        price: Some(if pool.terms == Terms::Spot { SPOT } else { ON_DEMAND }),
        ..PoolCosts::default()
    };
    let pools = fleet.pools.iter().map(costs).collect();
    let zones = vec![ZoneCosts::default(); fleet.zones.len()];
    let costs = Costs::new(&fleet, pools, zones).expect("costs for each pool");
    fleet.with_costs(costs)
}
