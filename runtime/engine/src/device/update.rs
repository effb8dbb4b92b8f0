//! The optimizer on a device: state of owned ranges, updated by the kernels that have the CPU's bits.

use std::ops::Range;

use hcrun_kernels::device::{Address, Device, DeviceBuffer, DeviceError, HostBuffer};
use hcrun_kernels::launch;
use hcrun_kernels::step_block::StepBlock;
use hcrun_protocol::job::{self, Train};
use hcrun_protocol::model::ModelProfile;

use super::arenas::{Arenas, clear};
use crate::optimizer::{StateError, StepScalars, decay_zones, restored, state_names, step_block};

pub(super) struct DeviceOptimizer {
    train: Train,
    arena_elems: usize,
    owned: Vec<Range<usize>>,
    /// Where decay changes: ends of zones of the arena, and the decay in each.
    zones: u64,
    ends: DeviceBuffer,
    decays: DeviceBuffer,
    step: DeviceBuffer,
    step_on_host: HostBuffer,
    /// Owned ranges, one after the other, by name.
    states: Vec<(&'static str, DeviceBuffer)>,
}

impl DeviceOptimizer {
    #[expect(clippy::cast_possible_truncation, reason = "settings are rounded once, to f32")]
    pub(super) fn new(
        device: &dyn Device,
        train: &Train,
        profile: &ModelProfile,
        owned: Vec<Range<usize>>,
    ) -> Result<DeviceOptimizer, DeviceError> {
        let zones = decay_zones(profile);
        let ends: Vec<u64> = zones.iter().map(|(range, _)| range.end as u64).collect();
        let decay = |decays: bool| if decays { train.weight_decay as f32 } else { 0.0 };
        let decays: Vec<f32> = zones.iter().map(|(_, decays)| decay(*decays)).collect();
        let owned_elems: usize = owned.iter().map(Range::len).sum();
        let state = |name: &&'static str| {
            let values = device.allocate(size_of::<f32>() * owned_elems)?;
            clear(device, &values, owned_elems)?;
            Ok((*name, values))
        };
        let step_bytes = size_of::<u32>() * StepBlock::WORDS;
        Ok(DeviceOptimizer {
            train: train.clone(),
            arena_elems: profile.arena_elems,
            zones: zones.len() as u64,
            ends: filled(device, bytemuck::cast_slice(&ends))?,
            decays: filled(device, bytemuck::cast_slice(&decays))?,
            step: device.allocate(step_bytes)?,
            step_on_host: device.allocate_host(step_bytes)?,
            states: state_names(train.optimizer).iter().map(state).collect::<Result<_, DeviceError>>()?,
            owned,
        })
    }

    pub(super) fn owned(&self) -> &[Range<usize>] {
        &self.owned
    }

    /// Launches the update of the owned ranges, whose gradient sums lie in the gradient's arena.
    pub(super) fn apply(
        &mut self,
        device: &dyn Device,
        scalars: &StepScalars,
        arenas: &Arenas,
    ) -> Result<(), DeviceError> {
        let words = step_block(&self.train, scalars).words();
        let bytes = 0..size_of_val(&words);
        self.step_on_host.write(bytes.clone()).copy_from_slice(bytemuck::cast_slice(&words));
        device.start_write(&mut self.step_on_host, bytes, &self.step, 0)?;
        let mut state_offset = 0;
        for range in &self.owned {
            self.update(device, range, state_offset, arenas)?;
            state_offset += range.len();
        }
        Ok(())
    }

    fn update(
        &self,
        device: &dyn Device,
        range: &Range<usize>,
        state_offset: usize,
        arenas: &Arenas,
    ) -> Result<(), DeviceError> {
        let whole = 0..self.arena_elems;
        let (n, begin) = (range.len() as u64, range.start as u64);
        let (step, segments, ends, decays) =
            (self.step.at(0), self.zones, self.ends.at(0), self.decays.at(0));
        let (params, gradient) = (arenas.parameters(&whole), arenas.gradient(&whole));
        let (out, copy) = (arenas.next(&whole), arenas.narrow(&whole));
        let state = |index: usize| {
            let values = self.states.get(index).map(|(_, values)| values);
            let address = |values: &DeviceBuffer| values.at(size_of::<f32>() * state_offset);
            values.map_or(Address::NULL, address).less(begin)
        };
        macro_rules! launch {
            ($kernel:ident { $($field:ident: $index:literal),* }) => {
                launch::$kernel {
                    n, begin, step, segments, ends, decays, params, gradient, $($field: state($index),)* out, copy,
                }
                .launch(device)
            };
        }
        match self.train.optimizer {
            job::Optimizer::Sgd => launch!(Sgd {}),
            job::Optimizer::Momentum => launch!(Momentum { velocity: 0 }),
            job::Optimizer::Nesterov => launch!(Nesterov { velocity: 0 }),
            job::Optimizer::Adam => launch!(Adam { first: 0, second: 1 }),
            job::Optimizer::Adamw => launch!(Adamw { first: 0, second: 1 }),
        }
    }

    /// As [`crate::optimizer::Optimizer::export`].
    pub(super) fn export(&self, device: &dyn Device) -> Result<Vec<(String, Vec<f32>)>, DeviceError> {
        let owned_elems: usize = self.owned.iter().map(Range::len).sum();
        let state = |(name, buffer): &(&'static str, DeviceBuffer)| {
            let mut values = vec![0.0_f32; owned_elems];
            device.read(buffer, 0, bytemuck::cast_slice_mut(&mut values))?;
            Ok(((*name).to_owned(), values))
        };
        self.states.iter().map(state).collect()
    }

    /// As [`crate::optimizer::Optimizer::restore`].
    pub(super) fn restore(
        &self,
        device: &dyn Device,
        arenas: &[(String, Vec<f32>)],
    ) -> Result<(), RestoreError> {
        let names: Vec<&'static str> = self.states.iter().map(|(name, _)| *name).collect();
        let states = restored(&names, self.arena_elems, &self.owned, arenas)?;
        for ((_, buffer), values) in self.states.iter().zip(states) {
            device.write(buffer, 0, bytemuck::cast_slice(&values))?;
        }
        Ok(())
    }
}

/// Why stored state cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestoreError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Device(#[from] DeviceError),
}

fn filled(device: &dyn Device, bytes: &[u8]) -> Result<DeviceBuffer, DeviceError> {
    let buffer = device.allocate(bytes.len())?;
    device.write(&buffer, 0, bytes)?;
    Ok(buffer)
}
