//! Workloads made up from a few settings, without outside data.
//!
//! Jobs arrive by a Poisson process or in bursts, run for log-normal times and ask for devices by a mix. Shares of them
//! are elastic, of a class, with a deadline, or restricted to a private zone. Each job draws from its own generator, always
//! the same draws in the same order: a setting changes what it names and nothing else.

use std::str::FromStr;
use std::sync::Arc;

use hcrun_protocol::dtype::Codec;
use hcrun_protocol::job::Shard;
use hcrun_protocol::manifest::Sensitivity;
use hcrun_protocol::prng::Prng;
use hcrun_protocol::time::{Span, Time};
use hcrun_protocol::{ShardId, ZoneId};

use super::TraceError;
use super::settings::{COUNT, Pairs, SHARE, SettingsError, is_positive, is_share};
use crate::costs::{BILLED_GB, Every, Exchange};
use crate::job::{Class, DeviceRange, JobSpec, MAX_JOBS, Shape, Speed, Stretch, Workload};
use crate::work::{Rate, Work};

/// What is made; [`Settings::default`] is documented with each key.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `jobs`: how many; 500.
    pub jobs: u32,
    /// `seed`: other jobs of the same kind; 0.
    pub seed: u64,
    /// `rate`: jobs per hour, in the mean; 6.
    pub rate_per_hour: f64,
    /// `burst`: jobs that arrive at one instant, in the mean; 1 is a Poisson process. 1.
    pub burst: f64,
    /// `median`: minutes that half of all jobs take at most, on the devices that they ask for; 60.
    pub median_minutes: f64,
    /// `sigma`: standard deviation of the natural logarithm of that time; 1.5, so that one job in six takes more than
    /// 4.5 times the median.
    pub sigma: f64,
    /// `longest`: minutes at which times are cut off; 14,400, ten days.
    pub longest_minutes: f64,
    /// `devices`: numbers of devices with their weights; `1:70/2:10/4:15/8:5`.
    pub devices: DeviceMix,
    /// `guaranteed`: share of jobs of that class; 0.1.
    pub guaranteed: f64,
    /// `opportunistic`: share of jobs of that class; 0.2.
    pub opportunistic: f64,
    /// `deadlines`: share of jobs with a deadline; 0.2.
    pub deadlines: f64,
    /// `slack`: a deadline is after 1.2 to so many times the job's time, uniformly; 4.
    pub slack: f64,
    /// `elastic`: share of jobs that run on 1 to 4 times the devices they ask for; 0.3.
    pub elastic: f64,
    /// `serial`: n devices of an elastic job are n / (1 + serial (n - 1)) times as fast as one; 0.02.
    pub serial: f64,
    /// `tenants`: how many; the k-th submits in proportion to 1/k. 4.
    pub tenants: u32,
    /// `restricted`: share of jobs whose data must not leave `home`; 0.
    pub restricted: f64,
    /// `home`: the zone of data; of restricted data it must be private. `private`.
    pub home: String,
    /// `data_gb`: what each job reads, in GB of 2^30 bytes; it is in `home` and leaves it once for each zone that needs it. 0
    /// as the next two: then egress is unknown.
    pub data_gb: f64,
    /// `checkpoint_gb`: of one checkpoint, which goes to `home`; 0.
    pub checkpoint_gb: f64,
    /// `parameters`: elements that zones exchange; 0.
    pub parameters: u64,
    /// `codec`: how they are packed: `none`, `bf16`, `f16`, `int8` or `int4`; `none`.
    pub codec: CodecName,
    /// `interval`: steps between exchanges; 1.
    pub interval: u32,
    /// `step`: seconds of one step on the devices that a job asks for; 1.
    pub step_seconds: f64,
    /// `error`: standard deviation of the natural logarithm of estimates over truth; 0, so that estimates are true.
    pub error: f64,
    /// `overhead`: seconds from devices to the first step, at each start; 30.
    pub overhead_seconds: f64,
    /// `checkpoint`: seconds between checkpoints; 600.
    pub checkpoint_seconds: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            jobs: 500,
            seed: 0,
            rate_per_hour: 6.0,
            burst: 1.0,
            median_minutes: 60.0,
            sigma: 1.5,
            longest_minutes: 14_400.0,
            devices: DeviceMix(vec![(1, 70.0), (2, 10.0), (4, 15.0), (8, 5.0)]),
            guaranteed: 0.1,
            opportunistic: 0.2,
            deadlines: 0.2,
            slack: 4.0,
            elastic: 0.3,
            serial: 0.02,
            tenants: 4,
            restricted: 0.0,
            home: "private".to_owned(),
            data_gb: 0.0,
            checkpoint_gb: 0.0,
            parameters: 0,
            codec: CodecName(Codec::None),
            interval: 1,
            step_seconds: 1.0,
            error: 0.0,
            overhead_seconds: 30.0,
            checkpoint_seconds: 600.0,
        }
    }
}

const KEYS: [&str; 26] = [
    "jobs",
    "seed",
    "rate",
    "burst",
    "median",
    "sigma",
    "longest",
    "devices",
    "guaranteed",
    "opportunistic",
    "deadlines",
    "slack",
    "elastic",
    "serial",
    "tenants",
    "restricted",
    "home",
    "data_gb",
    "checkpoint_gb",
    "parameters",
    "codec",
    "interval",
    "step",
    "error",
    "overhead",
    "checkpoint",
];

impl Settings {
    /// From `jobs=500,rate=6`, or one setting a line; what is left out is as in the default.
    ///
    /// # Errors
    /// A key that is unknown or there twice, or a value that it cannot have.
    pub fn parse(text: &str) -> Result<Settings, SettingsError> {
        let pairs = Pairs::parse(text, &KEYS)?;
        let mut settings = Settings::default();
        let Settings { devices, home, .. } = &mut settings;
        pairs.set("devices", devices, "numbers of devices with weights, such as 1:70/8:30", |_| true)?;
        pairs.set("home", home, "the name of a zone", |home| ZoneId::new(home.clone()).is_ok())?;
        pairs.set("seed", &mut settings.seed, "a whole number", |_| true)?;
        pairs.set("codec", &mut settings.codec, "one of none, bf16, f16, int8, int4", |_| true)?;
        let most = MAX_JOBS as u64;
        pairs.set("jobs", &mut settings.jobs, "a number of jobs from 1 to 4194304", |jobs| {
            (1..=most).contains(&u64::from(*jobs))
        })?;
        let tenants = "a number of tenants from 1 to 10000";
        pairs.set("tenants", &mut settings.tenants, tenants, |count| (1..=10_000).contains(count))?;
        pairs.set("interval", &mut settings.interval, COUNT, |count| *count > 0)?;
        let elements = "a number of parameters up to 10^13";
        pairs.set("parameters", &mut settings.parameters, elements, |count| *count <= MAX_PARAMETERS)?;
        let positive = [
            ("rate", &mut settings.rate_per_hour),
            ("median", &mut settings.median_minutes),
            ("longest", &mut settings.longest_minutes),
            ("step", &mut settings.step_seconds),
        ];
        for (key, number) in positive {
            pairs
                .set(key, number, "a number from 0.000001 to 10^9", |number| (1e-6..=1e9).contains(number))?;
        }
        for (key, gb) in [("data_gb", &mut settings.data_gb), ("checkpoint_gb", &mut settings.checkpoint_gb)]
        {
            pairs.set(key, gb, "a number of GB from 0 to 10^6", |gb| (0.0..=1e6).contains(gb))?;
        }
        for (key, number) in [("burst", &mut settings.burst), ("slack", &mut settings.slack)] {
            pairs.set(key, number, "a number of at least one", |number| (1.0..1e9).contains(number))?;
        }
        let not_negative = [
            ("sigma", &mut settings.sigma),
            ("error", &mut settings.error),
            ("overhead", &mut settings.overhead_seconds),
            ("checkpoint", &mut settings.checkpoint_seconds),
        ];
        for (key, number) in not_negative {
            pairs.set(key, number, "a number of at least zero", |number| (0.0..1e9).contains(number))?;
        }
        let shares = [
            ("guaranteed", &mut settings.guaranteed),
            ("opportunistic", &mut settings.opportunistic),
            ("deadlines", &mut settings.deadlines),
            ("elastic", &mut settings.elastic),
            ("serial", &mut settings.serial),
            ("restricted", &mut settings.restricted),
        ];
        for (key, share) in shares {
            pairs.set(key, share, SHARE, is_share)?;
        }
        Ok(settings)
    }
}

/// Far above any model; times any number of zones and steps it still makes sense.
const MAX_PARAMETERS: u64 = 10_000_000_000_000;

/// A codec by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodecName(pub Codec);

impl FromStr for CodecName {
    type Err = ();

    fn from_str(text: &str) -> Result<CodecName, ()> {
        Codec::ALL.into_iter().find(|codec| codec.name() == text).map(CodecName).ok_or(())
    }
}

/// Numbers of devices with their weights; not empty, none zero.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceMix(Vec<(u32, f64)>);

impl FromStr for DeviceMix {
    type Err = ();

    fn from_str(text: &str) -> Result<DeviceMix, ()> {
        let part = |part: &str| {
            let (devices, weight) = part.split_once(':')?;
            let (devices, weight): (u32, f64) = (devices.trim().parse().ok()?, weight.trim().parse().ok()?);
            ((1..1 << 20).contains(&devices) && is_positive(&weight)).then_some((devices, weight))
        };
        Ok(DeviceMix(text.split('/').map(part).collect::<Option<_>>().ok_or(())?))
    }
}

impl DeviceMix {
    fn pick(&self, draw: f64) -> u32 {
        pick(self.0.iter().copied(), draw)
    }
}

/// The one of weighted items at which `draw` of all weight is passed.
fn pick<T: Copy>(items: impl Iterator<Item = (T, f64)> + Clone, draw: f64) -> T {
    let mut left = draw * items.clone().map(|(_, weight)| weight).sum::<f64>();
    let mut last = None;
    for (item, weight) in items {
        last = Some(item);
        if left < weight {
            break;
        }
        left -= weight;
    }
    last.expect("there is an item")
}

/// n devices are n / (1 + serial (n - 1)) times as fast as one.
#[derive(Debug, Clone, Copy)]
struct Scaling {
    serial: f64,
    requested: u32,
}

impl Scaling {
    fn over_one(self, devices: u32) -> f64 {
        let devices = f64::from(devices);
        devices / (1.0 + self.serial * (devices - 1.0))
    }
}

impl Speed for Scaling {
    fn stretch(&self, _done: Work, shape: &Shape) -> Stretch {
        let rate = self.over_one(shape.devices()) / self.over_one(self.requested);
        Stretch { rate: Rate::from_f64(rate), until: None }
    }
}

pub(super) fn read(text: &str) -> Result<Workload, TraceError> {
    generate(&Settings::parse(text)?)
}

/// # Errors
/// If no jobs are wanted, or too many.
pub fn generate(settings: &Settings) -> Result<Workload, TraceError> {
    let (mut jobs, mut hours) = (Vec::new(), 0.0);
    for index in 0..settings.jobs {
        let mut draws = Draws(Prng::keyed(&[settings.seed, u64::from(index)]));
        let gap = draws.gap(settings);
        hours += if index == 0 { 0.0 } else { gap };
        jobs.push(job(index, micros(hours * 3_600.0), settings, &mut draws));
    }
    Ok(Workload::new(jobs)?)
}

fn job(index: u32, submit: u64, settings: &Settings, draws: &mut Draws) -> JobSpec {
    let (submit, normal, estimate) = (Time(submit), draws.normal(), draws.normal());
    let minutes = settings.median_minutes * libm::exp(settings.sigma * normal);
    let duration = Span(micros(minutes.min(settings.longest_minutes) * 60.0).max(1));
    let devices = settings.devices.pick(draws.uniform());
    let mut job = JobSpec::rigid(index.to_string(), submit, devices, duration);
    job.estimate = job.work.scaled(libm::exp(settings.error * estimate));
    let tenant =
        pick((1..=settings.tenants).map(|tenant| (tenant, 1.0 / f64::from(tenant))), draws.uniform());
    job.tenant = format!("tenant-{tenant}");
    let class = draws.uniform();
    job.class = match class {
        class if class < settings.guaranteed => Class::Guaranteed,
        class if class < settings.guaranteed + settings.opportunistic => Class::Opportunistic,
        _ => Class::Normal,
    };
    let (has_deadline, times) = (draws.uniform() < settings.deadlines, draws.uniform());
    let times = 1.2_f64.min(settings.slack) + times * (settings.slack - 1.2).max(0.0);
    job.deadline = has_deadline.then(|| submit + Span(micros(duration.as_secs_f64() * times)));
    if draws.uniform() < settings.elastic {
        job.devices = DeviceRange { min: 1, requested: devices, max: devices.saturating_mul(4) };
        job.speed = Some(Arc::new(Scaling { serial: settings.serial, requested: devices }));
    }
    let restricted = draws.uniform() < settings.restricted;
    (job.data_bytes, job.checkpoint_bytes) = (bytes(settings.data_gb), bytes(settings.checkpoint_gb));
    job.exchange = exchange(settings);
    if restricted || job.data_bytes > 0 || job.checkpoint_bytes > 0 {
        let sensitivity = if restricted { Sensitivity::Restricted } else { Sensitivity::Public };
        job.shards = shard(sensitivity, &settings.home).into_iter().collect();
    }
    job.start_overhead = Span(micros(settings.overhead_seconds));
    job.checkpoint_interval = Span(micros(settings.checkpoint_seconds));
    job
}

fn shard(sensitivity: Sensitivity, home: &str) -> Option<Shard> {
    let (id, home) = (ShardId::new("data").ok()?, ZoneId::new(home).ok()?);
    let (path, allowed_zones) = (None, Vec::new());
    Some(Shard { id, path, sensitivity, home: Some(home), allowed_zones })
}

fn exchange(settings: &Settings) -> Option<Exchange> {
    let elems = usize::try_from(settings.parameters).ok().filter(|elems| *elems > 0)?;
    let every = match settings.interval {
        1 => Every::Step,
        steps => Every::Steps(steps),
    };
    let step = Span(micros(settings.step_seconds).max(1));
    Some(Exchange { elems, codec: settings.codec.0, every, step })
}

fn bytes(gb: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within what the key takes")]
    let bytes = (gb * BILLED_GB as f64).round() as u64;
    bytes
}

struct Draws(Prng);

impl Draws {
    fn uniform(&mut self) -> f64 {
        self.0.uniform()
    }

    fn normal(&mut self) -> f64 {
        self.0.normal()
    }

    /// Hours since the job before: none within a burst.
    fn gap(&mut self, settings: &Settings) -> f64 {
        let (starts_burst, gap) = (self.uniform() < 1.0 / settings.burst, -libm::log(1.0 - self.uniform()));
        if starts_burst { gap * settings.burst / settings.rate_per_hour } else { 0.0 }
    }
}

fn micros(seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let micros = (seconds * 1e6).round() as u64;
    micros
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(text: &str) -> Vec<JobSpec> {
        read(text).unwrap().into_jobs()
    }

    fn share(jobs: &[JobSpec], is: impl Fn(&JobSpec) -> bool) -> f64 {
        jobs.iter().filter(|job| is(job)).count() as f64 / jobs.len() as f64
    }

    #[test]
    fn shares_are_as_set() {
        let jobs = jobs(
            "jobs=4000, rate=10, burst=3, restricted=0.4, home=own\nelastic=0.5, deadlines=0.3, error=0.5",
        );
        let near = |got: f64, expected: f64| assert!((got - expected).abs() < 0.03, "{got}, {expected}");
        near(share(&jobs, |job| job.devices.requested == 1), 0.7);
        near(share(&jobs, |job| job.devices.requested == 8), 0.05);
        near(share(&jobs, |job| job.class == Class::Guaranteed), 0.1);
        near(share(&jobs, |job| job.class == Class::Opportunistic), 0.2);
        near(share(&jobs, |job| job.deadline.is_some()), 0.3);
        near(share(&jobs, |job| job.devices.max > job.devices.requested), 0.5);
        near(share(&jobs, |job| !job.shards.is_empty()), 0.4);
        near(share(&jobs, |job| job.tenant == "tenant-1"), 12.0 / 25.0);
        near(share(&jobs, |job| job.work < Work::taking(Span::from_secs(3_600))), 0.5);
        near(share(&jobs, |job| job.work < Work::taking(Span(micros(3_600.0 * libm::exp(1.5))))), 0.841);
        near(share(&jobs, |job| job.estimate < job.work), 0.5);
        let hours = jobs.last().unwrap().submit.0 as f64 / 3_600e6;
        near(hours / 400.0, 1.0);
        let together = jobs.windows(2).filter(|pair| pair[0].submit == pair[1].submit).count();
        near(together as f64 / 4_000.0, 2.0 / 3.0);
        assert_eq!(
            jobs.iter().find_map(|job| job.shards.first()).unwrap().home.as_ref().unwrap().as_str(),
            "own"
        );
    }

    #[test]
    fn a_setting_changes_what_it_names_and_nothing_else() {
        let (plain, other) = (jobs("jobs=200"), jobs("jobs=200,elastic=0.9,deadlines=0,sigma=0"));
        for (a, b) in plain.iter().zip(&other) {
            assert_eq!(
                (a.submit, a.devices.requested, &a.tenant),
                (b.submit, b.devices.requested, &b.tenant)
            );
            assert_eq!(b.work, Work::taking(Span::from_secs(3_600)));
        }
        assert!(plain.iter().zip(jobs("jobs=200,seed=1")).any(|(a, b)| a.work != b.work));
    }

    #[test]
    fn an_elastic_job_has_its_stated_time_on_what_it_asks_for() {
        let jobs = jobs("jobs=300,elastic=1,serial=0.1");
        let job = jobs.iter().find(|job| job.devices.requested == 4).unwrap();
        let rate = |devices: u32| {
            let shape = Shape { kind: crate::fleet::Kind(0), per_node: vec![devices] };
            job.speed.as_ref().unwrap().stretch(Work::ZERO, &shape).rate.as_f64()
        };
        assert_eq!(rate(4), 1.0);
        // 16 / 2.5 over 4 / 1.3
        assert!((rate(16) - 6.4 / (4.0 / 1.3)).abs() < 1e-6);
    }

    #[test]
    fn errors_name_the_key() {
        let cases = [
            ("jobs", "`jobs` is no setting: write key=value, separated by commas"),
            ("jobs=0", "setting `jobs` is `0`, which is not a number of jobs from 1 to 4194304"),
            ("jobs=4194305", "setting `jobs` is `4194305`, which is not a number of jobs"),
            ("rate=1e300", "setting `rate` is `1e300`, which is not a number from 0.000001 to 10^9"),
            ("codec=zip", "setting `codec` is `zip`, which is not one of none, bf16"),
            ("jobs=5,jobs=6", "setting `jobs` is there twice"),
            ("rate=-1", "setting `rate` is `-1`, which is not a number from 0.000001"),
            ("elastic=1.5", "setting `elastic` is `1.5`, which is not a share from 0 to 1"),
            ("devices=1:70/0:2", "setting `devices` is `1:70/0:2`, which is not numbers of devices"),
            ("sigma=NaN", "setting `sigma` is `NaN`, which is not a number of at least zero"),
            ("home=", "setting `home` is ``, which is not the name of a zone"),
            ("gpus=4", "there is no setting `gpus`; there are jobs, seed, rate,"),
        ];
        for (text, expected) in cases {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
