//! One attention on a device and on the CPU, and how far apart both may be.

use hcrun_kernels::attention::{Shape, attention, attention_backward, scratch_elems};
use hcrun_kernels::device::{Device, DeviceError};
use hcrun_kernels::device_attention::{Backward, DeviceAttention, Forward};
use hcrun_protocol::Prng;

use crate::Failure;
use crate::close::{Tolerance, close, of_bf16, of_f32, to_bf16};
use crate::placed::{Placed, same};

/// A rounding to bf16 is off by 2⁻⁹ of a value at most. Probabilities are rounded once, which moves a sum over them
/// by as much of its terms' magnitudes, and so is the result.
const OUT: Precision = Precision { of_largest: 0.004, relative: 0.004 };
/// Gradients of scores are rounded as well, and terms of either sign cancel.
const GRADIENT: Precision = Precision { of_largest: 0.008, relative: 0.008 };
pub(super) const LSE: Tolerance = Tolerance { absolute: 1e-5, relative: 1e-6 };

/// NaN where results belong.
pub(super) const UNWRITTEN: u16 = 0x7fc0;

#[derive(Debug, Clone, Copy)]
struct Precision {
    /// Of the largest magnitude in the array.
    of_largest: f64,
    /// Of the value.
    relative: f64,
}

impl Precision {
    fn within(self, reference: &[f64]) -> Tolerance {
        let largest = reference.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        Tolerance { absolute: self.of_largest * largest, relative: self.relative }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) shape: Shape,
    pub(super) qkv: Vec<u16>,
    pub(super) dout: Vec<u16>,
}

pub(super) fn shape(sequences: usize, length: usize, heads: usize, head_width: usize) -> Shape {
    Shape { sequences, length, heads, head_width }
}

/// Values of either sign up to `size`.
#[expect(clippy::cast_possible_truncation, reason = "test data is rounded to bf16")]
pub(super) fn values(seed: u64, elems: usize, size: f64) -> Vec<u16> {
    let mut draws = Prng::new(seed);
    let values: Vec<f32> = (0..elems).map(|_| ((draws.uniform() * 2.0 - 1.0) * size) as f32).collect();
    to_bf16(&values)
}

pub(super) fn device_attention(shape: Shape) -> Result<DeviceAttention, Failure> {
    DeviceAttention::new(shape).map_err(|error| Failure::Other(error.to_string()))
}

impl Job {
    pub(super) fn new(shape: Shape, size: f64) -> Job {
        let Shape { sequences, length, heads, head_width } = shape;
        let elems = sequences * length * heads * head_width;
        Job { shape, qkv: values(11, 3 * elems, size), dout: values(12, elems, 1.0) }
    }

    pub(super) fn rows(&self) -> usize {
        self.shape.sequences * self.shape.length * self.shape.heads
    }

    /// On arrays that begin `shift` elements behind an aligned place.
    pub(super) fn on_device(&self, device: &dyn Device, shift: usize) -> Result<Results, Failure> {
        let attention = device_attention(self.shape)?;
        let arrays = Arrays::new(device, self, shift)?;
        attention.forward(device, arrays.forward(0, 0))?;
        attention.backward(device, arrays.backward(0, 0))?;
        arrays.results(device)
    }

    /// The results, if they are those of the CPU.
    pub(super) fn compare(&self, device: &dyn Device) -> Result<Results, Failure> {
        let results = self.on_device(device, 0)?;
        self.expect(&results)?;
        Ok(results)
    }

    /// # Errors
    /// If they are not those of the CPU.
    pub(super) fn expect(&self, results: &Results) -> Result<(), Failure> {
        let (out, lse) = self.forward_on_cpu();
        self.expect_forward(&results.out, &results.lse, (&out, &lse))?;
        // The gradient is that of what the device has as `out`.
        let dqkv = self.gradient_on_cpu(&of_bf16(&results.out), &lse);
        (0..3).try_for_each(|part| self.expect_gradient(part, &results.dqkv, &dqkv))
    }

    /// `out` and `lse`.
    pub(super) fn forward_on_cpu(&self) -> (Vec<f64>, Vec<f64>) {
        let (mut out, mut lse) = (vec![0.0; self.qkv.len() / 3], vec![0.0; self.rows()]);
        let mut scratch = vec![0.0; scratch_elems(self.shape.length)];
        attention(self.shape, &of_bf16(&self.qkv), &mut out, &mut lse, &mut scratch);
        (out, lse)
    }

    pub(super) fn gradient_on_cpu(&self, out: &[f64], lse: &[f64]) -> Vec<f64> {
        let (qkv, dout) = (of_bf16(&self.qkv), of_bf16(&self.dout));
        let mut scratch = vec![0.0; scratch_elems(self.shape.length)];
        let mut dqkv = vec![0.0; qkv.len()];
        attention_backward(self.shape, &qkv, out, lse, &dout, &mut dqkv, &mut scratch);
        dqkv
    }

    pub(super) fn expect_forward(
        &self,
        out: &[u16],
        lse: &[f32],
        reference: (&[f64], &[f64]),
    ) -> Result<(), Failure> {
        close(&format!("lse of {:?}", self.shape), LSE, &of_f32(lse), reference.1)?;
        let tolerance = OUT.within(reference.0);
        close(&format!("out of {:?}", self.shape), tolerance, &of_bf16(out), reference.0)
    }

    pub(super) fn expect_gradient(
        &self,
        part: usize,
        dqkv: &[u16],
        reference: &[f64],
    ) -> Result<(), Failure> {
        let what = format!("gradient of {} of {:?}", ["queries", "keys", "values"][part], self.shape);
        let reference = self.part(reference, part);
        close(&what, GRADIENT.within(&reference), &of_bf16(&self.part(dqkv, part)), &reference)
    }

    /// Queries, keys or values of an array of all three.
    pub(super) fn part<T: Copy>(&self, qkv: &[T], part: usize) -> Vec<T> {
        let width = self.shape.heads * self.shape.head_width;
        qkv.chunks(width).skip(part).step_by(3).flatten().copied().collect()
    }
}

/// A job's arrays on a device.
pub(super) struct Arrays {
    pub(super) qkv: Placed<u16>,
    pub(super) dout: Placed<u16>,
    pub(super) out: Placed<u16>,
    pub(super) dqkv: Placed<u16>,
    pub(super) lse: Placed<f32>,
    pub(super) delta: Placed<f32>,
}

impl Arrays {
    pub(super) fn new(device: &dyn Device, job: &Job, shift: usize) -> Result<Arrays, DeviceError> {
        Ok(Arrays {
            qkv: Placed::new(device, &job.qkv, shift)?,
            dout: Placed::new(device, &job.dout, shift)?,
            out: Placed::new(device, &vec![UNWRITTEN; job.dout.len()], shift)?,
            dqkv: Placed::new(device, &vec![UNWRITTEN; job.qkv.len()], shift)?,
            lse: Placed::new(device, &vec![f32::NAN; job.rows()], shift)?,
            delta: Placed::new(device, &vec![f32::NAN; job.rows()], shift)?,
        })
    }

    /// As if `elems` elements of `out` and `rows` of `lse` came before what is there.
    pub(super) fn forward(&self, elems: u64, rows: u64) -> Forward {
        let Backward { qkv, out, lse, .. } = self.backward(elems, rows);
        Forward { qkv, out, lse }
    }

    /// As [`Self::forward`].
    pub(super) fn backward(&self, elems: u64, rows: u64) -> Backward {
        Backward {
            qkv: self.qkv.address().less(3 * elems),
            out: self.out.address().less(elems),
            lse: self.lse.address().less(rows),
            dout: self.dout.address().less(elems),
            delta: self.delta.address().less(rows),
            dqkv: self.dqkv.address().less(3 * elems),
        }
    }

    pub(super) fn results(&self, device: &dyn Device) -> Result<Results, Failure> {
        device.synchronize()?;
        self.qkv.expect_unchanged(device, "qkv")?;
        self.dout.expect_unchanged(device, "dout")?;
        Ok(Results {
            out: self.out.read(device, "out")?,
            lse: self.lse.read(device, "lse")?,
            delta: self.delta.read(device, "delta")?,
            dqkv: self.dqkv.read(device, "dqkv")?,
        })
    }
}

/// What a device computed.
#[derive(Debug)]
pub(super) struct Results {
    pub(super) out: Vec<u16>,
    pub(super) lse: Vec<f32>,
    pub(super) delta: Vec<f32>,
    pub(super) dqkv: Vec<u16>,
}

impl Results {
    /// # Errors
    /// If a bit differs.
    pub(super) fn expect_same(&self, what: &str, reference: &Results) -> Result<(), Failure> {
        same(&format!("{what}: out"), &self.out, &reference.out)?;
        same(&format!("{what}: lse"), &self.lse, &reference.lse)?;
        same(&format!("{what}: delta"), &self.delta, &reference.delta)?;
        same(&format!("{what}: dqkv"), &self.dqkv, &reference.dqkv)
    }
}
