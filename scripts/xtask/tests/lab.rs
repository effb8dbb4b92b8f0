//! Laboratories that are killed, and several at once. As root; elsewhere skipped, aloud.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

/// Starts a process without environment on a host, as workers are, and one that nobody waits for beside it; all
/// hold the standard output.
const COMMAND: &str = r#"
exec 2>&1
namespace=$(printf %s "$HCRUN_LAB" | sed 's/.*"namespace":"\([^"]*-1\)".*/\1/')
ip netns exec "$namespace" env -i "$(command -v sleep)" 1000 &
sh -c 'sleep 1000 & exit'
echo "$namespace"
wait
"#;

struct Laboratory {
    process: Child,
    output: BufReader<ChildStdout>,
    errors: ChildStderr,
    /// Of its namespaces: with `-1` and `-2` behind it.
    name: String,
}

impl Laboratory {
    /// None where this user or machine can have none.
    fn start() -> Option<Laboratory> {
        let mut command = xtask();
        command.args(["--", "sh", "-c", COMMAND]).stdin(Stdio::null());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut errors = process.stderr.take().unwrap();
        let mut namespace = String::new();
        output.read_line(&mut namespace).unwrap();
        let Some(name) = namespace.trim().strip_suffix("-1") else {
            let mut why = String::new();
            errors.read_to_string(&mut why).unwrap();
            process.wait().unwrap();
            skip(&why);
            return None;
        };
        Some(Laboratory { name: name.to_owned(), process, output, errors })
    }

    fn exists(&self) -> bool {
        let found = [1, 2].map(|host| Path::new("/run/netns").join(format!("{}-{host}", self.name)).exists());
        assert_eq!(found[0], found[1]);
        found[0]
    }

    fn claim(&self) -> File {
        File::open(Path::new("/run/hcrun-lab").join(&self.name)).unwrap()
    }

    fn kill(&mut self) {
        // Twice does nothing.
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// # Panics
    /// If one of its processes still lives.
    fn assert_gone(self) {
        assert!(!self.exists(), "{} is still there", self.name);
        assert!(!Path::new("/run/hcrun-lab").join(&self.name).exists());
        // Only errors and the end can come: nobody prints more.
        let mut output = [PollFd::new(self.output.get_ref(), PollFlags::IN)];
        poll(&mut output, Some(&Timespec { tv_sec: 10, tv_nsec: 0 })).unwrap();
        assert!(output[0].revents().contains(PollFlags::HUP), "a process of {} lives", self.name);
    }

    fn keeper(&self) -> Pid {
        let arguments = format!("\0lab\0keep\0{}\0", self.name);
        let is_keeper = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.ends_with(arguments.as_bytes())
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let mut processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Pid::from_raw(processes.find(is_keeper).unwrap()).unwrap()
    }
}

impl Drop for Laboratory {
    fn drop(&mut self) {
        self.kill();
    }
}

/// # Panics
/// If there is no laboratory for another reason than that this user or machine can have none.
fn skip(why: &str) {
    let known = ["takes root", "/dev/net/tun", "not permitted", "denied", "install iproute2"];
    assert!(known.iter().any(|reason| why.contains(reason)), "{why}");
    // Not by a macro: the output of a test that passes is not shown.
    let _ = write!(std::io::stderr(), "SKIPPED: no laboratory here: {why}");
}

fn xtask() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("lab");
    command
}

fn clean() -> Output {
    xtask().arg("clean").output().unwrap()
}

#[test]
fn a_killed_laboratory_takes_all_it_made_with_it() {
    let Some(mut laboratory) = Laboratory::start() else { return };
    assert!(laboratory.exists());
    let claim = laboratory.claim();
    laboratory.kill();
    // Held until all is cleared away.
    claim.lock().unwrap();
    laboratory.assert_gone();
}

/// As when a whole control group is killed, but for the processes that are left.
#[test]
fn what_is_left_when_nobody_could_clear_up_is_found() {
    let Some(mut laboratory) = Laboratory::start() else { return };
    kill_process(laboratory.keeper(), Signal::KILL).unwrap();
    laboratory.kill();
    assert!(clean().status.success());
    laboratory.assert_gone();
}

#[test]
fn a_living_laboratory_is_named_and_left_alone() {
    let Some(mut first) = Laboratory::start() else { return };
    let mut second = Laboratory::start().unwrap();
    let pid = first.process.id();

    let text = String::from_utf8(clean().stdout).unwrap();
    assert!(text.contains(&format!("process {pid} still has a laboratory")), "{text}");
    assert!(first.exists() && second.exists());

    let claims = [first.claim(), second.claim()];
    second.kill();
    claims[1].lock().unwrap();
    let mut warnings = String::new();
    second.errors.read_to_string(&mut warnings).unwrap();
    assert!(warnings.contains(&format!("warning: process {pid} has a laboratory too")), "{warnings}");
    assert!(first.exists());
    second.assert_gone();

    first.kill();
    claims[0].lock().unwrap();
    first.assert_gone();
}

#[test]
fn a_laboratory_that_ends_by_itself_leaves_nothing() {
    let output = xtask().args(["--", "sh", "-c", r#"echo "$HCRUN_LAB"; exit 3"#]).output().unwrap();
    if output.stdout.is_empty() {
        return skip(&String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stdout).unwrap();
    let name = text.split('"').find_map(|word| word.strip_suffix("-1")).unwrap();
    for left in [format!("/run/netns/{name}-1"), format!("/run/hcrun-lab/{name}")] {
        assert!(!Path::new(&left).exists(), "{left}");
    }
}
