//! GPT-2's shape: learned positions, pre-norm blocks, a final norm, the head tied to the embedding.

use hcrun_kernels::Real;

use crate::spec::ModelSpec;
use crate::tape::{Activation, Linear, Tape, Value};

/// Pushes the whole model; returns its logits.
pub(super) fn build<T: Real>(
    tape: &mut Tape<T>,
    spec: &ModelSpec,
    layers: usize,
    width: usize,
    heads: usize,
) -> Value {
    let vocab = spec.outputs();
    let embedding = spec.range("transformer.wte.weight");
    let mut x = tape.embedding(width, embedding.clone(), spec.range("transformer.wpe.weight"));
    for layer in 0..layers {
        let block = format!("transformer.h.{layer}");
        let range = |part: &str| spec.range(&format!("{block}.{part}"));

        let normal = tape.layer_norm(x, range("ln_1.weight"), range("ln_1.bias"));
        let (weight, bias) = (range("attn.c_attn.weight"), range("attn.c_attn.bias"));
        let qkv = Linear::push(tape, normal, 3 * width, weight, Some(bias));
        let mixed = tape.attention(qkv, heads, spec.rows_per_sample());
        let (weight, bias) = (range("attn.c_proj.weight"), range("attn.c_proj.bias"));
        let mixed = Linear::push(tape, mixed, width, weight, Some(bias));
        x = tape.add(x, mixed);

        let normal = tape.layer_norm(x, range("ln_2.weight"), range("ln_2.bias"));
        let (weight, bias) = (range("mlp.c_fc.weight"), range("mlp.c_fc.bias"));
        let wide = Linear::push(tape, normal, 4 * width, weight, Some(bias));
        let wide = Activation::gelu(tape, wide);
        let (weight, bias) = (range("mlp.c_proj.weight"), range("mlp.c_proj.bias"));
        let narrow = Linear::push(tape, wide, width, weight, Some(bias));
        x = tape.add(x, narrow);
    }
    let x = tape.layer_norm(x, spec.range("transformer.ln_f.weight"), spec.range("transformer.ln_f.bias"));
    Linear::push(tape, x, vocab, embedding, None)
}
