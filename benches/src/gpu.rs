//! All that is checked and measured on a GPU, in one command that ends within its limit.
//!
//! Needs nothing but this program and, where there is no NVRTC, a folder of cubins: sources, checks and the script
//! for PyTorch are inside.

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fmt, fs, process, thread};

use anyhow::{Context, ensure};
use hcrun_kernel_checks::cases;
use hcrun_kernels::cuda::{Code, CudaDevice, Sources, probe};
use hcrun_kernels::cuda_sources::{HEADER, SOURCES};
use hcrun_kernels::device::Device;
use hcrun_kernels::launch::KERNELS;

use crate::arguments::Words;
use crate::machine::Machine;
use crate::{STOPPED, root};

mod bounds;
mod measured;
mod peer;
mod report;

use report::{CheckResult, Report};

pub(crate) const USAGE: &str = "\
usage: cargo xtask gpu [--kernels DIR] [--python PATH] [--out DIR] [--limit-s N] [--index N]
  all kernel checks on a GPU against the CPU, bit for bit, and the time of each kernel against the card's own copy
  --kernels  folder of cubins, as `cargo xtask kernels` writes it, for machines without NVRTC
  --python   a Python with torch, whose fused AdamW is measured too
  --out      where gpu-<card>-<date>.json goes [default: benches/results, else here]
  --limit-s  ends after as many seconds; what did not fit is listed, and it ends with 3 [default: 450]
  --index    which GPU [default: 0]
  without a GPU it says why and ends with 4";

/// Nothing was wrong, but not all that was asked for is known.
#[derive(Debug)]
pub(crate) struct Incomplete(Vec<String>);

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not all is known; a larger --limit-s gives more time:\n  {}", self.0.join("\n  "))
    }
}

impl std::error::Error for Incomplete {}

struct Wanted {
    kernels: Option<PathBuf>,
    python: Option<PathBuf>,
    out: PathBuf,
    limit: Duration,
    index: u32,
}

pub(crate) fn run(mut words: Words) -> anyhow::Result<()> {
    let wanted = wanted(&mut words)?;
    let start = Instant::now();
    let driver = probe()?;
    let mut code = Code::new(Sources { files: SOURCES, headers: &[HEADER] });
    if let Some(folder) = &wanted.kernels {
        code = code.with_carried(folder);
    }
    if let Some(python) = &wanted.python {
        code = code.with_nvrtc_folders(peer::nvrtc_folders(python));
    }
    let device = CudaDevice::open(&driver, wanted.index, code)?;
    let report = Arc::new(Mutex::new(Report::new(Machine::this(), device.card(), driver.version())));
    println!("{}, driver for CUDA {}", device.card().name, driver.version());
    let (index, end) = (wanted.index, start + wanted.limit);
    let session = Session { device, index, report, end, out: wanted.out.clone() };
    let watch = session.watch();
    session.check();
    session.measure(wanted.python.as_deref());
    drop(watch);
    let report = lock(&session.report).clone();
    println!("{}", report.write(&wanted.out)?.display());
    let wrong = report.wrong();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n  "));
    let missing = report.missing();
    ensure!(missing.is_empty(), Incomplete(missing));
    Ok(())
}

fn wanted(words: &mut Words) -> anyhow::Result<Wanted> {
    let results = root().join("benches/results");
    let out = if results.is_dir() { results } else { env::current_dir().context("this folder")? };
    let mut wanted = Wanted { kernels: None, python: None, out, limit: LIMIT, index: 0 };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--kernels" => wanted.kernels = Some(words.value("--kernels")?.into()),
            "--python" => wanted.python = Some(words.value("--python")?.into()),
            "--out" => wanted.out = words.value("--out")?.into(),
            "--limit-s" => wanted.limit = Duration::from_secs(words.count("--limit-s")?),
            "--index" => wanted.index = words.value("--index")?.parse().context("--index")?,
            _ => return Err(words.unknown(&word)),
        }
    }
    fs::create_dir_all(&wanted.out).with_context(|| wanted.out.display().to_string())?;
    Ok(wanted)
}

struct Session {
    device: CudaDevice,
    index: u32,
    report: Arc<Mutex<Report>>,
    end: Instant,
    out: PathBuf,
}

impl Session {
    /// Ends the process at the limit, with what is known by then: a kernel that never ends would hold it for ever.
    fn watch(&self) -> mpsc::Sender<()> {
        let (sender, receiver) = mpsc::channel::<()>();
        let (report, out, end) = (Arc::clone(&self.report), self.out.clone(), self.end + GRACE);
        thread::spawn(move || {
            let left = end.saturating_duration_since(Instant::now());
            if receiver.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                let mut report = lock(&report);
                report.stop("the limit came while it ran");
                let written = report.write(&out).map(|path| path.display().to_string());
                eprintln!(
                    "error: stopped at the limit; see {}",
                    written.unwrap_or_else(|error| error.to_string())
                );
                process::exit(i32::from(STOPPED));
            }
        });
        sender
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    fn check(&self) {
        for case in cases() {
            if self.is_over() {
                lock(&self.report).no_time(case.name);
                continue;
            }
            lock(&self.report).running(case.name);
            let start = Instant::now();
            let result = (case.run)(&self.device).and_then(|()| Ok(self.device.synchronize()?));
            let error = result.err().map(|error| error.to_string());
            println!("{}  {}", if error.is_none() { "ok  " } else { "FAIL" }, case.name);
            let seconds = start.elapsed().as_secs_f64();
            lock(&self.report).checked(CheckResult { name: case.name, error, seconds });
        }
    }

    fn measure(&self, python: Option<&std::path::Path>) {
        let Some(copy) = self.timed("copy", measured::copy) else { return };
        lock(&self.report).copied(copy);
        match measured::manifest() {
            Ok(manifest) => self.measure_kernels(&manifest, &copy),
            Err(error) => lock(&self.report).failed("the manifest", &format!("{error:#}")),
        }
        let peer = match python {
            None => Err("no Python was named (--python)".to_owned()),
            Some(_) if self.is_over() => Err("no time was left".to_owned()),
            Some(python) => {
                lock(&self.report).running("torch");
                peer::fused_adamw(python, self.index, self.end).map_err(|error| format!("{error:#}"))
            }
        };
        let origins = self.device.origins().into_iter();
        let mut report = lock(&self.report);
        report.code = origins.map(|(file, origin)| (file, format!("{origin:?}"))).collect();
        report.finished();
        if python.is_some() && peer.is_err() && self.is_over() {
            report.no_time("torch");
        }
        report.peer(peer);
        let bounds = bounds::bounds(&report);
        report.bounds = bounds;
    }

    fn measure_kernels(&self, manifest: &measured::Manifest, copy: &measured::Rate) {
        for kernel in KERNELS {
            let described = manifest.kernels.iter().find(|described| described.name == kernel.name);
            let Some(described) = described.filter(|described| described.is_measured()) else {
                lock(&self.report)
                    .not_run(kernel.name, "it does not stream, or depends on what others wrote");
                continue;
            };
            let rate = self.timed(kernel.name, |device| measured::kernel(device, described, kernel));
            if let Some(rate) = rate {
                lock(&self.report).measured(rate, copy);
            }
        }
    }

    fn timed(
        &self,
        name: &'static str,
        run: impl FnOnce(&CudaDevice) -> anyhow::Result<measured::Rate>,
    ) -> Option<measured::Rate> {
        if self.is_over() {
            lock(&self.report).no_time(name);
            return None;
        }
        lock(&self.report).running(name);
        match run(&self.device) {
            Ok(rate) => {
                println!("{name}: {:.0} GB/s", rate.bytes_per_s() / 1e9);
                Some(rate)
            }
            Err(error) => {
                println!("FAIL  {name}: {error:#}");
                lock(&self.report).failed(name, &format!("{error:#}"));
                None
            }
        }
    }
}

fn lock(report: &Mutex<Report>) -> std::sync::MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Under eight minutes, with time to start and to write.
const LIMIT: Duration = Duration::from_secs(450);
const GRACE: Duration = Duration::from_secs(10);
