//! Who is looked at first, as a weighted sum of named factors that a person can be shown.
//!
//! | factor | 0 to 1 |
//! | --- | --- |
//! | class | opportunistic 0, normal 1/2, guaranteed 1 |
//! | age | days since submission, without an upper end: whoever waits passes all that come later |
//! | fair share | 2^(-used / due), of what tenants used lately, older use counting half after each half-life |
//! | size | 1 - devices / all devices |
//! | weight | w / (1 + w) |
//!
//! Source: Slurm's multifactor priority and its fair-share factor.

use std::collections::BTreeMap;
use std::fmt;

use hcrun_protocol::time::{Span, Time};

use crate::job::Class;
use crate::state::{Job, State};
use crate::strategy::{Key, Order, Refresh};

/// Points that each factor gives at 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    pub class: f64,
    pub age: f64,
    pub fair_share: f64,
    pub size: f64,
    pub weight: f64,
}

impl Default for Weights {
    /// A class is worth ten days of age, so that classes decide from day to day and age in the end; the others
    /// decide between jobs of a class that came on one day.
    fn default() -> Weights {
        Weights { class: 2_000.0, age: 100.0, fair_share: 100.0, size: 50.0, weight: 50.0 }
    }
}

/// One addend of a job's priority.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Addend {
    pub name: &'static str,
    pub factor: f64,
    /// Points at factor 1.
    pub weight: f64,
}

impl Addend {
    pub fn points(&self) -> f64 {
        self.factor * self.weight
    }
}

impl fmt::Display for Addend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:.2} x {:.0} = {:.1}", self.name, self.factor, self.weight, self.points())
    }
}

#[derive(Debug, Clone)]
pub struct Priority {
    weights: Weights,
    half_life: Span,
    usage: Usage,
}

impl Priority {
    /// `half_life`: after which what a tenant used counts half.
    pub fn new(weights: Weights, half_life: Span) -> Priority {
        Priority { weights, half_life, usage: Usage::default() }
    }

    /// The addends of a job's priority; the job with the largest sum goes first.
    pub fn addends(&self, state: &State, job: &Job) -> [Addend; 5] {
        let class = match job.spec.class {
            Class::Opportunistic => 0.0,
            Class::Normal => 0.5,
            Class::Guaranteed => 1.0,
        };
        let age = state.now().since(job.spec.submit).as_secs_f64() / 86_400.0;
        let size = 1.0 - f64::from(job.spec.devices.requested) / state.fleet.devices() as f64;
        let weight = job.spec.weight.max(0.0);
        let Weights { class: of_class, age: of_age, fair_share, size: of_size, weight: of_weight } =
            self.weights;
        let addend = |name, factor, weight| Addend { name, factor, weight };
        [
            addend("class", class, of_class),
            addend("age in days", age, of_age),
            addend("fair share", self.usage.factor(&job.spec.tenant), fair_share),
            addend("size", size, of_size),
            addend("weight", weight / (1.0 + weight), of_weight),
        ]
    }
}

impl Order for Priority {
    fn key(&self, state: &State, job: &Job) -> Key {
        Key::from_f64(-self.addends(state, job).iter().map(Addend::points).sum::<f64>())
    }

    fn refresh(&self) -> Refresh {
        Refresh::Always
    }

    fn prepare(&mut self, state: &State) {
        self.usage.bring_to(state, self.half_life);
    }
}

/// What tenants used lately.
#[derive(Debug, Clone, Default)]
struct Usage {
    /// Device seconds, decayed.
    by_tenant: BTreeMap<String, f64>,
    total: f64,
    /// What of each job is counted already, device microseconds.
    counted: Vec<u128>,
    at: Time,
}

impl Usage {
    fn bring_to(&mut self, state: &State, half_life: Span) {
        let now = state.now();
        let elapsed = now.since(self.at).as_secs_f64() / half_life.as_secs_f64().max(1e-6);
        self.at = now;
        let decay = libm::exp2(-elapsed);
        self.by_tenant.values_mut().for_each(|used| *used *= decay);
        self.counted.resize(state.jobs().len(), 0);
        let touched = state.running().chain(state.changes().iter().map(|change| change.job));
        for index in touched {
            let job = state.job(index);
            let attained = job.attained(now);
            let counted = std::mem::replace(&mut self.counted[index.index()], attained);
            // Every tenant that was ever there has its share due.
            let used = match self.by_tenant.get_mut(&job.spec.tenant) {
                Some(used) => used,
                None => self.by_tenant.entry(job.spec.tenant.clone()).or_default(),
            };
            *used += attained.saturating_sub(counted) as f64 / 1e6;
        }
        self.total = self.by_tenant.values().sum();
    }

    fn factor(&self, tenant: &str) -> f64 {
        let used = self.by_tenant.get(tenant).copied().unwrap_or(0.0);
        if self.total <= 0.0 {
            return 1.0;
        }
        libm::exp2(-(used / self.total) * self.by_tenant.len().max(1) as f64)
    }
}
