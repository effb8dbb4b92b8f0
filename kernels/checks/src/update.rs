//! Optimizer updates.

use hcrun_kernels::device::{Address, Device};
use hcrun_kernels::step_block::StepBlock;
use hcrun_kernels::update::{self, Moments, StateRounding};
use hcrun_kernels::{launch, update_bf16};

use crate::placed::{Bits, Placed, nearest_bf16, same};
use crate::values::{LENGTHS, SHARDS, any, finite, shards};
use crate::{Case, Failure};

pub(crate) const CASES: &[Case] = &[
    Case { name: "updates_have_the_bits_of_the_cpu", run: bits },
    Case { name: "updates_in_any_number_of_shards_have_the_bits_of_the_whole", run: sharded },
    Case { name: "misaligned_updates_have_the_same_bits", run: misaligned },
    Case { name: "a_skipped_step_leaves_the_state_and_copies_the_parameters", run: skipped },
    Case { name: "decay_changes_at_the_bounds_of_segments", run: segments },
    Case { name: "updates_beyond_32_bits_reach_their_elements", run: far_indices },
    Case { name: "a_permuted_gradient_gives_other_parameters", run: permuted },
];

pub(crate) const LAST_BLOCK_CASES: &[Case] =
    &[Case { name: "updates_of_more_than_32_bits_reach_their_last_elements", run: last_block }];

pub(crate) const STEP: StepBlock = StepBlock {
    learning_rate: 0.01,
    gradient_scale: 0.3,
    moments: Moments { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, step_size: 0.02, correction2_sqrt: 0.4 },
    momentum: 0.9,
    skip: false,
    rounding: StateRounding::Stochastic { stream: 0x1234_5678_9abc_def0 },
};

/// One kernel and the CPU's function of the same meaning, with state of type `S`.
struct Rule<S> {
    name: &'static str,
    launch: fn(&dyn Device, &Launched<S>) -> Result<(), Failure>,
    cpu: fn(&OnCpu<'_>, &mut [S], &mut [S], &mut [f32]),
}

/// Arguments of all kernels.
struct Launched<S> {
    n: u64,
    begin: u64,
    step: Address<u32>,
    segments: u64,
    ends: Address<u64>,
    decays: Address<f32>,
    params: Address<f32>,
    gradient: Address<f32>,
    first: Address<S>,
    second: Address<S>,
    out: Address<f32>,
    copy: Address<u16>,
}

/// What all of the CPU's functions read.
struct OnCpu<'a> {
    step: &'a StepBlock,
    decay: f32,
    /// Index in the arena of the first element.
    start: u64,
    params: &'a [f32],
    gradient: &'a [f32],
}

impl OnCpu<'_> {
    fn scalars(&self) -> update::Scalars {
        self.step.scalars(self.decay)
    }

    fn span(&self) -> update_bf16::Span {
        update_bf16::Span { start: self.start, rounding: self.step.rounding, scalars: self.scalars() }
    }
}

macro_rules! rule {
    ($name:literal, $kernel:ident { $($state:ident: $from:ident),* }, $cpu:expr) => {
        Rule {
            name: $name,
            launch: |device, launched| {
                let kernel = launch::$kernel {
                    n: launched.n,
                    begin: launched.begin,
                    step: launched.step,
                    segments: launched.segments,
                    ends: launched.ends,
                    decays: launched.decays,
                    params: launched.params,
                    gradient: launched.gradient,
                    $($state: launched.$from,)*
                    out: launched.out,
                    copy: launched.copy,
                };
                Ok(kernel.launch(device)?)
            },
            cpu: $cpu,
        }
    };
}

const F32_RULES: &[Rule<f32>] = &[
    rule!("sgd", Sgd {}, |on, _, _, out| update::sgd(on.scalars(), on.params, on.gradient, out)),
    rule!("momentum", Momentum { velocity: first }, |on, velocity, _, out| {
        update::momentum(on.scalars(), on.step.momentum, on.params, on.gradient, velocity, out);
    }),
    rule!("nesterov", Nesterov { velocity: first }, |on, velocity, _, out| {
        update::nesterov(on.scalars(), on.step.momentum, on.params, on.gradient, velocity, out);
    }),
    rule!("adam", Adam { first: first, second: second }, |on, first, second, out| {
        update::adam(on.scalars(), on.step.moments, on.params, on.gradient, first, second, out);
    }),
    rule!("adamw", Adamw { first: first, second: second }, |on, first, second, out| {
        update::adamw(on.scalars(), on.step.moments, on.params, on.gradient, first, second, out);
    }),
];

const BF16_RULES: &[Rule<u16>] = &[
    rule!("momentum_bf16", MomentumBf16 { velocity: first }, |on, velocity, _, out| {
        let factor = on.step.momentum;
        update_bf16::momentum(on.span(), factor, on.params, on.gradient, velocity, out);
    }),
    rule!("nesterov_bf16", NesterovBf16 { velocity: first }, |on, velocity, _, out| {
        let factor = on.step.momentum;
        update_bf16::nesterov(on.span(), factor, on.params, on.gradient, velocity, out);
    }),
    rule!("adam_bf16", AdamBf16 { first: first, second: second }, |on, first, second, out| {
        let moments = on.step.moments;
        update_bf16::adam(on.span(), moments, on.params, on.gradient, first, second, out);
    }),
    rule!("adamw_bf16", AdamwBf16 { first: first, second: second }, |on, first, second, out| {
        let moments = on.step.moments;
        update_bf16::adamw(on.span(), moments, on.params, on.gradient, first, second, out);
    }),
];

trait State: Bits {
    fn of(value: f32) -> Self;
}

impl State for f32 {
    fn of(value: f32) -> f32 {
        value
    }
}

impl State for u16 {
    fn of(value: f32) -> u16 {
        nearest_bf16(value)
    }
}

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

impl Arena {
    fn new(elems: usize, values: fn(u64, usize) -> Vec<f32>) -> Arena {
        let third = elems / 3;
        Arena {
            params: values(1, elems),
            gradient: values(2, elems),
            first: values(3, elems),
            second: values(4, elems).iter().map(|x| x.abs()).collect(),
            segments: vec![(third, 0.1), (third + 1, 0.0), ((third + 1).max(elems.saturating_sub(2)), 0.25)],
        }
    }

    fn elems(&self) -> usize {
        self.params.len()
    }

    /// The same by the CPU, a segment after the other.
    fn on_cpu<S: State>(&self, rule: &Rule<S>, step: &StepBlock, far: u64) -> Updated<S> {
        let states = |values: &[f32]| values.iter().map(|x| S::of(*x)).collect();
        let mut updated =
            Updated { first: states(&self.first), second: states(&self.second), out: self.params.clone() };
        if step.skip {
            return updated;
        }
        let mut start = 0;
        for (end, decay) in self.segments.iter().copied().chain([(self.elems(), 0.0)]) {
            let range = start..end.clamp(start, self.elems());
            let (params, gradient) = (&self.params[range.clone()], &self.gradient[range.clone()]);
            let on = OnCpu { step, decay, start: far + start as u64, params, gradient };
            (rule.cpu)(
                &on,
                &mut updated.first[range.clone()],
                &mut updated.second[range.clone()],
                &mut updated.out[range.clone()],
            );
            start = range.end;
        }
        updated
    }

    fn on_device<S: State>(
        &self,
        device: &dyn Device,
        rule: &Rule<S>,
        step: &StepBlock,
        How { parts, far, from_zero, shift }: How,
    ) -> Result<Updated<S>, Failure> {
        let elems = self.elems();
        let states = |values: &[f32]| values.iter().map(|x| S::of(*x)).collect::<Vec<S>>();
        let params = Placed::new(device, &self.params, shift)?;
        let gradient = Placed::new(device, &self.gradient, shift)?;
        let first = Placed::new(device, &states(&self.first), shift)?;
        let second = Placed::new(device, &states(&self.second), shift)?;
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

    fn compare_with<S: State>(
        &self,
        device: &dyn Device,
        rules: &[Rule<S>],
        step: &StepBlock,
        how: How,
    ) -> Result<(), Failure> {
        for rule in rules {
            let what = format!("{}, {} elements, {how:?}", rule.name, self.elems());
            let on_device = self.on_device(device, rule, step, how)?;
            on_device.expect(&what, &self.on_cpu(rule, step, how.far))?;
        }
        Ok(())
    }

    fn compare(&self, device: &dyn Device, step: &StepBlock, how: How) -> Result<(), Failure> {
        self.compare_with(device, F32_RULES, step, how)?;
        self.compare_with(device, BF16_RULES, step, how)
    }
}

struct Updated<S> {
    first: Vec<S>,
    second: Vec<S>,
    out: Vec<f32>,
}

impl<S: State> Updated<S> {
    fn expect(&self, what: &str, cpu: &Updated<S>) -> Result<(), Failure> {
        same(&format!("{what}: new parameters"), &self.out, &cpu.out)?;
        same(&format!("{what}: first moments"), &self.first, &cpu.first)?;
        same(&format!("{what}: second moments"), &self.second, &cpu.second)
    }
}

fn bits(device: &dyn Device) -> Result<(), Failure> {
    let nearest = StepBlock { rounding: StateRounding::Nearest, ..STEP };
    for elems in LENGTHS {
        let arena = Arena::new(elems, any);
        arena.compare(device, &STEP, WHOLE)?;
        arena.compare_with(device, BF16_RULES, &nearest, WHOLE)?;
    }
    Ok(())
}

/// Bug of others: draws that depend on the launch or the shard.
fn sharded(device: &dyn Device) -> Result<(), Failure> {
    for parts in SHARDS {
        Arena::new(2563, any).compare(device, &STEP, How { parts, ..WHOLE })?;
    }
    Ok(())
}

fn misaligned(device: &dyn Device) -> Result<(), Failure> {
    for shift in 1..4 {
        Arena::new(1031, any).compare(device, &STEP, How { shift, ..WHOLE })?;
    }
    Ok(())
}

/// Bug of others: a gradient of NaN sets the state to zero.
fn skipped(device: &dyn Device) -> Result<(), Failure> {
    let mut arena = Arena::new(1031, finite);
    arena.gradient.fill(f32::NAN);
    arena.compare(device, &StepBlock { skip: true, ..STEP }, How { parts: 2, ..WHOLE })
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
        arena.compare(device, &STEP, How { parts: 3, ..WHOLE })?;
    }
    Ok(())
}

/// Bug of others: 32-bit indices, wrong from 2^31 or 2^32 elements on.
fn far_indices(device: &dyn Device) -> Result<(), Failure> {
    for far in [(1 << 31) - 8, (1 << 32) - 8, (1 << 33) + 5] {
        Arena::new(1031, any).compare(device, &STEP, How { parts: 2, far, ..WHOLE })?;
    }
    Ok(())
}

/// The last five elements of 2^32 + 5, which only the last block of a launch touches: nothing else needs
/// memory. For devices that run that block alone.
fn last_block(device: &dyn Device) -> Result<(), Failure> {
    let arena = Arena { segments: Vec::new(), ..Arena::new(5, finite) };
    arena.compare(device, &STEP, How { far: 1 << 32, from_zero: true, ..WHOLE })
}

/// Bug of others: a comparison of norms alone does not see elements in the wrong place.
fn permuted(device: &dyn Device) -> Result<(), Failure> {
    let arena = Arena::new(257, finite);
    let mut other = arena.clone();
    other.gradient.swap(3, 4);
    for rule in F32_RULES {
        let updated = other.on_device(device, rule, &STEP, WHOLE)?;
        if updated.expect(rule.name, &arena.on_cpu(rule, &STEP, 0)).is_ok() {
            return Err(Failure::Other(format!("{}: a permuted gradient passes", rule.name)));
        }
    }
    Ok(())
}
