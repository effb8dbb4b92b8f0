//! The checksum that finds replicas that differ.

use hcrun_kernels::device::Device;
use hcrun_kernels::digest::digest;
use hcrun_kernels::launch;

use crate::placed::{Placed, same};
use crate::values::{LENGTHS, SHARDS, any, shards};
use crate::{Case, Failure};

pub(crate) const CASES: &[Case] =
    &[Case { name: "digests_are_those_of_the_cpu_for_any_split_in_any_order", run: splits }];

pub(crate) const LAST_BLOCK_CASES: &[Case] =
    &[Case { name: "digests_of_more_than_32_bits_reach_their_last_elements", run: last_block }];

/// Parts are added last to first.
fn on_device(
    device: &dyn Device,
    values: &[f32],
    (parts, start, shift): (usize, usize, usize),
) -> Result<u64, Failure> {
    let placed = Placed::new(device, values, shift)?;
    let sum = Placed::new(device, &[0_u64], 0)?;
    for part in shards(values.len(), parts).into_iter().rev() {
        launch::Digest {
            n: part.len() as u64,
            begin: (start + part.start) as u64,
            values: placed.address().less(start as u64),
            sum: sum.address(),
        }
        .launch(device)?;
    }
    device.synchronize()?;
    Ok(sum.read(device, "the digest")?[0])
}

/// Bug of others: a checksum that depends on how the buffer is visited.
fn splits(device: &dyn Device) -> Result<(), Failure> {
    let lengths = LENGTHS.map(|elems| (elems, (1, 0, 0)));
    let parts = SHARDS.map(|parts| (9000, (parts, 1024, 0)));
    let far = [(4099, (2, (1 << 32) - 7, 0)), (4099, (1, 0, 1)), (4097, (3, 5, 3))];
    for (elems, how) in lengths.into_iter().chain(parts).chain(far) {
        let values = any(61, elems);
        // NaN has the bits that memory holds: nothing computes with it.
        let what = format!("{elems} elements; parts, start, shift {how:?}");
        same(&what, &[on_device(device, &values, how)?], &[digest(how.1, &values)])?;
    }
    Ok(())
}

/// The digest of the last five elements of 2^32 + 5, for devices that run the last block alone.
fn last_block(device: &dyn Device) -> Result<(), Failure> {
    const FAR: u64 = 1 << 32;
    let values = any(62, 5);
    let placed = Placed::new(device, &values, 0)?;
    let sum = Placed::new(device, &[0_u64], 0)?;
    let values_at = placed.address().less(FAR);
    launch::Digest { n: FAR + 5, begin: 0, values: values_at, sum: sum.address() }.launch(device)?;
    device.synchronize()?;
    sum.expect(device, "the digest", &[digest(1 << 32, &values)])
}
