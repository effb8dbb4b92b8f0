//! Causal attention, forward and backward, against the CPU in f64 on the same values of bf16.

use hcrun_kernels::device::Device;
use hcrun_kernels::device_attention::{AttentionError, DeviceAttention};

use crate::close::{close, of_bf16, of_f32};
use crate::placed::same;
use crate::{Case, Failure};

mod job;

use job::{Arrays, Job, LSE, Results, UNWRITTEN, device_attention, shape, values};

pub(crate) const CASES: &[Case] = &[
    Case { name: "attention_of_any_length_is_that_of_the_cpu", run: lengths },
    Case { name: "attention_of_heads_of_any_width_is_that_of_the_cpu", run: widths },
    Case { name: "misaligned_arrays_give_the_same_attention", run: misaligned },
    Case { name: "attention_has_the_same_bits_in_every_run", run: same_bits },
    Case { name: "later_tokens_change_nothing_before_them", run: causal },
    Case { name: "attention_to_equal_keys_is_a_mean", run: equal_scores },
    Case { name: "very_large_scores_choose_one_key_and_overflow_nothing", run: large_scores },
    Case { name: "heads_too_wide_for_the_kernels_are_refused", run: misuse },
];

pub(crate) const LAST_BLOCK_CASES: &[Case] = &[
    Case { name: "attention_of_more_than_32_bits_reaches_its_last_sequence", run: last_sequence },
    Case { name: "attention_of_a_length_of_more_than_32_bits_reaches_its_ends", run: long_sequence },
];

/// Around a tile of each kind, and several of them.
fn lengths(device: &dyn Device) -> Result<(), Failure> {
    for length in [1, 2, 17, 63, 64, 65, 130, 257] {
        let sequences = if length < 64 { 2 } else { 1 };
        Job::new(shape(sequences, length, 2, 20), 2.0).compare(device)?;
    }
    for length in [1, 65, 257] {
        Job::new(shape(1, length, 1, 64), 2.0).compare(device)?;
    }
    Job::new(shape(1, 193, 1, 128), 1.0).compare(device)?;
    Ok(())
}

/// Whole instances and padded ones, by vectors and by elements.
fn widths(device: &dyn Device) -> Result<(), Failure> {
    for head_width in [1, 8, 20, 32, 33, 48, 64, 72, 128] {
        Job::new(shape(2, 66, 2, head_width), 1.5).compare(device)?;
    }
    Ok(())
}

fn misaligned(device: &dyn Device) -> Result<(), Failure> {
    for head_width in [8, 64] {
        let job = Job::new(shape(1, 70, 2, head_width), 2.0);
        let aligned = job.on_device(device, 0)?;
        for shift in [1, 4] {
            let what = format!("heads of {head_width}, {shift} elements further");
            job.on_device(device, shift)?.expect_same(&what, &aligned)?;
        }
    }
    Ok(())
}

/// The emulator has another order of blocks and lanes in each launch.
fn same_bits(device: &dyn Device) -> Result<(), Failure> {
    for head_width in [16, 64, 128] {
        let job = Job::new(shape(1, 150, 1, head_width), 2.0);
        let first = job.on_device(device, 0)?;
        job.on_device(device, 0)?.expect_same("the second run", &first)?;
    }
    Ok(())
}

fn causal(device: &dyn Device) -> Result<(), Failure> {
    let job = Job::new(shape(1, 150, 1, 32), 2.0);
    let before = job.on_device(device, 0)?;
    for kept in [1, 32, 63, 64, 129] {
        let mut later = Job::new(job.shape, 2.0);
        let kept_qkv = 3 * 32 * kept;
        let changed = values(13, later.qkv.len() - kept_qkv, 9.0);
        later.qkv[kept_qkv..].copy_from_slice(&changed);
        let after = later.on_device(device, 0)?;
        let what = format!("the first {kept} tokens");
        same(&format!("{what}: out"), &after.out[..32 * kept], &before.out[..32 * kept])?;
        same(&format!("{what}: lse"), &after.lse[..kept], &before.lse[..kept])?;
        let (after, before) = (later.part(&after.dqkv, 0), job.part(&before.dqkv, 0));
        same(&format!("{what}: gradient of queries"), &after[..32 * kept], &before[..32 * kept])?;
    }
    Ok(())
}

fn equal_scores(device: &dyn Device) -> Result<(), Failure> {
    let mut job = Job::new(shape(1, 130, 1, 16), 1.0);
    for token in job.qkv.chunks_mut(3 * 16) {
        token[..16].fill(0);
    }
    let results = job.compare(device)?;
    let logarithms: Vec<f64> = (1..=130).map(|keys| f64::from(keys).ln()).collect();
    close("lse of equal scores", LSE, &of_f32(&results.lse), &logarithms)
}

fn large_scores(device: &dyn Device) -> Result<(), Failure> {
    // Scores of some hundreds: sums over many keys are there, and exponents that f32 has no values for.
    Job::new(shape(1, 130, 1, 64), 16.0).compare(device)?;
    // Far beyond what f32 counts in steps of 1; nothing is left of all keys but one.
    for head_width in [16, 64, 128] {
        let job = Job::new(shape(1, 130, 1, head_width), f64::powi(2.0, 40));
        let results = job.on_device(device, 0)?;
        let (out, lse) = job.forward_on_cpu();
        job.expect_forward(&results.out, &results.lse, (&out, &lse))?;
        let finite = |values: Vec<f64>| values.iter().all(|value| value.is_finite());
        if !finite(of_f32(&results.delta)) || !finite(of_bf16(&results.dqkv)) {
            return Err(Failure::Other(format!("gradients of heads of {head_width} are not finite")));
        }
    }
    Ok(())
}

fn misuse(_: &dyn Device) -> Result<(), Failure> {
    for head_width in [0, 129] {
        let attention = DeviceAttention::new(shape(1, 1, 1, head_width));
        if attention != Err(AttentionError::HeadWidth { head_width }) {
            return Err(Failure::Other(format!("heads of {head_width}: {attention:?}")));
        }
    }
    Ok(())
}

/// Sequences, or tokens: more than 32 bits of elements. The mistake was made by llm.c, bitsandbytes and others.
const MANY: usize = 1 << 29;

fn last_sequence(device: &dyn Device) -> Result<(), Failure> {
    // As many sequences as one block of the smallest kernel works on.
    const THERE: usize = 16;
    for head_width in [8, 7] {
        let job = Job::new(shape(THERE, 2, 1, head_width), 2.0);
        let arrays = Arrays::new(device, &job, 0)?;
        let absent = (MANY - THERE) as u64;
        let (elems, rows) = (absent * 2 * head_width as u64, absent * 2);
        let attention = device_attention(shape(MANY, 2, 1, head_width))?;
        attention.forward(device, arrays.forward(elems, rows))?;
        attention.backward(device, arrays.backward(elems, rows))?;

        let Results { out, lse, delta, dqkv } = arrays.results(device)?;
        let (before, rows) = ((THERE - 1) * 2 * head_width, (THERE - 1) * 2);
        let (out, dqkv) = (out[before..].to_vec(), dqkv[3 * before..].to_vec());
        let (qkv, dout) = (job.qkv[3 * before..].to_vec(), job.dout[before..].to_vec());
        let last = Job { shape: shape(1, 2, 1, head_width), qkv, dout };
        last.expect(&Results { out, lse: lse[rows..].to_vec(), delta: delta[rows..].to_vec(), dqkv })?;
    }
    Ok(())
}

fn long_sequence(device: &dyn Device) -> Result<(), Failure> {
    first_tile_of_the_last_head(device)?;
    last_tile(device)
}

const LONG: usize = (1 << 32) + 70;

/// Its logsumexp lies behind that of all tokens of the first head.
fn first_tile_of_the_last_head(device: &dyn Device) -> Result<(), Failure> {
    const THERE: usize = 128;
    let job = Job::new(shape(1, THERE, 2, 16), 2.0);
    let arrays = Arrays::new(device, &job, 0)?;
    let attention = device_attention(shape(1, LONG, 2, 16))?;
    attention.forward(device, arrays.forward(0, (LONG - THERE) as u64))?;

    let Results { out, lse, .. } = arrays.results(device)?;
    let of_head = |values: &[u16], head| -> Vec<u16> {
        values.chunks(16).skip(head).step_by(2).flatten().copied().collect()
    };
    let last = Job { shape: shape(1, THERE, 1, 16), qkv: of_head(&job.qkv, 1), dout: Vec::new() };
    let (expected_out, expected_lse) = last.forward_on_cpu();
    last.expect_forward(&of_head(&out, 1), &lse[THERE..], (&expected_out, &expected_lse))?;
    same("out of the first head", &of_head(&out, 0), &[UNWRITTEN; THERE * 16])
}

/// Of keys, and of delta: no query before it sees these keys.
fn last_tile(device: &dyn Device) -> Result<(), Failure> {
    const THERE: usize = 6;
    let job = Job::new(shape(1, THERE, 1, 16), 2.0);
    let arrays = Arrays::new(device, &job, 0)?;
    device_attention(job.shape)?.forward(device, arrays.forward(0, 0))?;
    let rows = (LONG - THERE) as u64;
    let attention = device_attention(shape(1, LONG, 1, 16))?;
    attention.backward_delta(device, arrays.backward(16 * rows, rows))?;
    attention.backward_keys(device, arrays.backward(16 * rows, rows))?;

    let Results { out, dqkv, .. } = arrays.results(device)?;
    let (_, lse) = job.forward_on_cpu();
    let reference = job.gradient_on_cpu(&of_bf16(&out), &lse);
    job.expect_gradient(1, &dqkv, &reference)?;
    job.expect_gradient(2, &dqkv, &reference)
}
