//! Alibaba's openb fleet (cluster-trace-gpu-v2023): a list of nodes and a list of pods that share devices.

use super::table::{Row, Table, TableError};
use crate::packing::{MAX_DEVICES, Model, ModelSet, Models, Request, Room, WHOLE};

const NODES: [&str; 5] = ["sn", "cpu_milli", "memory_mib", "gpu", "model"];
const PODS: [&str; 6] = ["name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec"];
const IGNORED: [&str; 5] = ["qos", "pod_phase", "creation_time", "deletion_time", "scheduled_time"];

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

fn amount(row: &Row<'_>, column: &str) -> Result<u32, TableError> {
    row.parse(column, "a whole number of at least zero", |_: &u32| true)
}

fn model(row: &Row<'_>, column: &str, name: &str, models: &mut Models) -> Result<Model, TableError> {
    let known = if name.is_empty() { None } else { models.of(name) };
    known.ok_or_else(|| row.wrong(column, "the name of a device model, one of at most 64"))
}
