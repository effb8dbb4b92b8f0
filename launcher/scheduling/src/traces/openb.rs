//! Alibaba's openb fleet (cluster-trace-gpu-v2023): a list of nodes and a list of pods that share devices.
//!
//! Packing policies take all pods ([`requests`]). A schedule over time is one of whole devices: [`jobs`] are the pods that asked
//! for these and were scheduled, from their creation on, for as long as they were there.

use hcrun_protocol::ZoneId;
use hcrun_protocol::cluster::{Terms, Trust, Zone};
use hcrun_protocol::time::{Span, Time};

use super::table::{Row, Table, TableError};
use super::{TraceError, from_first_submission, workload};
use crate::fleet::{Fleet, FleetError, Kind, Pool, ZoneIndex};
use crate::job::{JobSpec, Workload};
use crate::packing::{MAX_DEVICES, Model, ModelSet, Models, Request, Room, WHOLE};

const NODES: [&str; 5] = ["sn", "cpu_milli", "memory_mib", "gpu", "model"];
const PODS: [&str; 6] = ["name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec"];
const IGNORED: [&str; 5] = ["qos", "pod_phase", "creation_time", "deletion_time", "scheduled_time"];
/// Of pods as jobs.
const NEEDED: [&str; 7] =
    ["name", "num_gpu", "gpu_milli", "gpu_spec", "creation_time", "deletion_time", "scheduled_time"];
const UNUSED: [&str; 4] = ["cpu_milli", "memory_mib", "qos", "pod_phase"];

/// # Errors
/// The first line that cannot be understood.
pub fn nodes(text: &str, models: &mut Models) -> Result<Vec<Room>, TableError> {
    Table::new(text, &NODES, &[])?.rows(|row| {
        let what = "a number of devices, at least one and at most 16";
        let devices =
            row.parse("gpu", what, |devices: &u8| (1..=MAX_DEVICES).contains(&(*devices).into()))?;
        let model = model(row, "model", row.text("model"), models)?;
        Ok(Room::empty(amount(row, "cpu_milli")?, amount(row, "memory_mib")?, devices, model))
    })
}

/// # Errors
/// The first line that cannot be understood.
pub fn requests(text: &str, models: &mut Models) -> Result<Vec<Request>, TableError> {
    Table::new(text, &PODS, &IGNORED)?.rows(|row| {
        let devices = row.parse("num_gpu", "a number of devices, at most 16", |devices: &u8| {
            usize::from(*devices) <= MAX_DEVICES
        })?;
        let what = "a share in thousandths: 0 of no device, all of several, 1 to 1000 of one";
        let milli = row.parse("gpu_milli", what, |milli: &u16| match devices {
            0 => *milli == 0,
            1 => (1..=WHOLE).contains(milli),
            _ => *milli == WHOLE,
        })?;
        let mut allowed = ModelSet(0);
        for name in row.text("gpu_spec").split('|').filter(|name| !name.is_empty()) {
            allowed.0 |= 1 << model(row, "gpu_spec", name, models)?.0;
        }
        let models = if allowed.0 == 0 { ModelSet::ALL } else { allowed };
        let (cpu_milli, memory_mib) = (amount(row, "cpu_milli")?, amount(row, "memory_mib")?);
        Ok(Request { cpu_milli, memory_mib, devices, milli, models })
    })
}

/// Pods as jobs, and those that are none.
#[derive(Debug, Clone)]
pub struct Jobs {
    pub workload: Workload,
    /// Asked for a part of a device.
    pub sharing: usize,
    /// Asked for no device.
    pub without: usize,
    /// Were never scheduled, so that nobody knows how long they take.
    pub never_scheduled: usize,
}

/// # Errors
/// The first line that cannot be understood, or a list without such pods.
pub fn jobs(text: &str) -> Result<Jobs, TraceError> {
    let (mut sharing, mut without, mut never_scheduled) = (0, 0, 0);
    let rows = Table::new(text, &NEEDED, &UNUSED)?.rows(|row| {
        let devices = row.parse("num_gpu", "a number of devices", |_: &u32| true)?;
        let milli = row.parse("gpu_milli", "a share in thousandths", |_: &u16| true)?;
        let left_out = match (devices, milli) {
            (0, _) => &mut without,
            (_, milli) if milli != WHOLE => &mut sharing,
            _ if row.text("scheduled_time").is_empty() => &mut never_scheduled,
            _ => return pod(row, devices).map(Some),
        };
        *left_out += 1;
        Ok(None)
    })?;
    let mut jobs: Vec<(u64, JobSpec)> = rows.into_iter().flatten().collect();
    from_first_submission(&mut jobs);
    Ok(Jobs { workload: workload(jobs)?, sharing, without, never_scheduled })
}

fn pod(row: &Row<'_>, devices: u32) -> Result<(u64, JobSpec), TableError> {
    let time = |column| row.micros(column, 1e6);
    let (created, scheduled, deleted) =
        (time("creation_time")?, time("scheduled_time")?, time("deletion_time")?);
    if deleted < scheduled {
        return Err(row.wrong("deletion_time", "a time after the scheduling"));
    }
    let mut job = JobSpec::rigid(row.text("name"), Time(created), devices, Span(deleted - scheduled));
    job.kinds = row.text("gpu_spec").split('|').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Ok((row.line, job))
}

pub(super) fn read(text: &str) -> Result<Workload, TraceError> {
    jobs(text).map(|jobs| jobs.workload)
}

#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Fleet(#[from] FleetError),
}

/// The nodes as a fleet in one private zone, with a pool for each device model and number of devices on a node.
///
/// # Errors
/// The first line that cannot be understood, or too many kinds of nodes.
pub fn fleet(text: &str) -> Result<Fleet, NodesError> {
    let mut groups: Vec<(String, u32, u32)> = Vec::new();
    let rows =
        Table::new(text, &NODES, &[])?.rows(|row| Ok((row.text("model").to_owned(), row.devices("gpu")?)))?;
    for (model, devices) in rows {
        match groups.iter_mut().find(|group| (&group.0, group.1) == (&model, devices)) {
            Some(group) => group.2 += 1,
            None => groups.push((model, devices, 1)),
        }
    }
    groups.sort();
    let mut kinds: Vec<String> = groups.iter().map(|group| group.0.clone()).collect();
    kinds.dedup();
    let name = ZoneId::new("openb").expect("a literal name");
    let pools = groups.iter().map(|(model, devices_per_node, nodes)| {
        let kind = kinds.iter().position(|kind| kind == model).unwrap_or(0);
        Pool {
            name: format!("{}-{devices_per_node}", model.to_lowercase()),
            zone: ZoneIndex(0),
            // More kinds than pools there are not, and more pools are refused.
            kind: Kind(u8::try_from(kind).unwrap_or(u8::MAX)),
            terms: Terms::Private,
            nodes: *nodes,
            devices_per_node: *devices_per_node,
            provisioning: Span(0),
        }
    });
    let pools: Vec<Pool> = pools.collect();
    Ok(Fleet::new(vec![Zone::new(name, Trust::Private, "us")], kinds, pools)?)
}

fn amount(row: &Row<'_>, column: &str) -> Result<u32, TableError> {
    row.parse(column, "a whole number of at least zero", |_: &u32| true)
}

fn model(row: &Row<'_>, column: &str, name: &str, models: &mut Models) -> Result<Model, TableError> {
    let known = if name.is_empty() { None } else { models.of(name) };
    known.ok_or_else(|| row.wrong(column, "the name of a device model, one of at most 64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
a,1,1,2,1000,V100M16|V100M32,LS,Running,100,400,150
b,1,1,1,460,,LS,Running,110,400,150
c,1,1,0,0,,LS,Running,120,400,150
d,1,1,1,1000,,LS,Pending,130,400,
e,1,1,1,1000,,BE,Failed,140,140,140
";
    const NODES: &str =
        "sn,cpu_milli,memory_mib,gpu,model\nn1,1,1,8,G2\nn2,1,1,2,T4\nn3,1,1,8,G2\nn4,1,1,4,T4\n";

    #[test]
    fn pods_of_whole_devices_are_jobs_and_the_others_are_counted() {
        let jobs = jobs(PODS).unwrap();
        assert_eq!((jobs.sharing, jobs.without, jobs.never_scheduled), (1, 1, 1));
        let [a, e] = jobs.workload.jobs() else { panic!() };
        assert_eq!(
            (a.submit, a.devices.requested, a.work),
            (Time(0), 2, crate::Work::taking(Span::from_secs(250)))
        );
        assert_eq!(a.kinds, ["V100M16", "V100M32"]);
        assert_eq!((e.submit, e.work), (Time(40_000_000), crate::Work(0)));
    }

    #[test]
    fn nodes_of_a_kind_are_a_pool() {
        let fleet = fleet(NODES).unwrap();
        let pools: Vec<_> =
            fleet.pools.iter().map(|pool| (pool.name.as_str(), pool.nodes, pool.devices_per_node)).collect();
        assert_eq!(pools, [("g2-8", 2, 8), ("t4-2", 1, 2), ("t4-4", 1, 4)]);
        assert_eq!((fleet.kinds.as_slice(), fleet.devices()), (&["G2".to_owned(), "T4".to_owned()][..], 22));
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_column() {
        for (from, to, expected) in [
            ("qos", "quality", "line 1: column `quality` is unknown"),
            (
                "100,400,150",
                "100,4,150",
                "line 2, column `deletion_time`: `4` is not a time after the scheduling",
            ),
            ("460", "x", "line 3, column `gpu_milli`: `x`"),
        ] {
            let error = jobs(&PODS.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let error = fleet(&NODES.replace("8,G2", "0,G2")).unwrap_err().to_string();
        assert!(error.starts_with("line 2, column `gpu`: `0`"), "{error}");
    }
}
