//! The node that has least left, of processors and devices alike.

use super::{Cluster, Placement, Policy, Request};

/// What is left is counted in shares of the largest node there is.
#[derive(Debug, Default)]
pub struct BestFit;

impl Policy for BestFit {
    fn choose(&mut self, cluster: &Cluster, request: &Request) -> Option<Placement> {
        let open = cluster.rooms().filter_map(|(node, room)| {
            let devices = room.tightest(request)?;
            let cpu = u64::from(room.cpu_milli - request.cpu_milli) * MOST_DEVICE_MILLI;
            let gpu = (room.device_milli() - request.device_milli()) * MOST_CPU_MILLI;
            Some((cpu + gpu, Placement { node, devices }))
        });
        open.min_by_key(|(left, _)| *left).map(|(_, placement)| placement)
    }
}

/// The largest node of Alibaba's fleet; the paper scales by the same.
const MOST_CPU_MILLI: u64 = 128_000;
const MOST_DEVICE_MILLI: u64 = 8_000;
