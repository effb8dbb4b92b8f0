//! A run directory while it fills, and what is left once its run has ended.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::command::Started;
use crate::processes::{self, Process};
use crate::until;

/// A run by its directory.
#[derive(Debug, Clone)]
pub struct Run {
    pub path: PathBuf,
}

/// What the processes of a run hold of the system while it lives.
#[derive(Debug)]
pub struct Holdings {
    processes: Vec<Process>,
    udp_sockets: BTreeSet<u64>,
}

/// Longer than a start on a loaded machine takes.
const EVENT_LIMIT: Duration = Duration::from_secs(30);

impl Run {
    pub fn new(path: PathBuf) -> Run {
        Run { path }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// `summary.json`.
    #[track_caller]
    pub fn summary(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.file("summary.json")).unwrap()).unwrap()
    }

    /// Whole lines of `events.jsonl`.
    pub fn events(&self) -> Vec<Value> {
        lines(&self.file("events.jsonl"))
    }

    /// Whole lines of `metrics.jsonl`.
    pub fn metrics(&self) -> Vec<Value> {
        lines(&self.file("metrics.jsonl"))
    }

    /// Updates applied so far.
    pub fn steps(&self) -> u64 {
        let rows = self.metrics();
        let steps = rows.iter().filter(|row| row["kind"] == "step").filter_map(|row| row["step"].as_u64());
        steps.max().unwrap_or(0)
    }

    /// Waits for an event of the run that `command` drives.
    #[track_caller]
    pub fn wait_event(&self, command: &mut Started, name: &str) -> Value {
        until(&format!("event `{name}`"), EVENT_LIMIT, || {
            let found = self.events().into_iter().find(|event| event["event"] == name);
            if found.is_none() {
                command.assert_alive();
            }
            found
        })
    }

    /// Waits until at least this many updates are applied.
    #[track_caller]
    pub fn wait_steps(&self, command: &mut Started, steps: u64) {
        until(&format!("{steps} steps"), EVENT_LIMIT, || {
            let there = self.steps() >= steps;
            if !there {
                command.assert_alive();
            }
            there.then_some(())
        });
    }

    /// Waits for the process of a slot.
    #[track_caller]
    pub fn worker(&self, slot: &str) -> Process {
        let bundle = self.path.join("bundles").join(format!("{slot}.json"));
        until(&format!("the worker of {slot}"), EVENT_LIMIT, || processes::naming(&bundle).first().copied())
    }

    /// Workers that live.
    pub fn workers(&self) -> Vec<Process> {
        processes::naming(&self.file("bundles"))
    }

    /// What the run and its launcher hold now.
    pub fn holdings(&self, launcher: Process) -> Holdings {
        let mut processes = processes::naming(&self.path);
        processes.push(launcher);
        let udp_sockets = processes::udp_sockets(&processes);
        Holdings { processes, udp_sockets }
    }

    /// Names what is left of an ended run: processes, UDP sockets, the control socket, join bundles.
    pub fn leftovers(&self, held: &Holdings) -> Vec<String> {
        let mut left: Vec<String> = Vec::new();
        let processes = processes::naming(&self.path).into_iter().chain(held.processes.iter().copied());
        let processes: BTreeSet<Process> = processes.filter(|process| process.is_alive()).collect();
        left.extend(processes.iter().map(|process| format!("{process:?}")));
        let open = processes::open_udp_sockets();
        left.extend(held.udp_sockets.intersection(&open).map(|inode| format!("UDP socket {inode}")));
        let files = ["control.sock", "bundles"];
        left.extend(files.iter().filter(|name| self.file(name).exists()).map(|name| (*name).to_owned()));
        left
    }
}

/// The last line may still be on its way.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
