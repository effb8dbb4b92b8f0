//! What a run on a GPU found: `gpu-<card>-<date>.json`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use hcrun_kernels::cuda::{Card, DriverVersion};
use serde::Serialize;

use super::example::Compared;
use super::measured::Rate;
use super::nccl;
use super::training::Training;
use crate::machine::Machine;

#[derive(Serialize, Clone)]
pub(super) struct Report {
    machine: Machine,
    card: String,
    architecture: String,
    driver_cuda: String,
    /// Of the arena that the kernels were measured on.
    pub(super) arena_elems: u64,
    /// Where the code of each file came from.
    pub(super) code: Vec<(&'static str, String)>,
    checks: Vec<CheckResult>,
    /// None until it was its turn, or where it failed.
    nccl: Option<nccl::Answer>,
    /// A run of `examples/gpt` with workers on GPUs beside one on CPUs; None as above.
    example: Option<Compared>,
    copy: Option<Measured>,
    kernels: Vec<Measured>,
    /// Version and file, or why there is none.
    pub(super) cublaslt: String,
    by_cublaslt: Vec<ByLibrary>,
    torch_fused_adamw: Peer,
    /// GPT-2 124M; None until it was its turn.
    training: Option<Training>,
    torch_training: Peer,
    /// What the card must reach, where it is said for it.
    pub(super) bounds: Vec<Bound>,
    /// For which no time was left.
    no_time: Vec<String>,
    failed: Vec<Failed>,
    #[serde(skip)]
    running: Option<String>,
}

#[derive(Serialize, Clone)]
pub(super) struct CheckResult {
    pub(super) name: &'static str,
    /// None where every bit was that of the CPU.
    pub(super) error: Option<String>,
    pub(super) seconds: f64,
}

#[derive(Serialize, Clone)]
pub(super) struct Measured {
    pub(super) name: String,
    elems: u64,
    /// What one launch must read and write, and of what it is the sum.
    bytes: u64,
    counted: String,
    /// The median of the repetitions.
    microseconds: f64,
    repetitions: usize,
    pub(super) bytes_per_s: f64,
    share_of_copy: f64,
}

/// A product by cuBLASLt, beside our kernel on the same shapes.
#[derive(Serialize, Clone)]
struct ByLibrary {
    kernel: &'static str,
    microseconds: f64,
    /// How often as long our kernel takes; None where it was not measured.
    kernel_takes_times: Option<f64>,
}

#[derive(Serialize, Clone)]
#[serde(rename_all = "snake_case")]
pub(super) enum Peer {
    NotRun(String),
    Measured(serde_json::Value),
}

#[derive(Serialize, Clone)]
pub(super) struct Bound {
    pub(super) kernel: &'static str,
    pub(super) at_least_bytes_per_s: f64,
    /// Whether it is said for this card.
    pub(super) is_asked: bool,
    /// None where it was not measured, or is not said for this card.
    pub(super) holds: Option<bool>,
    pub(super) found: String,
}

#[derive(Serialize, Clone)]
struct Failed {
    name: String,
    why: String,
}

impl Report {
    pub(super) fn new(machine: Machine, card: &Card, driver: DriverVersion, elems: u64) -> Report {
        let (card, architecture) = (card.name.clone(), card.architecture.to_string());
        Report::of(machine, card, architecture, driver.to_string(), elems)
    }

    fn of(
        machine: Machine,
        card: String,
        architecture: String,
        driver_cuda: String,
        arena_elems: u64,
    ) -> Report {
        Report {
            machine,
            card,
            architecture,
            driver_cuda,
            arena_elems,
            code: Vec::new(),
            checks: Vec::new(),
            nccl: None,
            example: None,
            copy: None,
            kernels: Vec::new(),
            cublaslt: "it was not its turn yet".to_owned(),
            by_cublaslt: Vec::new(),
            torch_fused_adamw: Peer::NotRun("it was not its turn yet".to_owned()),
            training: None,
            torch_training: Peer::NotRun("it was not its turn yet".to_owned()),
            bounds: Vec::new(),
            no_time: Vec::new(),
            failed: Vec::new(),
            running: None,
        }
    }

    pub(super) fn card(&self) -> &str {
        &self.card
    }

    /// By kernel.
    pub(super) fn rate(&self, kernel: &str) -> Option<f64> {
        self.kernels.iter().find(|measured| measured.name == kernel).map(|measured| measured.bytes_per_s)
    }

    pub(super) fn running(&mut self, name: &str) {
        self.running = Some(name.to_owned());
    }

    pub(super) fn finished(&mut self) {
        self.running = None;
    }

    /// What was running did not end.
    pub(super) fn stop(&mut self, why: &str) {
        if let Some(name) = self.running.take() {
            self.failed(&name, why);
        }
    }

    pub(super) fn no_time(&mut self, name: &str) {
        self.no_time.push(name.to_owned());
    }

    pub(super) fn failed(&mut self, name: &str, why: &str) {
        self.failed.push(Failed { name: name.to_owned(), why: why.to_owned() });
    }

    pub(super) fn checked(&mut self, result: CheckResult) {
        self.checks.push(result);
    }

    pub(super) fn nccl(&mut self, answer: nccl::Answer) {
        self.nccl = Some(answer);
    }

    pub(super) fn compared(&mut self, name: &str, compared: Compared) {
        if let Some(beyond) = compared.beyond() {
            self.failed(name, beyond);
        }
        self.example = Some(compared);
    }

    pub(super) fn copied(&mut self, rate: &Rate) {
        self.copy = Some(measured(rate, rate));
    }

    pub(super) fn measured(&mut self, rate: &Rate, copy: &Rate) {
        self.kernels.push(measured(rate, copy));
    }

    pub(super) fn measured_by_library(&mut self, rate: &Rate) {
        let microseconds = rate.time.as_secs_f64() * 1e6;
        let kernel = self.kernels.iter().find(|kernel| kernel.name == rate.name);
        let kernel_takes_times = kernel.map(|kernel| kernel.microseconds / microseconds);
        self.by_cublaslt.push(ByLibrary { kernel: rate.name, microseconds, kernel_takes_times });
    }

    pub(super) fn peer(&mut self, peer: Result<serde_json::Value, String>) {
        self.torch_fused_adamw = peer.map_or_else(Peer::NotRun, Peer::Measured);
    }

    pub(super) fn trained(&mut self, training: Training) {
        self.training = Some(training);
    }

    pub(super) fn peer_trained(&mut self, peer: Result<serde_json::Value, String>) {
        self.torch_training = peer.map_or_else(Peer::NotRun, Peer::Measured);
    }

    /// What must not be: other bits, an error, a bound not reached.
    pub(super) fn wrong(&self) -> Vec<String> {
        let checks = self.checks.iter().filter_map(|check| Some((check.name, check.error.as_ref()?)));
        let checks = checks.map(|(name, error)| format!("{name}: {error}"));
        let failed = self.failed.iter().map(|failed| format!("{}: {}", failed.name, failed.why));
        let bounds = self.bounds.iter().filter(|bound| bound.holds == Some(false));
        let bounds = bounds.map(|bound| {
            format!(
                "{}: {}, at least {:.1} TB/s was to be reached",
                bound.kernel,
                bound.found,
                bound.at_least_bytes_per_s / 1e12
            )
        });
        checks.chain(failed).chain(bounds).collect()
    }

    /// What was asked for and is not known.
    pub(super) fn missing(&self) -> Vec<String> {
        let no_time = self.no_time.iter().map(|name| format!("{name}: no time was left"));
        let bounds = self.bounds.iter().filter(|bound| bound.is_asked && bound.holds.is_none());
        let bounds = bounds.map(|bound| format!("the bound of {}: {}", bound.kernel, bound.found));
        no_time.chain(bounds).collect()
    }

    pub(super) fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        let card: String = self
            .card
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let path = folder.join(format!("gpu-{card}-{}.json", self.machine.date));
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(&path, text)?;
        Ok(path)
    }
}

fn measured(rate: &Rate, copy: &Rate) -> Measured {
    Measured {
        name: rate.name.to_owned(),
        elems: rate.elems,
        bytes: rate.bytes,
        counted: rate.counted.clone(),
        microseconds: rate.time.as_secs_f64() * 1e6,
        repetitions: rate.repetitions,
        bytes_per_s: rate.bytes_per_s(),
        share_of_copy: rate.bytes_per_s() / copy.bytes_per_s(),
    }
}

#[cfg(test)]
pub(super) fn report_of(card: &str) -> Report {
    let elems = super::measured::ELEMS as u64;
    Report::of(Machine::this(), card.to_owned(), "sm_90".to_owned(), "12.4".to_owned(), elems)
}

#[cfg(test)]
impl Report {
    pub(super) fn rate_is(&mut self, kernel: &'static str, bytes_per_s: u64) {
        let (time, bytes) = (std::time::Duration::from_secs(1), bytes_per_s);
        let rate = Rate { name: kernel, elems: 1, bytes, counted: String::new(), time, repetitions: 1 };
        self.measured(&rate, &rate);
    }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::bounds;
    use super::*;

    #[test]
    fn what_no_time_was_left_for_is_missing() {
        let mut report = report_of("NVIDIA A10");
        report.bounds = bounds(&report);
        assert!(report.missing().is_empty());
        report.no_time("adamw");
        assert_eq!(report.missing(), ["adamw: no time was left"]);
        assert!(report.wrong().is_empty());
    }

    #[test]
    fn a_bound_that_is_asked_and_not_measured_is_missing() {
        let mut report = report_of("NVIDIA H100 80GB HBM3");
        report.bounds = bounds(&report);
        let missing = report.missing();
        assert_eq!(missing, ["the bound of adamw: not measured", "the bound of pack_int8: not measured"]);
    }
}
