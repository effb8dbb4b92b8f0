//! GPT-2's shape: learned positions, pre-norm blocks, a final norm, the head tied to the embedding.

use crate::graph::{Graph, Value};
use crate::spec::ModelSpec;

/// Pushes the whole model; returns its logits.
pub(super) fn build(graph: &mut Graph, spec: &ModelSpec, layers: usize, width: usize, heads: usize) -> Value {
    let vocab = spec.outputs();
    let embedding = spec.range("transformer.wte.weight");
    let mut x = graph.embedding(width, embedding.clone(), spec.range("transformer.wpe.weight"));
    for layer in 0..layers {
        let block = format!("transformer.h.{layer}");
        let range = |part: &str| spec.range(&format!("{block}.{part}"));

        let normal = graph.layer_norm(x, range("ln_1.weight"), range("ln_1.bias"));
        let (weight, bias) = (range("attn.c_attn.weight"), range("attn.c_attn.bias"));
        let qkv = graph.linear(normal, 3 * width, weight, Some(bias));
        let mixed = graph.attention(qkv, heads, spec.rows_per_sample());
        let (weight, bias) = (range("attn.c_proj.weight"), range("attn.c_proj.bias"));
        let mixed = graph.linear(mixed, width, weight, Some(bias));
        x = graph.add(x, mixed);

        let normal = graph.layer_norm(x, range("ln_2.weight"), range("ln_2.bias"));
        let (weight, bias) = (range("mlp.c_fc.weight"), range("mlp.c_fc.bias"));
        let wide = graph.linear(normal, 4 * width, weight, Some(bias));
        let wide = graph.gelu(wide);
        let (weight, bias) = (range("mlp.c_proj.weight"), range("mlp.c_proj.bias"));
        let narrow = graph.linear(wide, width, weight, Some(bias));
        x = graph.add(x, narrow);
    }
    let x = graph.layer_norm(x, spec.range("transformer.ln_f.weight"), spec.range("transformer.ln_f.bias"));
    graph.linear(x, vocab, embedding, None)
}
