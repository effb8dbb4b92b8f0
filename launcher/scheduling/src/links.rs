//! Every two workers are linked, so one of the two must be reachable.

use hcrun_protocol::cluster::Cluster;
use hcrun_protocol::placement::{PlacedWorker, Placement};

use crate::constraint::{Constraint, Infeasible};

pub(crate) fn check(cluster: &Cluster, placement: &Placement) -> Result<(), Infeasible> {
    let hidden = |worker: &&PlacedWorker| cluster.pool(&worker.slot.pool).is_some_and(|pool| !pool.reachable);
    let mut hidden = placement.workers.iter().filter(hidden);
    match (hidden.next(), hidden.next()) {
        (Some(a), Some(b)) => Err(Constraint::Unreachable { a: a.slot.clone(), b: b.slot.clone() }.into()),
        _ => Ok(()),
    }
}
