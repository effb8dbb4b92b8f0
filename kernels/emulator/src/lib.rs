//! Runs the CUDA sources of `kernels/cuda` on the CPU, for tests on machines without a GPU.
//!
//! The C++ compiler builds the same sources behind `cpp/hc_emu.h`. Blocks run one after another and each lane
//! runs until it waits for others, both in an order that a seed chooses: what may not depend on that order
//! must have the same bits for all seeds. Found besides: lanes that miss a barrier, shared memory read before
//! it is written (it is NaN), writes beside arrays and buffers, misaligned vector accesses, copies never
//! waited for. Not found: missing memory fences, and what the PTX does differently from its C++ twin.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use hcrun_kernels::device::{
    Argument, Device, DeviceBuffer, DeviceError, HostBuffer, HostMemory, Launch, MemoryUse, Meter, Metered,
    Ticket, Tickets,
};

mod memory;
mod native;

use memory::Memory;

/// Sources with one mistake each, which the checks must catch: what it is, and the file.
pub const MUTANTS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/mutants.rs"));

/// Where `libhc_emulator.a` and `libhc_mutants.a` lie, for programs that link them themselves.
pub const LIBRARIES: &str = env!("OUT_DIR");

/// A device whose order of blocks and lanes follows from a seed.
#[derive(Debug, Default)]
pub struct Emulator {
    seed: u64,
    launches: Cell<u64>,
    files: RefCell<BTreeSet<&'static str>>,
    /// Empty for none.
    mutant: &'static str,
    last_blocks: Option<u32>,
    memory: Arc<Memory>,
    meter: Meter,
    tickets: Tickets,
}

impl Emulator {
    pub fn new(seed: u64) -> Emulator {
        Emulator { seed, ..Emulator::default() }
    }

    /// Files of `kernels/cuda` of which a kernel was launched.
    pub fn files(&self) -> BTreeSet<&'static str> {
        self.files.borrow().clone()
    }

    /// Runs the kernels of this source of [`MUTANTS`] instead.
    pub fn with_mutant(self, mutant: &'static str) -> Emulator {
        Emulator { mutant, ..self }
    }

    /// Runs only the last blocks of each launch, so that grids too large to emulate can be tried.
    pub fn with_last_blocks(self, blocks: u32) -> Emulator {
        Emulator { last_blocks: Some(blocks), ..self }
    }

    /// Differs from launch to launch.
    fn next_seed(&self) -> u64 {
        let launches = self.launches.get() + 1;
        self.launches.set(launches);
        self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(launches << 32)
    }
}

impl Device for Emulator {
    fn name(&self) -> String {
        format!("emulator, seed {}", self.seed)
    }

    fn allocate(&self, bytes: usize) -> Result<DeviceBuffer, DeviceError> {
        let address = self.memory.allocate(bytes);
        let address = address.ok_or_else(|| DeviceError::OutOfMemory { device: self.name(), bytes })?;
        let owner: Box<dyn Any + Send + Sync> = Box::new(Allocation {
            memory: Arc::clone(&self.memory),
            address,
            _metered: self.meter.device(bytes),
        });
        Ok(DeviceBuffer::new(address, bytes, owner))
    }

    fn write(&self, buffer: &DeviceBuffer, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        let written = self.memory.write(buffer.address(), offset, bytes);
        if written { Ok(()) } else { Err(outside(buffer, offset, bytes.len())) }
    }

    fn read(&self, buffer: &DeviceBuffer, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let read = self.memory.read(buffer.address(), offset, bytes);
        if read { Ok(()) } else { Err(outside(buffer, offset, bytes.len())) }
    }

    fn allocate_host(&self, bytes: usize) -> Result<HostBuffer, DeviceError> {
        let words = vec![u64::MAX; bytes.div_ceil(8)];
        let memory = Words { words, bytes, _metered: self.meter.host(bytes) };
        Ok(HostBuffer::new(Box::new(memory), &self.tickets))
    }

    fn start_write(
        &self,
        from: &mut HostBuffer,
        range: Range<usize>,
        to: &DeviceBuffer,
        offset: usize,
    ) -> Result<Ticket, DeviceError> {
        let ticket = self.tickets.issue();
        self.write(to, offset, from.lend(range, ticket))?;
        Ok(ticket)
    }

    fn start_read(
        &self,
        from: &DeviceBuffer,
        offset: usize,
        to: &mut HostBuffer,
        range: Range<usize>,
    ) -> Result<Ticket, DeviceError> {
        let ticket = self.tickets.issue();
        self.read(from, offset, to.lend(range, ticket))?;
        Ok(ticket)
    }

    fn mark(&self) -> Result<Ticket, DeviceError> {
        Ok(self.tickets.issue())
    }

    fn wait(&self, ticket: Ticket) -> Result<(), DeviceError> {
        self.tickets.end(ticket);
        Ok(())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), DeviceError> {
        let kernel = launch.kernel;
        self.files.borrow_mut().insert(kernel.file);
        let entry = native::find(self.mutant, kernel.name).ok_or_else(|| DeviceError::Load {
            kernel: kernel.name,
            cause: "the emulator was built without it".into(),
        })?;
        let failed = |cause: String| DeviceError::Failed { kernel: kernel.name.to_owned(), cause };
        if launch.grid == 0 || kernel.block == 0 || kernel.block > 1024 {
            return Err(failed(format!("{} blocks of {} threads", launch.grid, kernel.block)));
        }
        launch.check_arguments()?;
        let arguments: Vec<u64> = launch.arguments.iter().map(word).collect();
        let blocks = native::Blocks {
            arguments: &arguments,
            regions: &self.memory.ranges(),
            seed: self.next_seed(),
            grid: launch.grid,
            first_block: self.last_blocks.map_or(0, |blocks| launch.grid.saturating_sub(blocks)),
            block: kernel.block,
            shared_bytes: kernel.shared_bytes,
        };
        let ran = native::run(entry, &blocks);
        ran.and(self.memory.check_margins()).map_err(failed)
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        self.tickets.end_all();
        Ok(())
    }

    fn memory_use(&self) -> MemoryUse {
        self.meter.in_use()
    }

    fn beside(&self) -> Result<Box<dyn Device>, DeviceError> {
        Ok(Box::new(Emulator {
            seed: self.seed.wrapping_add(1),
            mutant: self.mutant,
            memory: Arc::clone(&self.memory),
            meter: self.meter.clone(),
            ..Emulator::default()
        }))
    }
}

struct Words {
    words: Vec<u64>,
    bytes: usize,
    _metered: Metered,
}

impl HostMemory for Words {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn range(&self, range: Range<usize>) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[range]
    }

    fn range_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[range]
    }
}

struct Allocation {
    memory: Arc<Memory>,
    address: u64,
    _metered: Metered,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        self.memory.free(self.address);
    }
}

fn outside(buffer: &DeviceBuffer, offset: usize, bytes: usize) -> DeviceError {
    DeviceError::Range { offset, end: offset.saturating_add(bytes), len: buffer.bytes() }
}

fn word(argument: &Argument) -> u64 {
    match argument {
        Argument::Address(value) | Argument::U64(value) => *value,
        Argument::U32(value) => u64::from(*value),
        Argument::F32(value) => u64::from(value.to_bits()),
    }
}
