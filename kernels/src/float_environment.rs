//! Rounding to nearest, with denormals: what every promise of equal bits stands on.
//!
//! A library loaded into the process can change either for a thread (`-ffast-math` startup code does), so a
//! thread that computes checks them by computing.

use std::hint::black_box;

/// Why this thread's arithmetic is not that of the other ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FloatEnvironmentError {
    #[error("this thread does not round to nearest: a loaded library has changed the rounding mode")]
    Rounding,
    #[error("this thread flushes denormal numbers to zero: a loaded library has changed the mode")]
    Denormals,
}

/// Refuses a thread whose rounding mode or treatment of denormals differs from IEEE 754's default.
///
/// # Errors
/// With what differs; find the library that changes it, or load it after training.
pub fn check() -> Result<(), FloatEnvironmentError> {
    // Half a unit in the last place of 1: both sums are ties, which go to the even neighbour.
    let half_unit = black_box(f32::EPSILON / 2.0);
    let ties = [black_box(1.0) + half_unit, black_box(1.0) + 3.0 * half_unit];
    if ties != [1.0, 1.0 + 2.0 * f32::EPSILON] {
        return Err(FloatEnvironmentError::Rounding);
    }
    let flushed_result = black_box(f32::MIN_POSITIVE) * black_box(0.5) == 0.0;
    let flushed_input = black_box(f32::from_bits(1)) * black_box(f32::MAX) == 0.0;
    if flushed_result || flushed_input {
        return Err(FloatEnvironmentError::Denormals);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_fresh_thread_computes_as_ieee_754_says() {
        assert_eq!(std::thread::spawn(super::check).join().unwrap(), Ok(()));
    }
}
