//! A live run: from a plan to workers that train, and from their end to a summary.
//!
//! `coordinator` drives protocol's machine, `local` starts processes, `record` writes down what happens,
//! `outcome` says how it ended. Nothing here chooses where anything goes: that is the plan's.

mod assign;
mod coordinator;
mod finish;
mod join;
mod keeper;
mod local;
mod memory;
mod node_groups;
mod outcome;
mod pace;
mod parent;
mod record;
mod resumed;
mod state;
mod stop;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hcrun_engine::checkpoint::{self, Checkpoint, Meta, ModelDescription};
use hcrun_engine::data::Statistics;
use hcrun_engine::optimizer::state_names;
use hcrun_engine::trainer::PARAMETERS;
use hcrun_net::control::ControlListener;
use hcrun_net::join::JoinServer;
use hcrun_protocol::cluster::Backend;
use hcrun_protocol::coordinator::Outcome;
use hcrun_protocol::{JobId, Step, error_chain as chain};
use tokio::sync::mpsc::unbounded_channel;

use crate::cli::ServeArgs;
use crate::codes;
use crate::control_socket::{ControlServer, LiveStatus, Request};
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::prepare::Prepared;
use crate::report::{Mode, Progress, Summary};
use crate::run_dir::{LockedRunDir, RunDir, files, unwritable};

use assign::Start;
use coordinator::{Control, StoreFn};
use keeper::Keeper;
use local::LocalBackend;
use node_groups::NodeSums;
use record::Recorder;
use resumed::ResumedState;
use state::Assembly;
use stop::StopRequest;

pub(crate) use assign::build;
pub(crate) use keeper::keep;
pub(crate) use parent::die_with;

/// Trains a prepared job in a run directory of its own, and answers with its summary.
pub(crate) fn start(
    prepared: &Prepared,
    serve: &ServeArgs,
    runs_dir: &Path,
    output: &Output,
) -> Result<ExitCode> {
    let (dir, summary) = train(prepared, serve, runs_dir, output)?;
    Ok(finish::answer(&summary, &dir, output))
}

/// Trains a prepared job in a run directory of its own.
pub(crate) fn train(
    prepared: &Prepared,
    serve: &ServeArgs,
    runs_dir: &Path,
    output: &Output,
) -> Result<(RunDir, Summary)> {
    check_serving(prepared, serve)?;
    let job = job_id()?;
    let dir = RunDir::create(runs_dir, &prepared.file.job.name, job.0)?;
    prepared.save(&dir)?;
    let summary = execute(prepared, serve, &dir, job, None, output)?;
    Ok((dir.dir.clone(), summary))
}

/// Goes on from a checkpoint in the same run directory.
pub(crate) fn resume(
    prepared: &Prepared,
    serve: &ServeArgs,
    dir: &LockedRunDir,
    checkpoint: Checkpoint,
    output: &Output,
) -> Result<ExitCode> {
    check_serving(prepared, serve)?;
    let job = job_id()?;
    prepared.save(dir)?;
    let summary = execute(prepared, serve, dir, job, Some(checkpoint), output)?;
    Ok(finish::answer(&summary, dir, output))
}

/// Unique per run, also on hosts that start two at once.
fn job_id() -> Result<JobId> {
    use std::io::Read;
    let mut bytes = [0; 8];
    let random = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    random.map_err(|error| {
        Failure::new(&codes::INTERNAL, "the system gives no random numbers").caused_by(&error)
    })?;
    Ok(JobId(u64::from_le_bytes(bytes)))
}

/// Where workers elsewhere are planned, somebody has to start them and they have to reach this host.
pub(crate) fn check_serving(prepared: &Prepared, serve: &ServeArgs) -> Result<()> {
    let manual = prepared.plan.placement.workers.iter().find(|worker| !is_local(prepared, &worker.slot));
    match manual {
        Some(worker) if !serve.wait_for_workers => Err(Failure::new(
            &codes::USAGE,
            format!("worker {} is not started by this launcher", worker.slot),
        )
        .because(format!("pool `{}` has backend = \"manual\"", worker.slot.pool))
        .hint("run with --wait-for-workers --listen IP, and join each worker with the command it prints")),
        _ if serve.wait_for_workers && serve.listen.is_none() => {
            Err(Failure::new(&codes::USAGE, "workers on other hosts need an address of this one")
                .hint("add --listen IP, an address of this host that the workers can reach"))
        }
        // Whoever waits may start all of them elsewhere.
        _ if serve.wait_for_workers => Ok(()),
        _ => memory::check(prepared),
    }
}

fn is_local(prepared: &Prepared, slot: &hcrun_protocol::SlotId) -> bool {
    prepared.cluster.pool(&slot.pool).is_some_and(|pool| pool.backend == Backend::Local)
}

fn execute(
    prepared: &Prepared,
    serve: &ServeArgs,
    dir: &LockedRunDir,
    job: JobId,
    checkpoint: Option<Checkpoint>,
    output: &Output,
) -> Result<Summary> {
    // It will hold the keys of the zones' authorities.
    hcrun_worker::process::keep_memory_private().map_err(|error| {
        Failure::new(&codes::INTERNAL, "the memory of this process cannot be kept out of core files")
            .caused_by(&error)
    })?;
    let mode = Mode::for_output(output);
    let total = prepared.file.job.train.steps;
    let progress = Progress::new(mode, total);
    let status = Arc::new(Mutex::new(LiveStatus {
        state: "starting".to_owned(),
        step: checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.meta.step.0),
        steps: total,
        loss: None,
        workers: Vec::new(),
    }));
    let (plan, schema) = (&prepared.plan, prepared.model.schema.as_ref());
    let mut recorder = Recorder::new(dir, &prepared.file.job, plan, schema, progress, status.clone())
        .map_err(|error| unwritable(&dir.path, &error))?;
    recorder.say(&format!("run {}", dir.path.display()));
    let resumed_from = checkpoint.as_ref().map(|checkpoint| checkpoint.meta.step);
    let statistics = checkpoint.as_ref().and_then(|checkpoint| checkpoint.statistics().cloned());
    if let Some(statistics) = &statistics {
        recorder.know_statistics(statistics.clone());
    }
    recorder.tally.resumed = resumed_from.is_some();
    let before = checkpoint.as_ref().map(|checkpoint| checkpoint.meta.node_groups.clone());
    recorder.node_sums = NodeSums::new(prepared, before);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(&codes::INTERNAL, "no event loop").caused_by(&error))?;
    let signal = Arc::new(OnceLock::new());
    let live = Live { prepared, serve, dir, job, status, signal: signal.clone(), statistics };
    let ended = runtime.block_on(live.run(checkpoint, &mut recorder));
    runtime.shutdown_timeout(WRITE_ON);
    join::remove_bundles(dir);
    recorder.finish();
    let (status, failure) = match ended {
        Ok(outcome) => {
            let here = (!serve.wait_for_workers).then(hcrun_worker::process::node_name);
            outcome::conclude(&outcome, signal.get().copied(), dir, here.as_deref(), recorder.tally.loss_last)
        }
        Err(failure) => (crate::report::Status::Failed, Some(failure)),
    };
    finish::finish(prepared, dir, &recorder, resumed_from, status, failure)
}

/// A checkpoint that is being written when the run ends gets this long; broken off it does no harm.
const WRITE_ON: Duration = Duration::from_millis(250);

/// What lives as long as the run.
struct Live<'a> {
    prepared: &'a Prepared,
    serve: &'a ServeArgs,
    dir: &'a LockedRunDir,
    job: JobId,
    status: Arc<Mutex<LiveStatus>>,
    signal: Arc<OnceLock<stop::Signal>>,
    statistics: Option<Statistics>,
}

impl Live<'_> {
    async fn run(&self, checkpoint: Option<Checkpoint>, recorder: &mut Recorder<'_>) -> Result<Outcome> {
        let internal = |error: &dyn std::error::Error| {
            Failure::new(&codes::INTERNAL, "the run cannot be set up").caused_by(error)
        };
        let (stops, stop_requests) = unbounded_channel();
        stop::watch_signals(stops.clone(), self.signal.clone()).map_err(|error| internal(&error))?;
        let _server = self.serve_status(stops).map_err(|error| unwritable(&self.dir.path, &error))?;

        let _keeper = Keeper::start(self.dir).map_err(|error| start_failed(&error))?;

        let identities = join::Identities::make(self.prepared, self.job)?;
        let ip = self.serve.listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let address = SocketAddr::new(ip, 0);
        let bind = |error: &dyn std::error::Error| {
            Failure::new(&codes::ADDRESS_UNUSABLE, "the coordinator cannot listen")
                .at(ip.to_string())
                .caused_by(error)
        };
        let listener =
            ControlListener::bind(&identities.coordinator, address).map_err(|error| bind(&error))?;
        let control = listener.local_addr();
        let join =
            JoinServer::bind(&identities.coordinator, address, identities.authorities.clone(), control)
                .map_err(|error| bind(&error))?;
        let bundles = join::write_bundles(self.prepared, &join, self.dir)?;

        let resumed = checkpoint.map(|checkpoint| self.resumed(checkpoint));
        let start = self.start(resumed.as_ref());
        let resumed = resumed.map(|state| state.segments()).unwrap_or_default();
        let waits = self.serve.wait_for_workers;
        let settings = assign::settings(self.prepared, self.job, &start, waits);
        let (exited, exits) = unbounded_channel();
        let by_hand = join::by_hand(self.prepared, waits);
        let local = join::starts(self.prepared, self.dir, &bundles, &by_hand)?;
        let started = Instant::now();
        let backend = LocalBackend::start(&local, &exited);
        let backend = backend.map_err(|error| start_failed(&error))?;
        if waits {
            recorder.say(&join::instructions(self.prepared, &bundles, &by_hand));
        }
        let arenas = 1 + state_names(self.prepared.file.job.train.optimizer).len();
        let arena_elems = self.prepared.plan.exchange.arena_elems;
        let learnt =
            Arc::new(Mutex::new(Learnt { statistics: self.statistics.clone(), ..Learnt::default() }));
        recorder.share(learnt.clone());
        let outcome = coordinator::drive(Control {
            started,
            settings,
            listener,
            join,
            backend,
            exits,
            stops: stop_requests,
            resumed,
            assembly: Assembly::new(arena_elems, arenas),
            store: self.store(learnt),
            observer: recorder,
        })
        .await;
        Ok(outcome)
    }

    fn serve_status(
        &self,
        stops: tokio::sync::mpsc::UnboundedSender<StopRequest>,
    ) -> std::io::Result<ControlServer> {
        let status = self.status.clone();
        ControlServer::start(self.dir, move |request| {
            if request == Request::Stop {
                // A run that has ended has nothing left to stop.
                drop(stops.send(StopRequest));
            }
            status.lock().unwrap_or_else(PoisonError::into_inner).clone()
        })
    }

    fn resumed(&self, checkpoint: Checkpoint) -> ResumedState {
        let mut arenas = vec![(PARAMETERS.to_owned(), checkpoint.params)];
        arenas.extend(checkpoint.optimizer);
        ResumedState { job: self.job, step: checkpoint.meta.step, arenas }
    }

    fn start(&self, resumed: Option<&ResumedState>) -> Start {
        Start {
            step: resumed.map_or(Step(0), |state| state.step),
            state: resumed.map(ResumedState::announcement).unwrap_or_default(),
            statistics_json: self.statistics.as_ref().map(crate::output::to_json).unwrap_or_default(),
        }
    }

    fn store(&self, learnt: Arc<Mutex<Learnt>>) -> Arc<StoreFn> {
        let root: PathBuf = self.dir.file(files::CHECKPOINTS);
        let job = self.prepared.file.job.clone();
        let placement = self.prepared.plan.placement.clone();
        let schema = self.prepared.model.schema.clone();
        let names = state_names(job.train.optimizer);
        Arc::new(move |step: Step, mut arenas: Vec<Vec<f32>>| {
            let Learnt { statistics, cpu_features, node_groups } =
                learnt.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let meta = Meta::new(&job, step.next(), &placement, &build().program, &cpu_features);
            let states = arenas.split_off(1);
            let checkpoint = Checkpoint {
                meta: Meta { node_groups, ..meta },
                model: ModelDescription::new(&job, schema.clone(), statistics),
                params: arenas.pop().unwrap_or_default(),
                optimizer: names.iter().map(|name| (*name).to_owned()).zip(states).collect(),
            };
            match checkpoint::write(&root, &checkpoint, checkpoint::KEEP) {
                Ok(_) => Ok(()),
                Err(error) => Err(chain(&error)),
            }
        })
    }
}

/// What is known only once workers have joined, and belongs into checkpoints.
#[derive(Debug, Clone, Default)]
struct Learnt {
    statistics: Option<Statistics>,
    /// Of all workers; several kinds are joined.
    cpu_features: String,
    /// As their events say.
    node_groups: Vec<String>,
}

fn start_failed(error: &dyn std::error::Error) -> Failure {
    Failure::new(&codes::START_FAILED, "a process of the run cannot be started").caused_by(error)
}
