//! The outer step of local training.

use hcrun_kernels::device::Device;
use hcrun_kernels::launch;
use hcrun_kernels::step_block::StepBlock;
use hcrun_kernels::update::{self, Outer};

use crate::placed::{Placed, same};
use crate::update::STEP;
use crate::values::{LENGTHS, SHARDS, any, finite, shards};
use crate::{Case, Failure};

pub(crate) const CASES: &[Case] = &[
    Case { name: "the_outer_step_has_the_bits_of_the_cpu", run: bits },
    Case { name: "a_skipped_outer_step_goes_back_to_the_anchor", run: skipped },
];

pub(crate) const LAST_BLOCK_CASES: &[Case] =
    &[Case { name: "outer_steps_of_more_than_32_bits_reach_their_last_elements", run: last_block }];

struct Outcome {
    anchor: Vec<f32>,
    velocity: Vec<f32>,
    params: Vec<f32>,
}

/// How a device is to do it: as for updates.
#[derive(Debug, Clone, Copy)]
struct How {
    parts: usize,
    far: u64,
    from_zero: bool,
    shift: usize,
}

const WHOLE: How = How { parts: 1, far: 0, from_zero: false, shift: 0 };

struct Arena {
    change: Vec<f32>,
    anchor: Vec<f32>,
    velocity: Vec<f32>,
    params: Vec<f32>,
}

impl Arena {
    fn new(elems: usize, values: fn(u64, usize) -> Vec<f32>) -> Arena {
        Arena {
            change: values(11, elems),
            anchor: values(12, elems),
            velocity: values(13, elems),
            params: values(14, elems),
        }
    }

    fn on_cpu(&self) -> Outcome {
        let outer = Outer {
            learning_rate: STEP.learning_rate,
            momentum: STEP.momentum,
            change_scale: STEP.gradient_scale,
        };
        let (mut anchor, mut velocity) = (self.anchor.clone(), self.velocity.clone());
        let mut params = self.params.clone();
        update::outer_nesterov(outer, &self.change, &mut anchor, &mut velocity, &mut params);
        Outcome { anchor, velocity, params }
    }

    fn on_device(
        &self,
        device: &dyn Device,
        step: &StepBlock,
        How { parts, far, from_zero, shift }: How,
    ) -> Result<Outcome, Failure> {
        let change = Placed::new(device, &self.change, shift)?;
        let anchor = Placed::new(device, &self.anchor, shift)?;
        let velocity = Placed::new(device, &self.velocity, shift)?;
        let params = Placed::new(device, &self.params, shift)?;
        let words = Placed::new(device, &step.words(), 0)?;
        for shard in shards(self.change.len(), parts) {
            launch::OuterNesterov {
                n: shard.len() as u64 + if from_zero { far } else { 0 },
                begin: if from_zero { 0 } else { far + shard.start as u64 },
                step: words.address(),
                change: change.address().less(far),
                anchor: anchor.address().less(far),
                velocity: velocity.address().less(far),
                params: params.address().less(far),
            }
            .launch(device)?;
        }
        device.synchronize()?;
        change.expect_unchanged(device, "the change")?;
        Ok(Outcome {
            anchor: anchor.read(device, "anchor")?,
            velocity: velocity.read(device, "velocity")?,
            params: params.read(device, "parameters")?,
        })
    }
}

fn compare(device: &dyn Device, elems: usize, how: How) -> Result<(), Failure> {
    let arena = Arena::new(elems, any);
    let (outcome, cpu) = (arena.on_device(device, &STEP, how)?, arena.on_cpu());
    same(&format!("anchor, {elems} elements, {how:?}"), &outcome.anchor, &cpu.anchor)?;
    same(&format!("velocity, {elems} elements, {how:?}"), &outcome.velocity, &cpu.velocity)?;
    same(&format!("parameters, {elems} elements, {how:?}"), &outcome.params, &cpu.params)
}

fn bits(device: &dyn Device) -> Result<(), Failure> {
    for elems in LENGTHS {
        compare(device, elems, WHOLE)?;
    }
    for parts in SHARDS {
        compare(device, 2563, How { parts, far: (1 << 32) - 9, ..WHOLE })?;
    }
    for shift in 1..4 {
        compare(device, 1031, How { shift, ..WHOLE })?;
    }
    Ok(())
}

/// As for updates, for devices that run the last block alone.
fn last_block(device: &dyn Device) -> Result<(), Failure> {
    compare(device, 5, How { far: 1 << 32, from_zero: true, ..WHOLE })
}

fn skipped(device: &dyn Device) -> Result<(), Failure> {
    let arena = Arena::new(1031, finite);
    let outcome = arena.on_device(device, &StepBlock { skip: true, ..STEP }, How { parts: 2, ..WHOLE })?;
    same("anchor", &outcome.anchor, &arena.anchor)?;
    same("velocity", &outcome.velocity, &arena.velocity)?;
    same("parameters", &outcome.params, &arena.anchor)
}
