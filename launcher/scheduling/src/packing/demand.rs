//! What is expected to be asked for: the requests seen before, by how often.
//!
//! The fragment of a node for one request is what of its free devices that request cannot use: all of it if the
//! request does not fit, otherwise the devices with too little left for it. Its expectation over the demand says how
//! much of the node is as good as lost. Source: Weng et al., "Beware of fragmentation: scheduling GPU-sharing
//! workloads with fragmentation gradient descent", ATC 2023.

use std::collections::BTreeMap;

use super::{ModelSet, Request, Room};

/// Counts of requests, with those that differ only in their processors in one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    groups: Vec<Group>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    devices: u8,
    milli: u16,
    models: ModelSet,
    /// Processors asked for, ascending, each with the number of requests for at most that.
    up_to: Vec<(u32, u64)>,
}

impl Group {
    fn count(&self) -> u64 {
        self.up_to.last().map_or(0, |last| last.1)
    }

    fn with_at_most(&self, cpu_milli: u32) -> u64 {
        let smaller = self.up_to.partition_point(|(cpu, _)| *cpu <= cpu_milli);
        smaller.checked_sub(1).map_or(0, |last| self.up_to[last].1)
    }
}

impl Demand {
    /// Memory is left out, as in the paper: it is never what a node lacks first.
    pub fn of(requests: &[Request]) -> Demand {
        let mut counts: BTreeMap<(u8, u16, ModelSet), BTreeMap<u32, u64>> = BTreeMap::new();
        for request in requests {
            let group = (request.devices, request.milli, request.models);
            *counts.entry(group).or_default().entry(request.cpu_milli).or_default() += 1;
        }
        let groups = counts.into_iter().map(|((devices, milli, models), by_cpu)| {
            let mut sum = 0;
            let up_to = by_cpu.into_iter().map(|(cpu, count)| {
                sum += count;
                (cpu, sum)
            });
            Group { devices, milli, models, up_to: up_to.collect() }
        });
        Demand { groups: groups.collect() }
    }

    /// Requests in all.
    pub fn count(&self) -> u64 {
        self.groups.iter().map(Group::count).sum()
    }

    /// The expected fragment of a node: thousandths of devices, times the number of requests in the demand.
    pub fn fragment(&self, room: &Room) -> u64 {
        let all = room.device_milli();
        if all == 0 {
            return 0;
        }
        let of_group = |group: &Group| {
            let lost = group.count() * all;
            if group.devices == 0 || !group.models.contains(room.model) {
                return lost;
            }
            let (mut usable, mut devices) = (0, 0);
            for free in room.devices().iter().filter(|free| **free >= group.milli) {
                usable += u64::from(*free);
                devices += 1;
            }
            if devices < group.devices {
                return lost;
            }
            lost - group.with_at_most(room.cpu_milli) * usable
        };
        self.groups.iter().map(of_group).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::{Devices, Model, WHOLE};

    fn request(cpu_milli: u32, devices: u8, milli: u16) -> Request {
        Request { cpu_milli, memory_mib: 0, devices, milli, models: ModelSet::ALL }
    }

    /// By the definition, one request after the other.
    fn fragment_by_definition(room: &Room, requests: &[Request]) -> u64 {
        let for_one = |request: &Request| {
            let all = room.device_milli();
            if request.devices == 0 || !room.fits(request) {
                return all;
            }
            room.devices().iter().filter(|free| **free < request.milli).map(|free| u64::from(*free)).sum()
        };
        requests.iter().map(for_one).sum()
    }

    #[test]
    fn the_fragment_is_what_requests_cannot_use() {
        let requests =
            [request(4_000, 1, 500), request(4_000, 2, WHOLE), request(9_000, 1, 300), request(1_000, 0, 0)];
        let demand = Demand::of(&requests);
        let room = Room::empty(8_000, 1, 2, Model(0));
        // The first two can use all of it; the third lacks processors, the last has no use for devices.
        assert_eq!(demand.fragment(&room), 2 * 2_000);
        let half = room.less(&request(0, 1, 600), Devices::one(0));
        // The 400 left are too little for the first; the second lacks a device.
        assert_eq!(demand.fragment(&half), 400 + 1_400 + 1_400 + 1_400);
    }

    #[test]
    fn groups_give_what_the_definition_gives() {
        let mut prng = hcrun_protocol::prng::Prng::new(7);
        for _ in 0..300 {
            let mut below = |bound: u64| u16::try_from(prng.below(bound)).unwrap();
            let requests: Vec<Request> = (0..20)
                .map(|_| {
                    let cpu = u32::from(below(10)) * 1_000;
                    match below(4) {
                        0 => request(cpu, 0, 0),
                        1 => request(cpu, 1 + u8::try_from(below(4)).unwrap(), WHOLE),
                        _ => request(cpu, 1, 1 + below(999)),
                    }
                })
                .collect();
            let mut room =
                Room::empty(u32::from(below(10)) * 1_000, 1, 1 + u8::try_from(below(8)).unwrap(), Model(0));
            for device in 0..room.devices().len() {
                room = room.less(&request(0, 1, below(1_001)), Devices::one(device));
            }
            assert_eq!(Demand::of(&requests).fragment(&room), fragment_by_definition(&room, &requests));
        }
    }
}
