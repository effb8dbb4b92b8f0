//! Pollux's workloads with the profiles of their applications (petuum/adaptdl, simulator/workloads and
//! simulator/traces): elastic jobs, times in seconds.
//!
//! A job asked for on one device is of an application that is not distributed (its only one there is ncf): it keeps its
//! device and its batch. All others run on one device up to as many as their batch can be dealt to.

use std::collections::BTreeMap;
use std::sync::Arc;

use hcrun_protocol::time::{Span, Time};

use super::table::{Row, Table, TableError};
use super::{Beside, TraceError};
use crate::goodput::{
    Batch, BatchLimits, Epoch, Measured, NoiseScale, Profile, ProfiledSpeed, StepTime, StepTimes, packed,
};
use crate::job::{DeviceRange, JobSpec, Workload};

/// Profiles were measured on nodes of four T4.
const DEVICES_PER_NODE: u32 = 4;
/// From getting devices to the first step, as in Pollux's simulator.
const RESTART: Span = Span::from_secs(30);
/// Local batches that the authors allow, where it is less than what they measured.
const LOCAL_LIMITS: [(&str, u32); 1] = [("yolov3", 8)];

pub(super) fn read(text: &str, beside: &Beside) -> Result<Workload, TraceError> {
    let mut profiles = BTreeMap::<String, Arc<Profile>>::new();
    let mut speeds = BTreeMap::<(String, u32, u32), ProfiledSpeed>::new();
    let columns = ["name", "time", "application", "num_replicas", "batch_size"];
    let rows = Table::new(text, &columns, &[])?.rows(|row| {
        let (name, submit) = (row.text("name").to_owned(), Time(row.micros("time", 1e6)?));
        let (application, requested) = (row.text("application").to_owned(), row.devices("num_replicas")?);
        Ok((name, submit, application, requested, positive(row, "batch_size")?, row.line))
    })?;
    let mut jobs = Vec::new();
    for (name, submit, application, requested, given, line) in rows {
        let profile = match profiles.get(&application) {
            Some(known) => Arc::clone(known),
            None => Arc::new(profile(&application, beside).map_err(|error| match error {
                TraceError::NoFile(file) => row_error(
                    line,
                    format!("there is no profile of application `{application}`: `{file}` is missing"),
                ),
                other => other,
            })?),
        };
        profiles.insert(application.clone(), Arc::clone(&profile));
        let limits = profile.limits();
        if !(limits.initial..=limits.max).contains(&given) {
            let why =
                format!("batch_size {given} is outside the profiled {}..{}", limits.initial, limits.max);
            return Err(row_error(line, why));
        }
        let distributed = requested > 1;
        let speed = speeds.entry((application.clone(), requested, given)).or_insert_with(|| {
            let batch = if distributed { Batch::Tuned } else { Batch::Given(given) };
            ProfiledSpeed::new(&profile, &packed(requested, DEVICES_PER_NODE), given, batch)
        });
        let mut job = JobSpec::rigid(name, submit, requested, Span(0));
        if distributed {
            job.devices = DeviceRange { min: 1, requested, max: profile.max_devices().max(requested) };
        }
        (job.work, job.estimate) = (speed.work(), speed.work());
        job.speed = Some(Arc::new(speed.clone()));
        job.start_overhead = RESTART;
        job.model = application;
        jobs.push(job);
    }
    Ok(Workload::new(jobs)?)
}

fn row_error(line: u64, why: String) -> TraceError {
    TraceError::Table(TableError::Row { line, why })
}

/// The profile of one application, from the files of its folder.
fn profile(application: &str, beside: &Beside) -> Result<Profile, TraceError> {
    let mut measured = beside.read(&format!("{application}/placements.csv"), placements)?;
    let (least, most) = local_batches(&measured);
    measured.extend(beside.read(&format!("{application}/scalability.csv"), scalability)?);
    let prefix = format!("{application}/validation-");
    let mut runs = Vec::new();
    for file in beside.names().filter(|file| file.starts_with(&prefix)) {
        let batch = file[prefix.len()..].strip_suffix(".csv").and_then(|batch| batch.parse().ok());
        let Some(batch) = batch.filter(|batch| *batch > 0) else {
            return Err(TraceError::FileName { file: file.to_owned(), form: "validation-<batch>.csv" });
        };
        runs.push((batch, beside.read(file, validation)?));
    }
    let noise = NoiseScale::new(runs);
    if noise.ends().is_empty() {
        return Err(TraceError::NoFile(format!("{prefix}<batch>.csv")));
    }
    let allowed =
        LOCAL_LIMITS.iter().find(|(name, _)| *name == application).map_or(most, |(_, limit)| *limit);
    let limits = BatchLimits {
        initial: noise.smallest_batch(),
        max: noise.largest_batch(),
        local_min: least,
        local_max: most.min(allowed),
    };
    Ok(Profile::new(limits, StepTimes::new(&measured), noise, DEVICES_PER_NODE))
}

fn local_batches(measured: &[Measured]) -> (u32, u32) {
    let batches = || measured.iter().map(|point| point.local_batch);
    (batches().min().unwrap_or(1), batches().max().unwrap_or(1))
}

/// `22` is two nodes with two devices each.
fn placements(text: &str) -> Result<Vec<Measured>, TableError> {
    Table::new(text, &["placement", "local_bsz", "step_time", "sync_time"], &[])?.rows(|row| {
        let digits = row.text("placement").chars().map(|digit| digit.to_digit(10).filter(|digit| *digit > 0));
        let per_node: Option<Vec<u32>> = digits.collect();
        let per_node = per_node.filter(|nodes| !nodes.is_empty());
        let per_node = per_node.ok_or_else(|| row.wrong("placement", "digits from 1 to 9, one per node"))?;
        let replicas = per_node.iter().sum();
        measured(row, u32::try_from(per_node.len()).unwrap_or(u32::MAX), replicas, Some(per_node))
    })
}

fn scalability(text: &str) -> Result<Vec<Measured>, TableError> {
    let columns = ["num_nodes", "num_replicas", "local_bsz", "step_time", "sync_time"];
    Table::new(text, &columns, &[])?
        .rows(|row| measured(row, positive(row, "num_nodes")?, row.devices("num_replicas")?, None))
}

fn measured(
    row: &Row<'_>,
    nodes: u32,
    replicas: u32,
    per_node: Option<Vec<u32>>,
) -> Result<Measured, TableError> {
    let step = row.parse("step_time", "a time above zero", |time: &f64| *time > 0.0 && time.is_finite())?;
    let what = "a time from zero to the step time";
    let sync = row.parse("sync_time", what, |time: &f64| (0.0..=step).contains(time))?;
    let local_batch = positive(row, "local_bsz")?;
    Ok(Measured { nodes, replicas, per_node, local_batch, time: StepTime { step, sync } })
}

fn validation(text: &str) -> Result<Vec<Epoch>, TableError> {
    let mut before = 0.0;
    Table::new(text, &["progress", "grad_sqr", "grad_var"], &["iteration", "metric"])?.rows(|row| {
        let rises = |progress: &f64| *progress > before && progress.is_finite();
        let progress = row.parse("progress", "a number above that of the row before", rises)?;
        before = progress;
        let statistic = |column| {
            row.parse(column, "a number of at least zero", |number: &f64| {
                *number >= 0.0 && number.is_finite()
            })
        };
        Ok(Epoch { square: statistic("grad_sqr")?, variance: statistic("grad_var")?, progress })
    })
}

fn positive(row: &Row<'_>, column: &str) -> Result<u32, TableError> {
    row.parse(column, "a whole number above zero", |number: &u32| *number > 0)
}
