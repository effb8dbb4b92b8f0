//! Host memory for arenas.
//!
//! A pass over several arenas touches a page of each every 1,024 elements. Pages of 2 MiB, where the system
//! hands them out on request, leave out most of the look-ups.

#![expect(unsafe_code, reason = "madvise takes a raw range")]

/// Smaller ones fit a few entries of any translation cache.
const LEAST_BYTES: usize = 4 << 20;
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Zeros, on huge pages where they are many and the system has such pages.
pub fn zeros(elems: usize) -> Vec<f32> {
    let mut values = vec![0.0; elems];
    let bytes = size_of_val(values.as_slice());
    if bytes >= LEAST_BYTES {
        let head = values.as_ptr().cast::<u8>().align_offset(HUGE_PAGE_BYTES).min(bytes);
        let whole = (bytes - head) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
        // SAFETY: the range lies inside the vector's allocation, and this advice changes no content. It
        // comes before the first touch of most pages, which large allocations get from the system as zeros.
        let advised = unsafe {
            let start = values.as_mut_ptr().cast::<u8>().add(head);
            rustix::mm::madvise(start.cast(), whole, rustix::mm::Advice::LinuxHugepage)
        };
        // Without huge pages everything works as before.
        let _ = advised;
    }
    values
}

/// A copy of `values`, in memory as of [`zeros`].
pub fn copy_of(values: &[f32]) -> Vec<f32> {
    let mut copy = zeros(values.len());
    copy.copy_from_slice(values);
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_any_size_is_zero_and_writable() {
        for elems in [0, 1, 1_000, LEAST_BYTES / 4, 3 * LEAST_BYTES / 4 + 5] {
            let mut values = zeros(elems);
            assert!(values.len() == elems && values.iter().all(|x| x.to_bits() == 0));
            values.fill(1.5);
            assert_eq!(copy_of(&values), values);
        }
    }
}
