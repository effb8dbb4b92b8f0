//! What a queue of ours ran, as `hcrun record` writes it: what jobs asked for, what it took, and when they ended.
//!
//! One row per job, however it ended. Times are seconds since the first submission; `pools` is what the job wants of each pool, as
//! `private=2;public=1`; `fleet` is what there was, as `private=1x4;public=1x4` (nodes x devices).
//!
//! Columns that may be there say what a job sends between zones, for simulations on fleets whose egress costs something: `home`
//! (the zone of its data and checkpoints), `data_bytes`, `checkpoint_bytes`, and of its exchange `parameters` (elements),
//! `codec`, `interval` (steps) and `step` (seconds). Where a field is empty nothing is known.

use hcrun_protocol::cluster::{Terms, Trust, Zone};
use hcrun_protocol::dtype::Codec;
use hcrun_protocol::job::Shard;
use hcrun_protocol::manifest::Sensitivity;
use hcrun_protocol::time::{Span, Time};
use hcrun_protocol::{ShardId, ZoneId};

use super::TraceError;
use super::table::{Row, Table, TableError};
use crate::costs::{Every, Exchange};
use crate::fleet::{Fleet, Kind, Pool, ZoneIndex};
use crate::job::{Class, JobSpec, Workload};
use crate::work::Work;

/// In the order in which they are written.
pub const COLUMNS: [&str; 16] = [
    "job",
    "name",
    "submit",
    "pools",
    "class",
    "work",
    "estimate",
    "startup",
    "stop",
    "starts",
    "preemptions",
    "first_start",
    "end",
    "state",
    "strategy",
    "fleet",
];

const OPTIONAL: [&str; 7] =
    ["home", "data_bytes", "checkpoint_bytes", "parameters", "codec", "interval", "step"];

/// How a job left its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Trained to its end.
    Done,
    /// By itself, after the work that it is recorded with.
    Failed,
    /// Taken out by somebody.
    Cancelled,
    /// It was still there when the recording was made.
    Unfinished,
}

impl End {
    pub const ALL: [End; 4] = [End::Done, End::Failed, End::Cancelled, End::Unfinished];

    pub fn name(self) -> &'static str {
        match self {
            End::Done => "done",
            End::Failed => "failed",
            End::Cancelled => "cancelled",
            End::Unfinished => "unfinished",
        }
    }

    /// Whether nobody knows how much work was left.
    fn is_cut_off(self) -> bool {
        matches!(self, End::Cancelled | End::Unfinished)
    }
}

/// One job as it really went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Real {
    pub id: String,
    pub name: String,
    pub first_start: Time,
    pub end: Time,
    pub state: End,
    pub starts: u32,
    pub preemptions: u32,
}

/// A queue's past.
#[derive(Debug, Clone)]
pub struct Recording {
    pub strategy: String,
    pub fleet: Fleet,
    pub workload: Workload,
    /// In the order of the workload.
    pub real: Vec<Real>,
}

/// The jobs as any fleet can run them: their devices without the pools that these were in.
pub(super) fn read(text: &str) -> Result<Workload, TraceError> {
    let mut jobs = rows(text)?.workload.into_jobs();
    jobs.iter_mut().for_each(|job| job.parts.clear());
    Ok(Workload::new(jobs)?)
}

/// The jobs, where they ran, and how that went.
///
/// # Errors
/// The first line that cannot be understood, or rows of different queues.
pub fn recording(text: &str) -> Result<Recording, TraceError> {
    let mut recording = rows(text)?;
    // Its fleet has no zones to tell apart.
    recording.workload.jobs_mut().for_each(|job| job.shards.clear());
    Ok(recording)
}

fn rows(text: &str) -> Result<Recording, TraceError> {
    let mut queue: Option<(String, String, Fleet)> = None;
    let rows = Table::new(text, &COLUMNS, &OPTIONAL)?.rows(|row| {
        let (strategy, fleet) = (row.text("strategy").to_owned(), row.text("fleet").to_owned());
        if queue.is_none() {
            queue = Some((strategy.clone(), fleet.clone(), read_fleet(row)?));
        }
        let known = queue.as_ref().filter(|known| (&known.0, &known.1) == (&strategy, &fleet));
        let known = known.ok_or_else(|| row.wrong("fleet", "the strategy and fleet of the rows before"))?;
        let real = real(row)?;
        Ok((job(row, &known.2, &real)?, real))
    })?;
    let (mut jobs, real): (Vec<JobSpec>, Vec<Real>) = rows.into_iter().unzip();
    let mut paired: Vec<(JobSpec, Real)> = jobs.drain(..).zip(real).collect();
    paired.sort_by_key(|(job, _)| job.submit);
    let (jobs, real): (Vec<JobSpec>, Vec<Real>) = paired.into_iter().unzip();
    let workload = Workload::new(jobs)?;
    let (strategy, _, fleet) = queue.ok_or(crate::job::WorkloadError::Empty)?;
    Ok(Recording { strategy, fleet, workload, real })
}

fn job(row: &Row<'_>, fleet: &Fleet, real: &Real) -> Result<JobSpec, TableError> {
    let span = |column| row.micros(column, 1e6).map(Span);
    let wrong = || row.wrong("pools", "devices of pools of the fleet, such as `private=2;public=1`");
    let mut parts = Vec::new();
    for part in row.text("pools").split(';') {
        let (pool, devices) = part.split_once('=').ok_or_else(wrong)?;
        let index = fleet.pool_indices().find(|index| fleet.pool(*index).name == pool).ok_or_else(wrong)?;
        let devices = devices.parse().ok().filter(|devices: &u32| *devices > 0).ok_or_else(wrong)?;
        if parts.iter().any(|(known, _)| *known == index) {
            return Err(wrong());
        }
        parts.push((index, devices));
    }
    let submit = Time(row.micros("submit", 1e6)?);
    let mut work = span("work")?;
    let leaves = real.state.is_cut_off().then_some(real.end);
    if let Some(leaves) = leaves {
        // More than there is time for: it leaves, it does not end.
        work = work + leaves.since(submit);
    }
    let mut job = JobSpec::in_parts(row.text("job"), submit, parts, work);
    job.leaves = leaves;
    job.estimate = Work::taking(span("estimate")?);
    (job.start_overhead, job.stop_overhead) = (span("startup")?, span("stop")?);
    job.model = row.text("name").to_owned();
    job.class = class(row)?;
    bytes(row, &mut job)?;
    Ok(job)
}

/// What the job sends, as far as the row says it.
fn bytes(row: &Row<'_>, job: &mut JobSpec) -> Result<(), TableError> {
    let says = |column| !row.text(column).is_empty();
    let count = |column| match says(column) {
        true => row.parse(column, "a whole number", |_: &u64| true).map(Some),
        false => Ok(None),
    };
    job.data_bytes = count("data_bytes")?.unwrap_or(0);
    job.checkpoint_bytes = count("checkpoint_bytes")?.unwrap_or(0);
    if says("home") {
        let home = ZoneId::new(row.text("home")).map_err(|_| row.wrong("home", "the name of a zone"))?;
        let id = ShardId::new("data").expect("a literal name");
        let (path, allowed_zones) = (None, Vec::new());
        let sensitivity = Sensitivity::Public;
        job.shards = vec![Shard { id, path, sensitivity, home: Some(home), allowed_zones }];
    }
    let Some(parameters) = count("parameters")?.filter(|parameters| *parameters > 0) else { return Ok(()) };
    let elems = usize::try_from(parameters).map_err(|_| row.wrong("parameters", "a number of parameters"))?;
    let codec = Codec::ALL.into_iter().find(|codec| codec.name() == row.text("codec"));
    let codec = codec.ok_or_else(|| row.wrong("codec", "one of none, bf16, f16, int8, int4"))?;
    let interval: u32 =
        row.parse("interval", "a number of steps, at least one", |interval: &u32| *interval > 0)?;
    let every = if interval == 1 { Every::Step } else { Every::Steps(interval) };
    let step = Span(row.micros("step", 1e6)?.max(1));
    job.exchange = Some(Exchange { elems, codec, every, step });
    Ok(())
}

fn class(row: &Row<'_>) -> Result<Class, TableError> {
    Class::parse(row.text("class")).ok_or_else(|| row.wrong("class", "a class of jobs"))
}

fn real(row: &Row<'_>) -> Result<Real, TableError> {
    let count = |column| row.parse(column, "a number", |_: &u32| true);
    let time = |column| row.micros(column, 1e6).map(Time);
    let (submit, end) = (time("submit")?, time("end")?);
    if end < submit {
        return Err(row.wrong("end", "a time after the submission"));
    }
    let state = End::ALL.into_iter().find(|end| end.name() == row.text("state"));
    let state =
        state.ok_or_else(|| row.wrong("state", "how a job left: done, failed, cancelled or unfinished"))?;
    Ok(Real {
        id: row.text("job").to_owned(),
        name: row.text("name").to_owned(),
        first_start: time("first_start")?,
        end,
        state,
        starts: count("starts")?,
        preemptions: count("preemptions")?,
    })
}

fn read_fleet(row: &Row<'_>) -> Result<Fleet, TableError> {
    let wrong = || row.wrong("fleet", "nodes and devices of pools, such as `private=1x4;public=2x2`");
    let mut pools = Vec::new();
    for part in row.text("fleet").split(';') {
        let (name, size) = part.split_once('=').ok_or_else(wrong)?;
        let (nodes, devices) = size.split_once('x').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        pools.push(Pool {
            name: name.to_owned(),
            zone: ZoneIndex(0),
            kind: Kind(0),
            terms: Terms::Private,
            nodes: number(nodes)?,
            devices_per_node: number(devices)?,
            provisioning: Span(0),
        });
    }
    let name = ZoneId::new("queue").expect("a literal name");
    let zone = Zone::new(name, Trust::Private, "us");
    Fleet::new(vec![zone], vec!["device".to_owned()], pools).map_err(|_| wrong())
}

/// A fleet as the column `fleet` writes it.
pub fn fleet_words(fleet: &Fleet) -> String {
    let pool = |pool: &Pool| format!("{}={}x{}", pool.name, pool.nodes, pool.devices_per_node);
    fleet.pools.iter().map(pool).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::PoolIndex;

    const GOOD: &str = "job,name,submit,pools,class,work,estimate,startup,stop,starts,preemptions,first_start,end,state,strategy,fleet\n\
        1,a,0,north=2;south=1,normal,10.5,9,0.5,0.25,1,0,0.1,11.2,done,srsf,north=1x2;south=2x2\n\
        2,b,1.5,south=2,guaranteed,3,3,0.5,0.25,2,1,12,16,cancelled,srsf,north=1x2;south=2x2\n";

    #[test]
    fn a_recording_is_read_with_its_fleet_and_what_really_happened() {
        let recording = recording(GOOD).unwrap();
        assert_eq!((recording.strategy.as_str(), recording.fleet.devices()), ("srsf", 6));
        assert_eq!(fleet_words(&recording.fleet), "north=1x2;south=2x2");
        let [first, second] = recording.workload.jobs() else { panic!() };
        assert_eq!(first.parts, [(PoolIndex(0), 2), (PoolIndex(1), 1)]);
        assert_eq!((first.work, first.stop_overhead), (Work::taking(Span(10_500_000)), Span(250_000)));
        assert_eq!((second.class, second.devices.requested), (Class::Guaranteed, 2));
        assert_eq!((recording.real[1].end, recording.real[1].preemptions), (Time(16_000_000), 1));
        // It leaves when it did, and not before.
        assert_eq!((first.leaves, second.leaves), (None, Some(Time(16_000_000))));
        assert_eq!(second.work, Work::taking(Span(3_000_000 + 14_500_000)));
        assert!(read(GOOD).unwrap().jobs().iter().all(|job| job.parts.is_empty()));
    }

    #[test]
    fn rows_may_say_what_jobs_send() {
        let (header, rows) = GOOD.split_once('\n').unwrap();
        let rows: Vec<&str> = rows.lines().collect();
        let text = format!(
            "{header},home,data_bytes,checkpoint_bytes,parameters,codec,interval,step\n{},lab,7,8,1000,bf16,10,0.5\n{},,,,,,,\n",
            rows[0], rows[1]
        );
        let [first, second] = read(&text).unwrap().into_jobs().try_into().unwrap();
        assert_eq!((first.data_bytes, first.checkpoint_bytes), (7, 8));
        assert_eq!(first.shards[0].home.as_ref().unwrap().as_str(), "lab");
        let step = Span(500_000);
        let exchange = Exchange { elems: 1_000, codec: Codec::Bf16, every: Every::Steps(10), step };
        assert_eq!(first.exchange, Some(exchange));
        assert!(first.names_bytes() && !second.names_bytes());
        assert!(recording(&text).unwrap().workload.jobs()[0].shards.is_empty());
        for (from, to, expected) in [
            ("bf16", "zip", "line 2, column `codec`: `zip`"),
            (",10,0.5", ",0,0.5", "line 2, column `interval`: `0`"),
            (",7,8", ",x,8", "line 2, column `data_bytes`: `x`"),
            ("lab", "L b", "line 2, column `home`: `L b`"),
        ] {
            let error = read(&text.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_column() {
        for (from, to, expected) in [
            ("south=1,", "east=1,", "line 2, column `pools`: `north=2;east=1`"),
            ("south=1,", "north=1,", "line 2, column `pools`: `north=2;north=1`"),
            ("guaranteed", "vip", "line 3, column `class`: `vip`"),
            ("cancelled", "lost", "line 3, column `state`: `lost`"),
            ("12,16,", "12,1,", "line 3, column `end`: `1`"),
            ("16,cancelled,srsf", "16,cancelled,las", "line 3, column `fleet`"),
            ("north=1x2;south=2x2\n2", "north=0x2\n2", "line 2, column `fleet`: `north=0x2`"),
            ("10.5", "-1", "line 2, column `work`: `-1`"),
            (",estimate", "", "line 1: column `estimate` is missing"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = recording(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{from} -> {to}: {error}");
        }
    }
}
