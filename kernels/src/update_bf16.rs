//! [`crate::update`] with its state in bf16: half the memory, and as exact as bf16 is.
//!
//! State is widened, updated in f32 and rounded; new parameters come from the state before it is rounded. Draws
//! are keyed on the element's index in the arena, `start` for the first of a slice, so that any division of the
//! arena gives the same bits.

use hcrun_protocol::prng::{GOLDEN_GAMMA, mix64};

use crate::simd::kernel;
use crate::update::{
    AdamElement, AdamwElement, Element, Moments, Scalars, StateRounding, momentum_element, nesterov_element,
};
use crate::wire::{Bf16, Half};

impl StateRounding {
    /// 64 bits for the states of element `index`, 16 each.
    #[inline(always)]
    fn draw(self, index: u64) -> u64 {
        match self {
            StateRounding::Nearest => 0,
            StateRounding::Stochastic { stream } => {
                mix64(stream.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN_GAMMA)))
            }
        }
    }

    /// With the upper 16 bits of `draw`.
    #[inline(always)]
    fn round(self, value: f32, draw: u64) -> u16 {
        match self {
            StateRounding::Nearest => Bf16.nearest(value),
            StateRounding::Stochastic { .. } => Bf16.drawn(value, (draw >> 32) as u32),
        }
    }
}

/// What the elements of one slice share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Index in the arena of the first.
    pub start: u64,
    pub rounding: StateRounding,
    pub scalars: Scalars,
}

kernel! {
    /// Heavy-ball momentum, without dampening.
    pub fn momentum<'a>(
        span: Span,
        factor: f32,
        params: &'a [f32],
        gradient: &'a [f32],
        velocity: &'a mut [u16],
        out: &'a mut [f32],
    ) {
        let (params, gradient) = (&params[..out.len()], &gradient[..out.len()]);
        let velocity = &mut velocity[..out.len()];
        for i in 0..out.len() {
            let draw = span.rounding.draw(span.start + i as u64);
            let mut speed = Bf16.value(velocity[i]);
            out[i] = momentum_element(&span.scalars, factor, params[i], gradient[i], &mut speed);
            velocity[i] = span.rounding.round(speed, draw);
        }
    }

    /// Nesterov's momentum.
    pub fn nesterov<'a>(
        span: Span,
        factor: f32,
        params: &'a [f32],
        gradient: &'a [f32],
        velocity: &'a mut [u16],
        out: &'a mut [f32],
    ) {
        let (params, gradient) = (&params[..out.len()], &gradient[..out.len()]);
        let velocity = &mut velocity[..out.len()];
        for i in 0..out.len() {
            let draw = span.rounding.draw(span.start + i as u64);
            let mut speed = Bf16.value(velocity[i]);
            out[i] = nesterov_element(&span.scalars, factor, params[i], gradient[i], &mut speed);
            velocity[i] = span.rounding.round(speed, draw);
        }
    }

    /// Adam, with decay added to the gradient.
    pub fn adam<'a>(
        span: Span,
        moments: Moments,
        params: &'a [f32],
        gradient: &'a [f32],
        first: &'a mut [u16],
        second: &'a mut [u16],
        out: &'a mut [f32],
    ) {
        each(span, AdamElement { scalars: span.scalars, moments }, params, gradient, first, second, out);
    }

    /// Adam with decoupled decay.
    pub fn adamw<'a>(
        span: Span,
        moments: Moments,
        params: &'a [f32],
        gradient: &'a [f32],
        first: &'a mut [u16],
        second: &'a mut [u16],
        out: &'a mut [f32],
    ) {
        each(span, AdamwElement::new(&span.scalars, &moments), params, gradient, first, second, out);
    }
}

#[inline(always)]
fn each(
    span: Span,
    element: impl Element,
    params: &[f32],
    gradient: &[f32],
    first: &mut [u16],
    second: &mut [u16],
    out: &mut [f32],
) {
    let (params, gradient) = (&params[..out.len()], &gradient[..out.len()]);
    let (first, second) = (&mut first[..out.len()], &mut second[..out.len()]);
    for i in 0..out.len() {
        let draw = span.rounding.draw(span.start + i as u64);
        let (mut a, mut b) = (Bf16.value(first[i]), Bf16.value(second[i]));
        out[i] = element.update(params[i], gradient[i], &mut a, &mut b);
        first[i] = span.rounding.round(a, draw);
        second[i] = span.rounding.round(b, draw << 16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALARS: Scalars = Scalars { learning_rate: 0.01, gradient_scale: 1.0, weight_decay: 0.0 };

    /// A velocity that gains less than half of its last place a step stands still if it is rounded to nearest.
    #[test]
    fn small_gains_are_kept_on_average_if_rounding_is_drawn() {
        let run = |rounding: fn(u64) -> StateRounding| {
            let (mut velocity, mut out) = (vec![0x3f80_u16; 1000], vec![0.0; 1000]);
            for step in 0..100 {
                let span = Span { start: 0, rounding: rounding(step), scalars: SCALARS };
                momentum(span, 1.0, &[0.0; 1000], &[1e-3; 1000], &mut velocity, &mut out);
            }
            velocity.iter().map(|bits| f64::from(Bf16.value(*bits))).sum::<f64>() / 1000.0
        };
        assert_eq!(run(|_| StateRounding::Nearest), 1.0);
        let drawn = run(|step| StateRounding::Stochastic { stream: mix64(step) });
        assert!((drawn - 1.1).abs() < 3e-3, "{drawn}");
    }

    #[test]
    fn slices_of_any_bounds_draw_the_same() {
        let gradient: Vec<f32> = (0..203_u8).map(|i| f32::from(i) / 77.0 - 1.3).collect();
        let run = |step: usize| {
            let moments =
                Moments { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, step_size: 0.02, correction2_sqrt: 0.4 };
            let (mut first, mut second) = (vec![0x3f81_u16; 203], vec![0x3c02_u16; 203]);
            let mut out = vec![0.0; 203];
            for start in (0..203).step_by(step) {
                let range = start..(start + step).min(203);
                let rounding = StateRounding::Stochastic { stream: 9 };
                let span = Span { start: start as u64, rounding, scalars: SCALARS };
                let (m, v) = (&mut first[range.clone()], &mut second[range.clone()]);
                let slice = &gradient[range.clone()];
                adamw(span, moments, slice, slice, m, v, &mut out[range]);
            }
            (first, second, out)
        };
        let whole = run(203);
        for step in [1, 7, 16, 64] {
            assert!(run(step) == whole, "slices of {step}");
        }
    }
}
