//! Bytes that cross zone borders, from the schedules that will be executed.

use hcrun_protocol::placement::Placement;
use hcrun_protocol::plan::{Traffic, add_traffic};

use crate::Inputs;
use crate::constraint::Infeasible;

pub(crate) struct PlannedTraffic {
    pub(crate) buckets: usize,
    pub(crate) rounds_per_step: usize,
    pub(crate) step: Traffic,
    pub(crate) evaluation: Traffic,
    pub(crate) statistics: Traffic,
}

impl PlannedTraffic {
    pub(crate) fn total(&self, steps: u64, evaluations: u64) -> Traffic {
        let mut total = Traffic::new();
        add_traffic(&mut total, &self.step, steps);
        add_traffic(&mut total, &self.evaluation, evaluations);
        add_traffic(&mut total, &self.statistics, 1);
        total
    }
}

pub(crate) fn traffic(inputs: &Inputs<'_>, _placement: &Placement) -> Result<PlannedTraffic, Infeasible> {
    let buckets =
        hcrun_protocol::units::bucket_ranges(inputs.profile.arena_elems, inputs.job.exchange.bucket_bytes);
    Ok(PlannedTraffic {
        buckets: buckets.len(),
        rounds_per_step: 0,
        step: Traffic::new(),
        evaluation: Traffic::new(),
        statistics: Traffic::new(),
    })
}
