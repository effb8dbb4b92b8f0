//! Collectives among the ranks that hold one id, none of which waits without an end.
//!
//! A thread of its own makes every call into NCCL, in order ([`super::caller`]); whoever asks waits for its answer, and no
//! longer than it said. So a call that never returns holds nobody else, an abort needs no lock, and nothing is freed
//! under a call.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::caller::{self, Order, Place, Request};
use super::error::{Cause, CommunicatorError};
use super::find::Nccl;
use super::operation::Operation;
use super::stream::DeviceStream;
use super::unique_id::UniqueId;

/// One rank's end. After an error other than [`Cause::Unfit`] it is aborted, and answers [`Cause::Aborted`] to all that
/// follows: make a new one, with a new id.
#[derive(Debug)]
pub struct Communicator {
    orders: Sender<Order>,
    place: Place,
    /// How long the thread did not answer. It is not asked again.
    stuck: Option<Duration>,
}

impl Communicator {
    /// Meets the other ranks.
    ///
    /// # Errors
    /// If not all have come within the time, or NCCL refuses.
    pub fn init(
        nccl: &Nccl,
        stream: Box<dyn DeviceStream>,
        id: &UniqueId,
        rank: u32,
        ranks: u32,
        within: Duration,
    ) -> Result<Communicator, CommunicatorError> {
        let place = Place { rank, ranks };
        let (orders, receiver) = mpsc::channel();
        let nccl = *nccl;
        // Not waited for when it ends: NCCL may hold it for ever.
        thread::Builder::new()
            .name(format!("nccl-{rank}"))
            .spawn(move || caller::run(nccl, place, stream, &receiver))
            .map_err(|error| place.error("starting", Cause::Thread(error.to_string())))?;
        let mut communicator = Communicator { orders, place, stuck: None };
        communicator.ask(Request::Init(id.clone()), within)?;
        Ok(communicator)
    }

    pub fn rank(&self) -> u32 {
        self.place.rank
    }

    pub fn ranks(&self) -> u32 {
        self.place.ranks
    }

    /// Gives operations to the stream, as one; they may still run when this returns.
    ///
    /// # Errors
    /// If one cannot be asked of NCCL, or NCCL refuses or does not take them within the time.
    pub fn enqueue(&mut self, operations: &[Operation], within: Duration) -> Result<(), CommunicatorError> {
        for operation in operations {
            let fits = operation.check(self.place.ranks);
            fits.map_err(|unfit| self.place.error("an operation", Cause::Unfit(unfit)))?;
        }
        self.ask(Request::Enqueue(operations.to_vec()), within)
    }

    /// Waits until all that was given to the stream has ended.
    ///
    /// # Errors
    /// If it has not within the time, which is so if another rank did not ask for the same, or if some of it failed.
    pub fn wait(&mut self, within: Duration) -> Result<(), CommunicatorError> {
        self.ask(Request::Wait, within)
    }

    /// [`Self::enqueue`], then [`Self::wait`], both within the time.
    ///
    /// # Errors
    /// Theirs.
    pub fn run(&mut self, operations: &[Operation], within: Duration) -> Result<(), CommunicatorError> {
        let began = Instant::now();
        self.enqueue(operations, within)?;
        let left = within.saturating_sub(began.elapsed());
        self.wait(left).map_err(|error| match error.cause {
            Cause::Late { .. } => CommunicatorError { cause: Cause::Late { within }, ..error },
            _ => error,
        })
    }

    /// What another thread can end all this with, a watchdog for one, also while this one waits.
    pub fn abort_handle(&self) -> Abort {
        Abort { orders: self.orders.clone(), place: self.place }
    }

    /// Ends it in agreement with the other ranks, which have to do the same.
    ///
    /// # Errors
    /// If they do not within the time; it is aborted then.
    pub fn finish(mut self, within: Duration) -> Result<(), CommunicatorError> {
        self.ask(Request::Finish, within)
    }

    fn ask(&mut self, request: Request, within: Duration) -> Result<(), CommunicatorError> {
        let during = request.during();
        if let Some(within) = self.stuck {
            return Err(self.place.error(during, Cause::Stuck { within }));
        }
        let heard = order(&self.orders, self.place, request, within)?;
        let result = hear(&heard, self.place, during, within.saturating_add(RETURNS_WITHIN));
        if let Err(CommunicatorError { cause: Cause::Stuck { within }, .. }) = &result {
            self.stuck = Some(*within);
        } else if result.is_err() && heard.recv_timeout(RETURNS_WITHIN) == Err(RecvTimeoutError::Timeout) {
            // The cause is known all the same.
            self.stuck = Some(RETURNS_WITHIN);
        }
        result
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        if self.stuck.is_none() {
            // Errors cannot be acted on; one that has finished has no thread any more.
            let _ = self.abort_handle().abort("it was dropped", RETURNS_WITHIN);
        }
    }
}

/// Ends a communicator from any thread.
#[derive(Debug, Clone)]
pub struct Abort {
    orders: Sender<Order>,
    place: Place,
}

impl Abort {
    /// Ends what runs and what is waited for: the waiting thread is told `why`. Does nothing if it has ended already.
    ///
    /// # Errors
    /// If NCCL does not come back within the time.
    pub fn abort(&self, why: &str, within: Duration) -> Result<(), CommunicatorError> {
        let request = Request::Abort(why.to_owned());
        let during = request.during();
        let heard = order(&self.orders, self.place, request, within);
        match heard.and_then(|heard| hear(&heard, self.place, during, within)) {
            Err(CommunicatorError { cause: Cause::Aborted { .. }, .. }) => Ok(()),
            result => result,
        }
    }
}

/// Gives the thread an order, which may take so long; the answer comes out of what is returned.
fn order(
    orders: &Sender<Order>,
    place: Place,
    request: Request,
    within: Duration,
) -> Result<Receiver<Result<(), CommunicatorError>>, CommunicatorError> {
    let during = request.during();
    let (answer, heard) = mpsc::channel();
    orders.send(Order { request, within, answer }).map_err(|_| gone(place, during))?;
    Ok(heard)
}

/// The answer of the thread, which has `within` for it.
fn hear(
    heard: &Receiver<Result<(), CommunicatorError>>,
    place: Place,
    during: &'static str,
    within: Duration,
) -> Result<(), CommunicatorError> {
    match heard.recv_timeout(within) {
        Ok(result) => result,
        Err(RecvTimeoutError::Disconnected) => Err(gone(place, during)),
        Err(RecvTimeoutError::Timeout) => Err(place.error(during, Cause::Stuck { within })),
    }
}

fn gone(place: Place, during: &'static str) -> CommunicatorError {
    place.error(during, Cause::Aborted { why: "it has ended".to_owned() })
}

/// How much longer than it may wait the thread may take, for the call that it is in and for an abort, which frees memory
/// of the card and ends threads.
const RETURNS_WITHIN: Duration = Duration::from_secs(5);
