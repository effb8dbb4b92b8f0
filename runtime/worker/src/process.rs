//! The worker's process: what touches the process itself, and the order in which a worker comes to train.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hcrun_engine::data::DataError;
use hcrun_net::BindError;
use hcrun_net::group::FormError;
use hcrun_net::join::{BundleError, JoinBundle, JoinError};
use hcrun_protocol::control::{Build, FailureClass, FailureReport};
use hcrun_protocol::member::End;
use hcrun_protocol::{NodeId, error_chain};

use crate::locate::DataLocations;
use crate::session::{Session, SessionError, SessionSettings};
mod gpu;
mod harden;
mod node;
mod prepare;
mod work;

pub use crate::node::NodeError;
pub use crate::train::TrainFailure;
pub use harden::keep_memory_private;
pub use node::{cpu_features, node_name};
pub use prepare::PrepareError;

/// How to start one worker.
#[derive(Debug)]
pub struct WorkerSettings {
    pub bundle: PathBuf,
    pub locations: DataLocations,
    /// The process whose end must end this one.
    pub parent: Option<i32>,
    /// The address others reach this worker at; by default the one it reaches the coordinator from.
    pub address: Option<IpAddr>,
    pub build: Build,
}

/// Why a worker left before the job was done.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("the process that started this worker has ended")]
    Orphan,
    #[error("this process cannot be secured")]
    Harden(#[source] std::io::Error),
    #[error("this process would compute other bits than its peers")]
    Float(#[from] hcrun_kernels::float_environment::FloatEnvironmentError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("cannot join the job")]
    Join(#[from] JoinError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("the assignment is refused")]
    Prepare(#[from] PrepareError),
    #[error("cannot open the lane")]
    Lane(#[from] BindError),
    #[error("cannot link to the other workers")]
    Form(#[from] FormError),
    #[error("cannot sum with the other GPUs of this node; `exchange.nccl = false` does without")]
    Node(#[from] NodeError),
    #[error("training failed")]
    Train(#[from] TrainFailure),
    #[error("a bug: panicked at {place}")]
    Panic { place: String },
}

impl WorkerError {
    /// Tells the coordinator, once.
    fn tell(&self, session: &Session, bundle: &JoinBundle) {
        if let Some(report) = self.report(bundle.coordinator_zone != bundle.zone) {
            session.fail(report);
        }
    }

    /// What the coordinator is told; none where it knows or cannot be reached.
    /// `away`: it is in another zone.
    fn report(&self, away: bool) -> Option<FailureReport> {
        let class = match self {
            WorkerError::Train(failure) => return failure.report().map(|report| self.told(report, away)),
            WorkerError::Prepare(error) => error.class(),
            WorkerError::Lane(_) => FailureClass::Address,
            WorkerError::Form(_) => FailureClass::Preflight,
            WorkerError::Panic { .. } => FailureClass::Internal,
            WorkerError::Node(_) => FailureClass::Device,
            _ => return None,
        };
        let report = FailureReport { class, peer: None, step: None, text: error_chain(self) };
        Some(self.told(report, away))
    }

    /// Names of files, and what drivers and libraries say of their node, stay in the zone, with the log.
    fn told(&self, report: FailureReport, away: bool) -> FailureReport {
        const WHERE: &str = "the worker's own log says why";
        let text = match self {
            _ if !away => None,
            WorkerError::Node(_) | WorkerError::Train(TrainFailure::Node(_)) => {
                Some(format!("cannot sum with the other GPUs of its node: {WHERE}"))
            }
            _ if report.class == FailureClass::Device && report.text.contains('/') => {
                Some(format!("its GPU cannot be used: {WHERE}"))
            }
            WorkerError::Prepare(error) => error.text_for_elsewhere(),
            _ => None,
        };
        FailureReport { text: text.unwrap_or(report.text), ..report }
    }

    /// What only this worker's zone may see: a value of a row.
    pub fn local_detail(&self) -> Option<String> {
        match self {
            WorkerError::Prepare(PrepareError::Data(DataError::Table(error))) => error.local_detail(),
            _ => None,
        }
    }
}

impl From<End> for WorkerError {
    fn from(end: End) -> WorkerError {
        WorkerError::Session(end.into())
    }
}

/// Works for a job until it is done, and says why if it is not.
pub fn run(settings: WorkerSettings) -> Result<(), WorkerError> {
    let nccl_is_local = hcrun_kernels::nccl::stay_on_this_node();
    harden::die_with(settings.parent)?;
    harden::keep_memory_private().map_err(WorkerError::Harden)?;
    hcrun_kernels::float_environment::check()?;
    let panics = harden::remember_panics();
    let bundle = JoinBundle::read(&settings.bundle)?;
    let session = join(&settings, &bundle)?;
    let leaving = watch_end(&session);
    let result = guarded(&panics, || work::work(&settings, &bundle, &session, &leaving, nccl_is_local));
    if let Err(error) = &result {
        error.tell(&session, &bundle);
    }
    session.leave();
    result
}

fn join(settings: &WorkerSettings, bundle: &JoinBundle) -> Result<Session, WorkerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(WorkerError::Harden)?;
    let within = if settings.parent.is_some() { JOIN_LOCAL_WITHIN } else { JOIN_WITHIN };
    let joined = runtime.block_on(hcrun_net::join::redeem(bundle, within))?;
    drop(runtime);
    let session = Session::join(SessionSettings {
        identity: joined.identity,
        coordinator: joined.control,
        coordinator_zone: joined.coordinator_zone,
        build: settings.build.clone(),
        node: NodeId::new(node_name()).unwrap_or_else(|_| NodeId::new("node").expect("a literal name")),
        cpu_features: cpu_features(),
    })?;
    Ok(session)
}

const JOIN_WITHIN: Duration = Duration::from_secs(10);
/// A launcher on this machine that does not answer for so long stands still.
const JOIN_LOCAL_WITHIN: Duration = Duration::from_secs(4);

/// Ends waits of the training thread when the session ends, and the process if that does not help.
#[derive(Clone, Default)]
struct Leaving {
    aborters: Arc<Mutex<Vec<Aborter>>>,
    released: Arc<AtomicBool>,
}

/// Ends waits with a cause, at once.
type Aborter = Box<dyn Fn(&str) + Send>;

impl Leaving {
    fn abort_by(&self, aborter: impl Fn(&str) + Send + 'static) {
        self.aborters.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(aborter));
    }

    /// The job is done: a session that ends is no loss any more, and links take their time to close, three
    /// probe timeouts of the longest path.
    fn release(&self) {
        self.released.store(true, Ordering::Release);
    }
}

/// A thread in a long computation looks up between buckets; one that does not is not waited for.
/// With the silence that may have come before, within the 5 s in which everybody has to have stopped.
const LEAVE_WITHIN: Duration = Duration::from_millis(400);

fn watch_end(session: &Session) -> Leaving {
    let leaving = Leaving::default();
    let theirs = leaving.clone();
    session.on_end(move |cause| {
        for abort in &*theirs.aborters.lock().unwrap_or_else(PoisonError::into_inner) {
            abort(cause);
        }
        let (cause, released) = (cause.to_owned(), theirs.released.clone());
        std::thread::spawn(move || {
            std::thread::sleep(LEAVE_WITHIN);
            if released.load(Ordering::Acquire) {
                return;
            }
            tracing::error!(%cause, "the session has ended and the worker has not: leaving");
            // Not by exit handlers: the driver's wait for what is on the GPU.
            hcrun_kernels::cuda::leave(75);
        });
    });
    leaving
}

fn guarded(
    panics: &Arc<OnceLock<String>>,
    work: impl FnOnce() -> Result<(), WorkerError>,
) -> Result<(), WorkerError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let place = panics.get().cloned().unwrap_or_else(|| "an unknown place".to_owned());
        Err(WorkerError::Panic { place })
    })
}
