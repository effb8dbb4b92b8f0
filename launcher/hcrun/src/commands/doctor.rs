//! `hcrun doctor`: whether this machine can run workers, and what to do where it cannot.

use std::env;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::{DoctorArgs, Global};
use crate::codes;
use crate::driver::Answer;
use crate::failure::{Failure, Result};
use crate::libraries;
use crate::output::Output;
use crate::probe::{self, Library, NoAnswer};
use crate::report::format::bytes;

/// Socket buffers that workers ask for; with less, bursts are dropped and sent again.
const WANTED_SOCKET_BUFFER: u64 = 8 << 20;
const WANTED_MEMORY: u64 = 1 << 30;
const WANTED_DISK: u64 = 1 << 30;
const WANTED_FILES: u64 = 1_024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Good,
    /// Works, but worse than it could.
    Warning,
    Failed,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    /// Why it matters and what to do; empty where all is well.
    advice: String,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Good, found: found.into(), advice: String::new() }
    }

    fn warning(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Warning, found: found.into(), advice: advice.into() }
    }

    fn failed(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Failed, found: found.into(), advice: advice.into() }
    }
}

pub(crate) fn doctor(args: &DoctorArgs, global: &Global, output: &Output) -> Result<()> {
    let checks = [
        cores(),
        cpu(),
        gpu(Duration::from_secs(args.driver_within_s)),
        nccl(Duration::from_secs(args.driver_within_s)),
        cublaslt(Duration::from_secs(args.driver_within_s)),
        memory(),
        udp(),
        socket_buffer("receive buffer", "rmem_max"),
        socket_buffer("send buffer", "wmem_max"),
        open_files(),
        run_directory(&global.runs_dir),
        disk(&global.runs_dir),
        core_pattern(),
    ];
    let failed: Vec<&Check> = checks.iter().filter(|check| check.verdict == Verdict::Failed).collect();
    // One answer: as JSON, a failure is the answer.
    if failed.is_empty() || !output.is_json() {
        output.answer(&checks, || checks.iter().map(line).collect());
    }
    if failed.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(&codes::DOCTOR_FAILED, "this machine cannot run workers as it is");
    Err(failed.iter().fold(failure, |failure, check| {
        failure.because(format!("{}: {}: {}", check.name, check.found, check.advice))
    }))
}

fn line(check: &Check) -> String {
    let mark = match check.verdict {
        Verdict::Good => "ok  ",
        Verdict::Warning => "warn",
        Verdict::Failed => "FAIL",
    };
    let advice = if check.advice.is_empty() { String::new() } else { format!("\n      {}", check.advice) };
    format!("{mark}  {:<15} {}{advice}\n", check.name, check.found)
}

fn cores() -> Check {
    match std::thread::available_parallelism() {
        Ok(cores) if cores.get() > 1 => Check::good("cores", cores.to_string()),
        Ok(_) => Check::warning("cores", "1", "workers share it: a job of several is no faster than of one"),
        Err(error) => Check::warning("cores", error.to_string(), "their number is unknown"),
    }
}

fn cpu() -> Check {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") {
            return Check::good("vector units", "AVX-512");
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            return Check::good("vector units", "AVX2 and FMA");
        }
        Check::warning(
            "vector units",
            "neither AVX2 nor AVX-512",
            "training on this processor is several times slower",
        )
    }
    #[cfg(not(target_arch = "x86_64"))]
    Check::good("vector units", env::consts::ARCH)
}

/// Nothing needs one; a driver that does not work is worth a word, a machine without one is not.
fn gpu(deadline: Duration) -> Check {
    match ask(Library::Driver, "probe-gpu", deadline) {
        Ok(Answer::Card { name, architecture, devices, cuda }) => Check {
            name: "GPU",
            verdict: Verdict::Good,
            found: format!("{name} ({architecture}), 1 of {devices}, driver for CUDA {cuda}"),
            advice: "workers of pools with another `device` than \"cpu\" train on it; `cargo xtask gpu` checks the kernels"
                .to_owned(),
        },
        Ok(Answer::Deaf { cause }) => Check::warning("GPU", cause, "see `nvidia-smi`; the CPU is used"),
        Ok(Answer::Unavailable { code, reason, is_usual }) => {
            let verdict = if is_usual { Verdict::Good } else { Verdict::Warning };
            let advice = format!("{reason}; the CPU is used");
            Check { name: "GPU", verdict, found: format!("none ({code})"), advice }
        }
        Err(reason) => Check::warning(
            "GPU",
            format!("none ({})", reason.code()),
            format!(
                "{reason}; see `dmesg`, and whether `nvidia-smi` answers; if not, reboot; the CPU is used"
            ),
        ),
    }
}

/// Nothing needs it yet; one that cannot be used is worth a word.
fn nccl(deadline: Duration) -> Check {
    let uses = Uses {
        found: "workers of this version do not use it",
        absent: "workers exchange over QUIC",
        variable: "HCRUN_NCCL",
    };
    library("NCCL", Library::Nccl, "probe-nccl", &uses, deadline)
}

/// Nothing needs it: products are the same without it, within rounding.
fn cublaslt(deadline: Duration) -> Check {
    let uses = Uses {
        found: "workers on GPUs multiply matrices by it",
        absent: "workers on GPUs multiply matrices by kernels of hcrun",
        variable: "HCRUN_CUBLASLT",
    };
    library("cuBLASLt", Library::CublasLt, "probe-cublaslt", &uses, deadline)
}

/// What is done with a library and without it, and what names another one.
struct Uses {
    found: &'static str,
    absent: &'static str,
    variable: &'static str,
}

fn library(name: &'static str, whom: Library, verb: &str, uses: &Uses, deadline: Duration) -> Check {
    let Uses { found, absent, variable } = uses;
    match ask(whom, verb, deadline) {
        Ok(libraries::Answer::Found { version, file }) => Check {
            name,
            verdict: Verdict::Good,
            found: format!("{version} ({file})"),
            advice: (*found).to_owned(),
        },
        Ok(libraries::Answer::Unavailable { code, reason, is_usual }) => {
            let verdict = if is_usual { Verdict::Good } else { Verdict::Warning };
            Check { name, verdict, found: format!("none ({code})"), advice: format!("{reason}; {absent}") }
        }
        Err(reason) => Check::warning(
            name,
            format!("none ({})", reason.code()),
            format!("{reason}; {variable} names another one; {absent}"),
        ),
    }
}

/// This program once more.
fn ask<T: DeserializeOwned + Send + 'static>(
    whom: Library,
    verb: &str,
    deadline: Duration,
) -> Result<T, NoAnswer> {
    let program = env::current_exe().map_err(|error| NoAnswer::not_started(whom, error))?;
    let mut command = Command::new(program);
    command.arg(verb);
    probe::ask(whom, command, deadline)
}

fn memory() -> Check {
    let available = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    match available.map(|kibibytes| kibibytes << 10) {
        Some(free) if free >= WANTED_MEMORY => Check::good("memory", format!("{} available", bytes(free))),
        Some(free) => Check::warning(
            "memory",
            format!("{} available", bytes(free)),
            "a worker holds parameters, gradients and its data in memory; close other programs",
        ),
        None => Check::warning("memory", "unknown", "/proc/meminfo cannot be read"),
    }
}

/// Sends a datagram to itself, as workers of a local run do.
fn udp() -> Check {
    let try_it = || -> std::io::Result<()> {
        let receiver = UdpSocket::bind("127.0.0.1:0")?;
        receiver.set_read_timeout(Some(Duration::from_secs(1)))?;
        let sender = UdpSocket::bind("127.0.0.1:0")?;
        sender.send_to(b"hcrun", receiver.local_addr()?)?;
        receiver.recv(&mut [0; 16]).map(drop)
    };
    match try_it() {
        Ok(()) => Check::good("UDP", "passes on loopback"),
        Err(error) => {
            Check::failed("UDP", error.to_string(), "workers talk by UDP; allow it on the interface `lo`")
        }
    }
}

fn socket_buffer(name: &'static str, setting: &str) -> Check {
    let path = format!("/proc/sys/net/core/{setting}");
    match std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(limit) if limit >= WANTED_SOCKET_BUFFER => Check::good(name, format!("up to {}", bytes(limit))),
        Some(limit) => Check::warning(
            name,
            format!("up to {}", bytes(limit)),
            format!(
                "fast links drop packets and send them again; as root: sysctl -w net.core.{setting}={WANTED_SOCKET_BUFFER}"
            ),
        ),
        None => Check::warning(name, "unknown", format!("{path} cannot be read")),
    }
}

fn open_files() -> Check {
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < WANTED_FILES => Check::warning(
            "open files",
            limit.to_string(),
            format!("a job of many workers needs more; raise it with `ulimit -n {WANTED_FILES}`"),
        ),
        Some(limit) => Check::good("open files", limit.to_string()),
        None => Check::good("open files", "unlimited"),
    }
}

/// The nearest directory that exists on the way to the run directory.
fn existing(runs_dir: &Path) -> &Path {
    let parents = runs_dir.ancestors().map(|path| if path == Path::new("") { Path::new(".") } else { path });
    parents.into_iter().find(|path| path.exists()).unwrap_or(Path::new("."))
}

fn run_directory(runs_dir: &Path) -> Check {
    let directory = existing(runs_dir);
    match tempfile::tempfile_in(directory) {
        Ok(_) => Check::good("run directory", format!("{} can be written", directory.display())),
        Err(error) => Check::failed(
            "run directory",
            format!("{}: {error}", directory.display()),
            "choose another place with --runs-dir",
        ),
    }
}

fn disk(runs_dir: &Path) -> Check {
    let directory = existing(runs_dir);
    match rustix::fs::statvfs(directory) {
        Ok(space) => {
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            let found = format!("{} free", bytes(free));
            if free >= WANTED_DISK {
                Check::good("disk", found)
            } else {
                Check::warning(
                    "disk",
                    found,
                    "a checkpoint is about three times the parameters, and three are kept",
                )
            }
        }
        Err(error) => Check::warning("disk", error.to_string(), "free space is unknown"),
    }
}

/// A core file of a worker would hold restricted data.
fn core_pattern() -> Check {
    match std::fs::read_to_string("/proc/sys/kernel/core_pattern") {
        Ok(pattern) if pattern.starts_with('|') => Check::warning(
            "core files",
            format!(
                "handed to `{}`",
                pattern.trim_start_matches('|').split_whitespace().next().unwrap_or_default()
            ),
            "workers ask not to be dumped; make sure that this program keeps nothing of them",
        ),
        Ok(pattern) => {
            Check::good("core files", format!("written as `{}`; workers switch them off", pattern.trim()))
        }
        Err(error) => Check::warning("core files", error.to_string(), "where they go is unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_directory_need_not_exist_yet() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(run_directory(&directory.path().join("a/b")).verdict, Verdict::Good);
        assert!(!directory.path().join("a").exists());
    }

    #[test]
    fn loopback_passes_udp() {
        assert_eq!(udp().verdict, Verdict::Good);
    }
}
