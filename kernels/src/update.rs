//! Optimizer updates: one pass over flat slices, with PyTorch's meaning.
//!
//! Only + - × ÷ √ on single elements, never contracted: an element's result depends on that element alone,
//! so that any shard count, slice bound and SIMD width gives the same bits. The new parameters go to a
//! second arena, so that a step is applied whole or not at all.

mod streaming;

pub(crate) use self::streaming::Element;
use crate::simd::kernel;

/// What every element of one range shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scalars {
    pub learning_rate: f32,
    /// Turns the sum of gradients into the clipped mean.
    pub gradient_scale: f32,
    /// Zero where the range does not decay.
    pub weight_decay: f32,
}

/// Of [`adam`] and [`adamw`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    /// `learning_rate / (1 - beta1^t)`.
    pub step_size: f32,
    /// `√(1 - beta2^t)`.
    pub correction2_sqrt: f32,
}

/// Of [`outer_nesterov`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outer {
    pub learning_rate: f32,
    pub momentum: f32,
    /// Turns the sum of changes into their mean.
    pub change_scale: f32,
}

/// How state in bf16 is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StateRounding {
    #[default]
    Nearest,
    /// Drawn such that the mean is the value, from this stream and the element's index in the arena: one
    /// stream a step.
    Stochastic { stream: u64 },
}

#[inline(always)]
fn adam_delta(moments: &Moments, gradient: f32, first: &mut f32, second: &mut f32) -> f32 {
    *first += (gradient - *first) * (1.0 - moments.beta1);
    *second = *second * moments.beta2 + gradient * gradient * (1.0 - moments.beta2);
    let scale = second.sqrt() / moments.correction2_sqrt + moments.epsilon;
    moments.step_size * (*first / scale)
}

/// The new parameter of one element.
#[inline(always)]
pub(crate) fn momentum_element(
    s: &Scalars,
    factor: f32,
    param: f32,
    gradient: f32,
    velocity: &mut f32,
) -> f32 {
    let g = gradient * s.gradient_scale + s.weight_decay * param;
    *velocity = factor * *velocity + g;
    param - s.learning_rate * *velocity
}

/// The new parameter of one element.
#[inline(always)]
pub(crate) fn nesterov_element(
    s: &Scalars,
    factor: f32,
    param: f32,
    gradient: f32,
    velocity: &mut f32,
) -> f32 {
    let g = gradient * s.gradient_scale + s.weight_decay * param;
    *velocity = factor * *velocity + g;
    param - s.learning_rate * (g + factor * *velocity)
}

kernel! {
    /// Plain stochastic gradient descent.
    pub fn sgd<'a>(scalars: Scalars, params: &'a [f32], gradient: &'a [f32], out: &'a mut [f32]) {
        let (params, gradient) = (&params[..out.len()], &gradient[..out.len()]);
        for i in 0..out.len() {
            let g = gradient[i] * scalars.gradient_scale + scalars.weight_decay * params[i];
            out[i] = params[i] - scalars.learning_rate * g;
        }
    }

    /// Heavy-ball momentum, without dampening.
    pub fn momentum<'a>(
        scalars: Scalars,
        factor: f32,
        params: &'a [f32],
        gradient: &'a [f32],
        velocity: &'a mut [f32],
        out: &'a mut [f32],
    ) {
        let (params, gradient) = (&params[..out.len()], &gradient[..out.len()]);
        let velocity = &mut velocity[..out.len()];
        for i in 0..out.len() {
            out[i] = momentum_element(&scalars, factor, params[i], gradient[i], &mut velocity[i]);
        }
    }

    /// Nesterov's momentum.
    pub fn nesterov<'a>(
        scalars: Scalars,
        factor: f32,
        params: &'a [f32],
        gradient: &'a [f32],
        velocity: &'a mut [f32],
        out: &'a mut [f32],
    ) {
        let (params, gradient) = (&params[..out.len()], &gradient[..out.len()]);
        let velocity = &mut velocity[..out.len()];
        for i in 0..out.len() {
            out[i] = nesterov_element(&scalars, factor, params[i], gradient[i], &mut velocity[i]);
        }
    }

    fn adam_cached<'a>(
        scalars: Scalars,
        moments: Moments,
        params: &'a [f32],
        gradient: &'a [f32],
        first: &'a mut [f32],
        second: &'a mut [f32],
        out: &'a mut [f32],
    ) {
        each(AdamElement { scalars, moments }, params, gradient, first, second, out);
    }

    fn adamw_cached<'a>(
        scalars: Scalars,
        moments: Moments,
        params: &'a [f32],
        gradient: &'a [f32],
        first: &'a mut [f32],
        second: &'a mut [f32],
        out: &'a mut [f32],
    ) {
        each(AdamwElement::new(&scalars, &moments), params, gradient, first, second, out);
    }

    /// The outer step of local training: Nesterov's momentum on the mean change since the last one.
    ///
    /// `change` is the sum over workers of `anchor - params`. Anchor and parameters become the same. Source:
    /// Douillard and others, "DiLoCo: distributed low-communication training of language models", 2023.
    pub fn outer_nesterov<'a>(
        outer: Outer,
        change: &'a [f32],
        anchor: &'a mut [f32],
        velocity: &'a mut [f32],
        params: &'a mut [f32],
    ) {
        let change = &change[..params.len()];
        let (anchor, velocity) = (&mut anchor[..params.len()], &mut velocity[..params.len()]);
        for i in 0..params.len() {
            let g = change[i] * outer.change_scale;
            velocity[i] = outer.momentum * velocity[i] + g;
            anchor[i] -= outer.learning_rate * (g + outer.momentum * velocity[i]);
            params[i] = anchor[i];
        }
    }
}

/// Adam, with decay added to the gradient.
pub fn adam(
    scalars: Scalars,
    moments: Moments,
    params: &[f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    out: &mut [f32],
) {
    if streaming::pays(out.len()) {
        let element = AdamElement { scalars, moments };
        streaming::update(element, streaming::Range { params, gradient, first, second, out });
    } else {
        adam_cached(scalars, moments, params, gradient, first, second, out);
    }
}

/// Adam with decoupled decay. Source: Loshchilov and Hutter, 2019.
pub fn adamw(
    scalars: Scalars,
    moments: Moments,
    params: &[f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    out: &mut [f32],
) {
    if streaming::pays(out.len()) {
        let element = AdamwElement::new(&scalars, &moments);
        streaming::update(element, streaming::Range { params, gradient, first, second, out });
    } else {
        adamw_cached(scalars, moments, params, gradient, first, second, out);
    }
}

#[derive(Clone, Copy)]
pub(crate) struct AdamElement {
    pub(crate) scalars: Scalars,
    pub(crate) moments: Moments,
}

impl Element for AdamElement {
    #[inline(always)]
    fn update(&self, param: f32, gradient: f32, first: &mut f32, second: &mut f32) -> f32 {
        let g = gradient * self.scalars.gradient_scale + self.scalars.weight_decay * param;
        param - adam_delta(&self.moments, g, first, second)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct AdamwElement {
    gradient_scale: f32,
    /// What decay leaves of a parameter.
    keep: f32,
    moments: Moments,
}

impl AdamwElement {
    #[inline(always)]
    pub(crate) fn new(scalars: &Scalars, moments: &Moments) -> AdamwElement {
        AdamwElement {
            gradient_scale: scalars.gradient_scale,
            keep: 1.0 - scalars.learning_rate * scalars.weight_decay,
            moments: *moments,
        }
    }
}

impl Element for AdamwElement {
    #[inline(always)]
    fn update(&self, param: f32, gradient: f32, first: &mut f32, second: &mut f32) -> f32 {
        param * self.keep - adam_delta(&self.moments, gradient * self.gradient_scale, first, second)
    }
}

#[inline(always)]
fn each(
    element: impl Element,
    params: &[f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    out: &mut [f32],
) {
    let (params, gradient) = (&params[..out.len()], &gradient[..out.len()]);
    let (first, second) = (&mut first[..out.len()], &mut second[..out.len()]);
    for i in 0..out.len() {
        // Loaded before anything is stored: see `streaming`.
        let (param, gradient, mut m, mut v) = (params[i], gradient[i], first[i], second[i]);
        out[i] = element.update(param, gradient, &mut m, &mut v);
        first[i] = m;
        second[i] = v;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::tests::{MOMENTS, SCALARS};

    fn values(seed: u64, elems: usize) -> Vec<f32> {
        let mut draws = hcrun_protocol::Prng::new(seed);
        (0..elems).map(|_| f32::from(draws.next_u64().to_le_bytes()[0]) / 77.0 - 1.5).collect()
    }

    /// Runs `update` over slices of `step` elements; returns new parameters and both states.
    fn over_slices(
        step: usize,
        update: impl Fn(&[f32], &[f32], &mut [f32], &mut [f32], &mut [f32]),
    ) -> [Vec<f32>; 3] {
        const ELEMS: usize = 203;
        let (params, gradient) = (values(1, ELEMS), values(2, ELEMS));
        let second = values(3, ELEMS).iter().map(|x| x * x).collect();
        let [mut first, mut second, mut out] = [values(4, ELEMS), second, vec![0.0; ELEMS]];
        for start in (0..ELEMS).step_by(step) {
            let range = start..(start + step).min(ELEMS);
            update(
                &params[range.clone()],
                &gradient[range.clone()],
                &mut first[range.clone()],
                &mut second[range.clone()],
                &mut out[range],
            );
        }
        [out, first, second]
    }

    /// One element at a time is what anyone can read; whole vectors must give its bits.
    #[test]
    fn slices_of_any_length_give_the_bits_of_single_elements() {
        type Update = fn(&[f32], &[f32], &mut [f32], &mut [f32], &mut [f32]);
        let updates: [Update; 5] = [
            |p, g, _, _, out| sgd(SCALARS, p, g, out),
            |p, g, first, _, out| momentum(SCALARS, 0.9, p, g, first, out),
            |p, g, first, _, out| nesterov(SCALARS, 0.9, p, g, first, out),
            |p, g, first, second, out| adam(SCALARS, MOMENTS, p, g, first, second, out),
            |p, g, first, second, out| adamw(SCALARS, MOMENTS, p, g, first, second, out),
        ];
        for (index, update) in updates.into_iter().enumerate() {
            let single = over_slices(1, update);
            assert!(single[0].iter().all(|x| x.is_finite()));
            for step in [3, 16, 64, 203] {
                assert_eq!(over_slices(step, update), single, "update {index}, slices of {step}");
            }
        }
    }
}
