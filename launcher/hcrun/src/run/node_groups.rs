//! What people are told of workers that sum among themselves inside a node.

use std::collections::BTreeMap;

use hcrun_protocol::cluster::Pool;
use hcrun_protocol::{NodeId, SlotId, ZoneId};

use crate::prepare::Prepared;

#[derive(Debug, Default)]
pub(super) struct NodeSums {
    /// Workers on GPUs that look for NCCL, and are in no group yet.
    alone: Vec<(SlotId, ZoneId)>,
    /// Of the checkpoint that the run goes on from.
    before: Option<Vec<String>>,
}

impl NodeSums {
    pub(super) fn new(prepared: &Prepared, before: Option<Vec<String>>) -> NodeSums {
        let looks = prepared.file.job.exchange.sums_by_nccl();
        let workers =
            prepared.plan.placement.workers.iter().filter(|worker| {
                looks && prepared.cluster.pool(&worker.slot.pool).is_some_and(Pool::has_gpus)
            });
        let alone = workers.map(|worker| (worker.slot.clone(), worker.zone.clone())).collect();
        NodeSums { alone, before }
    }

    /// The words for a group.
    pub(super) fn form(&mut self, slots: &[SlotId], version: &str) -> String {
        self.alone.retain(|(slot, _)| !slots.contains(slot));
        format!("{} sum among themselves by {version}", names(slots))
    }

    /// A line for each node whose workers could have formed a group and did not.
    pub(super) fn left_out(&self, nodes: &BTreeMap<SlotId, NodeId>) -> Vec<String> {
        let mut by_place: BTreeMap<(&ZoneId, &NodeId), Vec<SlotId>> = BTreeMap::new();
        for (slot, zone) in &self.alone {
            if let Some(node) = nodes.get(slot) {
                by_place.entry((zone, node)).or_default().push(slot.clone());
            }
        }
        let line = |slots: Vec<SlotId>| {
            format!(
                "{} are on one node and exchange over links: they do not all find the same NCCL on GPUs of their own; \
                 their logs say more",
                names(&slots)
            )
        };
        by_place.into_values().filter(|slots| slots.len() > 1).map(line).collect()
    }

    /// Bits are those of an uninterrupted run only with the same order of additions; `now` are the words for all groups.
    pub(super) fn difference(&self, now: &[String]) -> Option<String> {
        let before = self.before.as_ref().filter(|before| **before != now)?;
        let words = |groups: &[String]| match groups {
            [] => "none".to_owned(),
            groups => groups.join("; "),
        };
        Some(format!(
            "sums among GPUs of a node are not as at the checkpoint: there {}, now {}; losses may differ in the last bits",
            words(before),
            words(now)
        ))
    }
}

fn names(slots: &[SlotId]) -> String {
    slots.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(name: &str) -> SlotId {
        SlotId::parse(name).unwrap()
    }

    #[test]
    fn who_could_sum_and_does_not_is_named_by_node() {
        let zone = ZoneId::new("private").unwrap();
        let alone = ["a-0", "a-1", "a-2", "a-3", "a-4"].map(|name| (slot(name), zone.clone())).to_vec();
        let mut groups = NodeSums { alone, ..NodeSums::default() };
        let text = groups.form(&[slot("a-0"), slot("a-1")], "NCCL 2.27.3");
        assert_eq!(text, "a-0, a-1 sum among themselves by NCCL 2.27.3");
        let node = |name: &str, node: &str| (slot(name), NodeId::new(node).unwrap());
        let nodes = [node("a-2", "n"), node("a-3", "m"), node("a-4", "n")].into();
        let lines = groups.left_out(&nodes);
        assert!(matches!(&lines[..], [line] if line.starts_with("a-2, a-4 are on one node")), "{lines:?}");
    }

    #[test]
    fn a_difference_is_told_on_a_resume_alone() {
        let now = [NodeSums::default().form(&[slot("a-0"), slot("a-1")], "NCCL 2.27.3")];
        let difference = |before| NodeSums { before, ..NodeSums::default() }.difference(&now);
        assert_eq!(difference(None), None, "not resumed");
        assert_eq!(difference(Some(now.to_vec())), None);
        assert!(difference(Some(Vec::new())).unwrap().contains("there none, now a-0, a-1 sum"));
    }
}
