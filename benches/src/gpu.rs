//! All that is checked and measured on a GPU, in one command that ends within its limit.
//!
//! Needs nothing but this program and, where there is no NVRTC, a folder of cubins: sources, checks and the script
//! for PyTorch are inside.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fmt, fs};

use anyhow::{Context, ensure};
use hcrun_kernel_checks::{cases, cases_of_products};
use hcrun_kernels::cuda::{Code, CudaDevice, Sources, leave, probe};
use hcrun_kernels::cuda_sources::{HEADER, SOURCES};
use hcrun_kernels::device::{Device, Kernel};
use hcrun_kernels::launch::{KERNELS, Linear, LinearBackward, LinearWeight};

use crate::arguments::Words;
use crate::machine::Machine;
use crate::{STOPPED, root};

mod bounds;
mod example;
mod measured;
mod nccl;
mod peer;
mod report;
mod setups;
mod training;
mod watch;

use example::Variant;
pub(crate) use nccl::{VERB as NCCL_RANKS, ranks::run as nccl_ranks};
use report::{CheckResult, Report};
use training::{GPT2, SMALL, Shape, TINY};
use watch::Watch;

pub(crate) const USAGE: &str = "\
usage: cargo xtask gpu [--kernels DIR] [--python PATH] [--out DIR] [--limit-s N] [--index N] [--elems N] [--model NAME]
                       [--nccl-within-s N] [--only PART]...
  all kernel checks on a GPU against the CPU, NCCL among the cards, a run of examples/gpt with workers on GPUs against
  one on CPUs, a training of GPT-2 124M, and the time of each kernel against the card's copy
  --kernels  folder of cubins, as `cargo xtask kernels` writes it, for machines without NVRTC
  --python   a Python with torch, whose fused AdamW and training of the same model are measured too
  --out      where gpu-<card>-<date>.json goes [default: benches/results, else here]
  --limit-s  ends after as many seconds; what did not fit is listed, and it ends with 3 [default: 450]
  --index    which GPU [default: 0]
  --elems    elements of the arena that is measured, at least 4096 [default: 67108864, more than any cache holds]
  --model    what is trained: gpt2 (GPT-2 124M), tiny (all of it small, for tests of this command) [default: gpt2]
  --nccl-within-s  how long ranks of NCCL wait for each other [default: 30]
  --only     a part alone: checks, nccl, example, training or kernels [default: all, in this order]
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
    elems: usize,
    sizes: &'static Sizes,
    nccl_within: Duration,
    /// Those of [`PARTS`] that are run.
    parts: Vec<&'static Part>,
}

/// How large is what is run.
struct Sizes {
    name: &'static str,
    /// What is trained beside the CPU, and what to be timed.
    models: [Shape; 2],
    example: Variant,
    /// Of all-reduces, in bytes; how many make a repetition, and how many of these there are.
    all_reduce: (&'static [usize], usize, usize),
}

const SIZES: [Sizes; 2] = [
    Sizes {
        name: "gpt2",
        models: [SMALL, GPT2],
        example: example::WHOLE,
        all_reduce: (&[1 << 20, 16 << 20, 256 << 20], 10, 5),
    },
    Sizes {
        name: "tiny",
        models: [TINY, TINY],
        example: example::TINY,
        all_reduce: (&[1 << 10, 1 << 14], 4, 3),
    },
];

struct Part {
    name: &'static str,
    run: fn(&Session),
}

/// The cheap ones first.
const PARTS: [Part; 5] = [
    Part { name: "checks", run: Session::check },
    Part { name: "nccl", run: Session::nccl },
    Part { name: "example", run: Session::example },
    // Before the kernels alone: it is what they are for.
    Part { name: "training", run: Session::train },
    Part { name: "kernels", run: Session::measure },
];

pub(crate) fn run(mut words: Words) -> anyhow::Result<()> {
    let wanted = wanted(&mut words)?;
    let end = Instant::now() + wanted.limit;
    // None until there is a card to report of.
    let report = Arc::new(Mutex::new(None));
    let watch = {
        let (report, out) = (Arc::clone(&report), wanted.out.clone());
        Watch::new(end + GRACE.min(wanted.limit), move || stop(&report, &out))
    };
    let driver = probe()?;
    let mut code = Code::new(Sources { files: SOURCES, headers: &[HEADER] });
    if let Some(folder) = &wanted.kernels {
        code = code.with_carried(folder);
    }
    let packages = peer::packages(wanted.python.as_deref());
    code = code.with_nvrtc_folders(packages.nvrtc());
    let environment = environment(&wanted, &packages)?;
    let device = Rc::new(CudaDevice::open(&driver, wanted.index, code)?);
    let session = Session { environment, cards: driver.devices(), report, end, device, wanted };
    let wanted = &session.wanted;
    *lock(&session.report) =
        Some(Report::new(Machine::this(), session.device.card(), driver.version(), wanted.elems as u64));
    println!("{}, driver for CUDA {}", session.device.card().name, driver.version());
    for part in &wanted.parts {
        (part.run)(&session);
    }
    drop(watch);
    let report = lock(&session.report).take().context("a report")?;
    println!("{}", report.write(&wanted.out)?.display());
    let wrong = report.wrong();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n  "));
    let missing = report.missing();
    ensure!(missing.is_empty(), Incomplete(missing));
    Ok(())
}

/// What processes that are started learn of the command line, where their own environment says nothing of it.
fn environment(wanted: &Wanted, packages: &peer::Packages) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    let kernels = wanted.kernels.as_ref().map(std::path::absolute).transpose().context("--kernels")?;
    let all = [
        ("HCRUN_KERNELS", kernels),
        ("HCRUN_NVRTC", packages.nvrtc().into_iter().next()),
        ("HCRUN_NCCL", packages.nccl().into_iter().next()),
    ];
    let unsaid = all.into_iter().filter(|(name, _)| env::var_os(name).is_none_or(|value| value.is_empty()));
    Ok(unsaid.filter_map(|(name, value)| Some((name, value?))).collect())
}

/// Ends the process at the limit, with what is known by then: a driver or a kernel that never ends would hold it for
/// ever.
fn stop(report: &Mutex<Option<Report>>, out: &Path) {
    let written = lock(report).as_mut().map(|report| {
        report.stop("the limit came while it ran");
        report.write(out)
    });
    match written {
        None => {
            eprintln!("error: stopped at the limit, before a card answered; compare with `nvidia-smi`")
        }
        Some(Ok(path)) => eprintln!("error: stopped at the limit; see {}", path.display()),
        Some(Err(error)) => eprintln!("error: stopped at the limit; {}: {error}", out.display()),
    }
    leave(STOPPED);
}

fn wanted(words: &mut Words) -> anyhow::Result<Wanted> {
    let results = root().join("benches/results");
    let out = if results.is_dir() { results } else { env::current_dir().context("this folder")? };
    let mut wanted = Wanted {
        kernels: None,
        python: None,
        out,
        limit: LIMIT,
        index: 0,
        elems: measured::ELEMS,
        sizes: &SIZES[0],
        nccl_within: Duration::from_secs(30),
        parts: Vec::new(),
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--kernels" => wanted.kernels = Some(words.value("--kernels")?.into()),
            "--python" => wanted.python = Some(words.value("--python")?.into()),
            "--out" => wanted.out = words.value("--out")?.into(),
            "--limit-s" => wanted.limit = Duration::from_secs(words.count("--limit-s")?),
            "--index" => wanted.index = words.value("--index")?.parse().context("--index")?,
            "--model" => {
                let name = words.value("--model")?;
                let sizes = SIZES.iter().find(|sizes| sizes.name == name);
                wanted.sizes = sizes.with_context(|| format!("--model {name}: there are gpt2 and tiny"))?;
            }
            "--elems" => wanted.elems = words.count("--elems")?,
            "--nccl-within-s" => wanted.nccl_within = Duration::from_secs(words.count("--nccl-within-s")?),
            "--only" => {
                let name = words.value("--only")?;
                let part = PARTS.iter().find(|part| part.name == name);
                wanted.parts.push(part.with_context(|| format!("--only {name}: see --help\n{USAGE}"))?);
            }
            _ => return Err(words.unknown(&word)),
        }
    }
    if wanted.parts.is_empty() {
        wanted.parts = PARTS.iter().collect();
    }
    ensure!(wanted.elems >= 4096, "--elems {} is less than 4096", wanted.elems);
    fs::create_dir_all(&wanted.out).with_context(|| wanted.out.display().to_string())?;
    Ok(wanted)
}

struct Session {
    device: Rc<CudaDevice>,
    wanted: Wanted,
    /// Of processes that are started.
    environment: Vec<(&'static str, PathBuf)>,
    /// How many there are.
    cards: u32,
    report: Arc<Mutex<Option<Report>>>,
    end: Instant,
}

impl Session {
    fn note(&self, what: impl FnOnce(&mut Report)) {
        lock(&self.report).as_mut().map(what);
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    fn check(&self) {
        for case in cases().into_iter().chain(cases_of_products()) {
            if self.is_over() {
                self.note(|report| report.no_time(case.name));
                continue;
            }
            self.note(|report| report.running(case.name));
            let start = Instant::now();
            let result = (case.run)(&*self.device).and_then(|()| Ok(self.device.synchronize()?));
            let error = result.err().map(|error| error.to_string());
            println!("{}  {}", if error.is_none() { "ok  " } else { "FAIL" }, case.name);
            let seconds = start.elapsed().as_secs_f64();
            self.note(|report| report.checked(CheckResult { name: case.name, error, seconds }));
        }
    }

    fn nccl(&self) {
        let (lengths, batch, repetitions) = self.wanted.sizes.all_reduce;
        let asked = nccl::Asked {
            // Alone, the one that is asked for.
            cards: if self.cards == 1 { vec![self.wanted.index] } else { (0..self.cards).collect() },
            lengths: lengths.to_vec(),
            repetitions,
            batch,
            within: self.wanted.nccl_within,
        };
        let Some(answer) = self.part(NCCL, || nccl::ask(&asked, &self.environment, self.end)) else { return };
        match &answer {
            nccl::Answer::Unavailable(reason) => println!("{NCCL}: none: {reason}"),
            nccl::Answer::Checked { version, ranks, all_reduce, .. } => {
                println!("ok    {NCCL} {version} on {ranks} cards");
                for rate in all_reduce {
                    println!(
                        "{NCCL}: all-reduce of {} bytes: {:.0} GB/s",
                        rate.bytes,
                        rate.bytes_per_s / 1e9
                    );
                }
            }
        }
        self.note(|report| report.nccl(answer));
    }

    fn example(&self) {
        let run = || example::run(&self.wanted.sizes.example, self.cards, &self.environment, self.end);
        let Some(compared) = self.part(EXAMPLE, run) else { return };
        let verdict = if compared.beyond().is_none() { "ok  " } else { "FAIL" };
        println!(
            "{verdict}  {EXAMPLE}: losses differ from the CPU's by up to {:.1e}",
            compared.largest_difference()
        );
        self.note(|report| report.compared(EXAMPLE, compared));
    }

    /// None where it failed, which the report has then, or where no time was left.
    fn part<T>(&self, name: &str, run: impl FnOnce() -> anyhow::Result<T>) -> Option<T> {
        if self.is_over() {
            self.note(|report| report.no_time(name));
            return None;
        }
        self.note(|report| report.running(name));
        let result = run();
        self.note(Report::finished);
        match result {
            Ok(result) => return Some(result),
            Err(_) if self.is_over() => self.note(|report| report.no_time(name)),
            Err(error) => {
                println!("FAIL  {name}: {error:#}");
                self.note(|report| report.failed(name, &format!("{error:#}")));
            }
        }
        None
    }

    fn measure(&self) {
        let python = self.wanted.python.as_deref();
        let Some(copy) = self.timed("copy", |device| measured::copy(device, self.wanted.elems)) else {
            return;
        };
        self.note(|report| report.copied(&copy));
        for kernel in KERNELS {
            let rate = self.timed(kernel.name, |device| measured::kernel(device, kernel, self.wanted.elems));
            if let Some(rate) = rate {
                self.note(|report| report.measured(&rate, &copy));
            }
        }
        self.measure_library();
        let peer = match python {
            None => Err("no Python was named (--python)".to_owned()),
            Some(_) if self.is_over() => Err("no time was left".to_owned()),
            Some(python) => {
                self.note(|report| report.running("torch"));
                peer::fused_adamw(python, self.wanted.index, self.end).map_err(|error| format!("{error:#}"))
            }
        };
        let origins = self.device.origins().into_iter();
        let is_late = python.is_some() && peer.is_err() && self.is_over();
        self.note(|report| {
            report.code = origins.map(|(file, origin)| (file, origin.to_string())).collect();
            report.finished();
            if is_late {
                report.no_time("torch");
            }
            report.peer(peer);
            let bounds = bounds::bounds(report);
            report.bounds = bounds;
        });
    }

    /// Products by cuBLASLt, beside those by our kernels, which have been measured.
    fn measure_library(&self) {
        let library = match self.device.cublaslt() {
            Ok(library) => format!("{} ({})", library.version(), library.file().display()),
            Err(reason) => return self.note(|report| report.cublaslt = reason.to_string()),
        };
        self.note(|report| report.cublaslt = library);
        for (kernel, name) in BY_LIBRARY {
            let rate = self.timed(name, |device| measured::by_library(device, kernel, self.wanted.elems));
            if let Some(rate) = rate {
                self.note(|report| report.measured_by_library(&rate));
            }
        }
    }

    fn train(&self) {
        let python = self.wanted.python.as_deref();
        let device = || Rc::clone(&self.device) as Rc<dyn Device>;
        if self.is_over() {
            return self.note(|report| report.no_time(TRAINING));
        }
        self.note(|report| report.running(TRAINING));
        let [compared, timed] = &self.wanted.sizes.models;
        let trained = training::compare(device(), compared).and_then(|()| {
            let peak = training::peak_flops_per_s(&self.device.card().name);
            training::measure(device(), timed, peak, self.end)
        });
        let (sequences, steps) = (timed.sequences, timed.steps);
        let peer = match python {
            None => Err("no Python was named (--python)".to_owned()),
            Some(_) if self.is_over() => Err("no time was left".to_owned()),
            Some(python) => {
                self.note(|report| report.running("torch trains"));
                let (index, end) = (self.wanted.index, self.end);
                peer::gpt2(python, index, (sequences, steps), end).map_err(|error| format!("{error:#}"))
            }
        };
        self.note(|report| {
            report.finished();
            report.peer_trained(peer);
            match trained {
                Ok(training) => {
                    println!("{TRAINING}: {:.0} tokens/s", training.tokens_per_s);
                    report.trained(training);
                }
                Err(error) => {
                    println!("FAIL  {TRAINING}: {error:#}");
                    report.failed(TRAINING, &format!("{error:#}"));
                }
            }
        });
    }

    fn timed(
        &self,
        name: &'static str,
        run: impl FnOnce(&CudaDevice) -> anyhow::Result<measured::Rate>,
    ) -> Option<measured::Rate> {
        if self.is_over() {
            self.note(|report| report.no_time(name));
            return None;
        }
        self.note(|report| report.running(name));
        match run(&self.device) {
            Ok(rate) => {
                let microseconds = rate.time.as_secs_f64() * 1e6;
                println!("{name}: {microseconds:.1} µs, {:.0} GB/s", rate.bytes_per_s() / 1e9);
                Some(rate)
            }
            Err(error) => {
                println!("FAIL  {name}: {error:#}");
                self.note(|report| report.failed(name, &format!("{error:#}")));
                None
            }
        }
    }
}

fn lock(report: &Mutex<Option<Report>>) -> MutexGuard<'_, Option<Report>> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

const NCCL: &str = "NCCL";
const EXAMPLE: &str = "examples/gpt";
/// A small GPT beside the CPU's, then GPT-2's smallest.
const TRAINING: &str = "training";

/// What cuBLASLt computes too, and what that is called.
const BY_LIBRARY: [(&Kernel, &str); 3] = [
    (&Linear::KERNEL, "linear by cuBLASLt"),
    (&LinearBackward::KERNEL, "linear_backward by cuBLASLt"),
    (&LinearWeight::KERNEL, "linear_weight by cuBLASLt"),
];

/// Under eight minutes, with time to start and to write.
const LIMIT: Duration = Duration::from_secs(450);
const GRACE: Duration = Duration::from_secs(10);
