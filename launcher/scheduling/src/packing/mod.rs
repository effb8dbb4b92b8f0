//! Packing requests onto nodes whose devices can be shared, by processor, memory and thousandths of a device.
//!
//! A [`Policy`] chooses the node and the devices of one request at a time; what is chosen stays. [`saturate`] fills
//! a fleet until it is full, which shows how much of it a policy leaves unusable.

mod best_fit;
mod cluster;
mod demand;
mod dot_product;
mod fgd;
mod gpu_packing;
mod random;
mod saturation;

pub use best_fit::BestFit;
pub use cluster::{Cluster, NodeId};
pub use demand::Demand;
pub use dot_product::DotProduct;
pub use fgd::Fgd;
pub use gpu_packing::GpuPacking;
pub use random::Random;
pub use saturation::{Curve, saturate};

use std::fmt;

/// A whole device, in thousandths.
pub const WHOLE: u16 = 1_000;
/// Most devices of one node.
pub const MAX_DEVICES: usize = 16;

/// Index into [`Models`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Model(pub u8);

/// Device models that a request allows, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelSet(pub u64);

impl ModelSet {
    pub const ALL: ModelSet = ModelSet(u64::MAX);

    pub fn contains(self, model: Model) -> bool {
        self.0 >> model.0 & 1 == 1
    }
}

/// Names of device models.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Models(Vec<String>);

impl Models {
    /// The model of that name, or none if there are 64 others already.
    pub fn of(&mut self, name: &str) -> Option<Model> {
        let known = self.0.iter().position(|model| model == name);
        let index = known.unwrap_or(self.0.len());
        if index >= 64 {
            return None;
        }
        if known.is_none() {
            self.0.push(name.to_owned());
        }
        u8::try_from(index).ok().map(Model)
    }

    pub fn names(&self) -> &[String] {
        &self.0
    }
}

/// What a request asks of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    pub cpu_milli: u32,
    pub memory_mib: u32,
    /// Devices, possibly none.
    pub devices: u8,
    /// Of each device, in thousandths; a share of one device, or all of several.
    pub milli: u16,
    pub models: ModelSet,
}

impl Request {
    /// Thousandths of devices in all.
    pub fn device_milli(&self) -> u64 {
        u64::from(self.devices) * u64::from(self.milli)
    }
}

/// What is free on a node; on an empty one, the node itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub cpu_milli: u32,
    pub memory_mib: u32,
    pub model: Model,
    count: u8,
    devices: [u16; MAX_DEVICES],
}

impl Room {
    /// An empty node. Panics with more than [`MAX_DEVICES`] devices: readers check it.
    pub fn empty(cpu_milli: u32, memory_mib: u32, devices: u8, model: Model) -> Room {
        let mut free = [0; MAX_DEVICES];
        free[..usize::from(devices)].fill(WHOLE);
        Room { cpu_milli, memory_mib, model, count: devices, devices: free }
    }

    /// Free thousandths of each device.
    pub fn devices(&self) -> &[u16] {
        &self.devices[..usize::from(self.count)]
    }

    /// Free thousandths of all devices.
    pub fn device_milli(&self) -> u64 {
        self.devices().iter().map(|free| u64::from(*free)).sum()
    }

    /// Devices that nobody uses.
    pub fn idle_devices(&self) -> usize {
        self.devices().iter().filter(|free| **free == WHOLE).count()
    }

    pub fn fits(&self, request: &Request) -> bool {
        let enough = || self.devices().iter().filter(|free| **free >= request.milli).count();
        request.cpu_milli <= self.cpu_milli
            && request.memory_mib <= self.memory_mib
            && (request.devices == 0
                || request.models.contains(self.model) && enough() >= usize::from(request.devices))
    }

    /// What is left after `request` took `on`. Panics if it does not fit there.
    #[must_use]
    pub fn less(&self, request: &Request, on: Devices) -> Room {
        let mut left = *self;
        left.cpu_milli = left.cpu_milli.checked_sub(request.cpu_milli).expect("a request fits");
        left.memory_mib = left.memory_mib.checked_sub(request.memory_mib).expect("a request fits");
        for device in on.iter() {
            left.devices[device] = left.devices[device].checked_sub(request.milli).expect("a request fits");
        }
        left
    }

    /// The devices that a request takes, of those with room for it those with the least; a tie goes to the first.
    /// None if it does not fit.
    pub fn tightest(&self, request: &Request) -> Option<Devices> {
        if !self.fits(request) {
            return None;
        }
        let mut chosen = Devices::NONE;
        for _ in 0..request.devices {
            let free = self.devices().iter().enumerate();
            let open = free.filter(|(device, free)| **free >= request.milli && !chosen.contains(*device));
            chosen.insert(open.min_by_key(|(_, free)| **free)?.0);
        }
        Some(chosen)
    }
}

/// Devices of a node, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Devices(pub u16);

impl Devices {
    pub const NONE: Devices = Devices(0);

    pub fn one(device: usize) -> Devices {
        Devices(1 << device)
    }

    pub fn contains(self, device: usize) -> bool {
        self.0 >> device & 1 == 1
    }

    pub fn insert(&mut self, device: usize) {
        self.0 |= 1 << device;
    }

    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_DEVICES).filter(move |device| self.contains(*device))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    pub node: NodeId,
    pub devices: Devices,
}

/// Chooses where a request goes.
pub trait Policy: fmt::Debug {
    /// None if it fits nowhere. Ties go to the node that comes first.
    fn choose(&mut self, cluster: &Cluster, request: &Request) -> Option<Placement>;
}
