//! Processes that a bench starts: watched, never waited for without an end, and never left behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// A process that runs. Dropped it is killed; its stdin, a pipe, closes with this process however that ends.
pub(crate) struct Started {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Started {
    /// Its output goes to files in `folder`: a reader that is late stops nothing.
    pub(crate) fn start(name: &str, mut command: Command, folder: &Path) -> anyhow::Result<Started> {
        let [stdout, stderr] = ["stdout", "stderr"].map(|end| folder.join(format!("{name}.{end}")));
        let create =
            |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
        command.stdin(Stdio::piped()).stdout(create(&stdout)?).stderr(create(&stderr)?);
        let child = command.spawn().with_context(|| format!("cannot start {name} by {command:?}"))?;
        Ok(Started { name: name.to_owned(), child, stdout, stderr })
    }

    /// Whether it has ended well; an end that is not well is an error with its last words.
    pub(crate) fn has_ended(&mut self) -> anyhow::Result<bool> {
        match self.child.try_wait().with_context(|| format!("cannot ask after {}", self.name))? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => bail!("{}", self.last_words(status)),
        }
    }

    /// An error if it has ended although more is expected of it.
    pub(crate) fn must_live(&mut self) -> anyhow::Result<()> {
        if self.has_ended()? {
            bail!("{}", self.last_words(ExitStatus::default()));
        }
        Ok(())
    }

    pub(crate) fn stdout(&self) -> anyhow::Result<String> {
        fs::read_to_string(&self.stdout).with_context(|| format!("what {} printed", self.name))
    }

    fn last_words(&self, status: ExitStatus) -> String {
        let stderr = fs::read_to_string(&self.stderr).unwrap_or_default();
        let lines: Vec<&str> = stderr.lines().collect();
        let tail = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n  ");
        format!("{} ended early ({status}); its last words:\n  {tail}", self.name)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // One that has ended already needs nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until there is an answer, an error, or no time left.
pub(crate) fn until<T>(
    what: &str,
    within: Duration,
    mut answer: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let since = Instant::now();
    loop {
        if let Some(answer) = answer()? {
            return Ok(answer);
        }
        if since.elapsed() > within {
            bail!("waited {} s for {what} in vain", within.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits for all of them; the first that fails ends the wait, and all processes with it.
pub(crate) fn end_all(mut all: Vec<Started>, within: Duration) -> anyhow::Result<Vec<Started>> {
    let names: Vec<&str> = all.iter().map(|process| process.name.as_str()).collect();
    let what = format!("the end of {}", names.join(", "));
    until(&what, within, || {
        let mut living = 0;
        for process in &mut all {
            living += usize::from(!process.has_ended()?);
        }
        Ok((living == 0).then_some(()))
    })?;
    Ok(all)
}

const SHOWN_LINES: usize = 20;
/// Short against any process's start; looking costs microseconds.
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str, folder: &Path) -> Started {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        Started::start("test", command, folder).unwrap()
    }

    #[test]
    fn a_process_that_fails_is_quoted_and_takes_the_others_along() {
        let folder = tempfile::tempdir().unwrap();
        let all = vec![shell("echo no luck >&2; exit 3", folder.path())];
        let error = end_all(all, Duration::from_secs(10)).err().unwrap().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("no luck"), "{error}");
    }

    #[test]
    fn waiting_has_an_end() {
        let error = until::<()>("nothing", Duration::ZERO, || Ok(None)).unwrap_err();
        assert_eq!(error.to_string(), "waited 0 s for nothing in vain");
    }
}
