//! Batches on their way to a device: one piece of host memory a micro-batch, one copy.

use std::ops::Range;

use hcrun_kernels::device::{Address, Device, DeviceBuffer, DeviceError, HostBuffer};
use hcrun_kernels::launch;

use super::values::Values;
use crate::batch::Targets;
use crate::graph::Value;
use crate::model::samples::{AnyTargets, Samples};
use crate::spec::{Kind, ModelSpec};

/// Different bytes of a text.
const BYTES: usize = 256;

/// Where the inputs of micro-batches lie, which one step has several of.
pub(super) struct Inputs {
    /// Where features go; None for text.
    features: Option<Value>,
    width: usize,
    outputs: usize,
    rows: usize,
    parts: Vec<Part>,
}

/// One micro-batch, in words of four bytes.
struct Part {
    host: HostBuffer,
    device: DeviceBuffer,
}

/// A micro-batch on the device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) tokens: Tokens,
    pub(super) targets: PlacedTargets,
}

/// Empty for tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens {
    /// Of each row.
    pub(super) ids: Address<u32>,
    /// Tokens that occur, and how many those are.
    pub(super) occurring: Address<u32>,
    pub(super) count: u64,
    /// Where the rows of each begin, and the end.
    pub(super) starts: Address<u32>,
    pub(super) rows: Address<u32>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum PlacedTargets {
    Classes(Address<u32>),
    Values(Address<f32>),
    /// For prediction.
    None,
}

/// Ranges of words of a part.
struct Layout {
    targets: Range<usize>,
    /// Ids of tokens, or features.
    inputs: Range<usize>,
    rows: Range<usize>,
    occurring: Range<usize>,
    starts: Range<usize>,
    words: usize,
}

impl Inputs {
    pub(super) fn new(spec: &ModelSpec, features: Option<Value>, rows: usize) -> Inputs {
        let width = match &spec.kind {
            Kind::Gpt { .. } => 1,
            Kind::Mlp { widths } => widths[0],
        };
        Inputs { features, width, outputs: spec.outputs(), rows, parts: Vec::new() }
    }

    fn layout(&self) -> Layout {
        let text = self.features.is_none();
        let mut words = 0;
        let mut next = |count: usize| {
            words += count;
            words - count..words
        };
        let targets = next(self.rows * self.outputs.max(1).min(if text { 1 } else { usize::MAX }));
        let inputs = next(self.rows * self.width);
        let rows = next(if text { self.rows } else { 0 });
        let occurring = next(if text { BYTES } else { 0 });
        let starts = next(if text { BYTES + 1 } else { 0 });
        Layout { targets, inputs, rows, occurring, starts, words }
    }

    /// Copies a micro-batch to the device, beside what is launched there. Its memory may be used again once the
    /// results of the step have been waited for.
    pub(super) fn place(
        &mut self,
        device: &dyn Device,
        index: usize,
        samples: &Samples<'_>,
        values: &Values,
    ) -> Result<Placed, DeviceError> {
        if samples.rows > self.rows {
            self.rows = samples.rows;
            self.parts.clear();
        }
        let layout = self.layout();
        let bytes = size_of::<u32>() * layout.words;
        while self.parts.len() <= index {
            self.parts.push(Part { host: device.allocate_host(bytes)?, device: device.allocate(bytes)? });
        }
        let part = &mut self.parts[index];
        let words: &mut [u32] = bytemuck::cast_slice_mut(part.host.write(0..bytes));
        put_targets(&mut words[layout.targets.clone()], samples);
        let count = match self.features {
            Some(_) => {
                let inputs: &mut [f32] = bytemuck::cast_slice_mut(&mut words[layout.inputs.clone()]);
                inputs[..samples.features.len()].copy_from_slice(samples.features);
                0
            }
            None => put_tokens(words, &layout, samples.tokens),
        };
        device.start_write(&mut part.host, 0..bytes, &part.device, 0)?;
        let at = |range: &Range<usize>| size_of::<u32>() * range.start;
        if let Some(features) = self.features {
            let n = samples.features.len() as u64;
            let (x, y) = (part.device.at(at(&layout.inputs)), values.value(features));
            launch::ToBf16 { n, x, y }.launch(device)?;
        }
        let targets = match samples.targets {
            None => PlacedTargets::None,
            Some(AnyTargets::Rows(Targets::Value(_))) => {
                PlacedTargets::Values(part.device.at(at(&layout.targets)))
            }
            Some(AnyTargets::Bytes(_) | AnyTargets::Rows(Targets::Class(_))) => {
                PlacedTargets::Classes(part.device.at(at(&layout.targets)))
            }
        };
        let tokens = Tokens {
            ids: part.device.at(at(&layout.inputs)),
            occurring: part.device.at(at(&layout.occurring)),
            count: count as u64,
            starts: part.device.at(at(&layout.starts)),
            rows: part.device.at(at(&layout.rows)),
        };
        Ok(Placed { tokens, targets })
    }
}

fn put_targets(words: &mut [u32], samples: &Samples<'_>) {
    match samples.targets {
        None => {}
        Some(AnyTargets::Bytes(bytes)) => {
            words.iter_mut().zip(bytes).for_each(|(word, byte)| *word = u32::from(*byte));
        }
        Some(AnyTargets::Rows(Targets::Class(classes))) => words[..classes.len()].copy_from_slice(classes),
        Some(AnyTargets::Rows(Targets::Value(values))) => {
            words[..values.len()].copy_from_slice(bytemuck::cast_slice(values));
        }
    }
}

/// Ids, and rows sorted by them, stably: the gradient of a token adds its rows in order. Returns how many different
/// tokens there are.
fn put_tokens(words: &mut [u32], layout: &Layout, tokens: &[u8]) -> usize {
    let mut counts = [0_u32; BYTES];
    for (word, token) in words[layout.inputs.clone()].iter_mut().zip(tokens) {
        *word = u32::from(*token);
        counts[usize::from(*token)] += 1;
    }
    let (mut next, mut start, mut different) = ([0_u32; BYTES], 0, 0);
    for (token, count) in (0_u32..).zip(counts).filter(|(_, count)| *count > 0) {
        words[layout.occurring.start + different] = token;
        words[layout.starts.start + different] = start;
        next[token as usize] = start;
        start += count;
        different += 1;
    }
    words[layout.starts.start + different] = start;
    for (row, token) in (0_u32..).zip(tokens) {
        let place = &mut next[usize::from(*token)];
        words[layout.rows.start + *place as usize] = row;
        *place += 1;
    }
    different
}
