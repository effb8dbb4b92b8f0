//! Processes that know a laboratory by their environment: its command and what that has started.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The variable that describes a laboratory to its command.
pub(super) const VARIABLE: &str = "HCRUN_LAB";

/// Kills those of the laboratory of that name, until there are none.
pub(super) fn kill_all(name: &str) {
    for _ in 0..ATTEMPTS {
        let told: Vec<Pid> = processes().filter(|pid| is_told(*pid, name)).collect();
        if told.is_empty() {
            return;
        }
        for pid in told {
            // It may just have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(PAUSE);
    }
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
}

/// Dead processes have no environment any more.
fn is_told(pid: Pid, name: &str) -> bool {
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
    describes(&environment, name)
}

fn describes(environment: &[u8], name: &str) -> bool {
    let variable = format!("{VARIABLE}=");
    let namespace = format!("\"{name}-");
    environment.split(|byte| *byte == 0).filter_map(|entry| std::str::from_utf8(entry).ok()).any(|entry| {
        entry.strip_prefix(&variable).is_some_and(|description| description.contains(&namespace))
    })
}

/// For processes that start others while they are looked for.
const ATTEMPTS: usize = 500;
const PAUSE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_variable_tells_and_only_of_the_whole_name() {
        let environment = b"A=\"hcrun-lab-1-1-1\"\0HCRUN_LAB={\"namespace\":\"hcrun-lab-47-0-1\"}\0B=\xff\0";
        assert!(describes(environment, "hcrun-lab-47-0"));
        for other in ["hcrun-lab-7-0", "hcrun-lab-47-00", "hcrun-lab-4", "hcrun-lab-1-1", "lab-47-0"] {
            assert!(!describes(environment, other), "{other}");
        }
    }
}
