//! Compares what a device's kernels compute with the functions of `hcrun-kernels`: the engine's kernels bit for
//! bit, those of a model's passes within a tolerance of the same functions in f64.
//!
//! One body a check, for the emulator and for a GPU alike. Each tries odd lengths, misaligned starts, shards of
//! several numbers, and values that are not finite or denormal.

use hcrun_kernels::device::Device;

mod attention;
mod buffers;
mod close;
mod codec;
mod digest;
mod embedding;
mod failure;
mod linear;
mod loss;
mod norm;
mod outer;
mod placed;
mod privacy;
mod rows;
mod select;
mod update;
mod values;

pub use failure::Failure;

/// One thing that a device must do as the CPU does.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What holds, as a sentence.
    pub name: &'static str,
    pub run: fn(&dyn Device) -> Result<(), Failure>,
}

/// All cases, each independent of the others.
pub fn cases() -> Vec<Case> {
    [
        update::CASES,
        outer::CASES,
        norm::CASES,
        digest::CASES,
        codec::CASES,
        buffers::CASES,
        select::CASES,
        privacy::CASES,
        rows::CASES,
        linear::CASES,
        embedding::CASES,
        loss::CASES,
        attention::CASES,
    ]
    .concat()
}

/// Products by the library that a device may have, with bf16 biases. [`cases`] are those of our kernels alone.
pub fn cases_of_products() -> Vec<Case> {
    linear::CHOSEN_CASES.to_vec()
}

/// For devices that run only the last block of each launch: grids of more elements than memory holds.
pub fn cases_of_the_last_block() -> Vec<Case> {
    [
        update::LAST_BLOCK_CASES,
        outer::LAST_BLOCK_CASES,
        norm::LAST_BLOCK_CASES,
        digest::LAST_BLOCK_CASES,
        codec::LAST_BLOCK_CASES,
        select::LAST_BLOCK_CASES,
        privacy::LAST_BLOCK_CASES,
        rows::LAST_BLOCK_CASES,
        linear::LAST_BLOCK_CASES,
        loss::LAST_BLOCK_CASES,
        attention::LAST_BLOCK_CASES,
    ]
    .concat()
}
