//! A process that takes orders on its stdin, a line each, and answers each with a line of JSON.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;

/// A process whose answers are awaited with a deadline. Dropped it is killed.
pub(crate) struct Talker {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Talker {
    pub(crate) fn start(name: String, mut command: Command) -> anyhow::Result<Talker> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name} by {command:?}"))?;
        let stdout = child.stdout.take().context("its stdout is a pipe")?;
        let (line, lines) = channel();
        // Ends with the process.
        std::thread::spawn(move || {
            for text in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line.send(text).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take();
        Ok(Talker { name, child, stdin, lines })
    }

    pub(crate) fn say(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("its stdin is open")?;
        writeln!(stdin, "{line}").with_context(|| format!("{} has ended early: see above", self.name))
    }

    pub(crate) fn hear<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        self.hear_within(PATIENCE)
    }

    pub(crate) fn hear_within<T: DeserializeOwned>(&mut self, patience: Duration) -> anyhow::Result<T> {
        let line = match self.lines.recv_timeout(patience) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                bail!("{} has not answered for {} s", self.name, patience.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => bail!("{} has ended early: see above", self.name),
        };
        serde_json::from_str(&line).with_context(|| format!("{} says `{line}`", self.name))
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // Most end by themselves when their orders do; with them ends what they say.
        drop(self.stdin.take());
        while self.lines.recv_timeout(FAREWELL).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const FAREWELL: Duration = Duration::from_secs(2);
/// Longer than the longest measurement.
const PATIENCE: Duration = Duration::from_secs(400);
