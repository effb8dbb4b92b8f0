//! Optimizer updates.

use hcrun_kernels::device::{Address, Device};
use hcrun_kernels::launch;
use hcrun_kernels::step_block::StepBlock;
use hcrun_kernels::update::{self, Moments, StateRounding};

use crate::placed::{Placed, same};
use crate::values::{LENGTHS, SHARDS, any, finite, shards};
use crate::{Case, Failure};

pub(crate) const CASES: &[Case] = &[
    Case { name: "updates_have_the_bits_of_the_cpu", run: bits },
    Case { name: "any_number_of_shards_gives_the_bits_of_the_whole", run: sharded },
    Case { name: "misaligned_buffers_give_the_same_bits", run: misaligned },
    Case { name: "a_skipped_step_leaves_the_state_and_copies_the_parameters", run: skipped },
    Case { name: "decay_changes_at_the_bounds_of_segments", run: segments },
    Case { name: "indices_beyond_32_bits_reach_their_elements", run: far_indices },
    Case { name: "a_permuted_gradient_gives_other_parameters", run: permuted },
];

/// One kernel and the CPU's function of the same meaning.
struct Rule {
    name: &'static str,
    launch: fn(&dyn Device, &Launched) -> Result<(), Failure>,
    cpu: OnCpu,
}

/// Step, decay, parameters, gradient, both states, new parameters.
type OnCpu = fn(&StepBlock, f32, &[f32], &[f32], &mut [f32], &mut [f32], &mut [f32]);

const RULES: &[Rule] = &[Rule { name: "adamw", launch: launch_adamw, cpu: cpu_adamw }];

/// Arguments that all updates share.
struct Launched {
    n: u64,
    begin: u64,
    step: Address<u32>,
    segments: u64,
    ends: Address<u64>,
    decays: Address<f32>,
    params: Address<f32>,
    gradient: Address<f32>,
    first: Address<f32>,
    second: Address<f32>,
    out: Address<f32>,
    copy: Address<u16>,
}

fn launch_adamw(device: &dyn Device, launched: &Launched) -> Result<(), Failure> {
    let Launched { n, begin, step, segments, ends, decays, params, gradient, first, second, out, copy } =
        *launched;
    launch::Adamw { n, begin, step, segments, ends, decays, params, gradient, first, second, out, copy }
        .launch(device)?;
    Ok(())
}

fn cpu_adamw(
    step: &StepBlock,
    decay: f32,
    params: &[f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    out: &mut [f32],
) {
    update::adamw(step.scalars(decay), step.moments, params, gradient, first, second, out);
}

const STEP: StepBlock = StepBlock {
    learning_rate: 0.01,
    gradient_scale: 0.3,
    moments: Moments { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, step_size: 0.02, correction2_sqrt: 0.4 },
    momentum: 0.9,
    skip: false,
    rounding: StateRounding::Nearest,
};

/// An arena's range with all that an update reads.
#[derive(Clone)]
struct Arena {
    params: Vec<f32>,
    gradient: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    /// Ends and decays of segments; the rest does not decay.
    segments: Vec<(usize, f32)>,
}

impl Arena {
    fn new(elems: usize, values: fn(u64, usize) -> Vec<f32>) -> Arena {
        Arena {
            params: values(1, elems),
            gradient: values(2, elems),
            first: values(3, elems),
            second: values(4, elems).iter().map(|x| x.abs()).collect(),
            segments: vec![
                (elems / 3, 0.1),
                (elems / 3 + 1, 0.0),
                ((elems / 3 + 1).max(elems.saturating_sub(2)), 0.25),
            ],
        }
    }

    fn elems(&self) -> usize {
        self.params.len()
    }

    /// The same by the CPU, a segment after the other.
    fn on_cpu(&self, rule: &Rule, step: &StepBlock) -> Updated {
        let mut updated =
            Updated { first: self.first.clone(), second: self.second.clone(), out: self.params.clone() };
        if step.skip {
            return updated;
        }
        let mut start = 0;
        for (end, decay) in self.segments.iter().copied().chain([(self.elems(), 0.0)]) {
            let range = start..end.clamp(start, self.elems());
            (rule.cpu)(
                step,
                decay,
                &self.params[range.clone()],
                &self.gradient[range.clone()],
                &mut updated.first[range.clone()],
                &mut updated.second[range.clone()],
                &mut updated.out[range.clone()],
            );
            start = range.end;
        }
        updated
    }

    /// The same by the device.
    fn on_device(
        &self,
        device: &dyn Device,
        rule: &Rule,
        step: &StepBlock,
        How { parts, far, from_zero, shift }: How,
    ) -> Result<Updated, Failure> {
        let elems = self.elems();
        let params = Placed::new(device, &self.params, shift)?;
        let gradient = Placed::new(device, &self.gradient, shift)?;
        let first = Placed::new(device, &self.first, shift)?;
        let second = Placed::new(device, &self.second, shift)?;
        let out = Placed::new(device, &vec![7.0_f32; elems], shift)?;
        let copy = Placed::new(device, &vec![7_u16; elems], shift)?;
        let ends: Vec<u64> = self.segments.iter().map(|(end, _)| far + *end as u64).collect();
        let decays: Vec<f32> = self.segments.iter().map(|(_, decay)| *decay).collect();
        let (ends, decays) = (Placed::new(device, &ends, 0)?, Placed::new(device, &decays, 0)?);
        let words = Placed::new(device, &step.words(), 0)?;
        for shard in shards(elems, parts) {
            // From zero, the range begins at the arena's start, for which there is no memory.
            let launched = Launched {
                n: shard.len() as u64 + if from_zero { far } else { 0 },
                begin: if from_zero { 0 } else { far + shard.start as u64 },
                step: words.address(),
                segments: self.segments.len() as u64,
                ends: ends.address(),
                decays: decays.address(),
                params: params.address().less(far),
                gradient: gradient.address().less(far),
                first: first.address().less(far),
                second: second.address().less(far),
                out: out.address().less(far),
                copy: copy.address().less(far),
            };
            (rule.launch)(device, &launched)?;
        }
        device.synchronize()?;
        params.expect_unchanged(device, "the parameters read")?;
        gradient.expect_unchanged(device, "the gradient read")?;
        words.expect_unchanged(device, "the step's block")?;
        let updated = Updated {
            first: first.read(device, "first moments")?,
            second: second.read(device, "second moments")?,
            out: out.read(device, "new parameters")?,
        };
        let rounded: Vec<u16> = updated.out.iter().map(|x| nearest_bf16(*x)).collect();
        copy.expect(device, "the copy in bf16", &rounded)?;
        Ok(updated)
    }
}

/// How a device is to do it.
#[derive(Debug, Clone, Copy)]
struct How {
    /// Launches.
    parts: usize,
    /// The arena's element that the range begins at.
    far: u64,
    /// The launch begins at element 0 all the same.
    from_zero: bool,
    /// Elements of all buffers from an aligned place.
    shift: usize,
}

const WHOLE: How = How { parts: 1, far: 0, from_zero: false, shift: 0 };

struct Updated {
    first: Vec<f32>,
    second: Vec<f32>,
    out: Vec<f32>,
}

impl Updated {
    fn expect(&self, what: &str, cpu: &Updated) -> Result<(), Failure> {
        same(&format!("{what}: new parameters"), &self.out, &cpu.out)?;
        same(&format!("{what}: first moments"), &self.first, &cpu.first)?;
        same(&format!("{what}: second moments"), &self.second, &cpu.second)
    }
}

/// By the crate `half`, which is another implementation.
fn nearest_bf16(value: f32) -> u16 {
    if value.is_nan() { 0x7fc0 } else { half::bf16::from_f32(value).to_bits() }
}

fn compare(device: &dyn Device, arena: &Arena, step: &StepBlock, how: How) -> Result<(), Failure> {
    for rule in RULES {
        let what = format!("{}, {} elements, {how:?}", rule.name, arena.elems());
        arena.on_device(device, rule, step, how)?.expect(&what, &arena.on_cpu(rule, step))?;
    }
    Ok(())
}

fn bits(device: &dyn Device) -> Result<(), Failure> {
    for elems in LENGTHS {
        compare(device, &Arena::new(elems, any), &STEP, WHOLE)?;
    }
    Ok(())
}

fn sharded(device: &dyn Device) -> Result<(), Failure> {
    for parts in SHARDS {
        compare(device, &Arena::new(2563, any), &STEP, How { parts, ..WHOLE })?;
    }
    Ok(())
}

fn misaligned(device: &dyn Device) -> Result<(), Failure> {
    for shift in 1..4 {
        compare(device, &Arena::new(1031, any), &STEP, How { shift, ..WHOLE })?;
    }
    Ok(())
}

fn skipped(device: &dyn Device) -> Result<(), Failure> {
    let mut arena = Arena::new(1031, finite);
    arena.gradient.fill(f32::NAN);
    compare(device, &arena, &StepBlock { skip: true, ..STEP }, How { parts: 2, ..WHOLE })
}

fn segments(device: &dyn Device) -> Result<(), Failure> {
    let mut arena = Arena::new(3000, finite);
    for segments in [
        vec![],
        vec![(3000, 0.5)],
        vec![(0, 0.3), (1, 0.5), (2, 0.0), (1024, 0.7), (1025, 0.2), (2999, 0.4)],
        (0..1500).map(|index| (2 * index + 1, if index % 2 == 0 { 0.5 } else { 0.0 })).collect(),
    ] {
        arena.segments = segments;
        compare(device, &arena, &STEP, How { parts: 3, ..WHOLE })?;
    }
    Ok(())
}

/// Bug of others: 32-bit indices, wrong from 2^31 or 2^32 elements on.
fn far_indices(device: &dyn Device) -> Result<(), Failure> {
    for far in [(1 << 31) - 8, (1 << 32) - 8, (1 << 33) + 5] {
        compare(device, &Arena::new(1031, any), &STEP, How { parts: 2, far, ..WHOLE })?;
    }
    Ok(())
}

/// The last five elements of 2^32 + 5, which only the last block of a launch touches: nothing else needs memory.
/// For devices that run that block alone.
pub(crate) fn last_block(device: &dyn Device) -> Result<(), Failure> {
    let arena = Arena { segments: Vec::new(), ..Arena::new(5, finite) };
    compare(device, &arena, &STEP, How { far: 1 << 32, from_zero: true, ..WHOLE })
}

/// Bug of others: a comparison of norms alone does not see elements in the wrong place.
fn permuted(device: &dyn Device) -> Result<(), Failure> {
    let arena = Arena::new(257, finite);
    let mut other = arena.clone();
    other.gradient.swap(3, 4);
    for rule in RULES {
        let updated = other.on_device(device, rule, &STEP, WHOLE)?;
        if updated.expect(rule.name, &arena.on_cpu(rule, &STEP)).is_ok() {
            return Err(Failure::Other(format!("{}: a permuted gradient passes", rule.name)));
        }
    }
    Ok(())
}
