//! All outcomes side by side, the ratios, and what is promised of them.

use anyhow::{bail, ensure};
use serde::Serialize;

use super::options::Options;
use super::outcome::{Outcome, Side, WARM_UP_STEPS, median};
use super::peer;
use super::workload::{Shape, Workload};
use crate::link::Link;
use crate::machine::Machine;

#[derive(Serialize)]
pub(crate) struct Results {
    schema: u32,
    bench: &'static str,
    pub(crate) machine: Machine,
    pub(crate) peer: String,
    pub(crate) link: Link,
    pub(crate) options: Options,
    warm_up_steps: usize,
    pub(crate) workload: Shape,
    /// By side, over rounds.
    pub(crate) sides: Vec<SideResult>,
    pub(crate) ratios: Vec<Ratio>,
    /// What the times and bytes mean.
    notes: &'static [&'static str],
    /// In the order in which they ran.
    outcomes: Vec<Outcome>,
}

/// Medians over rounds.
#[derive(Debug, Serialize)]
pub(crate) struct SideResult {
    #[serde(flatten)]
    pub(crate) side: Side,
    pub(crate) samples_per_s: f64,
    pub(crate) samples_per_s_overall: f64,
    /// At the fastest step of all rounds.
    pub(crate) samples_per_s_fastest: f64,
    pub(crate) samples_per_s_least: f64,
    pub(crate) samples_per_s_most: f64,
    pub(crate) step_s: f64,
    pub(crate) compute_s: f64,
    pub(crate) exchange_s: f64,
    pub(crate) update_s: f64,
    pub(crate) exchange_share: f64,
    pub(crate) border_sent_bytes_per_step: f64,
    pub(crate) border_received_bytes_per_step: f64,
    pub(crate) loss_last: f64,
}

/// Samples per second of hcrun over those of the peer.
#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) codec: String,
    pub(crate) to_peer_f32: f64,
    /// By overall times instead of medians.
    pub(crate) to_peer_f32_overall: f64,
    pub(crate) to_peer_bf16: f64,
    /// At least this to the peer's f32, on the laboratory's link.
    pub(crate) bound: Option<f64>,
}

/// `to_peer_f32` on the laboratory's link.
const BOUNDS: [(&str, f64); 3] = [("f32", 1.3), ("bf16", 1.8), ("int8", 2.0)];
/// Of two sides' losses of the first step, in nats per byte: the same parameters and samples, other kernels.
const SAME_LOSS: f64 = 1e-3;
/// Of any later step, where nothing is rounded for the way: far less than what another order of samples does.
const NEAR_LOSS: f64 = 0.1;

const NOTES: &[&str] = &[
    "exchange is time blocked on the exchange and not hidden behind computing: hcrun's by its metrics, mean over \
     workers; torch-ddp's on rank 0 from handing over the last gradient bucket to the return of backward",
    "border bytes of hcrun are its ledger's (frames), of torch-ddp 2 (n - 1) / n of the gradient per step and \
     direction; `interface` is what the first host's interface counted, for hcrun over the whole run, for \
     torch-ddp over the steps",
    "torch-ddp runs with one thread per process, fused AdamW, gradients as views of buckets, without torch.compile",
];

impl Results {
    pub(crate) fn new(
        machine: Machine,
        link: Link,
        options: &Options,
        workload: &Workload,
        outcomes: Vec<Outcome>,
    ) -> anyhow::Result<Results> {
        let sides = by_side(&outcomes, workload.steps());
        Ok(Results {
            schema: 1,
            bench: "train",
            machine,
            peer: peer::versions(&options.python)?,
            ratios: ratios(&sides, &link),
            link,
            options: options.clone(),
            warm_up_steps: WARM_UP_STEPS,
            workload: workload.shape(),
            sides,
            notes: NOTES,
            outcomes,
        })
    }

    /// # Errors
    /// If a ratio is below its bound; none has one on loopback.
    pub(crate) fn hold_bounds(&self) -> anyhow::Result<()> {
        let missed: Vec<String> = self.ratios.iter().filter_map(missed).collect();
        if missed.is_empty() {
            return Ok(());
        }
        bail!(
            "{} over {}: see whether the machine was busy (least and most samples/s), then where the step's time \
             went",
            missed.join("; "),
            self.link
        )
    }
}

fn missed(ratio: &Ratio) -> Option<String> {
    let bound = ratio.bound.filter(|bound| ratio.to_peer_f32 < *bound)?;
    Some(format!("hcrun {} is {:.2} times torch-ddp f32, promised {bound}", ratio.codec, ratio.to_peer_f32))
}

fn by_side(outcomes: &[Outcome], steps: usize) -> Vec<SideResult> {
    let mut sides: Vec<Side> = Vec::new();
    for outcome in outcomes {
        if !sides.contains(&outcome.side) {
            sides.push(outcome.side.clone());
        }
    }
    let result = |side: Side| {
        let all: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.side == side).collect();
        let list = |of: fn(&Outcome) -> f64| all.iter().map(|outcome| of(outcome)).collect::<Vec<f64>>();
        let middle = |of: fn(&Outcome) -> f64| median(list(of));
        let rates = list(|outcome| outcome.samples_per_s);
        let most = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
        SideResult {
            samples_per_s: median(rates.clone()),
            samples_per_s_overall: middle(|outcome| outcome.samples_per_s_overall),
            samples_per_s_fastest: most(&list(|outcome| outcome.samples_per_s_fastest)),
            samples_per_s_least: rates.iter().copied().fold(f64::INFINITY, f64::min),
            samples_per_s_most: most(&rates),
            step_s: middle(|outcome| outcome.step_s),
            compute_s: middle(|outcome| outcome.compute_s),
            exchange_s: middle(|outcome| outcome.exchange_s),
            update_s: middle(|outcome| outcome.update_s),
            exchange_share: middle(|outcome| outcome.exchange_share),
            border_sent_bytes_per_step: middle(|outcome| outcome.border.sent as f64) / steps as f64,
            border_received_bytes_per_step: middle(|outcome| outcome.border.received as f64) / steps as f64,
            loss_last: middle(|outcome| outcome.curve.loss.last().copied().unwrap_or(f64::NAN)),
            side,
        }
    };
    sides.into_iter().map(result).collect()
}

fn ratios(sides: &[SideResult], link: &Link) -> Vec<Ratio> {
    let rate = |codec: &'static str, of: fn(&SideResult) -> f64| {
        sides.iter().find(|result| result.side == Side::Peer { codec }).map_or(f64::NAN, of)
    };
    let ratio = |result: &SideResult| {
        let Side::Hcrun { codec } = &result.side else { return None };
        let bound = BOUNDS.iter().find(|(name, _)| name == codec).map(|(_, bound)| *bound);
        Some(Ratio {
            codec: codec.clone(),
            to_peer_f32: result.samples_per_s / rate("f32", |peer| peer.samples_per_s),
            to_peer_f32_overall: result.samples_per_s_overall
                / rate("f32", |peer| peer.samples_per_s_overall),
            to_peer_bf16: result.samples_per_s / rate("bf16", |peer| peer.samples_per_s),
            bound: bound.filter(|_| link.is_laboratory()),
        })
    };
    sides.iter().filter_map(ratio).collect()
}

/// # Errors
/// If two losses of a step differ by more than arithmetic explains: then times compare nothing.
pub(crate) fn same_training(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let Some(first) = outcomes.iter().find(|outcome| outcome.side.codec() == "f32") else { return Ok(()) };
    for other in outcomes {
        for (step, (one, two)) in first.curve.loss.iter().zip(&other.curve.loss).enumerate() {
            // What rounding does to later losses is for people to read off the curves.
            let allowed = match (step, other.side.codec()) {
                (0, _) => SAME_LOSS,
                (_, "f32") => NEAR_LOSS,
                _ => break,
            };
            ensure!(
                (one - two).abs() <= allowed,
                "the sides do not train alike: at step {} the loss is {one:.4} by {}, {two:.4} by {}; compare \
                 benches/peers/ddp_gpt.py with the engine's model",
                step + 1,
                first.side,
                other.side
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::outcome;
    use super::*;

    fn hcrun(codec: &str) -> Side {
        Side::Hcrun { codec: codec.to_owned() }
    }

    #[test]
    fn rates_are_compared_by_medians_and_bounds_hold_in_the_laboratory_alone() {
        let mut outcomes = Vec::new();
        for factor in [1.0, 1.0, 9.0] {
            outcomes.push(outcome(hcrun("f32"), 0.5 * factor, 1.0));
            outcomes.push(outcome(Side::Peer { codec: "f32" }, 0.6 * factor, 1.0));
            outcomes.push(outcome(Side::Peer { codec: "bf16" }, 0.4, 1.0));
        }
        let sides = by_side(&outcomes, 10);
        assert_eq!(sides.len(), 3);
        let ratios = ratios(&sides, &Link::Loopback);
        assert!((ratios[0].to_peer_f32 - 1.2).abs() < 1e-9 && (ratios[0].to_peer_bf16 - 0.8).abs() < 1e-9);
        assert_eq!((ratios[0].bound, missed(&ratios[0])), (None, None));
        let bound = Ratio { codec: "f32".to_owned(), bound: Some(1.3), ..ratios.into_iter().next().unwrap() };
        assert_eq!(missed(&bound).unwrap(), "hcrun f32 is 1.20 times torch-ddp f32, promised 1.3");
    }

    #[test]
    fn sides_that_train_otherwise_are_named() {
        let (one, two) = (outcome(hcrun("f32"), 1.0, 2.0), outcome(Side::Peer { codec: "f32" }, 1.0, 2.002));
        let error = same_training(&[one.clone(), two]).unwrap_err().to_string();
        assert!(error.contains("step 1 the loss is 2.0000 by hcrun f32, 2.0020 by torch-ddp f32"), "{error}");
        let (mut rounded, mut other) = (outcome(hcrun("int8"), 1.0, 2.0), one.clone());
        rounded.curve.loss[3] = 2.5;
        assert!(same_training(&[one.clone(), rounded]).is_ok());
        other.curve.loss[3] = 2.5;
        assert!(same_training(&[one, other]).is_err());
    }
}
