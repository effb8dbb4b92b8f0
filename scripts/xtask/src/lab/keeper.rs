//! A process that outlives its laboratory by a moment: when that is killed, it takes away what the laboratory
//! can no longer take away itself.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use super::claim::{self, Claim};

/// The laboratory's end. Dropped, it ends the process.
pub(super) struct Keeper {
    /// Holds the pipe whose end tells of the laboratory's.
    process: Child,
}

impl Keeper {
    pub(super) fn start(claim: &Claim) -> anyhow::Result<Keeper> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["lab", WORD, claim.name()]).process_group(0);
        // Of a laboratory around this one it shall not know: it would be killed with its processes.
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        // It holds the lock until it has cleared up.
        command.stdin(Stdio::piped()).stdout(claim.share()?).stderr(Stdio::null());
        let process = command.spawn().context("cannot start the process that clears up")?;
        Ok(Keeper { process })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // It has nothing to do after a laboratory that ends by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other end: waits until the laboratory is gone, however it went.
pub(super) fn keep(name: &str) -> io::Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    claim::clear(name);
    Ok(())
}

pub(super) const WORD: &str = "keep";
