//! Causal attention: what it must move is little beside what it computes, so that its share of the copy says nothing.

use anyhow::Context;
use hcrun_kernels::attention::Shape;
use hcrun_kernels::device::Kernel;
use hcrun_kernels::device_attention::{Backward, DeviceAttention, Forward};
use hcrun_kernels::launch;

use super::{Memory, Setup};

/// Tokens of a sequence at most; heads of each.
const LENGTH: usize = 2048;
const HEADS: usize = 2;

pub(super) fn setup(mut memory: Memory<'_>, kernel: &Kernel, elems: usize) -> anyhow::Result<Option<Setup>> {
    let name = kernel.name;
    // The widest head of an instance; that of delta is as good as any.
    let head_width = name.rsplit('_').next().and_then(|width| width.parse().ok()).unwrap_or(64);
    // An arena holds queries, keys, values, and what becomes of them.
    let tokens = (elems / (4 * HEADS * head_width)).max(1);
    let length = tokens.min(LENGTH);
    let shape = Shape { sequences: tokens / length, length, heads: HEADS, head_width };
    let rows = shape.sequences * length * HEADS;
    let out_elems = rows * head_width;
    let arrays = Backward {
        qkv: memory.filled(3 * out_elems)?,
        out: memory.filled(out_elems)?,
        lse: memory.filled(rows)?,
        dout: memory.filled(out_elems)?,
        delta: memory.filled(rows)?,
        dqkv: memory.filled(3 * out_elems)?,
    };
    let Backward { qkv, out, lse, dout, delta, dqkv } = arrays;
    let (n_rows, elems) = (rows as u64, out_elems as u64);
    if name == "attention_delta" {
        let (length, heads) = (length as u64, HEADS as u64);
        let head_width = u32::try_from(head_width).context("a head")?;
        let launch = launch::AttentionDelta { n: n_rows, length, heads, head_width, out, dout, delta };
        let size = (n_rows, 4 * elems + 4 * n_rows);
        let counted = format!("4 an element of {shape:?} read, 4 a head written");
        return Ok(Some(Setup::new(memory, size, counted, move |device| launch.launch(device))));
    }
    let attention = DeviceAttention::new(shape)?;
    Ok(Some(match name {
        "attention_32" | "attention_64" | "attention_128" => {
            let counted = format!("6 an element of {shape:?} read, 2 written; 4 a head written");
            let size = (n_rows, 8 * elems + 4 * n_rows);
            Setup::new(memory, size, counted, move |device| {
                attention.forward(device, Forward { qkv, out, lse })
            })
        }
        _ if name.starts_with("attention_backward_queries_") => {
            let counted = format!("8 an element of {shape:?} read, 2 written; 8 a head read");
            let size = (n_rows, 10 * elems + 8 * n_rows);
            Setup::new(memory, size, counted, move |device| {
                attention.backward_queries(device, Backward { qkv, out, lse, dout, delta, dqkv })
            })
        }
        _ if name.starts_with("attention_backward_keys_") => {
            let counted = format!("8 an element of {shape:?} read, 4 written; 8 a head read");
            let size = (n_rows, 12 * elems + 8 * n_rows);
            Setup::new(memory, size, counted, move |device| {
                attention.backward_keys(device, Backward { qkv, out, lse, dout, delta, dqkv })
            })
        }
        _ => return Ok(None),
    }))
}
