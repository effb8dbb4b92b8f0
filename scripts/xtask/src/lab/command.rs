//! The command that uses a laboratory, and the signals that end it.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};

use super::told;

/// From its making on, a signal no longer ends the process: it is for whoever asks.
pub(super) struct Signals {
    hangup: unix::Signal,
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Signals> {
        Ok(Signals {
            hangup: unix::signal(SignalKind::hangup())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    /// The exit code for the signal that came.
    pub(super) async fn next(&mut self) -> u8 {
        let kind = tokio::select! {
            _ = self.hangup.recv() => SignalKind::hangup(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        };
        for_signal(kind.as_raw_value())
    }
}

/// Runs it with this process's input and output and returns its exit code, or that of a signal that came first.
pub(super) async fn run(words: &[String], description: &str, signals: &mut Signals) -> anyhow::Result<u8> {
    let (program, arguments) = words.split_first().context("there is no command")?;
    let mut command = Command::new(program);
    command.args(arguments).env(told::VARIABLE, description).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot start `{program}`"))?;
    tokio::select! {
        status = child.wait() => Ok(exit_code(status?)),
        code = signals.next() => {
            end(&mut child).await;
            Ok(code)
        }
    }
}

async fn end(child: &mut Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may just have ended by itself.
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.or_else(|| status.signal().map(for_signal)).unwrap_or(u8::MAX)
}

/// As shells do.
fn for_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// For a command that ends its own processes.
const GRACE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> u8 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let words = ["sh", "-c", script].map(str::to_owned);
        runtime.block_on(async { super::run(&words, "{}", &mut Signals::new().unwrap()).await.unwrap() })
    }

    #[test]
    fn the_exit_code_is_passed_on() {
        assert_eq!(run("exit 7"), 7);
        assert_eq!(run(r#"test "$HCRUN_LAB" = "{}""#), 0);
        assert_eq!(run("kill -KILL $$"), 137);
    }
}
