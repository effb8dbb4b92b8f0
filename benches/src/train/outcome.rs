//! One run of one side, in the same terms for both.

use serde::{Deserialize, Serialize};

use crate::link::Counted;

/// Whose run it was, and what its gradients were sent as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "side", rename_all = "kebab-case")]
pub(crate) enum Side {
    Hcrun {
        codec: String,
    },
    #[serde(rename = "torch-ddp")]
    Peer {
        codec: &'static str,
    },
}

/// One number per step, on both sides in seconds of wall time.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Steps {
    #[serde(rename = "losses")]
    pub(crate) loss: Vec<f64>,
    pub(crate) step_s: Vec<f64>,
    pub(crate) compute_s: Vec<f64>,
    /// Blocked on the exchange, not hidden behind computing.
    pub(crate) exchange_s: Vec<f64>,
    pub(crate) update_s: Vec<f64>,
}

/// What crossed between the two hosts.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Border {
    /// From the first host: hcrun's ledger, or what the peer's ring sends by calculation.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// The same with all headers and repetitions, by the first host's interface; null on loopback.
    pub(crate) interface: Option<Counted>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    #[serde(flatten)]
    pub(crate) side: Side,
    /// At the median step time after the warm-up.
    pub(crate) samples_per_s: f64,
    /// Over all steps after the warm-up.
    pub(crate) samples_per_s_overall: f64,
    /// At the fastest step after the warm-up: the distance says how busy the machine was.
    pub(crate) samples_per_s_fastest: f64,
    pub(crate) step_s: f64,
    /// Means over the steps after the warm-up.
    pub(crate) compute_s: f64,
    pub(crate) exchange_s: f64,
    pub(crate) update_s: f64,
    /// Part of all steps' time but the first one's.
    pub(crate) exchange_share: f64,
    pub(crate) border: Border,
    pub(crate) curve: Curve,
}

/// Loss against samples and against time; a loss is that of a step's batch before its update.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Curve {
    pub(crate) samples: Vec<u64>,
    /// Since the end of the first step, whose start is not known alike on both sides.
    pub(crate) wall_s: Vec<f64>,
    pub(crate) loss: Vec<f64>,
}

/// Not counted: caches, buffers and congestion windows are not yet what they will be.
pub(crate) const WARM_UP_STEPS: usize = 5;

impl Outcome {
    /// All lists of `steps` are of the same length, above [`WARM_UP_STEPS`].
    pub(crate) fn new(side: Side, batch: u32, steps: &Steps, border: Border) -> Outcome {
        let counted = |list: &[f64]| list[WARM_UP_STEPS..].to_vec();
        let mean = |list: &[f64]| counted(list).iter().sum::<f64>() / (list.len() - WARM_UP_STEPS) as f64;
        let step_s = median(counted(&steps.step_s));
        let fastest_s = counted(&steps.step_s).into_iter().fold(f64::INFINITY, f64::min);
        let but_first = |list: &[f64]| list[1..].iter().sum::<f64>();
        let mut wall = 0.0;
        let wall_s = steps.step_s.iter().enumerate().map(|(index, step_s)| {
            wall += if index == 0 { 0.0 } else { *step_s };
            wall
        });
        Outcome {
            side,
            samples_per_s: f64::from(batch) / step_s,
            samples_per_s_overall: f64::from(batch) / mean(&steps.step_s),
            samples_per_s_fastest: f64::from(batch) / fastest_s,
            step_s,
            compute_s: mean(&steps.compute_s),
            exchange_s: mean(&steps.exchange_s),
            update_s: mean(&steps.update_s),
            exchange_share: but_first(&steps.exchange_s) / but_first(&steps.step_s),
            border,
            curve: Curve {
                samples: (1..=steps.loss.len() as u64).map(|step| step * u64::from(batch)).collect(),
                wall_s: wall_s.collect(),
                loss: steps.loss.clone(),
            },
        }
    }
}

impl Side {
    pub(crate) fn codec(&self) -> &str {
        match self {
            Side::Hcrun { codec } => codec,
            Side::Peer { codec } => codec,
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Side::Hcrun { codec } => write!(f, "hcrun {codec}"),
            Side::Peer { codec } => write!(f, "torch-ddp {codec}"),
        }
    }
}

/// Of at least one value; the upper one of two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn outcome(side: Side, step_s: f64, loss: f64) -> Outcome {
        let list = |value: f64| vec![value; 10];
        let steps = Steps {
            loss: list(loss),
            step_s: [vec![9.0; WARM_UP_STEPS], vec![step_s; 10 - WARM_UP_STEPS]].concat(),
            compute_s: list(step_s / 2.0),
            exchange_s: list(step_s / 4.0),
            update_s: list(0.0),
        };
        Outcome::new(side, 16, &steps, Border { sent: 1, received: 1, interface: None })
    }

    #[test]
    fn the_first_steps_do_not_count_and_the_curve_begins_after_the_first() {
        let outcome = outcome(Side::Peer { codec: "f32" }, 0.5, 1.0);
        assert_eq!((outcome.samples_per_s, outcome.samples_per_s_overall), (32.0, 32.0));
        assert_eq!((outcome.compute_s, outcome.exchange_s), (0.25, 0.125));
        assert_eq!((outcome.curve.wall_s[0], outcome.curve.wall_s[1]), (0.0, 9.0));
        assert_eq!((outcome.curve.samples[0], outcome.curve.samples[9]), (16, 160));
    }
}
