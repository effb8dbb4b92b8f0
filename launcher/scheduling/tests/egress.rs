//! What jobs send between zones in a simulation, and what that costs.
#![expect(clippy::unwrap_used, reason = "a test's own fleets and jobs")]

use std::sync::Arc;

use hcrun_protocol::cluster::{Terms, Trust, Zone};
use hcrun_protocol::dtype::Codec;
use hcrun_protocol::job::Shard;
use hcrun_protocol::manifest::Sensitivity;
use hcrun_protocol::time::{Span, Time};
use hcrun_protocol::{ShardId, ZoneId};
use hcrun_scheduling::costs::{
    BILLED_GB, Costs, Every, Exchange, MicroUsd, PoolCosts, Tier, Tiers, ZoneCosts, bill,
};
use hcrun_scheduling::fleet::{Kind, NodeIndex, Pool, PoolIndex, ZoneIndex};
use hcrun_scheduling::simulator::{Checks, Course, NodeChange, Outcome, rehearse};
use hcrun_scheduling::{Fleet, JobSpec, Workload, strategies};

const LAB: ZoneIndex = ZoneIndex(0);
const CLOUD: ZoneIndex = ZoneIndex(1);

/// A laboratory and a cloud with two nodes of one device each; the cloud takes 0.1 $ for each of the first 10 GB of a month and
/// 0.05 $ after them.
fn fleet() -> Fleet {
    let zone = |name: &str, trust| Zone::new(ZoneId::new(name).unwrap(), trust, name);
    let pool = |name: &str, zone| Pool {
        name: name.to_owned(),
        zone,
        kind: Kind(0),
        terms: Terms::Private,
        nodes: 2,
        devices_per_node: 1,
        provisioning: Span(0),
    };
    let zones = vec![zone("lab", Trust::Private), zone("cloud", Trust::Public)];
    let fleet =
        Fleet::new(zones, vec!["device".to_owned()], vec![pool("lab", LAB), pool("cloud", CLOUD)]).unwrap();
    let tiers = [Some(10 * BILLED_GB), None].into_iter().zip([0.1, 0.05]);
    let tiers = tiers.map(|(up_to, usd)| Tier { up_to, per_gb: MicroUsd::from_usd(usd).unwrap() });
    let egress = Some(Tiers::new(tiers.collect()).unwrap());
    let zones = vec![ZoneCosts::default(), ZoneCosts { egress, ..ZoneCosts::default() }];
    let costs = Costs::new(&fleet, vec![PoolCosts::default(); 2], zones).unwrap();
    fleet.with_costs(costs)
}

/// In the cloud, with data in the laboratory.
fn job(id: &str, hours: u64) -> JobSpec {
    let duration = Span::from_secs(hours * 3_600);
    let mut job = JobSpec::in_parts(id, Time::ZERO, vec![(PoolIndex(1), 1)], duration);
    let (id, home) = (ShardId::new("data").unwrap(), Some(ZoneId::new("lab").unwrap()));
    let (sensitivity, path, allowed_zones) = (Sensitivity::Public, None, Vec::new());
    job.shards = vec![Shard { id, path, sensitivity, home, allowed_zones }];
    job
}

fn run(jobs: Vec<JobSpec>, changes: Vec<NodeChange>) -> Outcome {
    let fleet = Arc::new(fleet());
    let course = Course::new(&fleet, changes).unwrap();
    let workload = Workload::new(jobs).unwrap();
    let mut strategy = strategies::by_name("fifo-skip").unwrap();
    rehearse(&fleet, &course, workload, &mut strategy, Checks::Everything, &mut ()).unwrap()
}

#[test]
fn data_goes_out_once_and_checkpoints_come_home() {
    let mut job = job("a", 1);
    (job.data_bytes, job.checkpoint_bytes) = (5_000, 100);
    job.checkpoint_interval = Span::from_secs(600);
    let outcome = run(vec![job.clone()], Vec::new());
    // At 10, 20 ... 50 minutes, and at the end.
    assert_eq!(outcome.sent.unwrap(), [(LAB, 0, 5_000), (CLOUD, 0, 6 * 100)]);
    // At home nothing leaves.
    job.parts = vec![(PoolIndex(0), 1)];
    assert_eq!(run(vec![job], Vec::new()).sent.unwrap(), []);
}

#[test]
fn a_job_that_was_lost_gets_its_checkpoint_and_not_its_data_again() {
    let mut job = job("a", 1);
    (job.data_bytes, job.checkpoint_bytes) = (5_000, 100);
    job.checkpoint_interval = Span::from_secs(600);
    let lost = |at: u64, node| NodeChange {
        at: Time(at * 1_000_000),
        node: NodeIndex(node),
        devices: 0,
        notice: Span(0),
    };
    // After 25 minutes two checkpoints are written; 40 minutes are left, with three more and the last.
    let outcome = run(vec![job], vec![lost(1_500, 2)]);
    assert_eq!(outcome.jobs[0].losses, 1);
    assert_eq!(outcome.sent.unwrap(), [(LAB, 0, 5_000 + 100), (CLOUD, 0, 6 * 100)]);
}

#[test]
fn zones_of_a_gang_send_each_other_their_sums() {
    let mut job = job("a", 1);
    job.parts = vec![(PoolIndex(0), 1), (PoolIndex(1), 1)];
    job.devices = hcrun_scheduling::job::DeviceRange::rigid(2);
    let step = Span::from_secs(2);
    job.exchange = Some(Exchange { elems: 1_000, codec: Codec::Bf16, every: Every::Steps(10), step });
    // 1,800 steps are 180 exchanges of 2,000 bytes in each direction.
    let outcome = run(vec![job], Vec::new());
    assert_eq!(outcome.sent.unwrap(), [(LAB, 0, 360_000), (CLOUD, 0, 360_000)]);
}

#[test]
fn months_have_tiers_of_their_own() {
    let mut job = job("a", 45 * 24);
    job.checkpoint_bytes = BILLED_GB;
    job.checkpoint_interval = Span::from_secs(86_400);
    let outcome = run(vec![job], Vec::new());
    let sent = outcome.sent.unwrap();
    // 45 checkpoints in a month and a half.
    assert_eq!(sent, [(CLOUD, 0, 30 * BILLED_GB), (CLOUD, 1, 15 * BILLED_GB)]);
    let bill = bill(&fleet(), &outcome.billed, &sent);
    // 10 at 0.1 and 20 at 0.05; 10 at 0.1 and 5 at 0.05.
    assert_eq!(bill.egress, MicroUsd(2_000_000 + 1_250_000));
    assert!(bill.unpriced_egress.is_empty());
}

#[test]
fn what_is_not_named_is_unknown_and_what_has_no_price_is_named() {
    let mut named = job("a", 1);
    named.checkpoint_bytes = 1;
    assert_eq!(run(vec![named.clone(), job("b", 1)], Vec::new()).sent, None);
    let sent = run(vec![named], Vec::new()).sent.unwrap();
    let fleet = fleet();
    let unpriced = Costs::new(&fleet, vec![PoolCosts::default(); 2], vec![ZoneCosts::default(); 2]).unwrap();
    let bill = bill(&fleet.with_costs(unpriced), &[0, 0], &sent);
    assert_eq!((bill.egress, bill.unpriced_egress), (MicroUsd::ZERO, vec!["cloud".to_owned()]));
}
