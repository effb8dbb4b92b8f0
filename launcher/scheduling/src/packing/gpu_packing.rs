//! Devices in use before idle ones, nodes in use before empty ones.

use super::{Cluster, Placement, Policy, Request, Room, WHOLE};

/// Source: "GPU packing" of Weng et al., "MLaaS in the wild", NSDI 2022.
#[derive(Debug, Default)]
pub struct GpuPacking;

impl Policy for GpuPacking {
    fn choose(&mut self, cluster: &Cluster, request: &Request) -> Option<Placement> {
        let open = cluster.rooms().filter_map(|(node, room)| {
            let devices = room.tightest(request)?;
            let opened = devices.iter().filter(|device| room.devices()[*device] == WHOLE).count();
            let left: u64 = devices.iter().map(|device| u64::from(room.devices()[device])).sum();
            Some((cost(request, room, opened, left), Placement { node, devices }))
        });
        open.min_by_key(|(cost, _)| *cost).map(|(_, placement)| placement)
    }
}

fn cost(request: &Request, room: &Room, opened: usize, left: u64) -> (u8, u64) {
    match opened {
        _ if request.devices == 0 => (0, 0),
        _ if room.idle_devices() == room.devices().len() => (2, opened as u64),
        0 => (0, left),
        opened => (1, opened as u64),
    }
}
