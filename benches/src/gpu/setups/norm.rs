//! The global norm of an arena, and what a step makes of it.

use hcrun_kernels::launch;
use hcrun_protocol::units::chunk_elems;

use super::{Memory, Setup, step};

pub(super) fn setup(mut memory: Memory<'_>, kernel: &str, elems: usize) -> anyhow::Result<Option<Setup>> {
    // As many as a training step has of this arena.
    let chunk_elems = chunk_elems(elems);
    let chunks = elems.div_ceil(chunk_elems);
    let (n, of_partials) = (chunks as u64, 8 * chunks as u64);
    Ok(Some(match kernel {
        "norm_partials" => {
            let launch = launch::NormPartials {
                n,
                elems: elems as u64,
                chunk_elems: chunk_elems as u64,
                values: memory.varied(elems)?,
                partials: memory.filled(chunks)?,
            };
            let counted = format!("4 a value read, 8 a chunk of {chunk_elems} written");
            let bytes = 4 * elems as u64 + of_partials;
            Setup::new(memory, (n, bytes), counted, move |device| launch.launch(device))
        }
        "clip" => {
            let launch = launch::Clip {
                n,
                partials: memory.written(&vec![0.5f64; chunks])?,
                // Weight and limit.
                global: memory.written(&[8.0f64, 1.0])?,
                norm: memory.filled(1)?,
                step: memory.written(&step())?,
            };
            let counted = "8 a partial read by one block, 32 for the rest";
            Setup::new(memory, (n, of_partials + 32), counted, move |device| launch.launch(device))
        }
        _ => return Ok(None),
    }))
}
