//! What devices there are: zones, pools of equal nodes, nodes.

use hcrun_protocol::ZoneId;
use hcrun_protocol::cluster::{Cluster, Trust};
pub use hcrun_protocol::cluster::{Terms, Zone};
use hcrun_protocol::time::Span;

use crate::costs::Costs;

/// A device model, as an index into [`Fleet::kinds`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

/// Index into [`Fleet::zones`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneIndex(pub u8);

/// Index into [`Fleet::pools`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolIndex(pub u8);

/// Index into [`Fleet::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u32);

impl Kind {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
impl ZoneIndex {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
impl PoolIndex {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
impl NodeIndex {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    pub name: String,
    pub zone: ZoneIndex,
    pub kind: Kind,
    pub terms: Terms,
    /// Nodes at most.
    pub nodes: u32,
    pub devices_per_node: u32,
    /// From asking for a node to its first step.
    pub provisioning: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    pub pool: PoolIndex,
    pub zone: ZoneIndex,
    pub kind: Kind,
    pub devices: u32,
}

/// Pools, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolSet(pub u64);

impl PoolSet {
    pub const NONE: PoolSet = PoolSet(0);
    pub const ALL: PoolSet = PoolSet(u64::MAX);

    pub fn contains(self, pool: PoolIndex) -> bool {
        self.0 >> pool.0 & 1 == 1
    }

    pub fn insert(&mut self, pool: PoolIndex) {
        self.0 |= 1 << pool.0;
    }

    #[must_use]
    pub fn and(self, other: PoolSet) -> PoolSet {
        PoolSet(self.0 & other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<PoolIndex> for PoolSet {
    fn from_iter<T: IntoIterator<Item = PoolIndex>>(pools: T) -> PoolSet {
        let mut set = PoolSet::NONE;
        pools.into_iter().for_each(|pool| set.insert(pool));
        set
    }
}

/// Most pools of one fleet: [`PoolSet`] has a bit for each.
pub const MAX_POOLS: usize = 64;
/// Most devices of one fleet; bounds what a cluster file can make us allocate.
pub const MAX_DEVICES: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    #[error("pool `{pool}` has no devices: it has {nodes} nodes with {devices} devices each")]
    NoDevices { pool: String, nodes: u32, devices: u32 },
    #[error("the fleet has {got} {what}, {limit} is the most")]
    TooMany { what: &'static str, got: u64, limit: u64 },
    #[error("pool `{pool}` has {slots} slots, which nodes of {per_node} devices do not divide")]
    PartOfANode { pool: String, slots: u16, per_node: u16 },
    #[error("pool `{pool}` is in zone `{zone}`, which the cluster does not have")]
    UnknownZone { pool: String, zone: ZoneId },
    #[error("the fleet has no pool")]
    Empty,
}

/// All zones, pools and nodes. Immutable; what is free of it is kept by [`crate::Free`].
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    pub zones: Vec<Zone>,
    pub pools: Vec<Pool>,
    /// Names of device models.
    pub kinds: Vec<String>,
    /// Those of a pool are neighbours, in the order of pools.
    pub nodes: Vec<Node>,
    /// Share of its speed that a job on several nodes loses while another one on several nodes shares a node with it;
    /// 0 unless [`Self::with_interference`] says more.
    pub interference: f64,
    /// What its devices cost; unknown unless [`Self::with_costs`] says more.
    pub costs: Costs,
    first_nodes: Vec<u32>,
    devices: u64,
}

impl Fleet {
    /// # Errors
    /// If a pool is empty or the fleet is larger than the limits of this module.
    pub fn new(zones: Vec<Zone>, kinds: Vec<String>, pools: Vec<Pool>) -> Result<Fleet, FleetError> {
        let too_many = |what, got: usize, limit: usize| match got > limit {
            true => Err(FleetError::TooMany { what, got: got as u64, limit: limit as u64 }),
            false => Ok(()),
        };
        too_many("pools", pools.len(), MAX_POOLS)?;
        too_many("zones", zones.len(), MAX_POOLS)?;
        too_many("device models", kinds.len(), MAX_POOLS)?;
        if pools.is_empty() {
            return Err(FleetError::Empty);
        }
        let mut devices = 0;
        for pool in &pools {
            if pool.nodes == 0 || pool.devices_per_node == 0 {
                let (nodes, devices) = (pool.nodes, pool.devices_per_node);
                return Err(FleetError::NoDevices { pool: pool.name.clone(), nodes, devices });
            }
            devices += u64::from(pool.nodes) * u64::from(pool.devices_per_node);
        }
        if devices > MAX_DEVICES {
            return Err(FleetError::TooMany { what: "devices", got: devices, limit: MAX_DEVICES });
        }
        let (mut nodes, mut first_nodes) = (Vec::new(), Vec::new());
        for (index, pool) in (0u8..).zip(&pools) {
            first_nodes.push(u32::try_from(nodes.len()).expect("at most MAX_DEVICES nodes"));
            let (zone, kind, devices) = (pool.zone, pool.kind, pool.devices_per_node);
            nodes.extend((0..pool.nodes).map(|_| Node { pool: PoolIndex(index), zone, kind, devices }));
        }
        let costs = Costs::unknown(pools.len(), zones.len());
        Ok(Fleet { zones, pools, kinds, nodes, interference: 0.0, costs, first_nodes, devices })
    }

    /// The fleet of a cluster file: a device for each slot.
    ///
    /// # Errors
    /// As [`Self::new`], and if nodes do not divide a pool's slots.
    pub fn of(cluster: &Cluster) -> Result<Fleet, FleetError> {
        let mut kinds: Vec<String> = cluster.pools.iter().map(|pool| pool.device.clone()).collect();
        kinds.sort();
        kinds.dedup();
        let pools = cluster.pools.iter().map(|pool| {
            let per_node = pool.devices_per_node.unwrap_or(pool.slots);
            if per_node == 0 || !pool.slots.is_multiple_of(per_node) {
                return Err(FleetError::PartOfANode {
                    pool: pool.name.to_string(),
                    slots: pool.slots,
                    per_node,
                });
            }
            let zone = cluster.zones.iter().position(|zone| zone.name == pool.zone);
            let unknown = || FleetError::UnknownZone { pool: pool.name.to_string(), zone: pool.zone.clone() };
            let index = |position: usize| u8::try_from(position).expect("at most MAX_POOLS zones and models");
            Ok(Pool {
                name: pool.name.to_string(),
                zone: ZoneIndex(index(zone.ok_or_else(unknown)?)),
                kind: Kind(index(kinds.iter().position(|kind| *kind == pool.device).unwrap_or(0))),
                terms: pool.terms,
                nodes: u32::from(pool.slots / per_node),
                devices_per_node: u32::from(per_node),
                provisioning: Span::from_secs(pool.provisioning_s.into()),
            })
        });
        let too_many =
            |what, got: usize| FleetError::TooMany { what, got: got as u64, limit: MAX_POOLS as u64 };
        if cluster.zones.len() > MAX_POOLS {
            return Err(too_many("zones", cluster.zones.len()));
        }
        if cluster.pools.len() > MAX_POOLS {
            return Err(too_many("pools", cluster.pools.len()));
        }
        Fleet::new(cluster.zones.clone(), kinds.clone(), pools.collect::<Result<_, _>>()?)
    }

    /// Distributed jobs that share a node lose `share` of their speed, from 0 to 1. Source: Pollux, section 5.3.2.
    #[must_use]
    pub fn with_interference(self, share: f64) -> Fleet {
        Fleet { interference: share.clamp(0.0, 1.0), ..self }
    }

    #[must_use]
    pub fn with_costs(self, costs: Costs) -> Fleet {
        Fleet { costs, ..self }
    }

    /// One private pool of one node: no topology and no costs.
    ///
    /// # Errors
    /// If there are no devices, or more than [`MAX_DEVICES`].
    pub fn flat(devices: u32) -> Result<Fleet, FleetError> {
        Fleet::uniform(1, devices)
    }

    /// One private pool of equal nodes.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn uniform(nodes: u32, devices_per_node: u32) -> Result<Fleet, FleetError> {
        let name = ZoneId::new("pool").expect("a literal name");
        let zone = Zone::new(name, Trust::Private, "us");
        let pool = Pool {
            name: "pool".to_owned(),
            zone: ZoneIndex(0),
            kind: Kind(0),
            terms: Terms::Private,
            nodes,
            devices_per_node,
            provisioning: Span(0),
        };
        Fleet::new(vec![zone], vec!["device".to_owned()], vec![pool])
    }

    pub fn node(&self, node: NodeIndex) -> &Node {
        &self.nodes[node.index()]
    }

    pub fn pool(&self, pool: PoolIndex) -> &Pool {
        &self.pools[pool.index()]
    }

    pub fn zone(&self, zone: ZoneIndex) -> &Zone {
        &self.zones[zone.index()]
    }

    pub fn nodes_of(&self, pool: PoolIndex) -> impl Iterator<Item = NodeIndex> + use<> {
        let first = self.first_nodes[pool.index()];
        (first..first + self.pool(pool).nodes).map(NodeIndex)
    }

    /// All pools, in order.
    pub fn pool_indices(&self) -> impl Iterator<Item = PoolIndex> + use<> {
        (0u8..).take(self.pools.len()).map(PoolIndex)
    }

    /// Of all pools.
    pub fn devices(&self) -> u64 {
        self.devices
    }

    /// Of the pools in `pools`.
    pub fn devices_in(&self, pools: PoolSet) -> u64 {
        let chosen = self.pool_indices().filter(|pool| pools.contains(*pool)).map(|pool| self.pool(pool));
        chosen.map(|pool| u64::from(pool.nodes) * u64::from(pool.devices_per_node)).sum()
    }
}
