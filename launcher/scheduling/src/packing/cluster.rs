//! The nodes and what is free on them.

use super::{Placement, Request, Room};

/// A node's place in its [`Cluster`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub usize);

#[derive(Debug, Clone)]
pub struct Cluster {
    rooms: Vec<Room>,
    /// How often each node changed, so that policies keep what they computed about the others.
    versions: Vec<u32>,
    device_milli: u64,
    used_milli: u64,
}

impl Cluster {
    /// Empty nodes.
    pub fn new(nodes: Vec<Room>) -> Cluster {
        let device_milli = nodes.iter().map(Room::device_milli).sum();
        Cluster { versions: vec![0; nodes.len()], rooms: nodes, device_milli, used_milli: 0 }
    }

    pub fn rooms(&self) -> impl ExactSizeIterator<Item = (NodeId, &Room)> {
        self.rooms.iter().enumerate().map(|(index, room)| (NodeId(index), room))
    }

    pub fn room(&self, node: NodeId) -> &Room {
        &self.rooms[node.0]
    }

    pub(super) fn version(&self, node: NodeId) -> u32 {
        self.versions[node.0]
    }

    /// Thousandths of all devices.
    pub fn device_milli(&self) -> u64 {
        self.device_milli
    }

    /// Thousandths of devices that requests hold.
    pub fn used_milli(&self) -> u64 {
        self.used_milli
    }

    /// Panics if it does not fit there: whoever chose the placement has read this cluster.
    pub fn place(&mut self, request: &Request, placement: Placement) {
        let room = &mut self.rooms[placement.node.0];
        assert!(request.models.contains(room.model) || request.devices == 0, "a model is allowed");
        assert_eq!(placement.devices.0.count_ones(), u32::from(request.devices), "all devices are chosen");
        *room = room.less(request, placement.devices);
        self.versions[placement.node.0] += 1;
        self.used_milli += request.device_milli();
    }
}
