//! What tests of the whole command stand on: small jobs, the command under a deadline, and a look at what
//! it has left behind.
//!
//! Nothing here waits without an end. Conditions are waited for in [`until`] alone; a command that is not
//! done in time is killed and fails its test with what it has said.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

mod command;
mod jobs;
pub mod netns;
mod processes;
pub mod ranks;
mod run;

pub use command::{Command, Ended, Started};
pub use jobs::{Job, Shard};
pub use processes::{Process, signal};
pub use run::{Holdings, Run};
pub use rustix::process::Signal;

/// A directory of its own for one test, and the command to run in it.
pub struct Lab {
    root: tempfile::TempDir,
    program: PathBuf,
}

/// A [`Lab`] with the command of this build.
#[macro_export]
macro_rules! lab {
    () => {
        $crate::Lab::new(env!("CARGO_BIN_EXE_hcrun-under-test"))
    };
}

impl Lab {
    pub fn new(program: &str) -> Lab {
        Lab { root: tempfile::tempdir().unwrap(), program: program.into() }
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// The command's file, for a shell.
    pub fn program(&self) -> String {
        self.program.display().to_string()
    }

    /// Writes a file, with the folders it needs.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, contents).unwrap();
        path
    }

    /// `hcrun` with these arguments in this directory, which holds its `runs` too.
    pub fn hcrun<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        Command::new(&self.program, self.path(), args)
    }

    /// The newest run.
    pub fn run(&self) -> Run {
        Run::new(std::fs::canonicalize(self.path().join("runs/latest")).unwrap())
    }
}

/// Waits for something that happens in another process. The only place where tests let time pass.
///
/// # Panics
/// When `within` is over.
#[track_caller]
pub fn until<T>(what: &str, within: Duration, mut seen: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = seen() {
            return value;
        }
        assert!(started.elapsed() < within, "waited {within:?} in vain for {what}");
        std::thread::sleep(POLL);
    }
}

const POLL: Duration = Duration::from_millis(2);
