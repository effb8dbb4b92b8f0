//! What the GPU's driver says, asked in a process of its own: a driver that hangs or crashes takes no other along.

use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hcrun_kernels::cuda::{self, Unavailable};
use serde::{Deserialize, Serialize};

/// A line of JSON, as the process writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// The first of the GPUs.
    Card { name: String, architecture: String, devices: u32, cuda: String },
    /// There is a driver with GPUs, but the first does not answer.
    Deaf { cause: String },
    /// `is_usual` where nothing is wrong: a machine without a GPU.
    Unavailable { code: String, reason: String, is_usual: bool },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("the driver did not answer within {} s", .0.as_secs_f64())]
    Late(Duration),
    #[error("the driver ended the process that asked it ({0})")]
    Died(ExitStatus),
    #[error("the process that asks the driver cannot be started: {0}")]
    Start(#[from] io::Error),
}

impl NoAnswer {
    /// One word for machines that read it.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            NoAnswer::Late(_) => "driver-silent",
            NoAnswer::Died(_) => "driver-crashed",
            NoAnswer::Start(_) => "not-asked",
        }
    }
}

/// Of the process that is asked: calls the driver, which may not return.
pub(crate) fn answer() -> Answer {
    let driver = match cuda::probe() {
        Ok(driver) => driver,
        Err(reason) => {
            let is_usual = matches!(reason, Unavailable::NoDriver { .. } | Unavailable::NoDevice);
            return Answer::Unavailable { code: reason.code().into(), reason: reason.to_string(), is_usual };
        }
    };
    match driver.card(0) {
        Ok(card) => Answer::Card {
            name: card.name,
            architecture: card.architecture.to_string(),
            devices: driver.devices(),
            cuda: driver.version().to_string(),
        },
        Err(error) => Answer::Deaf { cause: error.to_string() },
    }
}

/// Asks by `command`, a process that prints an [`Answer`].
///
/// # Errors
/// If it does not within `deadline`; it is killed then.
pub(crate) fn ask(mut command: Command, deadline: Duration) -> Result<Answer, NoAnswer> {
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
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
        return Err(NoAnswer::Died(process.wait()?));
    }
    // It has nothing more to do. Not waited for: a process inside a driver may not even end when it is killed.
    let _ = process.kill();
    heard.ok().flatten().ok_or(NoAnswer::Late(deadline))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let said = ask(shell(&format!("echo '{line}'; exec tail -f /dev/null")), LONG).unwrap();
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
        let error = ask(silent, deadline).unwrap_err();
        assert_eq!(error.to_string(), "the driver did not answer within 0.05 s");
        assert_eq!(error.code(), "driver-silent");
    }

    #[test]
    fn a_process_that_ends_or_babbles_has_died() {
        for (script, expected) in
            [("kill -SEGV $$", "signal: 11"), ("exit 3", "exit status: 3"), ("echo ok", "exit status: 0")]
        {
            let error = ask(shell(script), LONG).unwrap_err();
            assert!(matches!(error, NoAnswer::Died(_)), "{script}: {error}");
            assert!(error.to_string().contains(expected), "{script}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_started_is_told() {
        let error = ask(Command::new("/nowhere/hcrun"), LONG).unwrap_err();
        assert!(matches!(error, NoAnswer::Start(_)), "{error}");
    }
}
