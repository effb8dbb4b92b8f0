//! Who runs where and which shard is held where: immutable, complete, with a reason for each choice.
//!
//! Whoever executes a placement makes no choice of its own. Nothing of a backend appears here.

use serde::{Deserialize, Serialize};

use crate::cluster::Trust;
use crate::ids::{Generation, NodeId, Rank, ShardId, SlotId, ZoneId};
use crate::manifest::Sensitivity;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    pub generation: Generation,
    /// In rank order; ranks are dense, zones in the order of the cluster file, slots in order.
    pub workers: Vec<PlacedWorker>,
    /// In the order of the job file.
    pub shards: Vec<PlacedShard>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedWorker {
    pub rank: Rank,
    #[serde(with = "slot_text")]
    pub slot: SlotId,
    pub zone: ZoneId,
    pub trust: Trust,
    /// The host; unknown until the worker has joined.
    pub node: Option<NodeId>,
    pub shards: Vec<ShardId>,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedShard {
    pub id: ShardId,
    pub sensitivity: Sensitivity,
    pub home: Option<ZoneId>,
    /// Zones that may hold it, in the order of the cluster file.
    pub zones: Vec<ZoneId>,
    /// Workers that hold it.
    #[serde(with = "slot_texts")]
    pub slots: Vec<SlotId>,
    /// The rule that allows these zones and no other.
    pub rule: String,
}

impl Placement {
    /// The zones that have workers, in rank order, each with its ranks.
    pub fn zones(&self) -> Vec<(ZoneId, Vec<Rank>)> {
        let mut zones: Vec<(ZoneId, Vec<Rank>)> = Vec::new();
        for worker in &self.workers {
            match zones.last_mut() {
                Some((zone, ranks)) if *zone == worker.zone => ranks.push(worker.rank),
                _ => zones.push((worker.zone.clone(), vec![worker.rank])),
            }
        }
        zones
    }

    pub fn worker(&self, rank: Rank) -> Option<&PlacedWorker> {
        self.workers.get(rank.index())
    }

    pub fn worker_of(&self, slot: &SlotId) -> Option<&PlacedWorker> {
        self.workers.iter().find(|worker| worker.slot == *slot)
    }
}

/// Slots read `private-0`, also in JSON.
mod slot_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::ids::SlotId;

    pub(super) fn serialize<S: Serializer>(slot: &SlotId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(slot)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SlotId, D::Error> {
        SlotId::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

mod slot_texts {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::ids::SlotId;

    pub(super) fn serialize<S: Serializer>(slots: &[SlotId], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(slots.iter().map(SlotId::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SlotId>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| SlotId::parse(text).map_err(D::Error::custom)).collect()
    }
}
