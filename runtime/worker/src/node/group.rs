//! A thread that sums buckets and hands out results among the GPUs of a node, one after the other.
//!
//! NCCL needs its calls in one order on all ranks. It is the order in which the training thread asks, which is the same
//! everywhere: buckets from the last to the first, then what is handed out, in the order in which it is waited for.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use hcrun_kernels::cuda::{CudaError, Unavailable};
use hcrun_kernels::device_buffers::DeviceBuffers;
use hcrun_kernels::nccl::{self, Abort, Owned};

/// Liveness is judged by heartbeats and links; this only bounds a wait that both of them miss. Well below the deadline of a
/// round, so that whoever waits for NCCL says so before those that wait for it over links.
const OPERATION_WITHIN: Duration = Duration::from_secs(300);
/// For NCCL to come back from an abort.
const ABORTS_WITHIN: Duration = Duration::from_secs(5);
/// For all to end together: some may still hand over their state.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// This worker's end of the group of its node.
#[derive(Debug)]
pub(crate) struct NodeGroup {
    orders: Sender<Order>,
    abort: Abort,
    thread: JoinHandle<nccl::Group>,
}

/// Why a worker does not sum with those of its node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Driver(#[from] Unavailable),
    #[error(transparent)]
    Stream(#[from] CudaError),
    #[error(transparent)]
    Group(#[from] nccl::GroupError),
    #[error("this worker is of a node group, and was told no id of NCCL")]
    NoId,
    #[error("a bucket of the host is no part of a sum among GPUs")]
    HostMemory,
    #[error("no thread for NCCL: {0}")]
    Thread(std::io::Error),
    #[error("the thread of NCCL has ended")]
    Gone,
}

type Then = Box<dyn FnOnce(Result<DeviceBuffers, NodeError>) + Send>;

enum Action {
    Sum,
    HandOut,
}

struct Order {
    action: Action,
    bucket: DeviceBuffers,
    held: Owned,
    then: Then,
}

impl NodeGroup {
    pub(super) fn new(group: nccl::Group) -> Result<NodeGroup, NodeError> {
        let (orders, receiver) = channel();
        let abort = group.abort_handle();
        let thread = std::thread::Builder::new().name("node".to_owned()).spawn(|| follow(group, receiver));
        Ok(NodeGroup { orders, abort, thread: thread.map_err(NodeError::Thread)? })
    }

    /// Sums a bucket among the node: afterwards each rank has the sums of what it holds. `then` gets it, on another
    /// thread.
    pub(crate) fn sum(
        &self,
        bucket: DeviceBuffers,
        held: Owned,
        then: impl FnOnce(Result<DeviceBuffers, NodeError>) + Send + 'static,
    ) {
        self.ask(Order { action: Action::Sum, bucket, held, then: Box::new(then) });
    }

    /// Gives all ranks of the node what each holds of a bucket, and waits for it.
    ///
    /// # Errors
    /// If the others do not do the same, or NCCL or the device fails.
    pub(crate) fn hand_out(&self, bucket: DeviceBuffers, held: Owned) -> Result<DeviceBuffers, NodeError> {
        let (sender, done) = channel();
        let then = move |bucket| drop(sender.send(bucket));
        self.ask(Order { action: Action::HandOut, bucket, held, then: Box::new(then) });
        done.recv().unwrap_or(Err(NodeError::Gone))
    }

    fn ask(&self, order: Order) {
        if let Err(refused) = self.orders.send(order) {
            (refused.0.then)(Err(NodeError::Gone));
        }
    }

    /// Ends what runs, from any thread, and does not wait for it.
    pub(crate) fn aborter(&self) -> impl Fn(&str) + Send + 'static {
        let abort = self.abort.clone();
        move |cause| {
            let (abort, cause) = (abort.clone(), cause.to_owned());
            std::thread::spawn(move || drop(abort.abort(&cause, ABORTS_WITHIN)));
        }
    }

    /// Ends the group in agreement with the others, once all have trained to their end.
    pub(crate) fn finish(self) {
        let NodeGroup { orders, thread, .. } = self;
        drop(orders);
        // All was trained: a group that does not end as it should does not matter any more.
        let ended = thread.join().map_err(|_| NodeError::Gone);
        if let Err(error) = ended.and_then(|group| Ok(group.finish(ENDS_WITHIN)?)) {
            tracing::warn!(%error, "NCCL has not ended as it should");
        }
    }
}

fn follow(mut group: nccl::Group, orders: Receiver<Order>) -> nccl::Group {
    for Order { action, bucket, held, then } in orders {
        let span = bucket.span();
        let done = match action {
            Action::Sum => group.reduce_scatter(span, &held, OPERATION_WITHIN),
            Action::HandOut => group.all_gather(span, &held, OPERATION_WITHIN),
        };
        then(match done {
            Ok(()) => Ok(bucket),
            Err(error) => {
                // What failed may still use the memory; the process ends.
                std::mem::forget(bucket);
                Err(error.into())
            }
        });
    }
    group
}
