//! Optimizers over the ranges of the arena that this worker owns.
//!
//! State exists for owned ranges only. An element's update depends on that element and the step's scalars
//! alone, so any division of the arena gives the same bits.

use std::ops::Range;

use hcrun_kernels::memory::zeros;
use hcrun_kernels::step_block::StepBlock;
use hcrun_kernels::update::{self, Moments, Scalars, StateRounding};
use hcrun_protocol::job::{self, Train};
use hcrun_protocol::model::ModelProfile;

/// What is the same for every element of a step, on every rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepScalars {
    pub learning_rate: f64,
    /// Turns gradient sums into the clipped mean: see [`crate::clip::clip`].
    pub gradient_scale: f32,
    /// Updates applied before this one, so 0 at the first; bias corrections follow from it.
    pub updates_before: u64,
    /// The gradient is not finite: parameters are copied, state stays.
    pub skip: bool,
}

/// Why stored state does not fit an optimizer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("the optimizer's state `{name}` is missing")]
    Missing { name: &'static str },
    #[error("the optimizer's state `{name}` has {got} elements, expected {expected}")]
    Length { name: &'static str, got: usize, expected: usize },
}

/// Settings and state of one worker's part of the optimizer.
#[derive(Debug, Clone)]
pub struct Optimizer {
    train: Train,
    arena_elems: usize,
    pieces: Vec<Piece>,
    owned_elems: usize,
    states: Vec<State>,
}

/// An owned range on one side of a decay boundary.
#[derive(Debug, Clone)]
struct Piece {
    range: Range<usize>,
    /// First element within the state vectors.
    state_offset: usize,
    decay: bool,
}

#[derive(Debug, Clone)]
struct State {
    /// PyTorch's name.
    name: &'static str,
    /// Owned ranges, one after the other.
    values: Vec<f32>,
}

/// The optimizer's state vectors by PyTorch's names, in the order in which they are exported.
pub fn state_names(optimizer: job::Optimizer) -> &'static [&'static str] {
    match optimizer {
        job::Optimizer::Sgd => &[],
        job::Optimizer::Momentum | job::Optimizer::Nesterov => &["momentum_buffer"],
        job::Optimizer::Adam | job::Optimizer::Adamw => &["exp_avg", "exp_avg_sq"],
    }
}

impl Optimizer {
    /// `owned`: ascending ranges of the arena that do not overlap; empty ones are fine.
    ///
    /// # Panics
    /// If a range ends outside of the arena.
    pub fn new(train: &Train, profile: &ModelProfile, owned: Vec<Range<usize>>) -> Optimizer {
        assert!(owned.iter().all(|range| range.end <= profile.arena_elems), "{owned:?} leaves the arena");
        let pieces = cut_at_decay(profile, &owned);
        let owned_elems = owned.iter().map(Range::len).sum();
        let state = |name: &&'static str| State { name, values: zeros(owned_elems) };
        Optimizer {
            train: train.clone(),
            arena_elems: profile.arena_elems,
            pieces,
            owned_elems,
            states: state_names(train.optimizer).iter().map(state).collect(),
        }
    }

    /// Writes the new parameters of the owned ranges to `out` and touches nothing else of it.
    ///
    /// All slices cover the whole arena; `gradient_sum` need hold only the owned ranges.
    ///
    /// # Panics
    /// If a slice is shorter than the arena.
    pub fn apply(&mut self, scalars: &StepScalars, params: &[f32], gradient_sum: &[f32], out: &mut [f32]) {
        let constants = Constants::new(&self.train, scalars);
        for piece in &self.pieces {
            let range = piece.range.clone();
            if scalars.skip {
                out[range.clone()].copy_from_slice(&params[range]);
                continue;
            }
            let state = piece.state_offset..piece.state_offset + range.len();
            let part = (&params[range.clone()], &gradient_sum[range.clone()], &mut out[range]);
            constants.update(self.train.optimizer, piece.decay, part, &mut self.states, state);
        }
    }

    /// State of the owned ranges, one after the other, by PyTorch's names.
    pub fn export(&self) -> Vec<(String, Vec<f32>)> {
        self.states.iter().map(|state| (state.name.to_owned(), state.values.clone())).collect()
    }

    /// Takes the owned ranges out of state vectors of the whole arena, as a checkpoint holds them.
    ///
    /// # Errors
    /// If a vector is missing or has another length; nothing has changed then.
    pub fn restore(&mut self, arenas: &[(String, Vec<f32>)]) -> Result<(), StateError> {
        let names: Vec<&'static str> = self.states.iter().map(|state| state.name).collect();
        let ranges: Vec<Range<usize>> = self.pieces.iter().map(|piece| piece.range.clone()).collect();
        let states = restored(&names, self.arena_elems, &ranges, arenas)?;
        self.states.iter_mut().zip(states).for_each(|(state, values)| state.values = values);
        Ok(())
    }

    /// Bytes of state this worker holds.
    pub fn state_bytes(&self) -> usize {
        self.states.len() * self.owned_elems * size_of::<f32>()
    }
}

/// The scalars of one step in the kernels' form.
struct Constants {
    with_decay: Scalars,
    without_decay: Scalars,
    momentum: f32,
    moments: Moments,
}

impl Constants {
    #[expect(clippy::cast_possible_truncation, reason = "settings are rounded once, to f32")]
    fn new(train: &Train, scalars: &StepScalars) -> Constants {
        let [beta1, beta2] = train.betas;
        let updates = (scalars.updates_before + 1) as f64;
        let without_decay = Scalars {
            learning_rate: scalars.learning_rate as f32,
            gradient_scale: scalars.gradient_scale,
            weight_decay: 0.0,
        };
        let moments = Moments {
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            epsilon: train.epsilon as f32,
            step_size: (scalars.learning_rate / (1.0 - libm::pow(beta1, updates))) as f32,
            correction2_sqrt: (1.0 - libm::pow(beta2, updates)).sqrt() as f32,
        };
        Constants {
            with_decay: Scalars { weight_decay: train.weight_decay as f32, ..without_decay },
            without_decay,
            momentum: train.momentum as f32,
            moments,
        }
    }

    fn update(
        &self,
        optimizer: job::Optimizer,
        decay: bool,
        (params, gradient, out): (&[f32], &[f32], &mut [f32]),
        states: &mut [State],
        state: Range<usize>,
    ) {
        let scalars = if decay { self.with_decay } else { self.without_decay };
        match (optimizer, states) {
            (job::Optimizer::Momentum, [velocity]) => {
                let velocity = &mut velocity.values[state];
                update::momentum(scalars, self.momentum, params, gradient, velocity, out);
            }
            (job::Optimizer::Nesterov, [velocity]) => {
                let velocity = &mut velocity.values[state];
                update::nesterov(scalars, self.momentum, params, gradient, velocity, out);
            }
            (job::Optimizer::Adam, [first, second]) => {
                let (first, second) = (&mut first.values[state.clone()], &mut second.values[state]);
                update::adam(scalars, self.moments, params, gradient, first, second, out);
            }
            (job::Optimizer::Adamw, [first, second]) => {
                let (first, second) = (&mut first.values[state.clone()], &mut second.values[state]);
                update::adamw(scalars, self.moments, params, gradient, first, second, out);
            }
            // The number of state vectors follows from the optimizer: `state_names`.
            _ => update::sgd(scalars, params, gradient, out),
        }
    }
}

/// The ranges of each named state, one after the other, out of vectors of the whole arena.
pub(crate) fn restored(
    names: &[&'static str],
    arena_elems: usize,
    ranges: &[Range<usize>],
    arenas: &[(String, Vec<f32>)],
) -> Result<Vec<Vec<f32>>, StateError> {
    let state = |name: &&'static str| {
        let found = arenas.iter().find(|(stored, _)| stored == name);
        let (_, arena) = found.ok_or(StateError::Missing { name })?;
        if arena.len() != arena_elems {
            return Err(StateError::Length { name, got: arena.len(), expected: arena_elems });
        }
        Ok(ranges.iter().flat_map(|range| &arena[range.clone()]).copied().collect())
    };
    names.iter().map(state).collect()
}

/// The scalars of one step as a device reads them; decay is apart.
pub(crate) fn step_block(train: &Train, scalars: &StepScalars) -> StepBlock {
    let constants = Constants::new(train, scalars);
    StepBlock {
        learning_rate: constants.without_decay.learning_rate,
        gradient_scale: constants.without_decay.gradient_scale,
        moments: constants.moments,
        momentum: constants.momentum,
        skip: scalars.skip,
        rounding: StateRounding::Nearest,
    }
}

/// The arena in ranges with and without decay; padding counts as without.
pub(crate) fn decay_zones(profile: &ModelProfile) -> Vec<(Range<usize>, bool)> {
    let mut zones: Vec<(Range<usize>, bool)> = Vec::new();
    let padding = (profile.parameters..profile.arena_elems, false);
    let segments = profile.segments.iter().map(|s| (s.offset..s.offset + s.elems(), s.decay));
    for (range, decay) in segments.chain([padding]) {
        match zones.last_mut() {
            Some((last, same)) if *same == decay && last.end == range.start => last.end = range.end,
            _ => zones.push((range, decay)),
        }
    }
    zones
}

/// Owned ranges cut where decay begins or ends.
fn cut_at_decay(profile: &ModelProfile, owned: &[Range<usize>]) -> Vec<Piece> {
    let zones = decay_zones(profile);
    let mut pieces = Vec::new();
    let mut state_offset = 0;
    for owned in owned {
        for (zone, decay) in &zones {
            let range = owned.start.max(zone.start)..owned.end.min(zone.end);
            if !range.is_empty() {
                let elems = range.len();
                pieces.push(Piece { range, state_offset, decay: *decay });
                state_offset += elems;
            }
        }
    }
    pieces
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test data is rounded to f32")]
#[expect(clippy::single_range_in_vec_init, reason = "one owned range, the whole arena")]
pub(crate) mod tests {
    use super::*;
    use crate::spec::{DataShape, ModelSpec};
    use hcrun_protocol::job::{LearningRateSchedule, Loss};

    const ALL: [job::Optimizer; 5] = [
        job::Optimizer::Sgd,
        job::Optimizer::Momentum,
        job::Optimizer::Nesterov,
        job::Optimizer::Adam,
        job::Optimizer::Adamw,
    ];

    pub(crate) fn train(optimizer: job::Optimizer) -> Train {
        Train {
            loss: Loss::CrossEntropy,
            optimizer,
            learning_rate: 0.01,
            final_learning_rate: 0.0,
            schedule: LearningRateSchedule::Constant,
            warmup_steps: 0,
            weight_decay: 0.1,
            momentum: 0.9,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            clip: 0.0,
            matmul: job::Matmul::F32,
            batch: 8,
            accumulation: 1,
            steps: 10,
            evaluate_every: 0,
            checkpoint_every: 0,
        }
    }

    fn profile() -> ModelProfile {
        let model = job::Model::Mlp { hidden: vec![61, 47] };
        ModelSpec::new(&model, DataShape::Table { features: 37, outputs: 3 }).unwrap().profile()
    }

    fn arena(elems: usize, seed: u64) -> Vec<f32> {
        let mut draws = hcrun_protocol::Prng::new(seed);
        (0..elems).map(|_| draws.normal() as f32).collect()
    }

    /// Parameters and state after five steps, with the arena owned in these parts.
    fn after_steps(optimizer: job::Optimizer, parts: usize) -> (Vec<f32>, Vec<Vec<f32>>) {
        let profile = profile();
        let elems = profile.arena_elems;
        let step = elems.div_ceil(parts).next_multiple_of(16);
        let shards = (0..elems).step_by(step).map(|start| start..(start + step).min(elems));
        let mut optimizers: Vec<Optimizer> =
            shards.map(|shard| Optimizer::new(&train(optimizer), &profile, vec![shard])).collect();
        let mut params = arena(elems, 1);
        params[profile.parameters..].fill(0.0);
        for updates_before in 0..5 {
            let mut gradient = arena(elems, 10 + updates_before);
            gradient[profile.parameters..].fill(0.0);
            let scalars =
                StepScalars { learning_rate: 0.01, gradient_scale: 0.3, updates_before, skip: false };
            let mut out = vec![f32::NAN; elems];
            optimizers.iter_mut().for_each(|part| part.apply(&scalars, &params, &gradient, &mut out));
            params = out;
        }
        let state = |index: usize| {
            optimizers.iter().flat_map(|part| part.export().remove(index).1).collect::<Vec<f32>>()
        };
        (params, (0..state_names(optimizer).len()).map(state).collect())
    }

    #[test]
    fn any_number_of_shards_gives_the_same_bits() {
        for optimizer in ALL {
            let (params, states) = after_steps(optimizer, 1);
            assert!(params.iter().all(|x| x.is_finite()));
            assert!(params[profile().parameters..].iter().all(|x| *x == 0.0), "padding moved");
            for parts in [2, 3, 7] {
                assert!(after_steps(optimizer, parts) == (params.clone(), states.clone()), "{optimizer:?}");
            }
        }
    }

    #[test]
    fn a_skipped_step_changes_neither_parameters_nor_state() {
        for optimizer in ALL {
            let profile = profile();
            let mut whole = Optimizer::new(&train(optimizer), &profile, vec![0..profile.arena_elems]);
            let (params, gradient) = (arena(profile.arena_elems, 1), vec![f32::NAN; profile.arena_elems]);
            let scalars =
                StepScalars { learning_rate: 0.01, gradient_scale: 1.0, updates_before: 3, skip: true };
            let (before, mut out) = (whole.export(), vec![f32::NAN; profile.arena_elems]);
            whole.apply(&scalars, &params, &gradient, &mut out);
            assert_eq!(out, params);
            assert_eq!(whole.export(), before);
        }
    }

    #[test]
    fn state_returns_to_any_division_of_the_arena() {
        let profile = profile();
        let elems = profile.arena_elems;
        let mut whole = Optimizer::new(&train(job::Optimizer::Adamw), &profile, vec![0..elems]);
        let scalars =
            StepScalars { learning_rate: 0.01, gradient_scale: 1.0, updates_before: 0, skip: false };
        whole.apply(&scalars, &arena(elems, 1), &arena(elems, 2), &mut vec![0.0; elems]);
        let stored = whole.export();
        let owned = vec![1024..2048, 3072..elems];
        let mut part = Optimizer::new(&train(job::Optimizer::Adamw), &profile, owned);
        part.restore(&stored).unwrap();
        let expected: Vec<f32> = [&stored[1].1[1024..2048], &stored[1].1[3072..]].concat();
        assert_eq!(part.export()[1].1, expected);

        let short = vec![stored[0].clone(), ("exp_avg_sq".to_owned(), vec![0.0; 3])];
        let expected = StateError::Length { name: "exp_avg_sq", got: 3, expected: elems };
        assert_eq!(part.restore(&short), Err(expected));
        assert_eq!(part.restore(&stored[..1]), Err(StateError::Missing { name: "exp_avg_sq" }));
    }
}
