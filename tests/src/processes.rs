//! Processes as `/proc` shows them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// A process by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process(i32);

/// Sends a signal; a process that is gone needs none.
pub fn signal(process: Process, what: Signal) {
    let _ = kill_process(Pid::from_raw(process.0).unwrap(), what);
}

impl Process {
    pub(crate) fn new(id: u32) -> Process {
        Process(i32::try_from(id).unwrap())
    }

    fn path(self) -> PathBuf {
        format!("/proc/{}", self.0).into()
    }

    /// Whether it still holds anything. One that has ended and waits for its parent holds nothing.
    pub fn is_alive(self) -> bool {
        matches!(self.state(), Some(state) if state != 'Z' && state != 'X')
    }

    pub fn is_stopped(self) -> bool {
        self.state() == Some('T')
    }

    fn state(self) -> Option<char> {
        let stat = fs::read_to_string(self.path().join("stat")).ok()?;
        // The name before it may hold anything, also spaces and brackets.
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// Its command line, NUL between arguments; empty for one that has ended.
    pub fn command_line(self) -> Vec<u8> {
        fs::read(self.path().join("cmdline")).unwrap_or_default()
    }

    /// Its environment as it was started with, NUL between variables.
    pub fn environment(self) -> Vec<u8> {
        fs::read(self.path().join("environ")).unwrap_or_default()
    }

    /// What its descriptors lead to, where the system shows them.
    pub fn open_files(self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path().join("fd")).into_iter().flatten().flatten();
        entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
    }

    fn mentions(self, text: &[u8]) -> bool {
        self.command_line().windows(text.len()).any(|window| window == text)
    }

    /// Socket inodes that it holds open, where the system shows them.
    fn sockets(self) -> BTreeSet<u64> {
        let inode = |link: PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
        self.open_files().into_iter().filter_map(inode).collect()
    }
}

/// Living processes whose command line names this path.
pub(crate) fn naming(path: &Path) -> Vec<Process> {
    let path = path.as_os_str().as_bytes();
    all().filter(|process| process.mentions(path) && process.is_alive()).collect()
}

fn all() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| Some(Process::new(entry.file_name().to_str()?.parse().ok()?)))
}

/// Inodes of the UDP sockets that these processes hold.
pub(crate) fn udp_sockets(processes: &[Process]) -> BTreeSet<u64> {
    let open = open_udp_sockets();
    let held = processes.iter().flat_map(|process| process.sockets());
    held.filter(|inode| open.contains(inode)).collect()
}

pub(crate) fn open_udp_sockets() -> BTreeSet<u64> {
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = |line: &str| line.split_whitespace().nth(9)?.parse().ok();
    tables.iter().flat_map(|table| table.lines().skip(1).filter_map(inode)).collect()
}
