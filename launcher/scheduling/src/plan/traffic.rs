//! Bytes that cross zone borders, from the schedules that will be executed.

use hcrun_protocol::exchange::{BorderTraffic, ExchangeError, ExchangePlan};
use hcrun_protocol::placement::Placement;
use hcrun_protocol::plan::{Traffic, add_traffic, border};
use hcrun_protocol::{ZoneId, error_chain};

use super::Inputs;
use super::constraint::{Constraint, Infeasible};

pub(crate) struct PlannedTraffic {
    pub(crate) buckets: usize,
    pub(crate) rounds_per_step: usize,
    pub(crate) exchange: ExchangePlan,
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

pub(crate) fn traffic(inputs: &Inputs<'_>, placement: &Placement) -> Result<PlannedTraffic, Infeasible> {
    let (names, zones): (Vec<ZoneId>, Vec<_>) = placement.zones().into_iter().unzip();
    let exchange = ExchangePlan::new(inputs.job, &zones, inputs.profile).map_err(refuse)?;
    let statistics = match inputs.statistics_elems {
        0 => BorderTraffic::new(),
        elems => exchange.bytes_of_statistics(elems).map_err(refuse)?,
    };
    Ok(PlannedTraffic {
        buckets: exchange.buckets().len(),
        rounds_per_step: exchange.step_rounds().count(),
        step: named(&names, exchange.bytes_per_step()),
        evaluation: named(&names, exchange.bytes_per_evaluation()),
        statistics: named(&names, statistics),
        exchange,
    })
}

/// Zones by name instead of index.
fn named(names: &[ZoneId], traffic: BorderTraffic) -> Traffic {
    let mut named = Traffic::new();
    for (crossing, classes) in traffic {
        let bytes = classes.into_iter().map(|(class, flow)| (class.name().to_owned(), flow.bytes));
        named.insert(border(&names[crossing.from], &names[crossing.to]), bytes.collect());
    }
    named
}

fn refuse(error: ExchangeError) -> Infeasible {
    Constraint::Exchange(error_chain(&error)).into()
}
