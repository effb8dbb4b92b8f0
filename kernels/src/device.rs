//! A machine that runs the kernels of `kernels/cuda`: a GPU, or the emulator that tests use.
//!
//! Kernels take device addresses and scalars. [`crate::launch`] is generated from `kernels/cuda/kernels.toml`
//! and gives each kernel a struct with a field a parameter, so that arguments are named and typed.

mod host_buffer;
mod meter;
mod products;

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

pub use self::host_buffer::{HostBuffer, HostMemory, Ticket, Tickets};
pub use self::meter::{MemoryUse, Meter, Metered};
pub use self::products::{Factor, Lies, Out, Product, Products};

/// Runs kernels in the order they are launched.
///
/// It belongs to one thread at a time; another thread works through a [`Device::beside`] of its own.
pub trait Device: Send {
    /// What it is, for people: `NVIDIA H100 80GB HBM3`, `emulator`.
    fn name(&self) -> String;

    /// Memory of the device, aligned to 256 bytes, with any content.
    ///
    /// # Errors
    /// If there is not enough.
    fn allocate(&self, bytes: usize) -> Result<DeviceBuffer, DeviceError>;

    /// Copies to `buffer` from its byte `offset` on.
    ///
    /// # Errors
    /// If the range is not inside the buffer, or an earlier launch failed.
    fn write(&self, buffer: &DeviceBuffer, offset: usize, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Copies from `buffer` from its byte `offset` on, after everything that was launched.
    ///
    /// # Errors
    /// As [`Self::write`].
    fn read(&self, buffer: &DeviceBuffer, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Memory of the host that copies start from and end in, aligned to 16 bytes, with any content.
    ///
    /// # Errors
    /// If there is not enough.
    fn allocate_host(&self, bytes: usize) -> Result<HostBuffer, DeviceError>;

    /// Starts a copy to `to` from its byte `offset` on, after everything that was launched; what is launched later
    /// sees it. The range of `from` is busy until a later copy was waited for.
    ///
    /// # Errors
    /// If a range is not inside its buffer, or an earlier launch failed.
    fn start_write(
        &self,
        from: &mut HostBuffer,
        range: Range<usize>,
        to: &DeviceBuffer,
        offset: usize,
    ) -> Result<Ticket, DeviceError>;

    /// Starts a copy of `from`, from its byte `offset` on, once everything that was launched has ended, beside what
    /// is launched later. The range of `to` is busy until it was waited for.
    ///
    /// # Errors
    /// As [`Self::start_write`].
    fn start_read(
        &self,
        from: &DeviceBuffer,
        offset: usize,
        to: &mut HostBuffer,
        range: Range<usize>,
    ) -> Result<Ticket, DeviceError>;

    /// Marks what was launched up to now: to wait for the ticket is to wait until it has ended.
    ///
    /// # Errors
    /// If an earlier launch failed.
    fn mark(&self) -> Result<Ticket, DeviceError>;

    /// Waits until a copy has ended, and with it all that were started before it.
    ///
    /// # Errors
    /// If it or what it came after failed.
    fn wait(&self, ticket: Ticket) -> Result<(), DeviceError>;

    /// Starts a kernel; it may still run when this returns.
    ///
    /// # Errors
    /// If the device does not know the kernel or refuses the launch.
    fn launch(&self, launch: &Launch<'_>) -> Result<(), DeviceError>;

    /// Waits until everything that was launched, and every copy that was started, has ended.
    ///
    /// # Errors
    /// If one of them failed.
    fn synchronize(&self) -> Result<(), DeviceError>;

    /// The same memory and kernels with an order of its own: what is launched here and there runs in no order but
    /// that of waits.
    ///
    /// # Errors
    /// If the device does not answer.
    fn beside(&self) -> Result<Box<dyn Device>, DeviceError>;

    /// What was allocated and not given back, here and beside.
    fn memory_use(&self) -> MemoryUse;

    /// Its library of matrix products, if it has one. [`crate::device_linear`] asks it; others launch through that.
    fn products(&self) -> Option<&dyn Products> {
        None
    }
}

/// Memory of a device, given back when it is dropped.
pub struct DeviceBuffer {
    address: u64,
    bytes: usize,
    /// What gives the memory back.
    owner: Box<dyn Any + Send + Sync>,
}

impl DeviceBuffer {
    /// For devices: `owner` gives the memory back when it is dropped.
    pub fn new(address: u64, bytes: usize, owner: Box<dyn Any + Send + Sync>) -> DeviceBuffer {
        DeviceBuffer { address, bytes, owner }
    }

    pub fn address(&self) -> u64 {
        self.address
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn owner(&self) -> &dyn Any {
        &*self.owner
    }

    /// Where elements begin that lie `offset_bytes` behind the start.
    pub fn at<T>(&self, offset_bytes: usize) -> Address<T> {
        Address { value: self.address + offset_bytes as u64, of: PhantomData }
    }
}

impl fmt::Debug for DeviceBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceBuffer({:#x}, {} bytes)", self.address, self.bytes)
    }
}

/// Where values of type `T` lie on a device.
pub struct Address<T> {
    value: u64,
    of: PhantomData<fn() -> T>,
}

impl<T> Address<T> {
    /// For a parameter that may be absent.
    pub const NULL: Address<T> = Address { value: 0, of: PhantomData };

    pub fn value(self) -> u64 {
        self.value
    }

    /// Where element 0 of an arena would lie whose element `index` lies here. Nothing but what is in
    /// memory may be accessed through it.
    pub fn less(self, index: u64) -> Address<T> {
        let bytes = index.wrapping_mul(size_of::<T>() as u64);
        Address { value: self.value.wrapping_sub(bytes), of: PhantomData }
    }
}

impl<T> Clone for Address<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Address<T> {}

impl<T> fmt::Debug for Address<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.value)
    }
}

/// What the manifest says of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// The symbol, `extern "C"`.
    pub name: &'static str,
    /// The file of `kernels/cuda` that holds it.
    pub file: &'static str,
    /// Threads of a block.
    pub block: u32,
    /// Elements that one block works on; a launch has as many blocks as cover all. 0: one block works on
    /// all, also where there are none.
    pub elems_per_block: u32,
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
    /// How many arguments it takes.
    pub parameters: usize,
}

impl Kernel {
    /// Starts as many blocks as cover `elems`; none for none.
    ///
    /// # Errors
    /// If a grid cannot cover as many, or as [`Device::launch`].
    pub fn start(
        &'static self,
        device: &dyn Device,
        elems: u64,
        arguments: &[Argument],
    ) -> Result<(), DeviceError> {
        let blocks = match self.elems_per_block {
            0 => 1,
            elems_per_block => elems.div_ceil(u64::from(elems_per_block)),
        };
        if blocks == 0 {
            return Ok(());
        }
        let grid = u32::try_from(blocks).ok().filter(|grid| *grid <= MAX_GRID);
        let grid = grid.ok_or(DeviceError::TooLong { kernel: self.name, length: elems })?;
        device.launch(&Launch { kernel: self, grid, arguments })
    }
}

/// Blocks of a launch in its first dimension: CUDA's limit.
const MAX_GRID: u32 = 0x7fff_ffff;

/// One launch, as a device takes it.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    pub kernel: &'static Kernel,
    pub grid: u32,
    pub arguments: &'a [Argument],
}

impl Launch<'_> {
    /// For devices, which read as many arguments as the kernel takes.
    ///
    /// # Errors
    /// If there are more or fewer.
    pub fn check_arguments(&self) -> Result<(), DeviceError> {
        let (expected, got) = (self.kernel.parameters, self.arguments.len());
        if got == expected {
            return Ok(());
        }
        Err(DeviceError::Arguments { kernel: self.kernel.name, expected, got })
    }
}

/// An argument of a kernel, passed by value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Argument {
    Address(u64),
    U64(u64),
    U32(u32),
    F32(f32),
}

/// Why a device did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("{device} has no room for {bytes} bytes: use smaller batches or another device")]
    OutOfMemory { device: String, bytes: usize },
    #[error("bytes {offset}..{end} are outside of a buffer of {len} bytes")]
    Range { offset: usize, end: usize, len: usize },
    #[error("kernel {kernel} cannot be loaded: {cause}")]
    Load { kernel: &'static str, cause: Box<dyn Error + Send + Sync> },
    #[error("kernel {kernel} takes {expected} arguments, got {got}: launch it by its struct of `launch`")]
    Arguments { kernel: &'static str, expected: usize, got: usize },
    #[error("{length} elements of kernel {kernel} are more than one launch can cover")]
    TooLong { kernel: &'static str, length: u64 },
    /// By a library; nothing was queued.
    #[error("a matrix product cannot be started: {cause}")]
    Product { cause: Box<dyn Error + Send + Sync> },
    #[error("{kernel}: {cause}")]
    Failed { kernel: String, cause: String },
}
