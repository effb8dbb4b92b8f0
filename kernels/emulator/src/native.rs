//! The C++ side: finds a kernel and runs its blocks.

#![expect(unsafe_code, reason = "calls the emulator, which is C++")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::marker::PhantomData;

/// A compiled kernel. Lives as long as the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pointer: &'static Opaque,
}

#[repr(C)]
#[derive(Debug)]
struct Opaque {
    _private: [u8; 0],
    _not_send: PhantomData<*const u8>,
}

#[repr(C)]
struct RawLaunch {
    entry: *const Opaque,
    arguments: *const u64,
    regions: *const [u64; 2],
    region_count: u64,
    seed: u64,
    grid: u32,
    first_block: u32,
    block: u32,
    shared_bytes: u32,
    argument_count: u32,
}

#[repr(C)]
struct RawFault {
    block: u32,
    thread: u32,
    message: [u8; 512],
}

unsafe extern "C" {
    fn hc_emu_find(mutant: *const c_char, kernel: *const c_char) -> *const Opaque;
    fn hc_emu_launch(launch: *const RawLaunch, fault: *mut RawFault) -> c_int;
}

pub(crate) struct Blocks<'a> {
    pub(crate) arguments: &'a [u64],
    /// Start and end of each allocation.
    pub(crate) regions: &'a [[u64; 2]],
    pub(crate) seed: u64,
    pub(crate) grid: u32,
    /// Blocks before it are not run.
    pub(crate) first_block: u32,
    pub(crate) block: u32,
    pub(crate) shared_bytes: u32,
}

/// The mutant's kernel if it changes it, else the true one.
pub(crate) fn find(mutant: &str, kernel: &str) -> Option<Entry> {
    let (mutant, kernel) = (CString::new(mutant).ok()?, CString::new(kernel).ok()?);
    // SAFETY: both are strings that end in 0 and outlive the call; what it returns is null or static.
    let pointer = unsafe { hc_emu_find(mutant.as_ptr(), kernel.as_ptr()).as_ref() };
    Some(Entry { pointer: pointer? })
}

/// # Errors
/// With block, thread and cause, if a lane failed.
pub(crate) fn run(entry: Entry, blocks: &Blocks<'_>) -> Result<(), String> {
    let launch = RawLaunch {
        entry: entry.pointer,
        arguments: blocks.arguments.as_ptr(),
        regions: blocks.regions.as_ptr(),
        region_count: blocks.regions.len() as u64,
        seed: blocks.seed,
        grid: blocks.grid,
        first_block: blocks.first_block,
        block: blocks.block,
        shared_bytes: blocks.shared_bytes,
        argument_count: u32::try_from(blocks.arguments.len()).unwrap_or(u32::MAX),
    };
    let mut fault = RawFault { block: 0, thread: 0, message: [0; 512] };
    // SAFETY: pointers and counts are those of slices that outlive the call, which keeps none; `RawLaunch` and
    // `RawFault` have the layout of `HcLaunch` and `HcFault`; a block has 1 to 1024 threads: checked by the
    // caller. A kernel may write wherever its arguments let it, as on a device: only tests run it.
    let failed = unsafe { hc_emu_launch(&launch, &mut fault) } != 0;
    if failed { Err(describe(&fault)) } else { Ok(()) }
}

fn describe(fault: &RawFault) -> String {
    let message = CStr::from_bytes_until_nul(&fault.message).unwrap_or_default().to_string_lossy();
    format!("block {}, thread {} {message}", fault.block, fault.thread)
}
