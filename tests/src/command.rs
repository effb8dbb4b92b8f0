//! The command under test: started, watched, and never waited for without an end.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::processes::{Process, signal};
use crate::run::Run;
use crate::until;

/// A command to be run.
pub struct Command {
    command: std::process::Command,
    directory: PathBuf,
}

/// A command that runs. Dropped early it is killed, with all that it has started.
pub struct Started {
    child: Child,
    output: tempfile::TempDir,
    directory: PathBuf,
    since: Instant,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

/// Longer than any run of a test on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

impl Command {
    pub(crate) fn new<A: AsRef<OsStr>>(
        program: &Path,
        directory: &Path,
        args: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = std::process::Command::new(program);
        command.args(args).current_dir(directory).stdin(Stdio::null());
        for variable in ["HCRUN_RUNS_DIR", "HCRUN_CLUSTER", "HCRUN_QUEUE"] {
            command.env_remove(variable);
        }
        Command { command, directory: directory.to_owned() }
    }

    pub fn env(mut self, key: &str, value: &str) -> Command {
        self.command.env(key, value);
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Command {
        self.command.args(args);
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Ended {
        self.start().end_within(LIMIT)
    }

    /// Runs it to its end, which has to be a success.
    #[track_caller]
    pub fn succeed(self) -> Ended {
        let ended = self.run();
        assert!(ended.status.success(), "{ended}");
        ended
    }

    /// Runs it to its end, which has to have this exit code.
    #[track_caller]
    pub fn fail(self, code: i32) -> Ended {
        let ended = self.run();
        assert_eq!(ended.status.code(), Some(code), "{ended}");
        ended
    }

    pub fn start(mut self) -> Started {
        // Files, not pipes: a reader that is late stops nothing.
        let output = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(output.path().join(name)).unwrap();
        let child = self.command.stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Started { child, output, directory: self.directory, since: Instant::now() }
    }
}

impl Started {
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    pub fn signal(&self, what: Signal) {
        signal(self.process(), what);
    }

    /// The run that this command has made, once it has.
    #[track_caller]
    pub fn run(&mut self) -> Run {
        let latest = self.directory.join("runs/latest");
        let path = until("a run directory", LIMIT, || {
            self.assert_alive();
            std::fs::canonicalize(&latest).ok()
        });
        Run::new(path)
    }

    /// Fails with what the command has said if it is gone although more is expected of it.
    #[track_caller]
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("ended early: {}", self.ended(status));
        }
    }

    /// Whether it has ended, and how.
    pub fn try_end(&mut self) -> Option<Ended> {
        let status = self.child.try_wait().unwrap()?;
        Some(self.ended(status))
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end_within(mut self, within: Duration) -> Ended {
        let what = format!("the end of the command, which says:\n{}", self.read("stderr"));
        until(&what, within, || self.try_end())
    }

    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn ended(&self, status: ExitStatus) -> Ended {
        let (stdout, stderr) = (self.read("stdout"), self.read("stderr"));
        Ended { status, stdout, stderr, took: self.since.elapsed() }
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.output.path().join(name)).unwrap()).into_owned()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Workers die with the command that started them. One that has ended already needs nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\nstdout:\n{}\nstderr:\n{}", self.status, self.stdout, self.stderr)
    }
}
