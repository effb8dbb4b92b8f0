//! The thread that makes all calls of one communicator.
//!
//! Calls return at once, for the communicator is made non-blocking, and are then polled until NCCL is through with them,
//! the deadline passes or an abort comes in. The first failure aborts the communicator.

#![expect(unsafe_code, reason = "NCCL is a C library")]

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::bindings::{NCCL_VERSION_CODE, NcclApi, cudaStream_t, ncclComm_t, ncclConfig_t, ncclResult_t};
use super::error::{Cause, CommunicatorError, NcclError};
use super::find::Nccl;
use super::operation::{Operation, data_type, reduction};
use super::stream::DeviceStream;
use super::unique_id::UniqueId;

pub(super) type Answer = Sender<Result<(), CommunicatorError>>;

pub(super) struct Order {
    pub(super) request: Request,
    pub(super) within: Duration,
    /// Gets one answer, and is dropped once the thread is through with what follows from it.
    pub(super) answer: Answer,
}

pub(super) enum Request {
    Init(UniqueId),
    Enqueue(Vec<Operation>),
    Wait,
    Finish,
    Abort(String),
}

impl Request {
    pub(super) fn during(&self) -> &'static str {
        match self {
            Request::Init(_) => "meeting the other ranks",
            Request::Enqueue(_) => "starting operations",
            Request::Wait => "waiting for operations",
            Request::Finish => "finishing",
            Request::Abort(_) => "aborting",
        }
    }
}

/// Which of how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) rank: u32,
    pub(super) ranks: u32,
}

impl Place {
    pub(super) fn error(self, during: &'static str, cause: Cause) -> CommunicatorError {
        CommunicatorError { rank: self.rank, ranks: self.ranks, during, cause }
    }
}

/// Until the communicator is finished, or nobody can ask any more.
pub(super) fn run(nccl: Nccl, place: Place, stream: Box<dyn DeviceStream>, orders: &Receiver<Order>) {
    let comm = ptr::null_mut();
    let mut caller = Caller { nccl, place, stream, orders, comm, ended: None, aborting: Vec::new() };
    while let Ok(order) = orders.recv() {
        if caller.follow(order) {
            return;
        }
    }
    caller.abort();
}

struct Caller<'a> {
    nccl: Nccl,
    place: Place,
    stream: Box<dyn DeviceStream>,
    orders: &'a Receiver<Order>,
    /// Null before it is made and after it is freed.
    comm: ncclComm_t,
    /// Why it takes no more calls.
    ended: Option<String>,
    /// Who waits for an abort.
    aborting: Vec<Answer>,
}

impl Caller<'_> {
    /// Whether that was the last one.
    fn follow(&mut self, Order { request, within, answer }: Order) -> bool {
        let during = request.during();
        let result = match (&self.ended, request) {
            (_, Request::Abort(why)) => {
                self.aborting.push(answer);
                self.end(why);
                return false;
            }
            (Some(why), _) => Err(Cause::Aborted { why: why.clone() }),
            (None, Request::Init(id)) => self.init(&id, within),
            (None, Request::Enqueue(operations)) => self.enqueue(&operations, within),
            (None, Request::Wait) => self.settle(Until::StreamIsDone, within),
            (None, Request::Finish) => self.finish(within),
        };
        let ends = result.as_ref().err().map(|cause| match cause {
            Cause::Aborted { why } => why.clone(),
            cause => format!("{during}: {cause}"),
        });
        // Before the abort, which may not return; who asked may have gone.
        let _ = answer.send(result.map_err(|cause| self.place.error(during, cause)));
        if let Some(why) = ends {
            self.end(why);
        }
        // Says that the abort has returned.
        drop(answer);
        self.comm.is_null() && self.ended.is_none()
    }

    /// The first reason stays.
    fn end(&mut self, why: String) {
        self.ended.get_or_insert(why);
        self.abort();
    }

    fn init(&mut self, id: &UniqueId, within: Duration) -> Result<(), Cause> {
        self.stream.enter().map_err(|error| Cause::Device(error.to_string()))?;
        let number = |value: u32| c_int::try_from(value).unwrap_or(c_int::MAX);
        let mut config = non_blocking();
        // SAFETY: the handle is written before this returns; NCCL copies the settings.
        let answer = unsafe {
            self.nccl.api().ncclCommInitRankConfig(
                &mut self.comm,
                number(self.place.ranks),
                id.raw(),
                number(self.place.rank),
                &mut config,
            )
        };
        self.check("ncclCommInitRankConfig", answer)?;
        self.settle(Until::Taken, within)
    }

    fn enqueue(&mut self, operations: &[Operation], within: Duration) -> Result<(), Cause> {
        let api = self.nccl.api();
        let stream = ptr::with_exposed_provenance_mut::<c_void>(
            usize::try_from(self.stream.handle()).unwrap_or_default(),
        );
        // SAFETY: takes nothing; the group is this thread's own.
        self.check("ncclGroupStart", unsafe { api.ncclGroupStart() })?;
        let started = operations.iter().try_for_each(|operation| {
            let (call, answer) = self.start(api, operation, stream.cast())?;
            self.check(call, answer)
        });
        // SAFETY: as above; what was begun is ended, also after an error.
        let answer = unsafe { api.ncclGroupEnd() };
        started?;
        self.check("ncclGroupEnd", answer)?;
        self.settle(Until::Taken, within)
    }

    fn start(
        &self,
        api: &NcclApi,
        operation: &Operation,
        stream: cudaStream_t,
    ) -> Result<(&'static str, ncclResult_t), Cause> {
        let comm = self.comm;
        let number = |value: u32| c_int::try_from(value).unwrap_or(c_int::MAX);
        // SAFETY: communicator and stream exist; lengths were checked against the number of ranks, and each span
        // against its buffer.
        Ok(unsafe {
            match *operation {
                Operation::AllReduce { from, to, op } => {
                    let op = reduction(op, from.dtype()).map_err(Cause::Unfit)?;
                    let dtype = data_type(from.dtype());
                    let answer = api.ncclAllReduce(
                        memory(from.address()),
                        memory(to.address()),
                        from.elems(),
                        dtype,
                        op,
                        comm,
                        stream,
                    );
                    ("ncclAllReduce", answer)
                }
                Operation::ReduceScatter { from, to, op } => {
                    let op = reduction(op, from.dtype()).map_err(Cause::Unfit)?;
                    let dtype = data_type(from.dtype());
                    let answer = api.ncclReduceScatter(
                        memory(from.address()),
                        memory(to.address()),
                        to.elems(),
                        dtype,
                        op,
                        comm,
                        stream,
                    );
                    ("ncclReduceScatter", answer)
                }
                Operation::AllGather { from, to } => {
                    let (source, target) = (memory(from.address()), memory(to.address()));
                    let dtype = data_type(from.dtype());
                    ("ncclAllGather", api.ncclAllGather(source, target, from.elems(), dtype, comm, stream))
                }
                Operation::Reduce { from, to, op, root } => {
                    let op = reduction(op, from.dtype()).map_err(Cause::Unfit)?;
                    let (dtype, root) = (data_type(from.dtype()), number(root));
                    let (source, target) = (memory(from.address()), memory(to.address()));
                    let answer = api.ncclReduce(source, target, from.elems(), dtype, op, root, comm, stream);
                    ("ncclReduce", answer)
                }
                Operation::Broadcast { from, to, root } => {
                    let (dtype, root) = (data_type(from.dtype()), number(root));
                    let (source, target) = (memory(from.address()), memory(to.address()));
                    let answer = api.ncclBroadcast(source, target, from.elems(), dtype, root, comm, stream);
                    ("ncclBroadcast", answer)
                }
            }
        })
    }

    fn finish(&mut self, within: Duration) -> Result<(), Cause> {
        let api = self.nccl.api();
        // SAFETY: the communicator exists.
        self.check("ncclCommFinalize", unsafe { api.ncclCommFinalize(self.comm) })?;
        self.settle(Until::Taken, within)?;
        // SAFETY: finalised, and used no more.
        let answer = unsafe { api.ncclCommDestroy(mem::replace(&mut self.comm, ptr::null_mut())) };
        self.check("ncclCommDestroy", answer)
    }

    /// Polls until NCCL, and the stream if it is asked for, are through, and asks at least once.
    fn settle(&mut self, until: Until, within: Duration) -> Result<(), Cause> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            if self.is_settled(until)? {
                return Ok(());
            }
            let left = within.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(Cause::Late { within });
            }
            match self.orders.recv_timeout(pause.min(left)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Order { request: Request::Abort(why), answer, .. }) => {
                    self.aborting.push(answer);
                    return Err(Cause::Aborted { why });
                }
                // Nobody asks while an answer is due but for an abort.
                Ok(_) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(Cause::Aborted { why: "nobody waits any more".to_owned() });
                }
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    fn is_settled(&mut self, until: Until) -> Result<bool, Cause> {
        let mut state = ncclResult_t::ncclSuccess;
        // SAFETY: the communicator exists; writes one number.
        let answer = unsafe { self.nccl.api().ncclCommGetAsyncError(self.comm, &mut state) };
        self.check("ncclCommGetAsyncError", answer)?;
        match (state, until) {
            (ncclResult_t::ncclInProgress, _) => Ok(false),
            (ncclResult_t::ncclSuccess, Until::Taken) => Ok(true),
            (ncclResult_t::ncclSuccess, Until::StreamIsDone) => {
                self.stream.is_done().map_err(|error| Cause::Device(error.to_string()))
            }
            (state, _) => Err(Cause::Later(NcclError::new(&self.nccl, "ncclCommGetAsyncError", state))),
        }
    }

    /// Frees it, and what of it runs on the device, and tells who waits for that.
    fn abort(&mut self) {
        let comm = mem::replace(&mut self.comm, ptr::null_mut());
        let result = if comm.is_null() {
            Ok(())
        } else {
            // SAFETY: it exists, and is used no more.
            self.check("ncclCommAbort", unsafe { self.nccl.api().ncclCommAbort(comm) })
        };
        for answer in self.aborting.drain(..) {
            let result = result.clone().map_err(|cause| self.place.error("abort", cause));
            // Who asked may have gone.
            let _ = answer.send(result);
        }
    }

    /// An answer of a call, which may still be in progress.
    fn check(&self, call: &'static str, answer: ncclResult_t) -> Result<(), Cause> {
        match answer {
            ncclResult_t::ncclSuccess | ncclResult_t::ncclInProgress => Ok(()),
            answer => Err(Cause::Refused(NcclError::new(&self.nccl, call, answer))),
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// NCCL has done what was asked; the device may still work.
    Taken,
    StreamIsDone,
}

/// As `NCCL_CONFIG_INITIALIZER`, but non-blocking.
fn non_blocking() -> ncclConfig_t {
    ncclConfig_t {
        size: size_of::<ncclConfig_t>(),
        magic: CONFIG_MAGIC,
        version: NCCL_VERSION_CODE,
        blocking: 0,
        cgaClusterSize: UNDEFINED,
        minCTAs: UNDEFINED,
        maxCTAs: UNDEFINED,
        netName: ptr::null(),
        splitShare: UNDEFINED,
    }
}

/// Where something lies on the device; never followed here.
fn memory(address: u64) -> *mut c_void {
    ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or_default())
}

// From NCCL_CONFIG_INITIALIZER in nccl.h, which no tool makes bindings of.
const CONFIG_MAGIC: u32 = 0xcafe_beef;
const UNDEFINED: c_int = c_int::MIN;

/// A small operation ends in tens of microseconds; a long wait should not cost a core.
const FIRST_PAUSE: Duration = Duration::from_micros(20);
const LAST_PAUSE: Duration = Duration::from_millis(1);
