//! Runs kernels on a card, in the order of one stream.
//!
//! The primary context is used, which PyTorch in the same process would use too. All work goes through one stream
//! that does not wait for others; nothing tracks the use of buffers beside it.

#![expect(unsafe_code, reason = "the driver is a C library")]

mod memory;
mod products;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CString, c_int, c_uint, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::api::{
    Api, Context, CudaError, DevicePointer, EVENT_WITHOUT_TIME, Event, Function, MAX_DYNAMIC_SHARED_BYTES,
    Module, OUT_OF_MEMORY, STREAM_NON_BLOCKING, Status, Stream,
};
use super::code::{Code, Origin};
use super::probe::{Card, Driver, DriverVersion};
use super::refusal::{LoadError, refusal};
use crate::cublaslt::CublasLtUnavailable;
use crate::device::{
    Argument, Device, DeviceBuffer, DeviceError, HostBuffer, Kernel, Launch, MemoryUse, Meter, Products,
    Ticket, Tickets,
};
use memory::{Allocation, Pinned};
use products::CublasLtOnDevice;

/// A card with the code of its kernels.
pub struct CudaDevice {
    session: Arc<Session>,
    meter: Meter,
    code: Arc<Code>,
    modules: RefCell<BTreeMap<&'static str, LoadedModule>>,
    functions: RefCell<BTreeMap<&'static str, Function>>,
    /// The last launch: what failed asynchronously was this one or one before it.
    last: Cell<&'static str>,
    tickets: Tickets,
    /// Copies that may still run: when each began and ended.
    copies: RefCell<VecDeque<(Ticket, [Mark; 2])>>,
    /// Marks of copies that have ended, for the next ones.
    marks: RefCell<Vec<Mark>>,
    /// Opened when a product is first asked for.
    cublaslt: OnceCell<Result<CublasLtOnDevice, CublasLtUnavailable>>,
}

// SAFETY: modules, functions and events are handles of the driver, used as those of `Session`.
unsafe impl Send for CudaDevice {}

impl CudaDevice {
    /// # Errors
    /// If the card does not answer.
    pub fn open(driver: &Driver, index: u32, code: Code) -> Result<CudaDevice, OpenError> {
        let open = || Session::open(Arc::clone(driver.api()), driver.version(), driver.card(index)?);
        let session = open().map_err(|cause| OpenError { index, cause })?;
        Ok(CudaDevice::with(session, Meter::default(), Arc::new(code)))
    }

    fn with(session: Session, meter: Meter, code: Arc<Code>) -> CudaDevice {
        CudaDevice {
            session: Arc::new(session),
            meter,
            code,
            modules: RefCell::default(),
            functions: RefCell::default(),
            last: Cell::new("nothing"),
            tickets: Tickets::default(),
            copies: RefCell::default(),
            marks: RefCell::default(),
            cublaslt: OnceCell::new(),
        }
    }

    pub fn card(&self) -> &Card {
        &self.session.card
    }

    /// Where the code of each file came from that was needed up to now.
    pub fn origins(&self) -> Vec<(&'static str, Origin)> {
        self.modules.borrow().iter().map(|(file, module)| (*file, module.origin.clone())).collect()
    }

    /// Copies `bytes` from the start of one buffer to the start of another one, on the device.
    ///
    /// # Errors
    /// If one of them is shorter.
    pub fn copy(&self, from: &DeviceBuffer, to: &DeviceBuffer, bytes: usize) -> Result<(), DeviceError> {
        inside(from, 0, bytes)?;
        inside(to, 0, bytes)?;
        let session = &*self.session;
        session.bind()?;
        // SAFETY: both ranges are inside allocations of this context; the stream orders it with all other work.
        let status = unsafe { (session.api.copy)(to.address(), from.address(), bytes, session.stream) };
        self.checked("cuMemcpyDtoDAsync", status)
    }

    /// How long the device takes for what `work` launches.
    ///
    /// # Errors
    /// Those of `work`, or if it fails on the device.
    pub fn measure(&self, work: impl FnOnce() -> Result<(), DeviceError>) -> Result<Duration, DeviceError> {
        let session = &self.session;
        session.bind()?;
        let (start, end) = (Mark::new(session, 0)?, Mark::new(session, 0)?);
        start.record(session.stream)?;
        work()?;
        end.record(session.stream)?;
        end.wait().map_err(|error| self.failed(&error))?;
        Ok(end.since(&start)?)
    }

    fn function(&self, kernel: &'static Kernel) -> Result<Function, DeviceError> {
        if let Some(function) = self.functions.borrow().get(kernel.name) {
            return Ok(*function);
        }
        let load_error = |cause: LoadError| DeviceError::Load { kernel: kernel.name, cause: cause.into() };
        let mut modules = self.modules.borrow_mut();
        if !modules.contains_key(kernel.file) {
            let module = self.load(kernel.file).map_err(load_error)?;
            modules.insert(kernel.file, module);
        }
        let module = modules.get(kernel.file).map_or(ptr::null_mut(), |module| module.handle);
        let name = CString::new(format!("hc_{}", kernel.name))
            .map_err(|error| DeviceError::Load { kernel: kernel.name, cause: error.into() })?;
        let session = &*self.session;
        let mut function = ptr::null_mut();
        // SAFETY: the module is loaded and the name ends with zero.
        let status = unsafe { (session.api.module_function)(&mut function, module, name.as_ptr()) };
        session.api.check("cuModuleGetFunction", status).map_err(|error| load_error(error.into()))?;
        if let Some(bytes) =
            c_int::try_from(kernel.shared_bytes).ok().filter(|bytes| *bytes > SHARED_BYTES_GRANTED)
        {
            // SAFETY: the function was just found.
            let status = unsafe { (session.api.function_set)(function, MAX_DYNAMIC_SHARED_BYTES, bytes) };
            session.api.check("cuFuncSetAttribute", status).map_err(|error| load_error(error.into()))?;
        }
        self.functions.borrow_mut().insert(kernel.name, function);
        Ok(function)
    }

    fn load(&self, file: &str) -> Result<LoadedModule, LoadError> {
        let session = &self.session;
        let architecture = session.card.architecture;
        let machine = self.code.get(file, architecture)?;
        let mut handle = ptr::null_mut();
        // SAFETY: a cubin that lies whole in memory (those from outside are checked), and has its own length; the
        // driver copies it.
        let status = unsafe { (session.api.module_load)(&mut handle, machine.cubin.as_ptr().cast()) };
        session
            .api
            .check("cuModuleLoadData", status)
            .map_err(|cause| refusal(file, architecture, &machine.origin, session.driver, cause))?;
        Ok(LoadedModule { session: Arc::clone(session), handle, origin: machine.origin })
    }

    fn spare(&self) -> Result<Mark, DeviceError> {
        match self.marks.borrow_mut().pop() {
            Some(mark) => Ok(mark),
            None => Mark::new(&self.session, EVENT_WITHOUT_TIME).map_err(|error| self.failed(&error)),
        }
    }

    fn checked(&self, call: &'static str, status: Status) -> Result<(), DeviceError> {
        self.session.api.check(call, status).map_err(|error| self.failed(&error))
    }

    /// Calls report what earlier launches did.
    fn failed(&self, error: &CudaError) -> DeviceError {
        DeviceError::Failed { kernel: format!("{}, or before it", self.last.get()), cause: error.to_string() }
    }
}

impl Device for CudaDevice {
    fn name(&self) -> String {
        self.session.card.name.clone()
    }

    fn allocate(&self, bytes: usize) -> Result<DeviceBuffer, DeviceError> {
        let session = &self.session;
        session.bind()?;
        let mut address = 0;
        // SAFETY: writes one address. The driver refuses a length of zero, and aligns to 256 bytes or more.
        match unsafe { (session.api.allocate)(&mut address, bytes.max(1)) } {
            OUT_OF_MEMORY => Err(DeviceError::OutOfMemory { device: self.name(), bytes }),
            status => {
                self.checked("cuMemAlloc", status)?;
                let metered = self.meter.device(bytes);
                let owner = Allocation { session: Arc::clone(session), address, _metered: metered };
                Ok(DeviceBuffer::new(address, bytes, Box::new(owner)))
            }
        }
    }

    fn write(&self, buffer: &DeviceBuffer, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        let address = inside(buffer, offset, bytes.len())?;
        let session = &*self.session;
        session.bind()?;
        // SAFETY: the range is inside the allocation; the stream is waited for before `bytes` can change.
        let status = unsafe {
            (session.api.copy_to_device)(address, bytes.as_ptr().cast(), bytes.len(), session.stream)
        };
        self.checked("cuMemcpyHtoDAsync", status)?;
        self.synchronize()
    }

    fn read(&self, buffer: &DeviceBuffer, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let address = inside(buffer, offset, bytes.len())?;
        let session = &*self.session;
        session.bind()?;
        // SAFETY: the range is inside the allocation; the stream is waited for before `bytes` can be read.
        let status = unsafe {
            (session.api.copy_to_host)(bytes.as_mut_ptr().cast(), address, bytes.len(), session.stream)
        };
        let started = self.checked("cuMemcpyDtoHAsync", status);
        self.synchronize()?;
        started
    }

    fn allocate_host(&self, bytes: usize) -> Result<HostBuffer, DeviceError> {
        let session = &self.session;
        session.bind()?;
        let mut memory = ptr::null_mut();
        // SAFETY: writes one address, of pages.
        match unsafe { (session.api.allocate_host)(&mut memory, bytes.max(1), 0) } {
            OUT_OF_MEMORY => {
                Err(DeviceError::OutOfMemory { device: format!("the host of {}", self.name()), bytes })
            }
            status => {
                self.checked("cuMemHostAlloc", status)?;
                let (session, metered) = (Arc::clone(session), self.meter.host(bytes));
                let pinned = Pinned { session, memory: memory.cast(), bytes, _metered: metered };
                Ok(HostBuffer::new(Box::new(pinned), &self.tickets))
            }
        }
    }

    fn start_write(
        &self,
        from: &mut HostBuffer,
        range: Range<usize>,
        to: &DeviceBuffer,
        offset: usize,
    ) -> Result<Ticket, DeviceError> {
        let address = inside(to, offset, range.len())?;
        let ticket = self.tickets.issue();
        let bytes = from.lend(range, ticket);
        let session = &*self.session;
        session.bind()?;
        // SAFETY: the range is inside the allocation; nobody touches `bytes` until the ticket has ended, and they are
        // given back only after the streams.
        let status = unsafe {
            (session.api.copy_to_device)(address, bytes.as_ptr().cast(), bytes.len(), session.stream)
        };
        self.checked("cuMemcpyHtoDAsync", status)?;
        let [begun, ended] = [self.spare()?, self.spare()?];
        ended.record(session.stream).map_err(|error| self.failed(&error))?;
        self.copies.borrow_mut().push_back((ticket, [begun, ended]));
        Ok(ticket)
    }

    fn start_read(
        &self,
        from: &DeviceBuffer,
        offset: usize,
        to: &mut HostBuffer,
        range: Range<usize>,
    ) -> Result<Ticket, DeviceError> {
        let address = inside(from, offset, range.len())?;
        let ticket = self.tickets.issue();
        let bytes = to.lend(range, ticket);
        let session = &*self.session;
        session.bind()?;
        let [begun, ended] = [self.spare()?, self.spare()?];
        begun.record(session.stream).map_err(|error| self.failed(&error))?;
        // SAFETY: stream and event exist, in one context.
        let status = unsafe { (session.api.stream_wait)(session.copies, begun.handle, 0) };
        self.checked("cuStreamWaitEvent", status)?;
        // SAFETY: as in `start_write`.
        let status = unsafe {
            (session.api.copy_to_host)(bytes.as_mut_ptr().cast(), address, bytes.len(), session.copies)
        };
        self.checked("cuMemcpyDtoHAsync", status)?;
        ended.record(session.copies).map_err(|error| self.failed(&error))?;
        self.copies.borrow_mut().push_back((ticket, [begun, ended]));
        Ok(ticket)
    }

    fn mark(&self) -> Result<Ticket, DeviceError> {
        let session = &*self.session;
        session.bind()?;
        let ticket = self.tickets.issue();
        let [begun, ended] = [self.spare()?, self.spare()?];
        ended.record(session.stream).map_err(|error| self.failed(&error))?;
        self.copies.borrow_mut().push_back((ticket, [begun, ended]));
        Ok(ticket)
    }

    fn wait(&self, ticket: Ticket) -> Result<(), DeviceError> {
        self.session.bind()?;
        let mut copies = self.copies.borrow_mut();
        while copies.front().is_some_and(|(first, _)| *first <= ticket) {
            let Some((first, [begun, ended])) = copies.pop_front() else { break };
            ended.wait().map_err(|error| self.failed(&error))?;
            self.marks.borrow_mut().extend([begun, ended]);
            self.tickets.end(first);
        }
        Ok(())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), DeviceError> {
        let session = &*self.session;
        session.bind()?;
        let kernel = launch.kernel;
        launch.check_arguments()?;
        debug_assert!(launch.arguments.len() <= MAX_ARGUMENTS, "{} takes too many arguments", kernel.name);
        // The driver refuses a launch without blocks.
        if launch.grid == 0 {
            return Ok(());
        }
        let function = self.function(kernel)?;
        let mut values = [0_u64; MAX_ARGUMENTS];
        values.iter_mut().zip(launch.arguments).for_each(|(value, argument)| *value = packed(argument));
        let mut parameters = values.each_mut().map(|value| ptr::from_mut(value).cast::<c_void>());
        // SAFETY: at least one pointer a parameter, as was checked, each to 8 bytes that begin with the value; the driver copies
        // them before it returns. That addresses are those of live buffers is what generated launchers are typed for.
        let status = unsafe {
            (session.api.launch)(
                function,
                launch.grid,
                1,
                1,
                kernel.block,
                1,
                1,
                kernel.shared_bytes,
                session.stream,
                parameters.as_mut_ptr(),
                ptr::null_mut(),
            )
        };
        session.api.check("cuLaunchKernel", status).map_err(|error| DeviceError::Failed {
            kernel: kernel.name.to_owned(),
            cause: format!("{error} ({} blocks of {} threads)", launch.grid, kernel.block),
        })?;
        self.last.set(kernel.name);
        Ok(())
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        let session = &*self.session;
        session.bind()?;
        for stream in [session.stream, session.copies] {
            // SAFETY: the stream exists.
            let status = unsafe { (session.api.stream_synchronize)(stream) };
            self.checked("cuStreamSynchronize", status)?;
        }
        self.marks.borrow_mut().extend(self.copies.borrow_mut().drain(..).flat_map(|(_, marks)| marks));
        self.tickets.end_all();
        Ok(())
    }

    fn beside(&self) -> Result<Box<dyn Device>, DeviceError> {
        let Session { api, driver, card, .. } = &*self.session;
        let session = Session::open(Arc::clone(api), *driver, card.clone())?;
        Ok(Box::new(CudaDevice::with(session, self.meter.clone(), Arc::clone(&self.code))))
    }

    fn memory_use(&self) -> MemoryUse {
        self.meter.in_use()
    }

    fn products(&self) -> Option<&dyn Products> {
        self.cublaslt().is_ok().then_some(self)
    }
}

/// Why a card cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("GPU {index} cannot be used: {cause}; `nvidia-smi` shows the GPUs and who uses them")]
pub struct OpenError {
    index: u32,
    cause: CudaError,
}

/// A context with its stream. Both are given back after everything that lies in them.
struct Session {
    api: Arc<Api>,
    driver: DriverVersion,
    card: Card,
    context: Context,
    stream: Stream,
    /// Copies to the host run beside what is launched.
    copies: Stream,
}

impl Session {
    fn open(api: Arc<Api>, driver: DriverVersion, card: Card) -> Result<Session, CudaError> {
        let mut context = ptr::null_mut();
        // SAFETY: writes one handle; the ordinal is the driver's.
        let status = unsafe { (api.context_retain)(&mut context, card.ordinal) };
        api.check("cuDevicePrimaryCtxRetain", status)?;
        // From here on, dropping it releases the context.
        let mut session =
            Session { api, driver, card, context, stream: ptr::null_mut(), copies: ptr::null_mut() };
        session.set_context()?;
        session.stream = session.new_stream()?;
        session.copies = session.new_stream()?;
        Ok(session)
    }

    fn new_stream(&self) -> Result<Stream, CudaError> {
        let mut stream = ptr::null_mut();
        // SAFETY: writes one handle; the context is current.
        let status = unsafe { (self.api.stream_create)(&mut stream, STREAM_NON_BLOCKING) };
        self.api.check("cuStreamCreate", status)?;
        Ok(stream)
    }

    fn set_context(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained as long as `self`.
        self.api.check("cuCtxSetCurrent", unsafe { (self.api.context_set)(self.context) })
    }

    /// Makes the context this thread's: others may have changed it.
    fn bind(&self) -> Result<(), DeviceError> {
        Ok(self.set_context()?)
    }
}

// SAFETY: the driver lets any thread use its handles; each call is preceded by `set_context` on the thread that makes it,
// and the fields do not change.
unsafe impl Send for Session {}
// SAFETY: as above.
unsafe impl Sync for Session {}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: no buffer, module or event outlives its session: each holds it. Errors cannot be acted on.
        unsafe {
            if self.set_context().is_ok() {
                for stream in [self.stream, self.copies] {
                    if !stream.is_null() {
                        (self.api.stream_destroy)(stream);
                    }
                }
            }
            (self.api.context_release)(self.card.ordinal);
        }
    }
}

struct LoadedModule {
    session: Arc<Session>,
    handle: Module,
    origin: Origin,
}

impl Drop for LoadedModule {
    fn drop(&mut self) {
        if self.session.set_context().is_ok() {
            // SAFETY: loaded once, unloaded once, after the work that runs its code.
            unsafe {
                (self.session.api.stream_synchronize)(self.session.stream);
                (self.session.api.module_unload)(self.handle);
            }
        }
    }
}

/// A point in a stream.
struct Mark {
    session: Arc<Session>,
    handle: Event,
}

impl Mark {
    fn new(session: &Arc<Session>, flags: c_uint) -> Result<Mark, CudaError> {
        let mut handle = ptr::null_mut();
        // SAFETY: writes one handle; the context is current.
        let status = unsafe { (session.api.event_create)(&mut handle, flags) };
        session.api.check("cuEventCreate", status)?;
        Ok(Mark { session: Arc::clone(session), handle })
    }

    fn record(&self, stream: Stream) -> Result<(), CudaError> {
        let api = &self.session.api;
        // SAFETY: event and stream exist, in one context.
        api.check("cuEventRecord", unsafe { (api.event_record)(self.handle, stream) })
    }

    fn wait(&self) -> Result<(), CudaError> {
        let api = &self.session.api;
        // SAFETY: the event exists.
        api.check("cuEventSynchronize", unsafe { (api.event_synchronize)(self.handle) })
    }

    fn since(&self, start: &Mark) -> Result<Duration, CudaError> {
        let api = &self.session.api;
        let mut milliseconds = 0.0f32;
        // SAFETY: writes one float; both events have passed.
        let status = unsafe { (api.event_elapsed)(&mut milliseconds, start.handle, self.handle) };
        api.check("cuEventElapsedTime", status)?;
        Ok(Duration::try_from_secs_f64(f64::from(milliseconds) / 1e3).unwrap_or_default())
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if self.session.set_context().is_ok() {
            // SAFETY: made once, destroyed once.
            unsafe { (self.session.api.event_destroy)(self.handle) };
        }
    }
}

impl From<CudaError> for DeviceError {
    fn from(error: CudaError) -> DeviceError {
        DeviceError::Failed { kernel: "no kernel".to_owned(), cause: error.to_string() }
    }
}

/// The address of a range, if the buffer has it.
fn inside(buffer: &DeviceBuffer, offset: usize, len: usize) -> Result<DevicePointer, DeviceError> {
    match offset.checked_add(len) {
        Some(end) if end <= buffer.bytes() => Ok(buffer.address() + offset as u64),
        end => {
            let end = end.unwrap_or(usize::MAX);
            Err(DeviceError::Range { offset, end, len: buffer.bytes() })
        }
    }
}

/// The bytes of an argument, from the first byte of the result on.
fn packed(argument: &Argument) -> u64 {
    let short = |bytes: [u8; 4]| {
        let mut long = [0; 8];
        long[..4].copy_from_slice(&bytes);
        u64::from_ne_bytes(long)
    };
    match *argument {
        Argument::Address(value) | Argument::U64(value) => value,
        Argument::U32(value) => short(value.to_ne_bytes()),
        Argument::F32(value) => short(value.to_ne_bytes()),
    }
}

/// Dynamic shared memory that a kernel gets without asking.
const SHARED_BYTES_GRANTED: c_int = 48 << 10;

/// More than any kernel takes.
const MAX_ARGUMENTS: usize = 32;
