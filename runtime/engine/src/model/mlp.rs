//! Linear layers with ReLU between them.

use hcrun_kernels::Real;

use crate::spec::ModelSpec;
use crate::tape::{Activation, Linear, Tape, Value};

/// Pushes the whole model; returns its predictions.
pub(super) fn build<T: Real>(
    tape: &mut Tape<T>,
    spec: &ModelSpec,
    features: Value,
    widths: &[usize],
) -> Value {
    let mut x = features;
    for (layer, outputs) in widths[1..].iter().enumerate() {
        if layer > 0 {
            x = Activation::relu(tape, x);
        }
        let range = |part: &str| spec.range(&format!("layers.{layer}.{part}"));
        x = Linear::push(tape, x, *outputs, range("weight"), Some(range("bias")));
    }
    x
}
