//! Embeddings, and the gradients of tokens that occur often, once and never.

use std::collections::BTreeMap;

use hcrun_kernels::device::Device;
use hcrun_kernels::embedding::{embed, embed_backward};
use hcrun_kernels::launch;
use hcrun_protocol::Prng;

use crate::close::{BF16, Tolerance, close, of_bf16, of_f32, to_bf16};
use crate::placed::Placed;
use crate::values::finite;
use crate::{Case, Failure};

pub(crate) const CASES: &[Case] =
    &[Case { name: "embeddings_and_their_gradients_are_those_of_the_cpu", run: embeddings }];

const VOCABULARY: usize = 40;

fn embeddings(device: &dyn Device) -> Result<(), Failure> {
    for (sequences, length, width) in [(1, 1, 1), (3, 7, 20), (2, 33, 768), (5, 16, 1031)] {
        for shift in [0, 3] {
            compare(device, sequences, length, width, shift)?;
        }
    }
    Ok(())
}

fn compare(
    device: &dyn Device,
    sequences: usize,
    length: usize,
    width: usize,
    shift: usize,
) -> Result<(), Failure> {
    let rows = sequences * length;
    let what = format!("{sequences} sequences of {length}, width {width}, shift {shift}");
    let mut draws = Prng::new(3);
    // Half of the vocabulary never occurs, and one token often.
    let mut draw = || if draws.below(2) == 0 { 7 } else { draws.below(VOCABULARY as u64 / 2) };
    let ids: Vec<u8> = (0..rows).map(|_| u8::try_from(draw()).unwrap_or(0)).collect();
    let (tokens, positions) = (finite(1, VOCABULARY * width), finite(2, (length + 1) * width));

    let wide_ids: Vec<u32> = ids.iter().map(|id| u32::from(*id)).collect();
    let placed_ids = Placed::new(device, &wide_ids, 0)?;
    let placed_tokens = Placed::new(device, &tokens, shift)?;
    let placed_positions = Placed::new(device, &positions, shift)?;
    let y = Placed::new(device, &vec![7_u16; rows * width], shift)?;
    launch::Embed {
        n: rows as u64,
        length: length as u64,
        width: width as u64,
        ids: placed_ids.address(),
        tokens: placed_tokens.address(),
        positions: placed_positions.address(),
        y: y.address(),
    }
    .launch(device)?;
    let mut expected = vec![0.0; rows * width];
    embed(&ids, length, width, &of_f32(&tokens), &of_f32(&positions), &mut expected);
    close(&what, BF16, &of_bf16(&y.read(device, &what)?), &expected)?;

    let dy = Placed::new(device, &to_bf16(&finite(4, rows * width)), shift)?;
    let mut buckets: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (row, id) in (0_u32..).zip(&wide_ids) {
        buckets.entry(*id).or_default().push(row);
    }
    let mut starts = vec![0_u32];
    for bucket in buckets.values() {
        let end = starts.last().copied().unwrap_or(0) + u32::try_from(bucket.len()).unwrap_or(0);
        starts.push(end);
    }
    let placed_occurring = Placed::new(device, &buckets.keys().copied().collect::<Vec<_>>(), 0)?;
    let placed_starts = Placed::new(device, &starts, 0)?;
    let placed_rows = Placed::new(device, &buckets.values().flatten().copied().collect::<Vec<_>>(), 0)?;
    let (dtokens, dpositions) =
        (Placed::new(device, &tokens, shift)?, Placed::new(device, &positions, shift)?);
    launch::EmbedBackward {
        n: buckets.len() as u64,
        width: width as u64,
        tokens: placed_occurring.address(),
        starts: placed_starts.address(),
        rows: placed_rows.address(),
        dy: dy.address(),
        gradient: dtokens.address(),
    }
    .launch(device)?;
    launch::PositionsBackward {
        n: length as u64,
        sequences: sequences as u64,
        width: width as u64,
        dy: dy.address(),
        gradient: dpositions.address(),
    }
    .launch(device)?;
    let (mut expected_tokens, mut expected_positions) = (of_f32(&tokens), of_f32(&positions));
    let wide = of_bf16(dy.values());
    embed_backward(&ids, length, width, &wide, &mut expected_tokens, &mut expected_positions);
    let tolerance = Tolerance { absolute: 1e-5, relative: 1e-6 };
    close(&format!("{what}: tokens"), tolerance, &of_f32(&dtokens.read(device, &what)?), &expected_tokens)?;
    let positions = of_f32(&dpositions.read(device, &what)?);
    close(&format!("{what}: positions"), tolerance, &positions, &expected_positions)
}
