//! The node whose free processors and devices point least along the request, as Tetris (SIGCOMM 2014) packs.

use super::{Cluster, Placement, Policy, Request};

#[derive(Debug, Default)]
pub struct DotProduct;

impl Policy for DotProduct {
    fn choose(&mut self, cluster: &Cluster, request: &Request) -> Option<Placement> {
        let open = cluster.rooms().filter_map(|(node, room)| {
            let devices = room.tightest(request)?;
            let cpu = u64::from(room.cpu_milli) * u64::from(request.cpu_milli) * DEVICE_SCALE;
            let gpu = room.device_milli() * request.device_milli() * CPU_SCALE;
            Some((cpu + gpu, Placement { node, devices }))
        });
        open.min_by_key(|(product, _)| *product).map(|(_, placement)| placement)
    }
}

/// Squares of the largest node, 128 processors and 8 devices, over their common divisor.
const CPU_SCALE: u64 = 256;
const DEVICE_SCALE: u64 = 1;
