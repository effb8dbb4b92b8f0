//! Every two workers are linked. Inside a zone everybody can be dialled; across a border one of the two must
//! be reachable.

use hcrun_protocol::cluster::Cluster;
use hcrun_protocol::placement::{PlacedWorker, Placement};

use super::constraint::{Constraint, Infeasible};

pub(crate) fn check(cluster: &Cluster, placement: &Placement) -> Result<(), Infeasible> {
    let hidden = |worker: &&PlacedWorker| cluster.pool(&worker.slot.pool).is_some_and(|pool| !pool.reachable);
    let mut hidden = placement.workers.iter().filter(hidden);
    let Some(a) = hidden.next() else { return Ok(()) };
    match hidden.find(|b| b.zone != a.zone) {
        Some(b) => Err(Constraint::Unreachable { a: a.slot.clone(), b: b.slot.clone() }.into()),
        None => Ok(()),
    }
}
