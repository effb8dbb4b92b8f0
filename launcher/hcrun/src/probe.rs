//! Asks a library of the GPU in a process of its own: one that hangs or crashes takes no other along.

use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Library {
    Driver,
    Nccl,
    CublasLt,
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Library::Driver => "the driver",
            Library::Nccl => "NCCL",
            Library::CublasLt => "cuBLASLt",
        })
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{}", .how.said_of(*.whom))]
pub(crate) struct NoAnswer {
    whom: Library,
    how: How,
}

#[derive(Debug)]
enum How {
    Late(Duration),
    Died(ExitStatus),
    Start(io::Error),
}

impl How {
    fn said_of(&self, whom: Library) -> String {
        match self {
            How::Late(deadline) => format!("{whom} did not answer within {} s", deadline.as_secs_f64()),
            How::Died(status) => format!("{whom} ended the process that asked it ({status})"),
            How::Start(error) => format!("the process that asks {whom} cannot be started: {error}"),
        }
    }
}

impl NoAnswer {
    pub(crate) fn not_started(whom: Library, error: io::Error) -> NoAnswer {
        NoAnswer { whom, how: How::Start(error) }
    }

    /// One word for machines that read it.
    pub(crate) fn code(&self) -> &'static str {
        match (&self.how, self.whom) {
            (How::Late(_), Library::Driver) => "driver-silent",
            (How::Late(_), Library::Nccl) => "nccl-silent",
            (How::Late(_), Library::CublasLt) => "cublaslt-silent",
            (How::Died(_), Library::Driver) => "driver-crashed",
            (How::Died(_), Library::Nccl) => "nccl-crashed",
            (How::Died(_), Library::CublasLt) => "cublaslt-crashed",
            (How::Start(_), _) => "not-asked",
        }
    }
}

/// Asks by `command`, a process that prints what is heard.
///
/// # Errors
/// If it does not within `deadline`; it is killed then.
pub(crate) fn ask<T: DeserializeOwned + Send + 'static>(
    whom: Library,
    mut command: Command,
    deadline: Duration,
) -> Result<T, NoAnswer> {
    let no_answer = |how| NoAnswer { whom, how };
    let process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut process = process.map_err(|error| no_answer(How::Start(error)))?;
    let (sender, receiver) = mpsc::channel();
    if let Some(pipe) = process.stdout.take() {
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(pipe).read_line(&mut line);
            sender.send(read.ok().and_then(|_| serde_json::from_str(&line).ok()))
        });
    }
    let heard = receiver.recv_timeout(deadline);
    if let Ok(None) = heard {
        // Its end of the pipe is closed: it is gone, or about to.
        let status = process.wait().map_err(|error| no_answer(How::Start(error)))?;
        return Err(no_answer(How::Died(status)));
    }
    // It has nothing more to do. Not waited for: a process inside a driver may not even end when it is killed.
    let _ = process.kill();
    heard.ok().flatten().ok_or(no_answer(How::Late(deadline)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Answer;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn an_answer_is_heard_though_its_process_goes_on() {
        let line = serde_json::to_string(&Answer::Deaf { cause: "words".to_owned() }).unwrap();
        // Reads for ever what nobody writes.
        let said =
            ask::<Answer>(Library::Driver, shell(&format!("echo '{line}'; exec tail -f /dev/null")), LONG)
                .unwrap();
        assert_eq!(said, Answer::Deaf { cause: "words".to_owned() });
    }

    #[test]
    fn a_process_that_says_nothing_is_late_and_killed() {
        let deadline = Duration::from_millis(50);
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // Holds the other end of the pipe as long as it lives.
        let silent = shell(&format!("exec 3<>'{}'; exec tail -f /dev/null", pipe.display()));
        let error = ask::<Answer>(Library::Driver, silent, deadline).unwrap_err();
        assert_eq!(error.to_string(), "the driver did not answer within 0.05 s");
        assert_eq!(error.code(), "driver-silent");
    }

    #[test]
    fn a_process_that_ends_or_babbles_has_died() {
        for (script, expected) in
            [("kill -SEGV $$", "signal: 11"), ("exit 3", "exit status: 3"), ("echo ok", "exit status: 0")]
        {
            let error = ask::<Answer>(Library::Nccl, shell(script), LONG).unwrap_err();
            assert!(error.code() == "nccl-crashed", "{script}: {error}");
            assert!(error.to_string().contains(expected), "{script}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_started_is_told() {
        let error = ask::<Answer>(Library::Driver, Command::new("/nowhere/hcrun"), LONG).unwrap_err();
        assert_eq!(error.code(), "not-asked", "{error}");
    }
}
