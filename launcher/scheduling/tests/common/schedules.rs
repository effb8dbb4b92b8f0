//! Random small fleets, jobs with data of all sensitivities, and schedules of failures, from a seed.
#![expect(clippy::cast_possible_truncation, reason = "draws are below small bounds")]
#![expect(clippy::unwrap_used, reason = "a test's own fleets and jobs")]

use std::sync::Arc;

use hcrun_protocol::cluster::{Trust, Zone};
use hcrun_protocol::job::Shard;
use hcrun_protocol::manifest::Sensitivity;
use hcrun_protocol::prng::Prng;
use hcrun_protocol::time::{Span, Time};
use hcrun_protocol::{ShardId, ZoneId};
use hcrun_scheduling::Fleet;
use hcrun_scheduling::costs::{Costs, PerHour, PoolCosts, ZoneCosts};
use hcrun_scheduling::fleet::{Kind, NodeIndex, Pool, Terms, ZoneIndex};
use hcrun_scheduling::job::{DeviceRange, JobSpec};
use hcrun_scheduling::simulator::{Course, NodeChange};

pub(crate) struct Case {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) jobs: Vec<JobSpec>,
    pub(crate) course: Course,
}

pub(crate) fn case(seed: u64) -> Case {
    let mut prng = Prng::keyed(&[seed, 0xca5e]);
    let fleet = Arc::new(fleet(&mut prng));
    let jobs = (0..3 + prng.below(4)).map(|number| job(number, &fleet, &mut prng)).collect();
    let course = failures(&fleet, &mut prng);
    Case { fleet, jobs, course }
}

/// Two or three private zones of two owners, one or two public ones; a private, an on-demand and a spot pool at least.
fn fleet(prng: &mut Prng) -> Fleet {
    let (mut zones, mut pools) = (Vec::new(), Vec::new());
    let private = 2 + prng.below(2);
    for index in 0..private + 1 + prng.below(2) {
        let is_private = index < private;
        let (name, trust) = match is_private {
            true => (format!("private-{index}"), Trust::Private),
            false => (format!("public-{index}"), Trust::Public),
        };
        let owner = if prng.below(3) == 0 { "them" } else { "us" }.to_owned();
        zones.push(Zone::new(ZoneId::new(name).unwrap(), trust, owner));
        let terms: &[Terms] = if is_private { &[Terms::Private] } else { &[Terms::OnDemand, Terms::Spot] };
        for terms in terms {
            pools.push(Pool {
                name: format!("pool-{}", pools.len()),
                zone: ZoneIndex(index as u8),
                kind: Kind(0),
                terms: *terms,
                nodes: 1 + prng.below(3) as u32,
                devices_per_node: 1 + prng.below(2) as u32,
                provisioning: Span::from_secs(if is_private { 0 } else { prng.below(600) }),
            });
        }
    }
    let fleet = Fleet::new(zones, vec!["device".to_owned()], pools).unwrap();
    let price = |pool: &Pool| match pool.terms {
        Terms::Private => 500_000,
        Terms::OnDemand => 1_000_000,
        Terms::Spot => 300_000,
    };
    let costs = |pool: &Pool| PoolCosts { price: Some(PerHour(price(pool))), ..PoolCosts::default() };
    let pools = fleet.pools.iter().map(costs).collect();
    let costs = Costs::new(&fleet, pools, vec![ZoneCosts::default(); fleet.zones.len()]).unwrap();
    fleet.with_costs(costs)
}

pub(crate) fn shard(number: u64, sensitivity: Sensitivity, home: &str, allowed: &[&str]) -> Shard {
    Shard {
        id: ShardId::new(format!("shard-{number}")).unwrap(),
        path: None,
        sensitivity,
        home: Some(ZoneId::new(home).unwrap()),
        allowed_zones: allowed.iter().map(|zone| ZoneId::new(*zone).unwrap()).collect(),
    }
}

fn job(number: u64, fleet: &Fleet, prng: &mut Prng) -> JobSpec {
    let hours = |count: u64| Span::from_secs(count * 360);
    let (submit, duration) = (Time(hours(prng.below(40)).0), hours(1 + prng.below(60)));
    let mut job = JobSpec::rigid(format!("job-{number}"), submit, 1 + prng.below(3) as u32, duration);
    if prng.below(3) == 0 {
        job.devices = DeviceRange { min: 1, max: job.devices.requested + 1, ..job.devices };
    }
    if prng.below(2) == 0 {
        let window = Span(duration.0 + hours(3 + prng.below(60)).0);
        job.deadline = Some(submit + window);
    }
    job.start_overhead = Span::from_secs(prng.below(300));
    job.checkpoint_interval = Span::from_secs(prng.below(1_200));
    job.shards = (0..prng.below(3))
        .map(|shard_number| {
            let sensitivity =
                [Sensitivity::Public, Sensitivity::Internal, Sensitivity::Restricted][prng.below(3) as usize];
            let allowed: &[&str] = match (sensitivity, prng.below(3)) {
                (Sensitivity::Restricted, 0) => &["private-0", "private-1"],
                _ => &[],
            };
            let home = if sensitivity == Sensitivity::Internal && prng.below(3) == 0 {
                fleet.zones[prng.below(fleet.zones.len() as u64) as usize].name.as_str()
            } else {
                ["private-0", "private-1"][prng.below(2) as usize]
            };
            shard(10 * number + shard_number, sensitivity, home, allowed)
        })
        .collect();
    job
}

/// Single nodes, whole zones and spot pools go; most come back.
fn failures(fleet: &Fleet, prng: &mut Prng) -> Course {
    let mut changes = Vec::new();
    for _ in 0..2 + prng.below(8) {
        let at = Time(prng.below(10 * 3_600) * 1_000_000);
        let back = (prng.below(10) > 0).then(|| at + Span::from_secs(60 + prng.below(8 * 3_600)));
        let notice = Span::from_secs(30 * prng.below(3));
        let node = prng.below(fleet.nodes.len() as u64) as usize;
        let (whole_zone, zone) = (prng.below(3) == 0, fleet.nodes[node].zone);
        let hit = |(index, known): (usize, &hcrun_scheduling::fleet::Node)| {
            index == node || whole_zone && known.zone == zone
        };
        let nodes = fleet.nodes.iter().enumerate().filter(|(index, known)| hit((*index, *known)));
        for (index, known) in nodes {
            let node = NodeIndex(index as u32);
            changes.push(NodeChange { at, node, devices: 0, notice });
            changes.extend(back.map(|at| NodeChange { at, node, devices: known.devices, notice: Span(0) }));
        }
    }
    Course::new(fleet, changes).unwrap()
}
