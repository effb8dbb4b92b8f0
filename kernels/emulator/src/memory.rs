//! Memory of the emulated device: allocations with margins that no kernel may touch.

#![expect(unsafe_code, reason = "kernels in C++ write to this memory")]

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::slice;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Before and behind each allocation.
const MARGIN_BYTES: usize = 4096;
/// Of margins and of fresh memory: NaN as a float, -1 as an integer.
const PATTERN: u8 = 0xff;
const ALIGN: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// By address, which lies behind the first margin.
    regions: Mutex<BTreeMap<u64, Region>>,
}

#[derive(Debug)]
struct Region {
    block: *mut u8,
    layout: Layout,
    bytes: usize,
}

// SAFETY: the block is reached through the map's lock, and by kernels, of which no two at once work on the same bytes.
unsafe impl Send for Region {}

impl Memory {
    fn regions(&self) -> MutexGuard<'_, BTreeMap<u64, Region>> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of fresh memory, or none if there is not enough.
    pub(crate) fn allocate(&self, bytes: usize) -> Option<u64> {
        let total = bytes.checked_add(2 * MARGIN_BYTES)?;
        let layout = Layout::from_size_align(total, ALIGN).ok()?;
        // SAFETY: the layout has a size, since margins do.
        let block = unsafe { alloc(layout) };
        if block.is_null() {
            return None;
        }
        // SAFETY: `block` has `total` bytes.
        unsafe { block.write_bytes(PATTERN, total) };
        let address = block as u64 + MARGIN_BYTES as u64;
        self.regions().insert(address, Region { block, layout, bytes });
        Some(address)
    }

    pub(crate) fn free(&self, address: u64) {
        if let Some(region) = self.regions().remove(&address) {
            // SAFETY: it came from `alloc` with this layout, and was in the map, so is freed once.
            unsafe { dealloc(region.block, region.layout) };
        }
    }

    /// Start and end of each allocation.
    pub(crate) fn ranges(&self) -> Vec<[u64; 2]> {
        let regions = self.regions();
        regions.iter().map(|(address, region)| [*address, address + region.bytes as u64]).collect()
    }

    /// False if there is no such memory.
    pub(crate) fn write(&self, address: u64, offset: usize, bytes: &[u8]) -> bool {
        let regions = self.regions();
        let Some(region) = regions.get(&address).filter(|region| region.holds(offset, bytes.len())) else {
            return false;
        };
        // SAFETY: the range is inside the allocation, which no slice borrows.
        unsafe { region.block.add(MARGIN_BYTES + offset).copy_from(bytes.as_ptr(), bytes.len()) };
        true
    }

    /// False if there is no such memory.
    pub(crate) fn read(&self, address: u64, offset: usize, bytes: &mut [u8]) -> bool {
        let regions = self.regions();
        let Some(region) = regions.get(&address).filter(|region| region.holds(offset, bytes.len())) else {
            return false;
        };
        // SAFETY: as in `write`.
        unsafe { bytes.as_mut_ptr().copy_from(region.block.add(MARGIN_BYTES + offset), bytes.len()) };
        true
    }

    /// What a kernel did to a margin, which is then mended.
    pub(crate) fn check_margins(&self) -> Result<(), String> {
        let mut found = Ok(());
        for region in self.regions().values() {
            for (start, side) in [(0, "before"), (MARGIN_BYTES + region.bytes, "behind")] {
                // SAFETY: both margins are inside the allocation, and nothing else runs.
                let margin = unsafe { slice::from_raw_parts_mut(region.block.add(start), MARGIN_BYTES) };
                if let Some(place) = margin.iter().position(|byte| *byte != PATTERN) {
                    let bytes = if start == 0 { MARGIN_BYTES - place } else { place };
                    found = Err(format!("wrote {bytes} bytes {side} a buffer of {} bytes", region.bytes));
                    margin.fill(PATTERN);
                }
            }
        }
        found
    }
}

impl Region {
    fn holds(&self, offset: usize, bytes: usize) -> bool {
        offset.checked_add(bytes).is_some_and(|end| end <= self.bytes)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for region in self.regions().values() {
            // SAFETY: as in `free`; the map is dropped with this.
            unsafe { dealloc(region.block, region.layout) };
        }
    }
}
