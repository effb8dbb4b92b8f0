//! A process that outlives its launcher by a moment: when the launcher is killed, it takes away what the
//! launcher can no longer take away itself. The kernel frees everything else, workers included.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::join;
use crate::run_dir::{RunDir, files};

/// The launcher's end. Dropped, it ends the process.
#[derive(Debug)]
pub(super) struct Keeper {
    /// Holds the pipe whose end tells of the launcher's.
    process: Child,
}

impl Keeper {
    pub(super) fn start(dir: &RunDir) -> io::Result<Keeper> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("keep").arg(std::path::absolute(&dir.path)?).env_clear().process_group(0);
        let process = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Keeper { process })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // It has nothing to do after a launcher that ends by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other end: waits until the launcher is gone, however it went.
pub(crate) fn keep(path: &Path) -> io::Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    for _ in 0..ATTEMPTS {
        // A run that was resumed meanwhile has another launcher, whose lock stays.
        if let Ok(dir) = (RunDir { path: path.to_owned() }).lock() {
            let _ = std::fs::remove_file(dir.file(files::CONTROL_SOCKET));
            join::remove_bundles(&dir);
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// The kernel closes the pipe and lets go of the lock in the same breath.
const ATTEMPTS: usize = 100;
const PAUSE: Duration = Duration::from_millis(2);
