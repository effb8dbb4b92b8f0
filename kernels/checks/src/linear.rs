//! Matrix products of linear layers, three ways.

use hcrun_kernels::device::{Address, Device};
use hcrun_kernels::launch;

use crate::close::{BF16, Tolerance, close, of_bf16, of_f32, to_bf16};
use crate::placed::Placed;
use crate::values::finite;
use crate::{Case, Failure};

pub(crate) const CASES: &[Case] = &[
    Case { name: "linear_layers_are_those_of_the_cpu", run: forward },
    Case { name: "gradients_of_inputs_of_linear_layers_are_those_of_the_cpu", run: backward },
    Case { name: "gradients_of_weights_are_added_to_what_is_there", run: weight },
    Case { name: "two_micro_batches_add_up_to_one", run: accumulated },
];

pub(crate) const LAST_BLOCK_CASES: &[Case] =
    &[Case { name: "products_of_more_than_32_bits_reach_their_last_row", run: last_block }];

/// Elements of a tile on either side.
const TILE: usize = 128;

#[derive(Debug, Clone, Copy)]
struct Shape {
    rows: usize,
    inputs: usize,
    outputs: usize,
    /// Between rows of `y`.
    pitch: usize,
}

/// One element; less than a fragment and than an access; several tiles, with rests; several groups of tiles.
const SHAPES: [Shape; 6] = [
    Shape { rows: 1, inputs: 1, outputs: 1, pitch: 1 },
    Shape { rows: 5, inputs: 7, outputs: 3, pitch: 3 },
    Shape { rows: 130, inputs: 40, outputs: 136, pitch: 136 },
    Shape { rows: 64, inputs: 129, outputs: 70, pitch: 72 },
    Shape { rows: 200, inputs: 256, outputs: 257, pitch: 264 },
    Shape { rows: 1100, inputs: 16, outputs: 24, pitch: 24 },
];

struct Job {
    shape: Shape,
    x: Vec<u16>,
    weight: Vec<u16>,
    bias: Vec<f32>,
    dy: Vec<u16>,
}

fn tiles(rows: usize, columns: usize) -> u64 {
    (rows.div_ceil(TILE) * columns.div_ceil(TILE)) as u64
}

impl Job {
    fn new(shape: Shape) -> Job {
        let Shape { rows, inputs, outputs, pitch } = shape;
        Job {
            shape,
            x: to_bf16(&finite(1, rows * inputs)),
            weight: to_bf16(&finite(2, inputs * outputs)),
            bias: finite(3, outputs),
            dy: to_bf16(&finite(4, rows * pitch)),
        }
    }

    /// Rows of `dy` without padding.
    fn wide_dy(&self) -> Vec<f64> {
        self.dy.chunks(self.shape.pitch).flat_map(|row| of_bf16(&row[..self.shape.outputs])).collect()
    }
}

/// `[rows, columns]` of the sum over `depth` of `left(row, k) · right(column, k)`.
fn product(
    rows: usize,
    columns: usize,
    depth: usize,
    left: impl Fn(usize, usize) -> f64,
    right: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let at = |row, column| (0..depth).map(|k| left(row, k) * right(column, k)).sum();
    (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))).map(|(r, c)| at(r, c)).collect()
}

/// Of f32 sums of this many products of values up to 8.
fn tolerance(depth: usize) -> Tolerance {
    Tolerance { absolute: 1e-5 * (depth as f64 + 8.0), ..BF16 }
}

fn forward(device: &dyn Device) -> Result<(), Failure> {
    for shape in SHAPES {
        for (shift, with_bias) in [(0, true), (3, false)] {
            let Shape { rows, inputs, outputs, pitch } = shape;
            let what = format!("{shape:?}, shift {shift}, bias {with_bias}");
            let job = Job::new(shape);
            let (x, weight) = (Placed::new(device, &job.x, shift)?, Placed::new(device, &job.weight, shift)?);
            let bias = Placed::new(device, &job.bias, shift)?;
            let y = Placed::new(device, &vec![7_u16; rows * pitch], shift)?;
            launch::Linear {
                n: tiles(rows, outputs),
                rows: rows as u64,
                inputs: inputs as u64,
                outputs: outputs as u64,
                pitch: pitch as u64,
                x: x.address(),
                weight: weight.address(),
                bias: if with_bias { bias.address() } else { Address::NULL },
                y: y.address(),
            }
            .launch(device)?;
            let (wide_x, wide_weight) = (of_bf16(&job.x), of_bf16(&job.weight));
            let (x_at, weight_at) =
                (|row, k| wide_x[row * inputs + k], |column, k| wide_weight[column * inputs + k]);
            let mut expected = product(rows, outputs, inputs, x_at, weight_at);
            if with_bias {
                expected.chunks_mut(outputs).for_each(|row| {
                    row.iter_mut().zip(&job.bias).for_each(|(sum, bias)| *sum += f64::from(*bias));
                });
            }
            let y = y.read(device, &what)?;
            if y.chunks(pitch).any(|row| row[outputs..].iter().any(|bits| *bits != 7)) {
                return Err(Failure::Other(format!("{what}: something was written between rows")));
            }
            let y: Vec<f64> = y.chunks(pitch).flat_map(|row| of_bf16(&row[..outputs])).collect();
            close(&what, tolerance(inputs), &y, &expected)?;
        }
    }
    Ok(())
}

fn backward(device: &dyn Device) -> Result<(), Failure> {
    for shape in SHAPES {
        for (shift, add) in [(0, 0), (0, 1), (5, 1)] {
            let Shape { rows, inputs, outputs, pitch } = shape;
            let what = format!("{shape:?}, shift {shift}, add {add}");
            let job = Job::new(shape);
            let dy = Placed::new(device, &job.dy, shift)?;
            let weight = Placed::new(device, &job.weight, shift)?;
            let dx = Placed::new(device, &to_bf16(&finite(6, rows * inputs)), shift)?;
            launch::LinearBackward {
                n: tiles(rows, inputs),
                rows: rows as u64,
                inputs: inputs as u64,
                outputs: outputs as u64,
                pitch: pitch as u64,
                add,
                dy: dy.address(),
                weight: weight.address(),
                dx: dx.address(),
            }
            .launch(device)?;
            let (wide_dy, wide_weight) = (job.wide_dy(), of_bf16(&job.weight));
            let dy_at = |row, k| wide_dy[row * outputs + k];
            let mut expected =
                product(rows, inputs, outputs, dy_at, |column, k| wide_weight[k * inputs + column]);
            if add == 1 {
                let before = of_bf16(dx.values());
                expected.iter_mut().zip(before).for_each(|(sum, before)| *sum += before);
            }
            close(&what, tolerance(outputs), &of_bf16(&dx.read(device, &what)?), &expected)?;
        }
    }
    Ok(())
}

fn launch_weight(
    device: &dyn Device,
    shape: Shape,
    dy: Address<u16>,
    x: Address<u16>,
    gradient: Address<f32>,
) -> Result<(), Failure> {
    let Shape { rows, inputs, outputs, pitch } = shape;
    let n = tiles(outputs, inputs);
    let (rows, inputs, outputs, pitch) = (rows as u64, inputs as u64, outputs as u64, pitch as u64);
    Ok(launch::LinearWeight { n, rows, inputs, outputs, pitch, dy, x, gradient }.launch(device)?)
}

fn weight(device: &dyn Device) -> Result<(), Failure> {
    for shape in SHAPES {
        for shift in [0, 3] {
            let Shape { rows, inputs, outputs, .. } = shape;
            let what = format!("{shape:?}, shift {shift}");
            let job = Job::new(shape);
            let (dy, x) = (Placed::new(device, &job.dy, shift)?, Placed::new(device, &job.x, shift)?);
            let gradient = Placed::new(device, &finite(7, inputs * outputs), shift)?;
            launch_weight(device, shape, dy.address(), x.address(), gradient.address())?;
            let (wide_dy, wide_x) = (job.wide_dy(), of_bf16(&job.x));
            let dy_at = |row, k| wide_dy[k * outputs + row];
            let mut expected = product(outputs, inputs, rows, dy_at, |column, k| wide_x[k * inputs + column]);
            let before = of_f32(gradient.values());
            expected.iter_mut().zip(before).for_each(|(sum, before)| *sum += before);
            let tolerance = Tolerance { absolute: 1e-5 * (rows as f64 + 8.0), relative: 1e-5 };
            close(&what, tolerance, &of_f32(&gradient.read(device, &what)?), &expected)?;
        }
    }
    Ok(())
}

fn accumulated(device: &dyn Device) -> Result<(), Failure> {
    let shape = Shape { rows: 96, inputs: 48, outputs: 40, pitch: 40 };
    let Shape { rows, inputs, outputs, pitch } = shape;
    let job = Job::new(shape);
    let (dy, x) = (Placed::new(device, &job.dy, 0)?, Placed::new(device, &job.x, 0)?);
    let (at_once, in_parts) = (vec![0.0_f32; inputs * outputs], vec![0.0_f32; inputs * outputs]);
    let (at_once, in_parts) = (Placed::new(device, &at_once, 0)?, Placed::new(device, &in_parts, 0)?);
    launch_weight(device, shape, dy.address(), x.address(), at_once.address())?;
    for start in [0, rows / 2] {
        let part = Shape { rows: rows / 2, ..shape };
        let (dy, x) = (dy.at(start * pitch), x.at(start * inputs));
        launch_weight(device, part, dy, x, in_parts.address())?;
    }
    let expected = of_f32(&at_once.read(device, "at once")?);
    let tolerance = Tolerance { absolute: 1e-3, relative: 1e-5 };
    close("micro-batches", tolerance, &of_f32(&in_parts.read(device, "in parts")?), &expected)
}

fn last_block(device: &dyn Device) -> Result<(), Failure> {
    // Rows whose last one alone lies in the last tile; its elements begin behind 4 Gi.
    let (inputs, before) = (8_usize, 1_u64 << 29);
    let rows = before + 1;
    let (x_values, weight_values) = (to_bf16(&finite(1, inputs)), to_bf16(&finite(2, inputs * 3)));
    let (x, weight) = (Placed::new(device, &x_values, 0)?, Placed::new(device, &weight_values, 0)?);
    let y = Placed::new(device, &[7_u16; 3], 0)?;
    launch::Linear {
        n: rows.div_ceil(TILE as u64),
        rows,
        inputs: inputs as u64,
        outputs: 3,
        pitch: 3,
        x: x.address().less(before * inputs as u64),
        weight: weight.address(),
        bias: Address::NULL,
        y: y.address().less(before * 3),
    }
    .launch(device)?;
    let (wide_x, wide_weight) = (of_bf16(&x_values), of_bf16(&weight_values));
    let expected = product(1, 3, inputs, |_, k| wide_x[k], |column, k| wide_weight[column * inputs + k]);
    close("last row", tolerance(inputs), &of_bf16(&y.read(device, "last row")?), &expected)
}
