//! Network namespaces by iproute2. Their names carry the claim of their laboratory, so that what a killed one left
//! is recognised and removed.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal};
use rustix::thread::LinkNameSpaceType;

use super::claim::Claim;

/// Removed when dropped, with all processes inside.
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    pub(super) fn new(claim: &Claim, number: usize) -> anyhow::Result<Namespace> {
        let name = format!("{}-{number}", claim.name());
        ip(&["netns", "add", &name])?;
        let namespace = Namespace { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` inside.
    pub(super) fn ip(&self, arguments: &[&str]) -> anyhow::Result<()> {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// Runs `work` inside. What it opens belongs to the namespace for good, wherever it is used.
    pub(super) fn enter<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        let file = File::open(Path::new(DIRECTORY).join(&self.name)).with_context(|| self.name.clone())?;
        let inside = || {
            rustix::thread::move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("cannot enter {}", self.name))?;
            work()
        };
        // A thread of its own, that ends there: only threads can be elsewhere, and none should stay.
        std::thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn kill_processes(&self) {
        let Ok(output) = Command::new("ip").args(["netns", "pids", &self.name]).output() else { return };
        let text = String::from_utf8_lossy(&output.stdout);
        for pid in text.lines().filter_map(|line| line.trim().parse().ok().and_then(Pid::from_raw)) {
            // It may just have ended by itself.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.kill_processes();
        // A failure leaves it to the next start.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// Removes those of that claim, whoever still uses them; returns their names.
pub(super) fn remove_of(claim: &str) -> Vec<String> {
    remove_where(|name| name.rsplit_once('-').is_some_and(|(owner, _)| owner == claim))
}

/// Removes those whose name is meant; returns their names.
pub(super) fn remove_where(is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let meant: Vec<String> = names.filter(|name| is_meant(name)).collect();
    meant.iter().for_each(|name| drop(Namespace { name: name.clone() }));
    meant
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output =
        Command::new("ip").args(arguments).output().context("cannot start `ip`; install iproute2")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`ip {}`: {}", arguments.join(" "), error.trim());
    Ok(())
}

const DIRECTORY: &str = "/run/netns";
