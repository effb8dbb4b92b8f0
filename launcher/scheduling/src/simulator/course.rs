//! The course of a fleet: which nodes come and go, and when.

use hcrun_protocol::time::{Span, Time};

use crate::fleet::{Fleet, NodeIndex};

/// From `at` on a node has this many devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeChange {
    pub at: Time,
    pub node: NodeIndex,
    pub devices: u32,
    /// How long before a loss it was announced; zero: it was not.
    pub notice: Span,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CourseError {
    #[error("change {row} at {at}: there is no node {node}; the fleet has {nodes}")]
    UnknownNode { row: usize, at: Span, node: u32, nodes: usize },
    #[error("change {row} at {at}: node {node} gets {devices} devices; it has room for {most}")]
    TooManyDevices { row: usize, at: Span, node: u32, devices: u32, most: u32 },
}

/// Changes of nodes, by time; those of one instant in the order in which they were given. Default: nothing ever changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Course {
    changes: Vec<NodeChange>,
}

impl Course {
    /// # Errors
    /// If a change names a node that the fleet lacks, or more devices than the node has. Rows count from 1.
    pub fn new(fleet: &Fleet, mut changes: Vec<NodeChange>) -> Result<Course, CourseError> {
        for (change, row) in changes.iter().zip(1..) {
            let (at, node, devices) = (change.at.since(Time::ZERO), change.node.0, change.devices);
            let Some(known) = fleet.nodes.get(change.node.index()) else {
                return Err(CourseError::UnknownNode { row, at, node, nodes: fleet.nodes.len() });
            };
            if devices > known.devices {
                let most = known.devices;
                return Err(CourseError::TooManyDevices { row, at, node, devices, most });
            }
        }
        changes.sort_by_key(|change| change.at);
        Ok(Course { changes })
    }

    pub fn changes(&self) -> &[NodeChange] {
        &self.changes
    }
}
