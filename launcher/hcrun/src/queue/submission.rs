//! What is kept of a submitted job: a copy of all that a run starts from, and a row.

use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

use hcrun_protocol::cluster::Backend;
use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::job::Class;
use tempfile::TempDir;

use super::course;
use super::dir::{QueueDir, unwritable};
use super::store::{NewJob, Store};
use crate::cli::JobArgs;
use crate::cluster_file;
use crate::codes;
use crate::failure::{Failure, Result};
use crate::prepare::{self, Prepared};
use crate::run_dir::RunDir;

/// What a job is taken to need if it says nothing and was never done before.
pub(crate) const UNKNOWN: Span = Span::from_secs(3_600);

/// A job that the queue has taken.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) pools: String,
    pub(crate) estimate: Span,
}

/// Checks a job and adds it to the queue, which is made if it is not there.
pub(crate) fn submit(path: &Path, args: &JobArgs, class: Class, estimate: Option<Span>) -> Result<Submitted> {
    let queue = QueueDir::make(path)?;
    let mut args = args.clone();
    if queue.cluster().is_file() {
        check_cluster(&queue, args.cluster.as_deref())?;
        // What the queue runs on counts, not what lies beside the job.
        args.cluster = Some(queue.cluster());
    }
    let prepared = prepare::prepare(&args)?;
    check_local(&prepared)?;
    let mut store = Store::open(&queue)?;
    let digest = prepared.file.job.digest();
    let estimate = match estimate {
        Some(estimate) => estimate,
        None => match store.done_before(&digest)? {
            Some(before) => course::measured(&store.runs(before)?).work,
            None => UNKNOWN,
        },
    };
    let workers = prepared.file.job.workers.iter().filter(|(_, count)| **count > 0);
    let pools: Vec<String> = workers.map(|(pool, count)| format!("{pool}={count}")).collect();
    let name = prepared.file.job.name.clone();
    let pools = pools.join(";");
    let files = stage(&prepared, &queue)?;
    // Only now is there something that could be run.
    let submitted = wall_clock();
    let job = NewJob { name: name.clone(), digest, pools: pools.clone(), class, submitted, estimate };
    let id = store.submit(&job, |id| keep(files, &queue.job(id)))?;
    queue.wake();
    Ok(Submitted { id, name, pools, estimate })
}

/// A queue has one cluster; a job that is checked against another would be promised what is not there.
fn check_cluster(queue: &QueueDir, given: Option<&Path>) -> Result<()> {
    let Some(given) = given else { return Ok(()) };
    if cluster_file::read(given)? == cluster_file::read(&queue.cluster())? {
        return Ok(());
    }
    Err(Failure::new(&codes::CLUSTER_INVALID, "the queue is run on another cluster")
        .at(given.display().to_string())
        .because(format!("it came up last with {}", queue.cluster().display()))
        .hint("leave --cluster (and HCRUN_CLUSTER) out, or change the cluster of the queue: `hcrun up --cluster FILE`"))
}

fn check_local(prepared: &Prepared) -> Result<()> {
    let elsewhere = prepared.plan.placement.workers.iter().find(|worker| {
        prepared.cluster.pool(&worker.slot.pool).is_some_and(|pool| pool.backend != Backend::Local)
    });
    elsewhere.map_or(Ok(()), |worker| {
        Err(Failure::new(&codes::NO_PLACEMENT, "a queue runs jobs on this machine only")
            .at(prepared.file.find(&format!("workers.{}", worker.slot.pool)))
            .because(format!("pool `{}` has backend = \"manual\"", worker.slot.pool))
            .hint("ask for workers of local pools, or run the job with `hcrun run --wait-for-workers`"))
    })
}

/// Writes the files of a job to the disk, before the database is held.
fn stage(prepared: &Prepared, queue: &QueueDir) -> Result<TempDir> {
    let jobs = queue.jobs();
    let fail = |error: &std::io::Error| unwritable(&jobs, error);
    let files = tempfile::Builder::new().prefix("new-").tempdir_in(&jobs).map_err(|error| fail(&error))?;
    prepared.save(&RunDir { path: files.path().to_owned() })?;
    sync(files.path()).map_err(|error| fail(&error))?;
    Ok(files)
}

/// Gives the files of a job the name that its row has.
fn keep(files: TempDir, path: &Path) -> Result<()> {
    let fail = |error: &std::io::Error| unwritable(path, error);
    // Of a submission that was broken off: its id was never given out.
    if path.exists() {
        fs::remove_dir_all(path).map_err(|error| fail(&error))?;
    }
    fs::rename(files.keep(), path).map_err(|error| fail(&error))?;
    let jobs = path.parent().map(File::open).transpose();
    jobs.and_then(|jobs| jobs.map_or(Ok(()), |jobs| jobs.sync_all())).map_err(|error| fail(&error))
}

fn sync(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            sync(&entry?.path())?;
        }
    }
    File::open(path)?.sync_all()
}

/// Microseconds since 1970.
pub(crate) fn wall_clock() -> Time {
    moment(SystemTime::now())
}

pub(super) fn moment(time: SystemTime) -> Time {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
