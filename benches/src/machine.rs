//! What a measurement depends on besides the code.

use std::fs;
use std::process::Command;

use serde::Serialize;
use time::macros::format_description;

#[derive(Serialize, Clone)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    /// Version and revision.
    pub(crate) hcrun: String,
    pub(crate) rustc: String,
}

impl Machine {
    pub(crate) fn this() -> Machine {
        let today = time::OffsetDateTime::now_utc().format(format_description!("[year]-[month]-[day]"));
        let version = env!("CARGO_PKG_VERSION");
        let revision = output_of("git", &["describe", "--always", "--dirty"]);
        Machine {
            date: today.unwrap_or_else(|_| UNKNOWN.to_owned()),
            cpu: cpu().unwrap_or_else(|| UNKNOWN.to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            hcrun: revision.map_or(version.to_owned(), |revision| format!("{version} ({revision})")),
            rustc: output_of("rustc", &["--version"]).unwrap_or_else(|| UNKNOWN.to_owned()),
        }
    }
}

/// The model name and the widest vectors that kernels use.
fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let flags = field("flags")?;
    let has = |flag: &str| flags.split(' ').any(|word| word == flag);
    let vectors = match (has("avx512f"), has("avx2")) {
        (true, _) => "AVX-512",
        (false, true) => "AVX2",
        (false, false) => "no AVX2",
    };
    Some(format!("{} ({vectors})", field("model name")?))
}

fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    Some(String::from_utf8_lossy(&output?.stdout).trim().to_owned())
}

const UNKNOWN: &str = "unknown";
