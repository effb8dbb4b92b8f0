//! Which workers may sum among themselves: those of one zone on one node, each with a device of its own and the same
//! library in the same place, since hosts may have one name and containers of a host see different parts of it.

use std::collections::BTreeMap;

use super::{Coordinator, Event, Worker};
use crate::control::{AssignedDevice, AssignedWorker, NodeGroupOffer, NodeGroups};
use crate::ids::Rank;

impl Coordinator {
    pub(super) fn node_groups(&mut self) -> Vec<Vec<Rank>> {
        let groups = groups(&self.settings.workers, &self.workers);
        for ranks in &groups {
            let slots = ranks.iter().map(|rank| self.settings.workers[rank.index()].slot.clone()).collect();
            let offer = self.workers[ranks[0].index()].offer.as_ref();
            let version = offer.map(|offer| offer.version.clone()).unwrap_or_default();
            self.event(Event::NodeGroup { slots, version });
        }
        groups
    }

    /// What one worker is told of them: all groups, and the id of its own, which is its first member's.
    pub(super) fn node_groups_for(&self, rank: Rank, groups: &[Vec<Rank>]) -> NodeGroups {
        let own = groups.iter().find(|ranks| ranks.contains(&rank));
        let first = own.map(|ranks| &self.workers[ranks[0].index()]);
        let id = first.and_then(|first| first.offer.as_ref()).map(|offer| offer.id.clone());
        NodeGroups { groups: groups.to_vec(), id }
    }
}

fn groups(assigned: &[AssignedWorker], workers: &[Worker]) -> Vec<Vec<Rank>> {
    let mut by_place: BTreeMap<_, BTreeMap<u32, Rank>> = BTreeMap::new();
    for (index, (place, worker)) in assigned.iter().zip(workers).enumerate() {
        let (Some(node), Some(NodeGroupOffer { version, place: within, .. })) = (&worker.node, &worker.offer)
        else {
            continue;
        };
        let AssignedDevice::Gpu { index: device } = place.device else { continue };
        let devices = by_place.entry((&place.zone, node, version, within)).or_default();
        // Such a library takes one rank a device.
        devices.entry(device).or_insert(Rank::from_index(index));
    }
    let ranks = |devices: BTreeMap<u32, Rank>| {
        let mut ranks: Vec<Rank> = devices.into_values().collect();
        ranks.sort_unstable();
        ranks
    };
    let mut groups: Vec<Vec<Rank>> = by_place.into_values().map(ranks).collect();
    groups.retain(|ranks| ranks.len() > 1);
    groups.sort_unstable();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::NodeGroupId;
    use crate::coordinator::{Watch, WorkerState};
    use crate::ids::{NodeId, SlotId, ZoneId};
    use crate::time::{Span, Time};

    /// Zone, node, GPU and library of each rank, whose place is its length; a name of `-` is none.
    fn grouped(ranks: &[(&str, &str, u32, &str)]) -> Vec<Vec<u16>> {
        let assigned: Vec<AssignedWorker> = ranks
            .iter()
            .map(|(zone, _, index, _)| AssignedWorker {
                slot: SlotId::parse("pool-0").unwrap(),
                zone: ZoneId::new(*zone).unwrap(),
                reachable: true,
                device: if *index == 99 {
                    AssignedDevice::Cpu
                } else {
                    AssignedDevice::Gpu { index: *index }
                },
            })
            .collect();
        let worker = |(_, node, _, version): &(&str, &str, u32, &str)| {
            let id = NodeGroupId(vec![1; 128]);
            Worker {
                state: WorkerState::Loaded,
                node: (*node != "-").then(|| NodeId::new(*node).unwrap()),
                lanes: Vec::new(),
                offer: (*version != "-").then(|| NodeGroupOffer {
                    version: version.trim_end().to_owned(),
                    place: version.len() as u64,
                    id,
                }),
                watch: Watch::new(Time::ZERO, Span::from_secs(1), Span::from_secs(1)),
            }
        };
        let workers: Vec<Worker> = ranks.iter().map(worker).collect();
        let groups = groups(&assigned, &workers);
        groups.into_iter().map(|ranks| ranks.into_iter().map(|rank| rank.0).collect()).collect()
    }

    #[test]
    fn a_group_is_of_one_zone_one_node_one_library_and_a_device_each() {
        let all = [("a", "n", 0, "L 1"), ("a", "n", 1, "L 1"), ("a", "n", 2, "L 1")];
        assert_eq!(grouped(&all), [[0, 1, 2]]);
        for (index, other) in [
            (1, ("b", "n", 1, "L 1")),
            (1, ("a", "m", 1, "L 1")),
            (1, ("a", "-", 1, "L 1")),
            (1, ("a", "n", 0, "L 1")),
            (1, ("a", "n", 99, "L 1")),
            (1, ("a", "n", 1, "L 2")),
            (1, ("a", "n", 1, "-")),
            (1, ("a", "n", 1, "L 1 ")),
        ] {
            let mut ranks = all;
            ranks[index] = other;
            assert_eq!(grouped(&ranks), [[0, 2]], "{other:?}");
        }
        // Ranks go by their order, not by that of their devices.
        let two = [("b", "n", 1, "L"), ("a", "n", 1, "L"), ("b", "n", 0, "L"), ("a", "n", 0, "L")];
        assert_eq!(grouped(&two), [[0, 2], [1, 3]]);
        assert!(grouped(&all[..1]).is_empty());
    }
}
