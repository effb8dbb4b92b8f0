//! Figures as a table for people, and runs as rows for other programs.

use hcrun_scheduling::comparison::Interval;
use hcrun_scheduling::scaling::{Model, Part};

use super::plan::{Experiment, words};
use super::results::{Prediction, Results, Row};
use crate::lab::aligned;
use crate::report::format::{percent, plural};

pub(super) const HEADER: [&str; 8] =
    ["workers", "spread", "samples/s", "speed-up", "efficiency", "exchange", "ms per step", "held-out loss"];
pub(super) const PREDICTED: [&str; 5] = ["workers", "samples/s", "efficiency", "exchange", "error"];

/// The tables for people.
pub(crate) fn text(experiment: &Experiment, results: &Results) -> String {
    let header = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    let mut lines = vec![title(experiment)];
    let rows = results.rows.iter().map(|row| cells(experiment, row).into());
    lines.extend(aligned(&std::iter::once(header(&HEADER)).chain(rows).collect::<Vec<_>>()));
    if experiment.repeats > 1 {
        lines.push("± is half of a 95 % confidence interval over the repeats".to_owned());
    }
    lines.extend(experiment.skipped.iter().map(|skipped| format!("left out: {skipped}")));
    if let Some(model) = &results.model {
        lines.push("\npredicted, not measured".to_owned());
        let rows = results.predictions.iter().filter_map(|one| predicted_cells(one).map(Vec::from));
        lines.extend(aligned(&std::iter::once(header(&PREDICTED)).chain(rows).collect::<Vec<_>>()));
        lines.extend(model_words(experiment, model));
    }
    lines.extend(not_predicted(results));
    lines.join("\n")
}

pub(super) fn title(experiment: &Experiment) -> String {
    format!(
        "{}: {}, {} each, {}, on {}",
        experiment.job,
        plural(experiment.sizes.len(), "size"),
        plural(experiment.repeats as usize, "repeat"),
        experiment.scaling.words(),
        plural(experiment.cores, "core")
    )
}

pub(super) fn cells(experiment: &Experiment, row: &Row) -> [String; 8] {
    let size = &experiment.sizes[row.size];
    let shared = if experiment.shares_cores(size) { " (shared cores)" } else { "" };
    let milliseconds =
        Interval { mean: row.step_s.mean * 1e3, half_width: row.step_s.half_width.map(|half| half * 1e3) };
    [
        size.workers.to_string(),
        words(&size.spread),
        spread(row.samples_per_s, |rate| format!("{rate:.0}")),
        spread(row.speed_up, |times| format!("{times:.2}")),
        spread(row.efficiency, percent) + shared,
        row.exchange_share.map_or_else(|| "-".to_owned(), |share| spread(share, percent)),
        spread(milliseconds, |time| format!("{time:.1}")),
        row.held_out_loss.map_or_else(|| "-".to_owned(), |loss| format!("{:.4}", loss.mean)),
    ]
}

fn spread(interval: Interval, show: impl Fn(f64) -> String) -> String {
    match interval.half_width {
        Some(half) => format!("{} ± {}", show(interval.mean), show(half)),
        None => show(interval.mean),
    }
}

/// None for what cannot be predicted.
pub(super) fn predicted_cells(prediction: &Prediction) -> Option<[String; 5]> {
    let forecast = prediction.outcome.as_ref().ok()?;
    Some([
        prediction.workers.to_string(),
        format!("predicted {:.0}", forecast.samples_per_s),
        format!("predicted {}", percent(forecast.efficiency)),
        format!("predicted {}", percent(forecast.exchange_share())),
        format!("± {}", percent(forecast.step.error)),
    ])
}

/// Sizes that were asked for and cannot be predicted.
pub(super) fn not_predicted(results: &Results) -> Vec<String> {
    let reasons =
        results.predictions.iter().filter_map(|one| Some((one.workers, one.outcome.as_ref().err()?)));
    reasons.map(|(workers, reason)| format!("not predicted: {workers} workers: {reason}")).collect()
}

/// The model, its error, and what it takes for granted.
pub(super) fn model_words(experiment: &Experiment, model: &Model) -> Vec<String> {
    let part = |name: &str, part: &Part| {
        let terms: Vec<String> = part.constants().map(|(term, constant)| term.words(constant)).collect();
        format!("{name} {}", if terms.is_empty() { "0".to_owned() } else { terms.join(" + ") })
    };
    vec![
        format!(
            "step = {}, {}, {}",
            part("compute", model.compute()),
            part("exchange", model.exchange()),
            part("rest", model.rest())
        ),
        format!(
            "error of steps at measured sizes, each left out of the fit in turn: {} (root mean square); a prediction's own is at least that, and more where sizes leave open what a step depends on",
            percent(model.error())
        ),
        format!(
            "beyond the {} of this machine it is assumed that each worker has a core of its own on more machines of the same kind, and \
             that their links are as fast as those that were measured, which lie inside this machine",
            plural(experiment.cores, "core")
        ),
    ]
}

/// One row per run.
pub(crate) fn to_csv(experiment: &Experiment, results: &Results) -> String {
    let mut csv = "workers,spread,repeat,batch,samples_per_s,step_s,compute_s,exchange_s,rest_s,exchange_share,loss_last,\
                   held_out_loss,run\n"
        .to_owned();
    for run in &results.runs {
        let size = &experiment.sizes[run.size];
        csv += &format!(
            "{},{},{},{},{},{},{},{},{},{},{},{},{}\n",
            size.workers,
            words(&size.spread),
            run.repeat + 1,
            size.batch,
            run.samples_per_s,
            run.step_s,
            run.compute_s,
            run.exchange_s,
            run.rest_s,
            if size.workers > 1 { (run.exchange_s / run.step_s).to_string() } else { String::new() },
            run.loss_last,
            run.held_out_loss.map(|loss| loss.to_string()).unwrap_or_default(),
            run.name
        );
    }
    csv
}
