//! What one run says: its speed, and the course of its loss.

use crate::report::{StepRow, Summary};

/// One run, from its metrics. Times are means over steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// Index among the experiment's sizes.
    pub(super) size: usize,
    pub(super) repeat: u32,
    /// Of the run directory.
    pub(super) name: String,
    pub(super) samples_per_s: f64,
    pub(super) step_s: f64,
    pub(super) compute_s: f64,
    /// Blocked on the exchange, not hidden behind computing.
    pub(super) exchange_s: f64,
    /// Updates, and whatever else is between two steps.
    pub(super) rest_s: f64,
    pub(super) loss_last: f64,
    pub(super) held_out_loss: Option<f64>,
    pub(super) curve: Vec<Moment>,
}

/// A stretch of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moment {
    /// Since the start of training.
    pub(super) samples: f64,
    pub(super) seconds: f64,
    /// Mean over the stretch.
    pub(super) loss: f64,
}

/// Part of the steps that is left out at the start, and points of a curve at most.
const WARM_UP: usize = 10;
const MAX_POINTS: usize = 300;

/// None for fewer than two steps: the time of the first is not known.
pub(super) fn measure(
    (size, repeat): (usize, u32),
    name: String,
    batch: u32,
    steps: &[StepRow],
    summary: &Summary,
) -> Option<Run> {
    let timed = &steps[(steps.len() / WARM_UP).max(1).min(steps.len())..];
    let mean = |of: fn(&StepRow) -> f64| timed.iter().map(of).sum::<f64>() / timed.len() as f64;
    let (step_s, compute_s, exchange_s) =
        (mean(|row| row.step_s), mean(|row| row.compute_s), mean(|row| row.exchange_s));
    // One that is alone waits for nobody: what its rounds take is its own work.
    let exchange_s = if summary.workers.len() > 1 { exchange_s } else { 0.0 };
    if timed.is_empty() || step_s <= 0.0 {
        return None;
    }
    Some(Run {
        size,
        repeat,
        name,
        samples_per_s: f64::from(batch) / step_s,
        step_s,
        compute_s,
        exchange_s,
        rest_s: (step_s - compute_s - exchange_s).max(0.0),
        loss_last: steps.last()?.loss,
        held_out_loss: summary.eval.as_ref().map(|eval| eval.loss),
        curve: curve(steps, batch),
    })
}

fn curve(steps: &[StepRow], batch: u32) -> Vec<Moment> {
    let mut seconds = 0.0;
    let stretches = steps.chunks(steps.len().div_ceil(MAX_POINTS).max(1));
    stretches
        .map(|rows| {
            seconds += rows.iter().map(|row| row.step_s).sum::<f64>();
            let samples = rows.last().map_or(0.0, |row| row.step as f64) * f64::from(batch);
            Moment {
                samples,
                seconds,
                loss: rows.iter().map(|row| row.loss).sum::<f64>() / rows.len() as f64,
            }
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn summary() -> Summary {
        let text = r#"{"schema":1,"job":"j","status":"done","exit_code":0,"steps":3,"loss_first":2.0,"loss_last":1.0,
            "eval":{"loss":1.5,"unit":"nats","samples":9},"workers":[],"samples_per_s":null,"step_time_s":null,
            "exchange_s_share":null,"egress_bytes":{},"planned_egress_bytes":{},"parameter_digest":null,
            "generations":1,"restarts":0,"cost_usd":{"predicted":null,"actual":null}}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_first_step_has_no_time_and_the_parts_add_up() {
        let row = |step, step_s| StepRow {
            step,
            loss: 1.0,
            step_s,
            compute_s: 0.3,
            exchange_s: 0.1,
            ..StepRow::default()
        };
        let steps = [row(1, 0.0), row(2, 0.5), row(3, 0.5)];
        let run = measure((0, 0), "run".to_owned(), 16, &steps, &summary()).unwrap();
        assert_eq!((run.step_s, run.samples_per_s), (0.5, 32.0));
        assert!((run.compute_s + run.exchange_s + run.rest_s - run.step_s).abs() < 1e-12);
        assert_eq!(run.curve.last().map(|moment| (moment.samples, moment.seconds)), Some((48.0, 1.0)));
        assert_eq!(measure((0, 0), String::new(), 16, &steps[..1], &summary()), None);
    }
}
