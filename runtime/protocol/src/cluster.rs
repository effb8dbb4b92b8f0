//! A cluster: which zones and pools exist. The typed form of `cluster.toml`.

use serde::{Deserialize, Serialize};

use crate::control::AssignedDevice;
use crate::ids::{PoolId, SlotId, ZoneId};
use crate::link::{Congestion, LinkSpec};
use crate::time::Span;
use crate::units::BitsPerSec;

/// Most workers of one job. Bounds every table that is sized by ranks, also from the wire.
pub const MAX_WORKERS: usize = 1_024;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    #[serde(rename = "zone")]
    pub zones: Vec<Zone>,
    #[serde(rename = "pool")]
    pub pools: Vec<Pool>,
    /// The zone the launcher runs in; its coordinator's certificate comes from that zone's authority and
    /// checkpoints are written there. Default: the first private zone.
    #[serde(default)]
    pub launcher_zone: Option<ZoneId>,
    #[serde(default)]
    pub network: Network,
    /// A file of prices, relative to the cluster file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<String>,
}

/// What is known of the network between zones. Without it links find out by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    pub congestion: Congestion,
    /// Between two zones, shared by all their links.
    pub rate: Option<BitsPerSec>,
    pub round_trip_ms: Option<u32>,
    /// Longest UDP payload that links try.
    pub mtu: Option<u16>,
}

impl Network {
    /// One of `links` that share the rate.
    pub fn link(&self, links: u64) -> LinkSpec {
        LinkSpec {
            congestion: self.congestion,
            rate: self.rate.map(|rate| BitsPerSec((rate.0 / links.max(1)).max(1))),
            round_trip: self.round_trip_ms.map(|ms| Span::from_millis(ms.into())),
            mtu: self.mtu,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    Private,
    Public,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    pub name: ZoneId,
    pub trust: Trust,
    /// Who answers for the zone; `internal` shards stay with one owner.
    pub owner: String,
    /// Who bills for it, as a price table names it; the owner when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Where it is, as a price table names it; the zone's name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl Zone {
    pub fn new(name: ZoneId, trust: Trust, owner: impl Into<String>) -> Zone {
        Zone { name, trust, owner: owner.into(), provider: None, region: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// Processes on this machine, started by the launcher.
    #[default]
    Local,
    /// Processes on other hosts, each joined by hand with a join bundle (`run --wait-for-workers`).
    Manual,
}

/// On which terms a pool's nodes are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Terms {
    /// Owned: always there, paid for whether used or not.
    #[default]
    Private,
    /// Rented until given back.
    OnDemand,
    /// Rented until the provider wants it back.
    Spot,
}

impl Terms {
    pub const ALL: [Terms; 3] = [Terms::Private, Terms::OnDemand, Terms::Spot];

    /// The word in cluster files and price tables.
    pub fn name(self) -> &'static str {
        match self {
            Terms::Private => "private",
            Terms::OnDemand => "on-demand",
            Terms::Spot => "spot",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    pub name: PoolId,
    pub zone: ZoneId,
    #[serde(default)]
    pub backend: Backend,
    /// Most workers the pool can hold.
    pub slots: u16,
    /// Model of its devices, one per worker.
    #[serde(default = "default_device")]
    pub device: String,
    /// Devices of each node; all of the pool's on one node when left out.
    #[serde(default)]
    pub devices_per_node: Option<u16>,
    #[serde(default)]
    pub terms: Terms,
    /// From asking for a node to its first step.
    #[serde(default)]
    pub provisioning_s: u32,
    /// Whether other zones can dial its workers. With `false` they only dial out to them.
    #[serde(default = "default_reachable")]
    pub reachable: bool,
    /// First and last UDP port its workers listen on; any free port when left out.
    #[serde(default)]
    pub listen_ports: Option<[u16; 2]>,
    /// Price of one worker for an hour, in US dollars. Without it costs are unknown, not zero.
    #[serde(default)]
    pub usd_per_hour: Option<f64>,
    /// Where the price comes from and when it was read; needed with a price.
    #[serde(default)]
    pub price_source: Option<String>,
}

impl Pool {
    pub fn has_gpus(&self) -> bool {
        self.device != CPU
    }

    /// What a worker of this pool computes on: the CPU, or the GPU that its slot has on its node.
    pub fn device_of(&self, slot: &SlotId) -> AssignedDevice {
        if !self.has_gpus() {
            return AssignedDevice::Cpu;
        }
        let on_node = self.devices_per_node.filter(|count| *count > 0).unwrap_or(u16::MAX);
        AssignedDevice::Gpu { index: u32::from(slot.index % on_node) }
    }
}

/// The device of pools whose workers compute on processors.
const CPU: &str = "cpu";

fn default_device() -> String {
    CPU.to_owned()
}

fn default_reachable() -> bool {
    true
}

impl Cluster {
    /// The cluster of a single machine: one private and one public zone, without prices.
    pub fn local() -> Cluster {
        let zone = |name: &str, trust, owner: &str| {
            Zone::new(ZoneId::new(name).expect("a literal name"), trust, owner)
        };
        let pool = |name: &str| Pool {
            name: PoolId::new(name).expect("a literal name"),
            zone: ZoneId::new(name).expect("a literal name"),
            backend: Backend::Local,
            slots: 64,
            device: default_device(),
            devices_per_node: None,
            terms: Terms::Private,
            provisioning_s: 0,
            reachable: true,
            listen_ports: None,
            usd_per_hour: None,
            price_source: None,
        };
        Cluster {
            zones: vec![zone("private", Trust::Private, "us"), zone("public", Trust::Public, "cloud")],
            pools: vec![pool("private"), pool("public")],
            launcher_zone: None,
            network: Network::default(),
            prices: None,
        }
    }

    pub fn zone(&self, name: &ZoneId) -> Option<&Zone> {
        self.zones.iter().find(|zone| zone.name == *name)
    }

    pub fn pool(&self, name: &PoolId) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == *name)
    }

    /// The zone the launcher runs in; none only for a cluster without private zones or a named one.
    pub fn launcher_zone(&self) -> Option<&ZoneId> {
        let private = || self.zones.iter().find(|zone| zone.trust == Trust::Private).map(|zone| &zone.name);
        self.launcher_zone.as_ref().or_else(private).or(self.zones.first().map(|zone| &zone.name))
    }
}
