//! Several jobs with deadlines at once: what was promised is kept, whoever comes later, and owned devices are used first.
#![expect(clippy::cast_possible_truncation, reason = "draws are below small bounds")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for other code")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use hcrun_protocol::ZoneId;
use hcrun_protocol::cluster::{Trust, Zone};
use hcrun_protocol::prng::Prng;
use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::costs::{Costs, PerHour, PoolCosts, ZoneCosts};
use hcrun_scheduling::fleet::{Kind, Pool, PoolSet, Terms, ZoneIndex};
use hcrun_scheduling::job::JobIndex;
use hcrun_scheduling::simulator::{Checks, Outcome, simulate};
use hcrun_scheduling::state::Job;
use hcrun_scheduling::strategies::spot::LeastExpectedCost;
use hcrun_scheduling::strategies::{AnyTerms, FitsFleet, LeastSlack, MeetDeadlines, Pack};
use hcrun_scheduling::strategy::{Discipline, Pace, Preemption, Size, Stages, Strategy, Want};
use hcrun_scheduling::{Fleet, JobSpec, State, Workload, strategies};

const MINUTE: u64 = 60_000_000;

/// Owned devices at 0.6 $/h, on-demand ones at 3 $/h and spot at 0.9 $/h; none of no devices.
fn fleet(own: u32, rented: u32, spot: u32) -> Arc<Fleet> {
    let zone = |name: &str, trust| Zone::new(ZoneId::new(name).unwrap(), trust, "us");
    let terms =
        [(own, Terms::Private, 600_000), (rented, Terms::OnDemand, 3_000_000), (spot, Terms::Spot, 900_000)];
    let there: Vec<_> = terms.into_iter().filter(|(nodes, ..)| *nodes > 0).collect();
    let pools = there.iter().map(|(nodes, terms, _)| Pool {
        name: format!("{terms:?}").to_lowercase(),
        zone: ZoneIndex(u8::from(*terms != Terms::Private)),
        kind: Kind(0),
        terms: *terms,
        nodes: *nodes,
        devices_per_node: 1,
        provisioning: Span(if *terms == Terms::Private { 0 } else { 2 * MINUTE }),
    });
    let zones = vec![zone("lab", Trust::Private), zone("cloud", Trust::Public)];
    let fleet = Fleet::new(zones, vec!["device".to_owned()], pools.collect()).unwrap();
    let prices =
        there.iter().map(|(_, _, price)| PoolCosts { price: Some(PerHour(*price)), ..PoolCosts::default() });
    let costs = Costs::new(&fleet, prices.collect(), vec![ZoneCosts::default(); 2]).unwrap();
    Arc::new(fleet.with_costs(costs))
}

/// Times in minutes.
fn job(id: &str, submit: u64, devices: u32, runs: u64, deadline: u64) -> JobSpec {
    let mut job = JobSpec::rigid(id, Time(submit * MINUTE), devices, Span(runs * MINUTE));
    job.deadline = Some(Time(deadline * MINUTE));
    job
}

fn run(fleet: &Arc<Fleet>, jobs: Vec<JobSpec>) -> Outcome {
    let mut strategy = strategies::by_name("deadline").unwrap();
    simulate(fleet, Workload::new(jobs).unwrap(), &mut strategy, Checks::Everything).unwrap()
}

fn late(outcome: &Outcome) -> Vec<usize> {
    let late = outcome.jobs.iter().enumerate().filter(|(_, job)| job.end > job.deadline);
    late.map(|(index, _)| index).collect()
}

/// Each alone could wait for its last moment; together they have one on-demand device.
#[test]
fn jobs_do_not_count_on_devices_that_another_has_reserved() {
    let fleet = fleet(0, 1, 1);
    let jobs = vec![job("a", 0, 1, 60, 150), job("b", 0, 1, 60, 150), job("c", 0, 1, 60, 400)];
    assert_eq!(late(&run(&fleet, jobs)), [0usize; 0]);
}

#[test]
fn a_tight_job_displaces_one_that_still_has_time() {
    let fleet = fleet(1, 0, 0);
    let outcome = run(&fleet, vec![job("loose", 0, 1, 60, 200), job("tight", 10, 1, 60, 75)]);
    assert_eq!(late(&outcome), [0usize; 0]);
    assert_eq!(outcome.jobs[0].first_start, Some(Time(0)));
}

#[test]
fn a_job_that_cannot_be_in_time_runs_on_what_is_left() {
    let fleet = fleet(1, 0, 0);
    let outcome = run(&fleet, vec![job("sure", 0, 1, 60, 70), job("hopeless", 0, 1, 60, 80)]);
    assert_eq!(late(&outcome), [1]);
    assert!(outcome.jobs.iter().all(|job| job.end.is_some() && !job.refused));
}

#[test]
fn owned_devices_that_cost_less_than_spot_are_used_first() {
    let fleet = fleet(2, 2, 2);
    let outcome =
        run(&fleet, vec![job("a", 0, 2, 60, 300), job("b", 0, 2, 60, 300), job("c", 0, 2, 60, 300)]);
    let hours: Vec<u128> = outcome.billed.iter().map(|billed| billed / u128::from(60 * MINUTE)).collect();
    // All three have the time to wait for the owned devices.
    assert_eq!((hours, late(&outcome)), (vec![6, 0, 0], vec![]));
}

/// Notes who was ever promised to be in time.
#[derive(Debug)]
struct Noting {
    inner: MeetDeadlines<LeastExpectedCost>,
    promised: Rc<RefCell<BTreeSet<JobIndex>>>,
}

impl Size for Noting {
    fn is_joint(&self) -> bool {
        true
    }

    fn is_elastic(&self) -> bool {
        true
    }

    fn prepare(&mut self, state: &State, active: &[(JobIndex, PoolSet)]) {
        self.inner.prepare(state, active);
        let promised = active.iter().map(|(index, _)| *index).filter(|index| self.inner.is_promised(*index));
        self.promised.borrow_mut().extend(promised);
    }

    fn next_change(&self, state: &State) -> Option<Time> {
        self.inner.next_change(state)
    }

    fn size(&self, state: &State, index: JobIndex, job: &Job) -> Result<Want, &'static str> {
        self.inner.size(state, index, job)
    }
}

#[test]
fn an_admitted_job_never_becomes_late_through_a_later_one() {
    let (mut kept, mut refused) = (0, 0);
    for seed in 0..400 {
        let mut prng = Prng::keyed(&[seed, 0xdead]);
        let mut below = |bound: u64| prng.below(bound);
        let fleet = fleet(1 + below(4) as u32, below(4) as u32, below(3) as u32);
        let steady = fleet.pools.iter().filter(|pool| pool.terms != Terms::Spot);
        let most = steady.map(|pool| pool.nodes).max().unwrap();
        let (mut jobs, mut submit) = (Vec::new(), 0);
        for number in 0..12 {
            submit += below(30);
            let (devices, runs) = (1 + below(most.into()) as u32, 1 + below(90));
            let mut job = job(&number.to_string(), submit, devices, runs, submit + runs + 4 + below(200));
            job.start_overhead = Span(below(120) * 1_000_000);
            job.stop_overhead = Span(below(2) * 10_000_000);
            jobs.push(job);
        }
        let promised = Rc::new(RefCell::new(BTreeSet::new()));
        let inner = MeetDeadlines::new(LeastExpectedCost::default(), true);
        let stages = Stages {
            admit: Box::new(FitsFleet),
            order: Box::new(LeastSlack),
            size: Box::new(Noting { inner, promised: Rc::clone(&promised) }),
            place: Box::new(Pack),
            mode: Box::new(AnyTerms),
        };
        let mut strategy = Strategy::new("noting", stages, Discipline::Skip, Preemption::Never, Pace::Events);
        let workload = Workload::new(jobs).unwrap();
        let outcome = simulate(&fleet, workload, &mut strategy, Checks::Everything).unwrap();
        let promised = promised.borrow();
        let broken: Vec<usize> =
            late(&outcome).into_iter().filter(|job| promised.contains(&JobIndex(*job as u32))).collect();
        assert!(broken.is_empty(), "seed {seed}: promised and late: {broken:?}");
        kept += promised.len();
        refused += 12 - promised.len();
    }
    assert!(kept > 2_000 && refused > 100, "the cases are no test: {kept} promised, {refused} not");
}
