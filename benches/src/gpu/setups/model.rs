//! Kernels of a model's passes, at the shapes of GPT-2's smallest model.

use hcrun_kernels::device::{Address, Device, DeviceError};
use hcrun_kernels::device_linear::{Backward, Forward, WeightGradient};
use hcrun_kernels::launch;

use super::{Launcher, Memory, Setup};

/// Of a value of the residual stream.
const WIDTH: usize = 768;
/// Inputs of a product; its outputs are as many.
const INPUTS: usize = 768;
const LENGTH: usize = 1024;
/// GPT-2's, and where its rows begin.
const VOCABULARY: usize = 50_257;
const PITCH: usize = VOCABULARY.next_multiple_of(8);
/// Rows of a part of `column_parts`; columns of a block of it.
const PART_ROWS: usize = 64;
const BLOCK_COLUMNS: usize = 32;
/// Rows and columns of a tile of a product.
const TILE: usize = 128;

/// Of one value.
pub(super) fn rows(elems: usize) -> usize {
    (elems / WIDTH).max(1)
}

/// An arena of `elems` is one value of the model.
pub(super) fn setup(mut memory: Memory<'_>, kernel: &str, elems: usize) -> anyhow::Result<Option<Setup>> {
    let rows = rows(elems);
    let (n, width) = (rows as u64, WIDTH as u64);
    let all = n * width;
    Ok(Some(match kernel {
        "layer_norm" => {
            let launch = launch::LayerNorm {
                n,
                width,
                x: memory.filled(rows * WIDTH)?,
                addend: Address::NULL,
                weight: memory.filled(WIDTH)?,
                bias: memory.filled(WIDTH)?,
                sum: Address::NULL,
                y: memory.filled(rows * WIDTH)?,
                moments: memory.filled(2 * rows)?,
            };
            let size = (n, 4 * all + 8 * n);
            let counted = format!("2 an element read and written, rows of {WIDTH}; 8 a row written");
            Setup::new(memory, size, counted, move |device| launch.launch(device))
        }
        "layer_norm_backward" => {
            let launch = launch::LayerNormBackward {
                n,
                width,
                add: 0,
                x: memory.filled(rows * WIDTH)?,
                weight: memory.filled(WIDTH)?,
                moments: memory.filled(2 * rows)?,
                dy: memory.filled(rows * WIDTH)?,
                dx: memory.filled(rows * WIDTH)?,
            };
            let size = (n, 6 * all + 8 * n);
            let counted = format!("4 an element read, 2 written, rows of {WIDTH}; 8 a row read");
            Setup::new(memory, size, counted, move |device| launch.launch(device))
        }
        "column_parts" | "add_parts" => {
            let parts = rows.div_ceil(PART_ROWS);
            let (sums, products) = (memory.filled(parts * WIDTH)?, memory.filled(parts * WIDTH)?);
            let in_parts = 4 * (parts * WIDTH) as u64;
            if kernel == "add_parts" {
                let gradient = memory.filled(WIDTH)?;
                let launch = launch::AddParts { n: width, parts: parts as u64, sums, gradient };
                let size = (width, in_parts + 8 * width);
                let counted = format!("4 a sum of {parts} parts of {WIDTH} columns read; 8 a column");
                return Ok(Some(Setup::new(memory, size, counted, move |device| launch.launch(device))));
            }
            let launch = launch::ColumnParts {
                n: (parts * WIDTH.div_ceil(BLOCK_COLUMNS)) as u64,
                rows: n,
                width,
                pitch: width,
                dy: memory.filled(rows * WIDTH)?,
                x: memory.filled(rows * WIDTH)?,
                moments: memory.filled(2 * rows)?,
                sums,
                products,
            };
            let size = (launch.n, 4 * all + 8 * n + 2 * in_parts);
            let counted =
                format!("4 an element read, rows of {WIDTH}; 8 a row read, 8 a column of a part written");
            Setup::new(memory, size, counted, move |device| launch.launch(device))
        }
        "embed" | "embed_backward" | "positions_backward" => return embedding(memory, kernel, rows),
        "cross_entropy" => {
            let rows = (elems / PITCH).max(1);
            let launch = launch::CrossEntropy {
                n: rows as u64,
                outputs: VOCABULARY as u64,
                pitch: PITCH as u64,
                backward: 1,
                classes: memory.written(&vec![3_u32; rows])?,
                logits: memory.filled(rows * PITCH)?,
                losses: memory.filled(rows)?,
                right: memory.filled(rows)?,
            };
            memory.keep(launch.logits)?;
            let size = (launch.n, launch.n * (4 * PITCH as u64 + 12));
            let counted = format!("2 a logit of {PITCH} read and written; 12 a row");
            Setup::new(memory, size, counted, move |device| launch.launch(device))
        }
        "squared_error" => {
            let n = elems as u64;
            let launch = launch::SquaredError {
                n,
                outputs: 1,
                backward: 1,
                targets: memory.filled(elems)?,
                predictions: memory.filled(elems)?,
                losses: memory.filled(elems)?,
            };
            memory.keep(launch.predictions)?;
            let counted = "6 a row read, 6 written";
            Setup::new(memory, (n, 12 * n), counted, move |device| launch.launch(device))
        }
        "add_losses" => {
            let (losses, right) = (memory.filled(rows)?, memory.filled(rows)?);
            let launch = launch::AddLosses { n, losses, right, sums: memory.written(&[0.0_f64; 2])? };
            Setup::new(memory, (n, 8 * n + 32), "8 a row read, 32; one block", move |device| {
                launch.launch(device)
            })
        }
        "linear" | "linear_backward" | "linear_weight" => return linear(memory, kernel, rows, By::Kernel),
        _ => return Ok(None),
    }))
}

fn embedding(mut memory: Memory<'_>, kernel: &str, rows: usize) -> anyhow::Result<Option<Setup>> {
    let (n, width) = (rows as u64, WIDTH as u64);
    let length = LENGTH.min(rows);
    let sequences = rows / length;
    let values: Address<u16> = memory.filled(rows * WIDTH)?;
    Ok(Some(match kernel {
        "embed" => {
            let launch = launch::Embed {
                n,
                length: length as u64,
                width,
                ids: memory.written(&vec![3_u32; rows])?,
                tokens: memory.filled(4 * WIDTH)?,
                positions: memory.filled(length * WIDTH)?,
                y: values,
            };
            let size = (n, 2 * n * width + 4 * n + 4 * (length as u64 + 1) * width);
            let counted = format!("2 an element written, rows of {WIDTH}; ids, positions and one token read");
            Setup::new(memory, size, counted, move |device| launch.launch(device))
        }
        // As many rows for each token as bytes of a text have on average.
        "embed_backward" => {
            let tokens = 256.min(rows);
            let of_one = u32::try_from(rows / tokens)?;
            let count = u32::try_from(tokens)?;
            let launch = launch::EmbedBackward {
                n: tokens as u64,
                width,
                tokens: memory.written(&(0..count).collect::<Vec<_>>())?,
                starts: memory.written(&(0..=count).map(|token| token * of_one).collect::<Vec<_>>())?,
                rows: memory.written(&(0..count * of_one).collect::<Vec<_>>())?,
                dy: values,
                gradient: memory.filled(tokens * WIDTH)?,
            };
            let read = u64::from(count * of_one) * (2 * width + 4);
            let size = (launch.n, read + 8 * launch.n * width);
            let counted =
                format!("2 an element read, rows of {WIDTH}; 4 a row read; 8 an element of {tokens} tokens");
            Setup::new(memory, size, counted, move |device| launch.launch(device))
        }
        _ => {
            let launch = launch::PositionsBackward {
                n: length as u64,
                sequences: sequences as u64,
                width,
                dy: values,
                gradient: memory.filled(length * WIDTH)?,
            };
            let read = 2 * (sequences * length) as u64 * width;
            let size = (launch.n, read + 8 * launch.n * width);
            let counted = format!("2 an element read, rows of {WIDTH}; 8 an element of {length} positions");
            Setup::new(memory, size, counted, move |device| launch.launch(device))
        }
    }))
}

/// Who computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Kernel,
    /// The device's library, if it takes the shape.
    Library,
}

/// What a product must move is little beside what it computes, so that its share of the copy says nothing.
pub(super) fn linear(
    mut memory: Memory<'_>,
    kernel: &str,
    row_count: usize,
    by: By,
) -> anyhow::Result<Option<Setup>> {
    let (rows, width) = (row_count as u64, WIDTH as u64);
    let tiles = |rows: usize, columns: usize| (rows.div_ceil(TILE) * columns.div_ceil(TILE)) as u64;
    let (values, others) = (memory.filled(row_count * INPUTS)?, memory.filled(row_count * WIDTH)?);
    let moved = 2 * rows * (INPUTS + WIDTH) as u64;
    let counted = format!("2 an element of {rows} rows of {INPUTS} and {WIDTH}, and the weight");
    let (inputs, outputs, pitch) = (INPUTS as u64, width, width);
    let weight_elems = inputs * outputs;
    let (n, bytes, launch): (u64, u64, Box<Launcher>) = match kernel {
        "linear" => {
            let (n, weight) = (tiles(row_count, WIDTH), memory.filled(INPUTS * WIDTH)?);
            let (x, y, bias, narrow_bias) = (values, others, memory.filled(WIDTH)?, memory.filled(WIDTH)?);
            let of = Forward { rows, inputs, outputs, pitch, x, weight, bias, narrow_bias, y };
            let launch = launch::Linear { n, rows, inputs, outputs, pitch, x, weight, bias, y };
            (n, moved + 2 * weight_elems, launcher(by, move |d| launch.launch(d), move |d| of.start(d)))
        }
        "linear_backward" => {
            let (n, weight) = (tiles(row_count, INPUTS), memory.filled(INPUTS * WIDTH)?);
            let (dy, dx) = (others, values);
            let of = Backward { rows, inputs, outputs, pitch, add: false, dy, weight, dx };
            let launch = launch::LinearBackward { n, rows, inputs, outputs, pitch, add: 0, dy, weight, dx };
            (n, moved + 2 * weight_elems, launcher(by, move |d| launch.launch(d), move |d| of.start(d)))
        }
        _ => {
            let (n, gradient) = (tiles(WIDTH, INPUTS), memory.filled(INPUTS * WIDTH)?);
            let (dy, x) = (others, values);
            let of = WeightGradient { rows, inputs, outputs, pitch, dy, x, gradient };
            let launch = launch::LinearWeight { n, rows, inputs, outputs, pitch, dy, x, gradient };
            (n, moved + 8 * weight_elems, launcher(by, move |d| launch.launch(d), move |d| of.start(d)))
        }
    };
    Ok(Some(Setup::new(memory, (n, bytes), counted, launch)))
}

fn launcher(
    by: By,
    kernel: impl Fn(&dyn Device) -> Result<(), DeviceError> + 'static,
    library: impl Fn(&dyn Device) -> Result<(), DeviceError> + 'static,
) -> Box<Launcher> {
    if by == By::Kernel { Box::new(kernel) } else { Box::new(library) }
}
