//! Matrix products of linear layers, three ways: by our kernels, and by whatever the device takes for them.

use hcrun_kernels::device::{Address, Device, DeviceError};
use hcrun_kernels::device_linear::{Backward, Forward, WeightGradient};
use hcrun_kernels::launch;

use crate::close::{BF16, Tolerance, close, of_bf16, of_f32, to_bf16};
use crate::placed::Placed;
use crate::values::finite;
use crate::{Case, Failure};

pub(crate) const CASES: &[Case] = &[
    Case { name: "linear_layers_are_those_of_the_cpu", run: |device| forward(device, By::Kernel) },
    Case {
        name: "gradients_of_inputs_of_linear_layers_are_those_of_the_cpu",
        run: |device| backward(device, By::Kernel),
    },
    Case {
        name: "gradients_of_weights_are_added_to_what_is_there",
        run: |device| weight(device, By::Kernel),
    },
    Case { name: "two_micro_batches_add_up_to_one", run: |device| accumulated(device, By::Kernel) },
];

pub(crate) const CHOSEN_CASES: &[Case] = &[
    Case {
        name: "linear_layers_as_a_model_starts_them_are_those_of_the_cpu",
        run: |device| forward(device, By::Choice),
    },
    Case { name: "layers_of_one_shape_have_each_its_own_arrays", run: two_of_a_shape },
    Case {
        name: "gradients_of_inputs_as_a_model_starts_them_are_those_of_the_cpu",
        run: |device| backward(device, By::Choice),
    },
    Case {
        name: "gradients_of_weights_as_a_model_starts_them_are_added_to_what_is_there",
        run: |device| weight(device, By::Choice),
    },
    Case {
        name: "two_micro_batches_as_a_model_starts_them_add_up_to_one",
        run: |device| accumulated(device, By::Choice),
    },
];

pub(crate) const LAST_BLOCK_CASES: &[Case] =
    &[Case { name: "products_of_more_than_32_bits_reach_their_last_row", run: last_block }];

/// Elements of a tile on either side.
const TILE: u64 = 128;

/// Who computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Ours, of `kernels/cuda/linear.cu`.
    Kernel,
    /// The device's library, where there is one that takes the shape, else ours.
    Choice,
}

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

fn tiles(rows: u64, columns: u64) -> u64 {
    rows.div_ceil(TILE) * columns.div_ceil(TILE)
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

    /// Libraries take a bias in bf16.
    fn with_narrow_bias(self) -> Job {
        let bias = to_bf16(&self.bias).iter().map(|bits| half::bf16::from_bits(*bits).to_f32()).collect();
        Job { bias, ..self }
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

/// What a forward product reads and writes.
struct Layer {
    job: Job,
    has_bias: bool,
    x: Placed<u16>,
    weight: Placed<u16>,
    bias: Placed<f32>,
    narrow_bias: Placed<u16>,
    y: Placed<u16>,
}

impl Layer {
    fn new(device: &dyn Device, job: Job, shift: usize, has_bias: bool) -> Result<Layer, DeviceError> {
        Ok(Layer {
            has_bias,
            x: Placed::new(device, &job.x, shift)?,
            weight: Placed::new(device, &job.weight, shift)?,
            bias: Placed::new(device, &job.bias, shift)?,
            narrow_bias: Placed::new(device, &to_bf16(&job.bias), shift)?,
            y: Placed::new(device, &vec![7_u16; job.shape.rows * job.shape.pitch], shift)?,
            job,
        })
    }

    fn start(&self, device: &dyn Device, by: By) -> Result<(), DeviceError> {
        let Shape { rows, inputs, outputs, pitch } = self.job.shape;
        let (rows, inputs, outputs, pitch) = (rows as u64, inputs as u64, outputs as u64, pitch as u64);
        let (x, weight, y) = (self.x.address(), self.weight.address(), self.y.address());
        let (bias, narrow_bias) = match self.has_bias {
            true => (self.bias.address(), self.narrow_bias.address()),
            false => (Address::NULL, Address::NULL),
        };
        match by {
            By::Kernel => {
                let n = tiles(rows, outputs);
                launch::Linear { n, rows, inputs, outputs, pitch, x, weight, bias, y }.launch(device)
            }
            By::Choice => {
                Forward { rows, inputs, outputs, pitch, x, weight, bias, narrow_bias, y }.start(device)
            }
        }
    }

    fn check(&self, device: &dyn Device, what: &str) -> Result<(), Failure> {
        let Job { shape: Shape { rows, inputs, outputs, pitch }, bias, .. } = &self.job;
        let (inputs, outputs) = (*inputs, *outputs);
        let (wide_x, wide_weight) = (of_bf16(&self.job.x), of_bf16(&self.job.weight));
        let (x_at, weight_at) =
            (|row, k| wide_x[row * inputs + k], |column, k| wide_weight[column * inputs + k]);
        let mut expected = product(*rows, outputs, inputs, x_at, weight_at);
        if self.has_bias {
            expected.chunks_mut(outputs).for_each(|row| {
                row.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += f64::from(*bias));
            });
        }
        let y = self.y.read(device, what)?;
        if y.chunks(*pitch).any(|row| row[outputs..].iter().any(|bits| *bits != 7)) {
            return Err(Failure::Other(format!("{what}: something was written between rows")));
        }
        let y: Vec<f64> = y.chunks(*pitch).flat_map(|row| of_bf16(&row[..outputs])).collect();
        close(what, tolerance(inputs), &y, &expected)
    }
}

fn forward(device: &dyn Device, by: By) -> Result<(), Failure> {
    for shape in SHAPES {
        // Our kernels read a bias the same way wherever it lies.
        let cases: &[_] =
            if by == By::Kernel { &[(0, true), (3, false)] } else { &[(0, true), (3, false), (1, true)] };
        for &(shift, has_bias) in cases {
            let what = format!("{shape:?}, shift {shift}, bias {has_bias}");
            let job = Job::new(shape);
            let job = if by == By::Kernel { job } else { job.with_narrow_bias() };
            let layer = Layer::new(device, job, shift, has_bias)?;
            layer.start(device, by)?;
            layer.check(device, &what)?;
        }
    }
    Ok(())
}

/// What was prepared for one is used for the other.
fn two_of_a_shape(device: &dyn Device) -> Result<(), Failure> {
    let job = || Job::new(SHAPES[2]).with_narrow_bias();
    let mut other = job();
    other.x.reverse();
    other.weight.reverse();
    other.bias.reverse();
    let layers = [Layer::new(device, job(), 0, true)?, Layer::new(device, other, 0, true)?];
    layers.iter().try_for_each(|layer| layer.start(device, By::Choice))?;
    layers.iter().try_for_each(|layer| layer.check(device, "one of two"))
}

fn start_backward(device: &dyn Device, by: By, of: Backward) -> Result<(), DeviceError> {
    let Backward { rows, inputs, outputs, pitch, add, dy, weight, dx } = of;
    let n = tiles(rows, inputs);
    match by {
        By::Kernel => {
            let add = u32::from(add);
            launch::LinearBackward { n, rows, inputs, outputs, pitch, add, dy, weight, dx }.launch(device)
        }
        By::Choice => of.start(device),
    }
}

fn backward(device: &dyn Device, by: By) -> Result<(), Failure> {
    for shape in SHAPES {
        for (shift, add) in [(0, false), (0, true), (5, true)] {
            let Shape { rows, inputs, outputs, pitch } = shape;
            let what = format!("{shape:?}, shift {shift}, add {add}");
            let job = Job::new(shape);
            let dy = Placed::new(device, &job.dy, shift)?;
            let weight = Placed::new(device, &job.weight, shift)?;
            let dx = Placed::new(device, &to_bf16(&finite(6, rows * inputs)), shift)?;
            let of = Backward {
                rows: rows as u64,
                inputs: inputs as u64,
                outputs: outputs as u64,
                pitch: pitch as u64,
                add,
                dy: dy.address(),
                weight: weight.address(),
                dx: dx.address(),
            };
            start_backward(device, by, of)?;
            let (wide_dy, wide_weight) = (job.wide_dy(), of_bf16(&job.weight));
            let dy_at = |row, k| wide_dy[row * outputs + k];
            let mut expected =
                product(rows, inputs, outputs, dy_at, |column, k| wide_weight[k * inputs + column]);
            if add {
                let before = of_bf16(dx.values());
                expected.iter_mut().zip(before).for_each(|(sum, before)| *sum += before);
            }
            close(&what, tolerance(outputs), &of_bf16(&dx.read(device, &what)?), &expected)?;
        }
    }
    Ok(())
}

fn start_weight(
    device: &dyn Device,
    by: By,
    shape: Shape,
    dy: Address<u16>,
    x: Address<u16>,
    gradient: Address<f32>,
) -> Result<(), DeviceError> {
    let Shape { rows, inputs, outputs, pitch } = shape;
    let (rows, inputs, outputs, pitch) = (rows as u64, inputs as u64, outputs as u64, pitch as u64);
    let n = tiles(outputs, inputs);
    match by {
        By::Kernel => {
            launch::LinearWeight { n, rows, inputs, outputs, pitch, dy, x, gradient }.launch(device)
        }
        By::Choice => WeightGradient { rows, inputs, outputs, pitch, dy, x, gradient }.start(device),
    }
}

fn weight(device: &dyn Device, by: By) -> Result<(), Failure> {
    for shape in SHAPES {
        for shift in [0, 3] {
            let Shape { rows, inputs, outputs, .. } = shape;
            let what = format!("{shape:?}, shift {shift}");
            let job = Job::new(shape);
            let (dy, x) = (Placed::new(device, &job.dy, shift)?, Placed::new(device, &job.x, shift)?);
            let gradient = Placed::new(device, &finite(7, inputs * outputs), shift)?;
            start_weight(device, by, shape, dy.address(), x.address(), gradient.address())?;
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

fn accumulated(device: &dyn Device, by: By) -> Result<(), Failure> {
    let shape = Shape { rows: 96, inputs: 48, outputs: 40, pitch: 40 };
    let Shape { rows, inputs, outputs, pitch } = shape;
    let job = Job::new(shape);
    let (dy, x) = (Placed::new(device, &job.dy, 0)?, Placed::new(device, &job.x, 0)?);
    let (at_once, in_parts) = (vec![0.0_f32; inputs * outputs], vec![0.0_f32; inputs * outputs]);
    let (at_once, in_parts) = (Placed::new(device, &at_once, 0)?, Placed::new(device, &in_parts, 0)?);
    start_weight(device, by, shape, dy.address(), x.address(), at_once.address())?;
    for start in [0, rows / 2] {
        let part = Shape { rows: rows / 2, ..shape };
        let (dy, x) = (dy.at(start * pitch), x.at(start * inputs));
        start_weight(device, by, part, dy, x, in_parts.address())?;
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
        n: tiles(rows, 3),
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
