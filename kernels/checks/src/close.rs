//! Results that may differ from the CPU's in their last digits: sums of products in another order, rounded to bf16.

use crate::Failure;

/// How far a value may be from the reference: the sum of both parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tolerance {
    pub(crate) absolute: f64,
    /// Of the reference's magnitude.
    pub(crate) relative: f64,
}

/// One rounding to bf16 of a value of about 1, of sums in f32.
pub(crate) const BF16: Tolerance = Tolerance { absolute: 1e-4, relative: 1.0 / 250.0 };

impl Tolerance {
    fn allows(self, device: f64, reference: f64) -> bool {
        if reference.is_finite() {
            (device - reference).abs() <= self.absolute + self.relative * reference.abs()
        } else {
            device == reference || (device.is_nan() && reference.is_nan())
        }
    }
}

/// # Errors
/// With the first element that is too far off.
pub(crate) fn close(
    what: &str,
    tolerance: Tolerance,
    device: &[f64],
    reference: &[f64],
) -> Result<(), Failure> {
    if device.len() != reference.len() {
        let (device, reference) = (device.len(), reference.len());
        return Err(Failure::Other(format!("{what}: {device} elements, on the CPU {reference}")));
    }
    let pairs = || device.iter().zip(reference);
    match pairs().position(|(device, reference)| !tolerance.allows(*device, *reference)) {
        None => Ok(()),
        Some(index) => Err(Failure::Differs {
            what: what.to_owned(),
            index,
            device: format!("{:e}", device[index]),
            cpu: format!("{:e}, more than {tolerance:?} away", reference[index]),
        }),
    }
}

/// The values of bf16 bits.
pub(crate) fn of_bf16(bits: &[u16]) -> Vec<f64> {
    bits.iter().map(|bits| half::bf16::from_bits(*bits).to_f64()).collect()
}

pub(crate) fn of_f32(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// The nearest bf16 to each.
pub(crate) fn to_bf16(values: &[f32]) -> Vec<u16> {
    values.iter().map(|value| half::bf16::from_f32(*value).to_bits()).collect()
}
