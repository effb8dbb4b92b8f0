//! What can be asked of `hcrun`: verbs, flags, their help and defaults.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand};
use clap_complete::Shell;
use hcrun_engine::compress::{Bits, Share};
use hcrun_protocol::ShardId;
use hcrun_protocol::ZoneId;
use hcrun_scheduling::job::Class;

#[derive(Debug, Parser)]
#[command(
    name = "hcrun",
    version,
    long_version = crate::output::long_version(),
    about = "Trains one model on workers in private and public zones; sensitive data stays where it is",
    disable_help_subcommand = true,
    after_help = "Start with `hcrun init`, then `hcrun run demo/job.toml`."
)]
pub struct CommandLine {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Print JSON on stdout, with a `schema` field
    #[arg(long, global = true)]
    pub json: bool,
    /// Directory that holds run directories
    #[arg(long, global = true, value_name = "DIR", env = "HCRUN_RUNS_DIR", default_value = "runs")]
    pub runs_dir: PathBuf,
    /// No progress and no notes; errors are still printed
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write a small working example into a new directory
    Init(InitArgs),
    /// Check this machine: cores, memory, UDP, limits, run directory
    Doctor(DoctorArgs),
    /// Say who would run where, which shard is held where, and how many bytes would cross each border
    Plan(PlanArgs),
    /// Train a job
    Run(RunArgs),
    /// Train a job with several numbers of workers on this machine, and report how its speed grows with them
    Scale(ScaleArgs),
    /// Show the state of a run
    Status(RunName),
    /// Print the logs of a run
    Logs(LogsArgs),
    /// Stop a run gracefully, with a checkpoint
    Stop(RunName),
    /// Go on from the last checkpoint of a run
    Resume(ResumeArgs),
    /// Use the model of a run on a file
    Predict(PredictArgs),
    /// Make the model of a run smaller, and say what that costs in accuracy
    Compress(CompressArgs),
    /// Write report.html of a run
    Report(RunName),
    /// Rehearse a trace of jobs under strategies, and print one row of figures for each
    Simulate(SimulateArgs),
    /// Compare strategies on a trace: a table with confidence intervals, a CSV file and a report to look at
    Compare(CompareArgs),
    /// Run the jobs of a queue on this machine under a strategy, until told to end
    Up(UpArgs),
    /// Add a job to a queue, whether or not it is up
    Submit(SubmitArgs),
    /// Show the jobs of a queue: where they are, since when and why
    Ps(QueueArgs),
    /// Take a job out of a queue; a running one writes a checkpoint first
    Cancel(CancelArgs),
    /// Write what a queue ran as a trace, for `hcrun simulate --replay`
    Record(RecordArgs),
    /// Say why a job of a queue is where it is, or one of a trace at a moment of its simulation
    Why(WhyArgs),
    /// Work on files of prices
    #[command(subcommand)]
    Prices(PricesVerb),
    /// Say what an error code means and what to do
    Explain(ExplainArgs),
    /// Print a completion script
    Completions(CompletionsArgs),
    /// Work on data shards
    #[command(subcommand)]
    Shard(ShardVerb),
    /// Work for a job as one of its workers (started by `hcrun run`, or by hand on another host)
    Worker(WorkerArgs),
    /// Clear up behind a launcher that is killed (started by the launcher)
    #[command(hide = true)]
    Keep(KeepArgs),
    /// Ask the driver of the GPU and print its answer as JSON (started by `doctor`)
    #[command(hide = true)]
    ProbeGpu,
    /// Look for NCCL and print what it says as JSON (started by `doctor`)
    #[command(hide = true)]
    ProbeNccl,
    /// Look for cuBLASLt and print what it says as JSON (started by `doctor`)
    #[command(hide = true, name = "probe-cublaslt")]
    ProbeCublasLt,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// The directory to make; it must not exist or be empty
    #[arg(default_value = "demo")]
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// How long the GPU's driver may take to answer, and as long NCCL and cuBLASLt each
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub driver_within_s: u64,
}

/// What names a job and its settings: the same for `plan` and `run`.
#[derive(Debug, Clone, Args)]
pub struct JobArgs {
    /// The job file
    #[arg(default_value = "job.toml")]
    pub job: PathBuf,
    /// The cluster file [default: cluster.toml beside the job file, else this machine with one private and
    /// one public zone]
    #[arg(long, value_name = "FILE", env = "HCRUN_CLUSTER")]
    pub cluster: Option<PathBuf>,
    /// Seed of initial parameters, splits and data order [default: the job file's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Change one setting of the job file: `--set train.steps=500` (may be repeated)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Who chooses the pools of a job's workers: the same for `plan` and `run`.
#[derive(Debug, Clone, Default, Args)]
pub struct ChooseArgs {
    /// Let this strategy choose the pools of the job's workers instead of the job file
    #[arg(long, value_name = "NAME")]
    pub strategy: Option<String>,
    /// How many workers the strategy places [default: as many as the job file asks for]
    #[arg(long, value_name = "N", requires = "strategy")]
    pub workers: Option<usize>,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub choose: ChooseArgs,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub choose: ChooseArgs,
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Debug, Args)]
pub struct ScaleArgs {
    #[command(flatten)]
    pub job: JobArgs,
    /// Numbers of workers, spread over the job's pools as the job file spreads them
    #[arg(long, value_name = "N,…", value_delimiter = ',', required = true,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Vec<u16>,
    /// How often each number is run
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: u32,
    /// Let the global batch grow with the workers (weak scaling) [default: it stays as in the job file]
    #[arg(long)]
    pub weak: bool,
    /// Also predict these numbers of workers, each on a core of its own, from at least three that are run
    #[arg(long, value_name = "N,…", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub predict: Vec<u32>,
    /// Where one row per run goes
    #[arg(long, value_name = "FILE", default_value = "scaling.csv")]
    pub csv: PathBuf,
    /// Where the report goes
    #[arg(long, value_name = "FILE", default_value = "scaling.html")]
    pub report: PathBuf,
}

/// How the coordinator is reached.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Print one join command per slot and wait for workers on other hosts
    #[arg(long)]
    pub wait_for_workers: bool,
    /// Address on which workers reach this machine [default: 127.0.0.1; needed with --wait-for-workers]
    #[arg(long, value_name = "IP")]
    pub listen: Option<IpAddr>,
    /// Process whose end ends this one
    #[arg(long, value_name = "PID", hide = true)]
    pub parent: Option<i32>,
}

/// Which queue.
#[derive(Debug, Clone, Args)]
pub struct QueueArgs {
    /// Directory of the queue
    #[arg(long, value_name = "DIR", env = "HCRUN_QUEUE", default_value = "queue")]
    pub queue: PathBuf,
}

#[derive(Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub queue: QueueArgs,
    /// The cluster file; its pools must be local [default: the one that the queue had before, else this machine with one
    /// private and one public zone]
    #[arg(long, value_name = "FILE", env = "HCRUN_CLUSTER")]
    pub cluster: Option<PathBuf>,
    /// The strategy that decides who runs; `hcrun simulate --help` says what each does
    #[arg(long, value_name = "NAME", default_value = "fifo-skip")]
    pub strategy: String,
    /// Length of a round, for strategies that decide in rounds [default: the strategy's own]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub round: Option<u32>,
    /// End as soon as no job runs or waits that could run
    #[arg(long)]
    pub until_idle: bool,
}

#[derive(Debug, Args)]
pub struct SubmitArgs {
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub queue: QueueArgs,
    /// Class of the job: guaranteed, normal or opportunistic
    #[arg(long, value_name = "CLASS", default_value = "normal", value_parser = class)]
    pub priority: Class,
    /// Seconds that the job is expected to train, for strategies that ask [default: as long as a job with the same
    /// settings did, else an hour]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub estimate: Option<u32>,
}

#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The job's id, as `hcrun ps` shows it
    pub job: String,
    #[command(flatten)]
    pub queue: QueueArgs,
}

#[derive(Debug, Args)]
pub struct RecordArgs {
    #[command(flatten)]
    pub queue: QueueArgs,
    /// Where the trace goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

fn class(name: &str) -> Result<Class, String> {
    let names = Class::ALL.map(Class::name).join(", ");
    Class::parse(name).ok_or_else(|| format!("the classes are {names}"))
}

#[derive(Debug, Args)]
pub struct RunName {
    /// A run directory, its name, or `latest`
    #[arg(default_value = "latest")]
    pub run: String,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    pub run: RunName,
    /// Only the log of this slot, such as `private-0`
    #[arg(long, value_name = "SLOT")]
    pub slot: Option<String>,
    /// Only the last N lines of each log
    #[arg(long, short = 'n', value_name = "N")]
    pub lines: Option<usize>,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    pub run: RunName,
    /// Change a setting: steps, intervals, learning rate or worker counts (may be repeated)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Debug, Args)]
pub struct PredictArgs {
    /// A run directory, its name, `latest`, or the folder of a checkpoint, compressed or not
    pub run: String,
    /// A CSV file with the columns of the training data, or a text
    pub file: PathBuf,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("how").required(true).multiple(true).args(["quantize", "prune"])))]
pub struct CompressArgs {
    /// A run directory, its name, `latest`, or the folder of a checkpoint
    pub run: String,
    /// Round the weights of matrices to so many bits, with a scale for each block of them
    #[arg(long, value_name = "int8|int4", value_parser = bits())]
    pub quantize: Option<Bits>,
    /// Make this share of each matrix's weights zero, the smallest magnitudes first: above 0, below 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub prune: Option<Share>,
    /// The folder to write; it must not exist or be empty [default: beside the checkpoint, named for what was done]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Also evaluate on this shard, which is not public; to be named by who may read it, where it may be (may be
    /// repeated). The file is the job's unless PATH says where it is here
    #[arg(long, value_name = "SHARD[=PATH]")]
    pub data: Vec<String>,
    /// Evaluate on at most so many held-out rows (windows of a text), shards in proportion
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rows: Option<u64>,
    /// Write nothing if the accuracy falls by more points than this (RMSE: rises by more percent)
    #[arg(long, value_name = "POINTS", value_parser = points)]
    pub tolerance: Option<f64>,
}

fn bits() -> impl TypedValueParser<Value = Bits> {
    let name = |bits: Bits| bits.name();
    PossibleValuesParser::new([Bits::Int8, Bits::Int4].map(name))
        .map(|text| if text == Bits::Int8.name() { Bits::Int8 } else { Bits::Int4 })
}

fn share(text: &str) -> Result<Share, String> {
    let share = text.parse().ok().and_then(Share::new);
    share.ok_or_else(|| "a share is a number above 0 and below 1, such as 0.5".to_owned())
}

fn points(text: &str) -> Result<f64, String> {
    let points = text.parse().ok().filter(|points: &f64| points.is_finite() && *points >= 0.0);
    points.ok_or_else(|| "points are a number from 0, such as 0.5".to_owned())
}

/// What is simulated: the same for `simulate` and `compare`.
#[derive(Debug, Clone, Args)]
pub struct LabArgs {
    /// The trace as FORMAT:PATH, such as `muri:trace1.csv`; `hcrun simulate --help` lists the formats
    #[arg(long, value_name = "FORMAT:PATH", required_unless_present = "replay")]
    pub trace: Option<String>,
    /// Instead of a trace and a cluster: what a queue ran, as `hcrun record` wrote it. `simulate` compares with what really
    /// happened
    #[arg(long, value_name = "FILE", conflicts_with = "trace")]
    pub replay: Option<PathBuf>,
    /// Columns of a trace of the format `csv`, as NAME=COLUMN: `submit=arrival,duration=run_s,gpus=n`
    #[arg(long, value_name = "NAME=COLUMN,…")]
    pub columns: Option<String>,
    /// The cluster: a cluster file, `pool:64` for 64 devices without topology or costs, `nodes:8x8` for 8 nodes of
    /// 8 devices, or `openb:FOLDER` for the nodes of Alibaba's list
    #[arg(
        long,
        value_name = "FILE|pool:N|nodes:NxM|openb:FOLDER",
        env = "HCRUN_CLUSTER",
        required_unless_present = "replay"
    )]
    pub cluster: Option<String>,
    /// How often the workload is varied; the first time it is the trace as it is, then what is asked for is moved
    /// around the circle of submissions
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub seeds: u32,
    /// What strategies know of how long jobs take: `oracle`, `noisy:SIGMA` (times exp of a normal), `none`
    #[arg(long, value_name = "ESTIMATE", default_value = "oracle")]
    pub estimate: String,
    /// Seconds from getting devices to the first step, at each start
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub start_overhead: u32,
    /// Spot capacity that comes and goes: POOL=bamboo:FILE, POOL=counts:FILE, POOL=skypilot:FILE, or
    /// POOL=hazard:AVAILABILITY,LOSSES with the share of time that nodes are there and their losses per hour (may be
    /// repeated)
    #[arg(long, value_name = "POOL=FORMAT:SOURCE")]
    pub spot: Vec<String>,
    /// Simulations at a time [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub threads: Option<u16>,
    /// Check every count against the sum of its parts at each event; slow
    #[arg(long)]
    pub check: bool,
}

/// Trace formats and strategies by name, below the help of what takes them.
fn lab_help() -> &'static str {
    static TEXT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        use hcrun_scheduling::{strategies, traces};
        let formats = traces::FORMATS.iter().map(|format| format!("  {:<18}{}\n", format.name, format.what));
        let strategies = strategies::ALL.iter().map(|about| format!("  {:<18}{}\n", about.name, about.what));
        format!(
            "Trace formats:\n{}\nStrategies:\n{}",
            formats.collect::<String>(),
            strategies.collect::<String>()
        )
    });
    &TEXT
}

#[derive(Debug, Args)]
#[command(after_help = lab_help())]
pub struct SimulateArgs {
    #[command(flatten)]
    pub lab: LabArgs,
    /// Strategies, separated by commas; with --replay the one that the queue had
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', required_unless_present = "replay")]
    pub strategy: Vec<String>,
    /// Also write the rows to this file
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Also write a report with drawings to this file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = lab_help())]
pub struct CompareArgs {
    #[command(flatten)]
    pub lab: LabArgs,
    /// Strategies, separated by commas; the first is what the others are compared with [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub strategy: Vec<String>,
    /// Where the rows go
    #[arg(long, value_name = "FILE", default_value = "comparison.csv")]
    pub csv: PathBuf,
    /// Where the report goes
    #[arg(long, value_name = "FILE", default_value = "comparison.html")]
    pub report: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum PricesVerb {
    /// Name the prices that are old or have no source
    Check(PricesCheckArgs),
    /// Choose between the pools of a cluster by price, stability, certificates and support
    Choose(PricesChooseArgs),
}

#[derive(Debug, Args)]
pub struct PricesChooseArgs {
    /// The cluster file; its file of prices says what providers take, are certified for and help with
    #[arg(long, value_name = "FILE", env = "HCRUN_CLUSTER")]
    pub cluster: PathBuf,
    /// Only pools with devices of this model
    #[arg(long, value_name = "MODEL")]
    pub device: Option<String>,
    /// Workers of the job: on spot all of them stand still when one is lost
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub workers: u32,
    /// A certification that the pool's provider must have, as the file of prices writes it (may be repeated)
    #[arg(long = "require", value_name = "CERTIFICATION")]
    pub require: Vec<String>,
    /// The least support tier of the pool's provider
    #[arg(long, value_name = "TIER")]
    pub support: Option<u8>,
    /// How stable a pool is: its history or hazard, as `hcrun simulate --spot` takes it (may be repeated)
    #[arg(long, value_name = "POOL=FORMAT:SOURCE")]
    pub spot: Vec<String>,
    /// Seconds of work that one loss takes: what was done since the last checkpoint, and the start
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub loss_takes: u32,
}

#[derive(Debug, Args)]
pub struct PricesCheckArgs {
    /// The file of prices
    #[arg(default_value = "prices.toml")]
    pub file: PathBuf,
    /// Older than this is old
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    pub days: u32,
}

#[derive(Debug, Args)]
#[command(mut_arg("trace", |trace| trace.required_unless_present("job").requires("cluster").requires("strategy")))]
#[command(mut_arg("replay", |replay| replay.requires("strategy")))]
#[command(mut_arg("cluster", |cluster| cluster.required_unless_present("job")))]
pub struct WhyArgs {
    /// The job's id, in the queue or in the trace
    pub job: String,
    #[command(flatten)]
    pub queue: QueueArgs,
    #[command(flatten)]
    pub lab: LabArgs,
    /// The strategy, for a trace
    #[arg(long, value_name = "NAME")]
    pub strategy: Option<String>,
    /// Seconds from the first submission [default: the moment after the job's submission]
    #[arg(long, value_name = "SECONDS")]
    pub at: Option<f64>,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A code such as HC2004; all codes when left out
    pub code: Option<String>,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

#[derive(Debug, Subcommand)]
pub enum ShardVerb {
    /// Describe data files in manifests/, so that others can plan without opening them (run it in the
    /// shard's home)
    Index(IndexArgs),
}

#[derive(Debug, Args)]
pub struct IndexArgs {
    /// The job file
    #[arg(default_value = "job.toml")]
    pub job: PathBuf,
    /// Only shards whose home is this zone
    #[arg(long)]
    pub zone: Option<ZoneArg>,
    /// Only this shard
    #[arg(long)]
    pub shard: Option<ShardArg>,
    /// As owner, let sums leave a zone over at least this many workers (2 without it; public shards have no
    /// floor)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub min_contributors: Option<u16>,
    /// As owner, let statistics and evaluation sums leave a zone over at least this many rows (30 without it)
    #[arg(long, value_name = "N")]
    pub min_rows: Option<u64>,
}

#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The join bundle of this worker's slot
    #[arg(long, value_name = "FILE")]
    pub bundle: PathBuf,
    /// Where this node keeps data files; searched in order (may be repeated)
    #[arg(long = "data-root", value_name = "DIR")]
    pub data_roots: Vec<PathBuf>,
    /// Where one shard lies, as the local backend says it: `--shard emma=/data/emma.txt` (may be repeated)
    #[arg(long = "shard", value_name = "ID=PATH", hide = true)]
    pub shards: Vec<std::ffi::OsString>,
    /// Address at which other workers reach this one; it may be translated, but not its port [default: the one
    /// this host uses towards the launcher]
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// Process whose end ends this worker
    #[arg(long, value_name = "PID", hide = true)]
    pub parent: Option<i32>,
}

#[derive(Debug, Args)]
pub struct KeepArgs {
    /// The run directory
    pub run: PathBuf,
}

/// A zone on the command line.
#[derive(Debug, Clone)]
pub struct ZoneArg(pub ZoneId);

/// A shard on the command line.
#[derive(Debug, Clone)]
pub struct ShardArg(pub ShardId);

impl std::str::FromStr for ZoneArg {
    type Err = hcrun_protocol::ids::NameError;
    fn from_str(text: &str) -> Result<ZoneArg, Self::Err> {
        ZoneId::new(text).map(ZoneArg)
    }
}

impl std::str::FromStr for ShardArg {
    type Err = hcrun_protocol::ids::NameError;
    fn from_str(text: &str) -> Result<ShardArg, Self::Err> {
        ShardId::new(text).map(ShardArg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
