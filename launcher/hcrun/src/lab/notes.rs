//! What is to be known of the figures, beside them wherever they are shown.

use std::collections::BTreeSet;

use hcrun_scheduling::comparison::mean_interval;

use super::{Inputs, Results};

/// All of it, most important first.
pub(super) fn all(inputs: &Inputs, results: &Results) -> Vec<String> {
    let mut notes = inputs.notes.clone();
    if results.interrupted.is_some() {
        let (complete, all) = (results.runs.len(), results.runs.len() + results.unfinished.len());
        notes.push(format!(
            "interrupted: figures are of the {complete} of {all} simulations that were complete"
        ));
    }
    for (run, why) in results.failed() {
        notes.push(format!("{} failed on seed {}: {why}", run.strategy, run.seed));
    }
    notes.extend(unpriced(results));
    notes.extend(inputs.strategies.iter().filter_map(|strategy| refused(strategy, inputs, results)));
    notes
}

/// What keeps a cost from being known although other prices are.
fn unpriced(results: &Results) -> Option<String> {
    let egress = results.runs.iter().flat_map(|run| &run.bill.unpriced_egress);
    let zones: BTreeSet<&str> = egress.map(String::as_str).collect();
    let zones = Vec::from_iter(zones).join(", ");
    (!zones.is_empty()).then(|| format!("no cost is shown: the file of prices has no egress of zone {zones}"))
}

/// Figures of fewer jobs do not stand beside figures of all of them.
fn refused(strategy: &'static str, inputs: &Inputs, results: &Results) -> Option<String> {
    let refused: Vec<f64> = results.of(strategy).map(|run| run.figures.refused as f64).collect();
    let mean = mean_interval(&refused).mean;
    if mean == 0.0 {
        return None;
    }
    let others = match inputs.strategies.len() {
        1 => "",
        _ => "; its own figures are without them, paired differences of times over the jobs that both finish",
    };
    let jobs = inputs.workload.len();
    Some(format!("{strategy} refuses {} of {jobs} jobs, which could never run under it{others}", count(mean)))
}

fn count(mean: f64) -> String {
    if mean.fract() == 0.0 { format!("{mean:.0}") } else { format!("{mean:.1}") }
}

/// How many jobs both a strategy and the first one finished, in the mean over seeds, where that is not all of either.
pub(super) fn jobs_compared(strategy: &str, results: &Results) -> Option<f64> {
    let runs = results.of(strategy).filter_map(|run| Some((run, run.beside.as_ref()?)));
    let (mut compared, mut differs) = (Vec::new(), false);
    for (run, beside) in runs {
        differs |= beside.jobs < run.figures.jobs + run.figures.refused;
        compared.push(beside.jobs as f64);
    }
    differs.then(|| mean_interval(&compared).mean)
}
