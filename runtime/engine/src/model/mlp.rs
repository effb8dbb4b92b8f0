//! Linear layers with ReLU between them.

use crate::graph::{Graph, Value};
use crate::spec::ModelSpec;

/// Pushes the whole model; returns its predictions.
pub(super) fn build(graph: &mut Graph, spec: &ModelSpec, features: Value, widths: &[usize]) -> Value {
    let mut x = features;
    for (layer, outputs) in widths[1..].iter().enumerate() {
        if layer > 0 {
            x = graph.relu(x);
        }
        let range = |part: &str| spec.range(&format!("layers.{layer}.{part}"));
        x = graph.linear(x, *outputs, range("weight"), Some(range("bias")));
    }
    x
}
