//! The committed table of what kernels take, and how a build differs from it.

use std::collections::BTreeMap;
use std::fmt;

use super::architecture::Architecture;
use super::resources::Resources;

/// By kernel and architecture; `kernels/cuda/resources.txt` is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceTable {
    rows: BTreeMap<(String, Architecture), Resources>,
}

impl ResourceTable {
    pub fn insert(&mut self, kernel: String, architecture: Architecture, resources: Resources) {
        self.rows.insert((kernel, architecture), resources);
    }

    /// Reads what `Display` writes.
    ///
    /// # Errors
    /// With the line that is no row.
    pub fn parse(text: &str) -> Result<ResourceTable, String> {
        let rows = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let rows = rows.map(|line| row(line).ok_or_else(|| format!("`{line}` is no row: {COLUMNS}")));
        Ok(ResourceTable { rows: rows.collect::<Result<_, _>>()? })
    }

    /// One line a difference: kernel, architecture, what was and is.
    pub fn differences(&self, now: &ResourceTable) -> Vec<String> {
        let keys: std::collections::BTreeSet<_> = self.rows.keys().chain(now.rows.keys()).collect();
        let differences = keys.into_iter().filter_map(|key| {
            let what = match (self.rows.get(key), now.rows.get(key)) {
                (Some(was), Some(is)) if was == is => return None,
                (Some(was), Some(is)) => changes(*was, *is),
                (Some(_), None) => "is in the table only".to_owned(),
                (None, _) => "is not in the table".to_owned(),
            };
            Some(format!("{} {}: {what}", key.0, key.1))
        });
        differences.collect()
    }
}

impl fmt::Display for ResourceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {COLUMNS}")?;
        for ((kernel, architecture), resources) in &self.rows {
            let [registers, spills, stack, shared] = columns(*resources);
            writeln!(f, "{kernel} {architecture} {registers} {spills} {stack} {shared}")?;
        }
        Ok(())
    }
}

fn row(line: &str) -> Option<((String, Architecture), Resources)> {
    let words: Vec<&str> = line.split(' ').collect();
    let [kernel, architecture, registers, spills, stack, shared] = words[..] else { return None };
    let resources = Resources {
        registers: registers.parse().ok()?,
        spill_bytes: spills.parse().ok()?,
        stack_bytes: stack.parse().ok()?,
        shared_bytes: shared.parse().ok()?,
    };
    Some(((kernel.to_owned(), architecture.parse().ok()?), resources))
}

fn columns(resources: Resources) -> [u32; 4] {
    let Resources { registers, spill_bytes, stack_bytes, shared_bytes } = resources;
    [registers, spill_bytes, stack_bytes, shared_bytes]
}

fn changes(was: Resources, is: Resources) -> String {
    let names = ["registers", "spilled bytes", "stack bytes", "shared bytes"];
    let pairs = names.into_iter().zip(columns(was).into_iter().zip(columns(is)));
    let changed = pairs.filter(|(_, (was, is))| was != is);
    changed.map(|(name, (was, is))| format!("{name} were {was}, are {is}")).collect::<Vec<_>>().join("; ")
}

const COLUMNS: &str = "kernel, architecture, registers, spilled bytes, stack bytes, static shared bytes";

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> ResourceTable {
        ResourceTable::parse(text).unwrap()
    }

    #[test]
    fn a_difference_names_kernel_architecture_and_both_numbers() {
        let was = table("adamw sm_80 32 0 0 0\nadamw sm_90 30 0 0 0\nold sm_80 1 0 0 0\n");
        let is = table("adamw sm_80 32 0 0 0\nadamw sm_90 40 8 0 0\nnew sm_80 1 0 0 0\n");
        let expected = [
            "adamw sm_90: registers were 30, are 40; spilled bytes were 0, are 8",
            "new sm_80: is not in the table",
            "old sm_80: is in the table only",
        ];
        assert_eq!(was.differences(&is), expected);
        assert!(was.differences(&was).is_empty());
    }

    #[test]
    fn what_is_written_is_read() {
        let rows = table("adamw sm_80 32 0 0 16\nadamw sm_120 40 8 4 0\n");
        assert_eq!(table(&rows.to_string()), rows);
        for damaged in ["adamw sm_80 32 0 0\n", "adamw 80 32 0 0 0\n", "adamw sm_80 32 0 0 x\n"] {
            assert!(ResourceTable::parse(damaged).is_err(), "{damaged}");
        }
    }
}
