//! Gavel's throughput table, its traces, and the workloads of its evaluation.
//!
//! The table (`simulation_throughputs.json`) states steps per second by device model, job type and number of devices, on
//! one node and (models named `..._unconsolidated`) across nodes. Work is counted in time on a V100.
//!
//! Source: Narayanan et al., "Heterogeneity-aware cluster scheduling policies for deep learning workloads", OSDI 2020,
//! section 7; the description of the generator there.

use std::collections::BTreeMap;
use std::sync::Arc;

use hcrun_protocol::time::{Span, Time};

use super::TraceError;
use super::mersenne::Mersenne;
use super::settings::{Pairs, SettingsError};
use super::table::TableError;
use crate::fleet::Kind;
use crate::job::{JobSpec, MAX_JOBS, Shape, Speed, Stretch, Workload, WorkloadError};
use crate::work::{Rate, Work};

/// The model at whose speed work is counted.
const REFERENCE: &str = "v100";
const ACROSS_NODES: &str = "_unconsolidated";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableFileError {
    #[error("the throughput table is not the JSON it should be: {0}")]
    Json(String),
    #[error("the throughput table names a job type `{0}`, which is not ('job type', devices)")]
    JobType(String),
    #[error("the throughput table has no device model `{REFERENCE}`, in whose time work is counted")]
    NoReference,
    #[error("the throughput table has no device model `{model}`; it has {known}")]
    UnknownModel { model: String, known: String },
    #[error("the throughput table has no job type that runs on {devices} devices of model `{REFERENCE}`")]
    NoType { devices: u32 },
    #[error(transparent)]
    Workload(#[from] WorkloadError),
}

/// Steps per second of one job type on one number of devices, by device model.
type Rates = BTreeMap<String, f64>;

/// Speeds of job types by device model.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    models: Vec<String>,
    /// By devices, then by job type, so that the job types of one size are neighbours.
    rates: BTreeMap<(u32, String), Rates>,
}

#[derive(serde::Deserialize)]
struct Row {
    /// Without another job on the same devices.
    #[serde(rename = "null")]
    alone: f64,
}

impl Table {
    /// # Errors
    /// Text that is no such table.
    pub fn parse(json: &str) -> Result<Table, TableFileError> {
        let by_model: BTreeMap<String, BTreeMap<String, Row>> =
            serde_json::from_str(json).map_err(|error| TableFileError::Json(error.to_string()))?;
        let mut rates: BTreeMap<(u32, String), Rates> = BTreeMap::new();
        for (model, rows) in &by_model {
            for (job, row) in rows {
                let key = job_type(job).ok_or_else(|| TableFileError::JobType(job.clone()))?;
                rates.entry(key).or_default().insert(model.clone(), row.alone);
            }
        }
        let mut models: Vec<String> = by_model.into_keys().collect();
        models.retain(|model| !model.ends_with(ACROSS_NODES));
        if !models.iter().any(|model| model == REFERENCE) {
            return Err(TableFileError::NoReference);
        }
        Ok(Table { models, rates })
    }

    /// Device models, by name.
    pub fn models(&self) -> &[String] {
        &self.models
    }

    /// Speeds on a fleet with these device models, whose names are compared without regard to case.
    ///
    /// # Errors
    /// If the table lacks one of them.
    pub fn on(&self, kinds: &[String]) -> Result<Speeds<'_>, TableFileError> {
        let unknown = |kind: &&String| !self.models.contains(&kind.to_lowercase());
        if let Some(model) = kinds.iter().find(unknown) {
            let known = self.models.join(", ");
            return Err(TableFileError::UnknownModel { model: model.clone(), known });
        }
        let kinds = kinds.iter().map(|kind| kind.to_lowercase()).collect();
        Ok(Speeds { table: self, kinds, made: BTreeMap::new() })
    }

    /// In the order of the authors' list: by family, then by batch size. Families that it lacks come last.
    fn types(&self) -> Vec<&str> {
        let on_one = self.rates.range((1, String::new())..(2, String::new()));
        let mut types: Vec<&str> = on_one.map(|((_, name), _)| name.as_str()).collect();
        types.sort_by_key(|name| {
            let (family, batch) = name.split_once(" (batch size ").unwrap_or((name, ""));
            let place = FAMILIES.iter().position(|known| *known == family).unwrap_or(FAMILIES.len());
            (place, batch.trim_end_matches(')').parse::<u32>().unwrap_or(0))
        });
        types
    }

    fn has(&self, name: &str, devices: u32) -> bool {
        let rates = self.rates.get(&(devices, name.to_owned()));
        rates.and_then(|rates| rates.get(REFERENCE)).is_some_and(|rate| *rate > 0.0)
    }
}

/// Job types of the evaluation, as its authors list them.
const FAMILIES: [&str; 7] =
    ["ResNet-18", "ResNet-50", "Transformer", "LM", "Recommendation", "A3C", "CycleGAN"];

/// `('ResNet-18 (batch size 16)', 2)`
fn job_type(text: &str) -> Option<(u32, String)> {
    let inner = text.strip_prefix("('")?.strip_suffix(')')?;
    let (name, devices) = inner.rsplit_once("', ")?;
    Some((devices.parse().ok()?, name.to_owned()))
}

/// Steps per second on V100s, and the speed beside that.
type Measured = (f64, Arc<dyn Speed>);

/// A table as a fleet needs it; jobs of one type share their speed.
#[derive(Debug)]
pub struct Speeds<'t> {
    table: &'t Table,
    kinds: Vec<String>,
    made: BTreeMap<(u32, &'t str), Option<Measured>>,
}

impl<'t> Speeds<'t> {
    fn of(&mut self, name: &str, devices: u32) -> Option<Measured> {
        let (key, rates) = self.table.rates.get_key_value(&(devices, name.to_owned()))?;
        let kinds = &self.kinds;
        let made = self.made.entry((devices, key.1.as_str()));
        made.or_insert_with(|| TypeSpeed::measured(rates, kinds)).clone()
    }

    fn job(&mut self, name: &str, devices: u32, work: impl FnOnce(f64) -> f64) -> Option<Asked> {
        let (steps_per_second, speed) = self.of(name, devices)?;
        let seconds = work(steps_per_second);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let duration = Span((seconds * 1e6).round().max(1.0) as u64);
        Some(Asked { name: name.to_owned(), devices, duration, speed })
    }
}

struct Asked {
    name: String,
    devices: u32,
    /// On V100s.
    duration: Span,
    speed: Arc<dyn Speed>,
}

impl Asked {
    fn submitted(self, id: String, submit: Time) -> JobSpec {
        let mut job = JobSpec::rigid(id, submit, self.devices, self.duration);
        job.model = self.name;
        job.speed = Some(self.speed);
        job
    }
}

/// One job type on one number of devices.
#[derive(Debug, Clone, PartialEq)]
struct TypeSpeed {
    /// By [`Kind`].
    on_one_node: Vec<Rate>,
    /// Where the table has none, that of one node.
    across_nodes: Vec<Rate>,
}

impl TypeSpeed {
    fn measured(rates: &Rates, kinds: &[String]) -> Option<Measured> {
        let reference = rates.get(REFERENCE).copied().filter(|rate| *rate > 0.0)?;
        let relative = |rate: f64| Rate::from_f64(rate / reference);
        let one = |kind: &String| rates.get(kind).copied().unwrap_or(0.0);
        let several =
            |kind: &String| rates.get(&format!("{kind}{ACROSS_NODES}")).copied().unwrap_or_else(|| one(kind));
        let speed = TypeSpeed {
            on_one_node: kinds.iter().map(|kind| relative(one(kind))).collect(),
            across_nodes: kinds.iter().map(|kind| relative(several(kind))).collect(),
        };
        Some((reference, Arc::new(speed)))
    }
}

impl Speed for TypeSpeed {
    fn stretch(&self, _done: Work, shape: &Shape) -> Stretch {
        let Kind(kind) = shape.kind;
        let rates = if shape.per_node.len() > 1 { &self.across_nodes } else { &self.on_one_node };
        let rate = rates.get(usize::from(kind)).copied().unwrap_or(Rate::ZERO);
        Stretch { rate, until: None }
    }
}

/// Jobs for a fleet with these device models: of a trace of the authors if there is one, else generated from
/// `settings`.
///
/// # Errors
/// A table, trace or settings that cannot be understood, or a device model that the table lacks.
pub fn workload(
    table: &str,
    kinds: &[String],
    settings: &str,
    trace: Option<&str>,
) -> Result<Workload, TraceError> {
    let table = Table::parse(table)?;
    match trace {
        Some(trace) => read(trace, &table, kinds),
        None => Ok(generate(&table, kinds, &Settings::parse(settings)?)?),
    }
}

/// What [`generate`] makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Of the Poisson process; infinite: all jobs are there from the start.
    pub rate_per_hour: f64,
    pub jobs: u32,
    pub seed: u64,
    /// Jobs on 1, 2, 4 and 8 devices with probabilities 0.70, 0.10, 0.15 and 0.05; otherwise all on one.
    pub multi: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { rate_per_hour: 4.0, jobs: 6_000, seed: 0, multi: false }
    }
}

impl Settings {
    /// From `rate=4,jobs=6000,seed=0,multi=false`; what is left out is as in the default.
    ///
    /// # Errors
    /// A key that is unknown or there twice, or a value that it cannot have.
    pub fn parse(text: &str) -> Result<Settings, SettingsError> {
        let mut settings = Settings::default();
        let pairs = Pairs::parse(text, &["rate", "jobs", "seed", "multi"])?;
        let rate = |rate: &f64| (1e-6..=1e9).contains(rate) || *rate == f64::INFINITY;
        let what = "a number from 0.000001 to 10^9, or inf";
        pairs.set("rate", &mut settings.rate_per_hour, what, rate)?;
        let most = MAX_JOBS as u64;
        pairs.set("jobs", &mut settings.jobs, "a number of jobs from 1 to 4194304", |jobs| {
            (1..=most).contains(&u64::from(*jobs))
        })?;
        pairs.set("seed", &mut settings.seed, "a whole number", |_| true)?;
        pairs.set("multi", &mut settings.multi, "true or false", |_| true)?;
        Ok(settings)
    }
}

/// A workload of Gavel's evaluation, for a fleet with these device models: Poisson arrivals, 10^u minutes on V100s with u
/// uniform in 1.5..3 (four of five jobs) or 3..4, job types equally likely among those that run on so many devices.
///
/// Draws are those of the authors' simulator, so a seed gives the workload that their figures of that seed are from.
///
/// # Errors
/// If the table lacks a device model, or no jobs are wanted.
pub fn generate(table: &Table, kinds: &[String], settings: &Settings) -> Result<Workload, TableFileError> {
    let mut speeds = table.on(kinds)?;
    let types = table.types();
    let mut draws = Mersenne::new(settings.seed.wrapping_add(2));
    let mut arrivals = Mersenne::new(settings.seed.wrapping_add(3));
    let (mut jobs, mut hours) = (Vec::new(), 0.0);
    for index in 0..settings.jobs {
        let size = draws.uniform();
        let (power, span) = if draws.uniform() < 0.8 { (1.5, 1.5) } else { (3.0, 1.0) };
        let seconds = 60.0 * libm::exp10(power + span * draws.uniform());
        let devices = match size {
            _ if !settings.multi => 1,
            size if size < 0.70 => 1,
            size if size < 0.80 => 2,
            size if size < 0.95 => 4,
            _ => 8,
        };
        let name = pick(table, &types, devices, &mut draws).ok_or(TableFileError::NoType { devices })?;
        let asked = speeds.job(name, devices, |_| seconds).ok_or(TableFileError::NoType { devices })?;
        jobs.push(asked.submitted(index.to_string(), hours_after_start(hours)));
        hours += -libm::log(1.0 - arrivals.uniform()) / settings.rate_per_hour;
    }
    Ok(Workload::new(jobs)?)
}

/// Draws until a job type runs on so many devices.
fn pick<'t>(table: &Table, types: &[&'t str], devices: u32, draws: &mut Mersenne) -> Option<&'t str> {
    types.iter().find(|name| table.has(name, devices))?;
    let count = u32::try_from(types.len()).ok()?;
    loop {
        let name = types[usize::try_from(draws.below(count)).ok()?];
        if table.has(name, devices) {
            return Some(name);
        }
    }
}

fn hours_after_start(hours: f64) -> Time {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let micros = (hours * 3_600e6).round() as u64;
    Time(micros)
}

/// A trace of Gavel, one job a line, separated by tabs and without a header, in any of its four forms:
///
/// | fields | |
/// | --- | --- |
/// | 7 | type, command, steps argument, data flag, steps, arrival (s), devices |
/// | 9 | type, command, steps argument, data flag, steps, devices, weight, deadline, arrival |
/// | 10 | as 9, with the working directory after the command |
/// | 12 | as 10, with the mode after devices and the duration before arrival (Shockwave) |
///
/// A deadline is a multiple of the job's time on V100s, counted from its arrival; it has none if the field is negative.
///
/// # Errors
/// The first line that cannot be understood, or whose job type the table does not have.
pub fn read(text: &str, table: &Table, kinds: &[String]) -> Result<Workload, TraceError> {
    let mut speeds = table.on(kinds)?;
    let mut jobs = Vec::new();
    for (line, row) in (1..).zip(text.lines()).filter(|(_, row)| !row.trim().is_empty()) {
        jobs.push(read_line(line, row, &mut speeds)?);
    }
    let first = jobs.iter().map(|job| job.submit).min().unwrap_or(Time::ZERO);
    for job in &mut jobs {
        job.submit = Time(job.submit.since(first).0);
        job.deadline = job.deadline.map(|deadline| Time(deadline.since(first).0));
    }
    Ok(Workload::new(jobs)?)
}

fn read_line(line: u64, row: &str, speeds: &mut Speeds<'_>) -> Result<JobSpec, TableError> {
    let fields: Vec<&str> = row.split('\t').map(str::trim).collect();
    // Where steps, devices, weight, deadline and arrival stand.
    let (steps, devices, weight, deadline, arrival) = match fields.len() {
        7 => (4, 6, None, None, 5),
        9 => (4, 5, Some(6), Some(7), 8),
        10 => (5, 6, Some(7), Some(8), 9),
        12 => (5, 6, Some(8), Some(9), 11),
        found => {
            let why = format!("it has {found} fields; a job of Gavel has 7, 9, 10 or 12, separated by tabs");
            return Err(TableError::Row { line, why });
        }
    };
    let number = |column: &str, at: usize, what, accept: fn(f64) -> bool| {
        let number = fields[at].parse().ok().filter(|number: &f64| accept(*number));
        let (column, text) = (column.to_owned(), fields[at].to_owned());
        number.ok_or(TableError::Field { line, column, text, what })
    };
    let steps = number("steps", steps, "a number above zero", |steps| steps > 0.0 && steps < 1e15)?;
    let arrival = number("arrival", arrival, "a time of at least zero", |at| (0.0..1e12).contains(&at))?;
    let weight = weight.map(|at| number("weight", at, "a number above zero", |weight| weight > 0.0));
    let deadline = deadline.map(|at| number("deadline", at, "a number", |deadline| !deadline.is_nan()));
    let (column, text) = ("devices".to_owned(), fields[devices].to_owned());
    let what = "a number of devices, at least one";
    let devices: Option<u32> = fields[devices].parse().ok().filter(|devices| *devices > 0);
    let devices = devices.ok_or(TableError::Field { line, column, text, what })?;
    let asked = speeds.job(fields[0], devices, |steps_per_second| steps / steps_per_second);
    let asked = asked.ok_or_else(|| {
        let why = format!("the throughput table has no speed for `{}` on {devices} devices", fields[0]);
        TableError::Row { line, why }
    })?;
    let duration = asked.duration;
    let mut job = asked.submitted(line.to_string(), hours_after_start(arrival / 3_600.0));
    job.weight = weight.transpose()?.unwrap_or(1.0);
    if let Some(factor) = deadline.transpose()?.filter(|factor| *factor >= 0.0) {
        let after = hours_after_start(factor * duration.as_secs_f64() / 3_600.0).0;
        job.deadline = Some(job.submit + Span(after));
    }
    Ok(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"{
        "v100": {"('A (batch size 8)', 1)": {"null": 4.0, "('A (batch size 8)', 1)": [1.0, 1.0]},
                 "('A (batch size 8)', 2)": {"null": 8.0}, "('B', 1)": {"null": 2.0}},
        "k80": {"('A (batch size 8)', 1)": {"null": 1.0}, "('A (batch size 8)', 2)": {"null": 2.0},
                "('B', 1)": {"null": 0.0}},
        "k80_unconsolidated": {"('A (batch size 8)', 2)": {"null": 1.0}}
    }"#;

    fn kinds() -> Vec<String> {
        vec!["K80".to_owned(), "V100".to_owned()]
    }

    fn rate(job: &JobSpec, kind: u8, per_node: &[u32]) -> Rate {
        let shape = Shape { kind: Kind(kind), per_node: per_node.to_vec() };
        job.speed.as_ref().unwrap().stretch(Work::ZERO, &shape).rate
    }

    #[test]
    fn speeds_depend_on_the_model_and_on_nodes() {
        let table = Table::parse(TABLE).unwrap();
        assert_eq!(table.models(), ["k80", "v100"]);
        let trace = "A (batch size 8)\tc\t-n\t1\t80\t10.5\t2\nB\tc\t-n\t1\t6\t12.5\t1\n";
        let jobs = read(trace, &table, &kinds()).unwrap().into_jobs();
        assert_eq!((jobs[0].submit, jobs[1].submit), (Time(0), Time(2_000_000)));
        assert_eq!(jobs[0].work, Work::taking(Span::from_secs(10)));
        assert_eq!(rate(&jobs[0], 1, &[2]), Rate::ONE);
        assert_eq!(rate(&jobs[0], 1, &[1, 1]), Rate::ONE, "no rate across nodes: that of one node");
        assert_eq!(rate(&jobs[0], 0, &[2]), Rate(250_000));
        assert_eq!(rate(&jobs[0], 0, &[1, 1]), Rate(125_000));
        assert_eq!(rate(&jobs[1], 0, &[1]), Rate::ZERO);
    }

    #[test]
    fn the_longer_forms_have_weights_and_deadlines() {
        let table = Table::parse(TABLE).unwrap();
        let nine = "B\tc\t-n\t1\t20\t1\t5.0\t1.2\t7";
        let ten = "B\tc\tdir\t-n\t1\t20\t1\t5.0\t1.2\t7";
        let twelve = "B\tc\tdir\t-n\t1\t20\t1\tstatic\t5.0\t1.2\t999\t7";
        for row in [nine, ten, twelve] {
            let jobs = read(row, &table, &kinds()).unwrap().into_jobs();
            assert_eq!(jobs[0].weight, 5.0, "{row}");
            assert_eq!(jobs[0].deadline, Some(Time(12_000_000)), "{row}");
        }
    }

    #[test]
    fn errors_name_the_line() {
        let table = Table::parse(TABLE).unwrap();
        let cases = [
            ("B\tc\t-n\t1\t20\t1\t1\nB\tc", "line 2: it has 2 fields"),
            ("C\tc\t-n\t1\t20\t1\t1", "line 1: the throughput table has no speed for `C` on 1 devices"),
            ("B\tc\t-n\t1\t20\t-1\t1", "line 1, column `arrival`: `-1` is not a time of at least zero"),
            ("B\tc\t-n\t1\t20\t1\t0", "line 1, column `devices`: `0` is not"),
            ("B\tc\t-n\t1\tmany\t1\t1", "line 1, column `steps`: `many` is not a number above zero"),
        ];
        for (text, expected) in cases {
            let error = read(text, &table, &kinds()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let error = table.on(&["h100".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "the throughput table has no device model `h100`; it has k80, v100");
        let error = Settings::parse("rate=0").unwrap_err().to_string();
        assert_eq!(error, "setting `rate` is `0`, which is not a number from 0.000001 to 10^9, or inf");
    }

    #[test]
    fn a_generated_workload_is_as_described() {
        let table = Table::parse(TABLE).unwrap();
        let settings = Settings { rate_per_hour: 4.0, jobs: 4_000, seed: 3, multi: false };
        let jobs = generate(&table, &kinds(), &settings).unwrap().into_jobs();
        let hours = jobs.last().unwrap().submit.0 as f64 / 3_600e6;
        assert!((hours / 1_000.0 - 1.0).abs() < 0.06, "{hours}");
        let minutes: Vec<f64> = jobs.iter().map(|job| job.work.as_secs_f64() / 60.0).collect();
        assert!(minutes.iter().all(|minutes| (31.6..10_000.0).contains(minutes)));
        let long = minutes.iter().filter(|minutes| **minutes > 1_000.0).count();
        assert!((760..840).contains(&long), "{long}");
        // 0.8 (10^3 - 10^1.5) / (1.5 ln 10) + 0.2 (10^4 - 10^3) / ln 10
        let mean = minutes.iter().sum::<f64>() / 4_000.0;
        assert!((mean / 1_006.0 - 1.0).abs() < 0.08, "{mean}");
        let again = generate(&table, &kinds(), &settings).unwrap().into_jobs();
        assert!(jobs.iter().zip(&again).all(|(a, b)| a.submit == b.submit && a.work == b.work));
        // No job type of this table runs on more than two devices.
        let multi = generate(&table, &kinds(), &Settings { multi: true, ..settings });
        assert!(matches!(multi, Err(TableFileError::NoType { devices: 4 | 8 })), "{multi:?}");
    }
}
