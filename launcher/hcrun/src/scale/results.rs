//! From runs to figures per size, and to what the model says of other sizes.

use hcrun_scheduling::comparison::{Interval, mean_interval};
use hcrun_scheduling::scaling::{Measured as Point, Model, Predicted, Shape};

use super::measure::Run;
use super::plan::{Experiment, Scaling, Size};
use super::sweep::Measured;
use crate::failure::Failure;

#[derive(Debug)]
pub(crate) struct Results {
    /// By repeat, then in the order in which they were made.
    pub(super) runs: Vec<Run>,
    /// Sizes that were measured, ascending.
    pub(super) rows: Vec<Row>,
    /// None where nothing is to be predicted, or too few sizes were measured for it.
    pub(super) model: Option<Model>,
    pub(super) predictions: Vec<Prediction>,
    /// Why the experiment is not complete.
    pub(crate) ended: Option<Failure>,
}

/// One size over its repeats.
#[derive(Debug)]
pub(super) struct Row {
    /// Index among the experiment's sizes.
    pub(super) size: usize,
    pub(super) samples_per_s: Interval,
    /// Beside the smallest size, repeat by repeat.
    pub(super) speed_up: Interval,
    /// Speed-up over how many times the workers became more.
    pub(super) efficiency: Interval,
    /// Of a step's time; none for one worker, which has nobody to exchange with.
    pub(super) exchange_share: Option<Interval>,
    pub(super) step_s: Interval,
    pub(super) compute_s: Interval,
    pub(super) exchange_s: Interval,
    pub(super) rest_s: Interval,
    pub(super) loss_last: Interval,
    pub(super) held_out_loss: Option<Interval>,
}

/// A size that nobody ran.
#[derive(Debug)]
pub(super) struct Prediction {
    pub(super) workers: u32,
    pub(super) outcome: Result<Forecast, String>,
}

#[derive(Debug)]
pub(super) struct Forecast {
    pub(super) step: Predicted,
    pub(super) samples_per_s: f64,
    /// Beside the smallest size that was measured.
    pub(super) efficiency: f64,
}

impl Results {
    pub(crate) fn of(experiment: &Experiment, measured: Measured) -> Results {
        let Measured { runs, ended } = measured;
        let rows: Vec<Row> =
            (0..experiment.sizes.len()).filter_map(|size| row(experiment, size, &runs)).collect();
        let points: Vec<Point> = rows.iter().map(|row| point(experiment, row)).collect();
        let asked = !experiment.predict.is_empty();
        let model = asked.then(|| Model::fit(&points)).and_then(Result::ok);
        let predict = |workers: &u32| Prediction {
            workers: *workers,
            outcome: forecast(experiment, &rows, model.as_ref(), *workers),
        };
        let predictions = experiment.predict.iter().map(predict).collect();
        Results { runs, rows, model, predictions, ended }
    }

    pub(super) fn of_size(&self, size: usize) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.size == size)
    }
}

fn row(experiment: &Experiment, size: usize, runs: &[Run]) -> Option<Row> {
    let own: Vec<&Run> = runs.iter().filter(|run| run.size == size).collect();
    let base = runs.iter().map(|run| run.size).min()?;
    if own.is_empty() {
        return None;
    }
    let interval =
        |of: &dyn Fn(&Run) -> f64| mean_interval(&own.iter().map(|run| of(run)).collect::<Vec<_>>());
    let workers = |size: usize| f64::from(experiment.sizes[size].workers);
    let beside = |run: &&Run| {
        let other = runs.iter().find(|other| other.size == base && other.repeat == run.repeat)?;
        Some(run.samples_per_s / other.samples_per_s)
    };
    let speed_ups: Vec<f64> = own.iter().filter_map(beside).collect();
    let times = workers(size) / workers(base);
    let efficiencies: Vec<f64> = speed_ups.iter().map(|speed_up| speed_up / times).collect();
    let held_out: Vec<f64> = own.iter().filter_map(|run| run.held_out_loss).collect();
    Some(Row {
        size,
        samples_per_s: interval(&|run| run.samples_per_s),
        speed_up: mean_interval(&speed_ups),
        efficiency: mean_interval(&efficiencies),
        exchange_share: (experiment.sizes[size].workers > 1)
            .then(|| interval(&|run| run.exchange_s / run.step_s)),
        step_s: interval(&|run| run.step_s),
        compute_s: interval(&|run| run.compute_s),
        exchange_s: interval(&|run| run.exchange_s),
        rest_s: interval(&|run| run.rest_s),
        loss_last: interval(&|run| run.loss_last),
        held_out_loss: (!held_out.is_empty()).then(|| mean_interval(&held_out)),
    })
}

fn point(experiment: &Experiment, row: &Row) -> Point {
    let size = &experiment.sizes[row.size];
    let sharing = (f64::from(size.workers) / experiment.cores as f64).max(1.0);
    Point {
        shape: Shape { sharing, ..shape(experiment, size.workers.into()) },
        compute_s: row.compute_s.mean,
        exchange_s: row.exchange_s.mean,
        rest_s: row.rest_s.mean,
    }
}

/// Of workers with a core each.
fn shape(experiment: &Experiment, workers: u32) -> Shape {
    let samples = f64::from(experiment.scaling.batch(workers));
    Shape {
        workers,
        samples_per_worker: samples / f64::from(workers),
        gradient_bytes: experiment.sizes.first().map_or(0.0, gradient_bytes),
        sharing: 1.0,
    }
}

fn gradient_bytes(size: &Size) -> f64 {
    (size.prepared.plan.exchange.arena_elems * size_of::<f32>()) as f64
}

fn forecast(
    experiment: &Experiment,
    rows: &[Row],
    model: Option<&Model>,
    workers: u32,
) -> Result<Forecast, String> {
    let batch = experiment.scaling.batch(workers);
    if let Scaling::Strong { batch } = experiment.scaling
        && batch < workers
    {
        return Err(format!(
            "a batch of {batch} samples leaves some of them without any: raise train.batch, or let it grow (--weak)"
        ));
    }
    let (Some(model), Some(base)) = (model, rows.first()) else {
        return Err(format!("{} sizes were measured, too few to say how wrong a prediction is", rows.len()));
    };
    let step = model.predict(&shape(experiment, workers));
    if step.step_s() <= 0.0 {
        return Err("the model has no time for a step: measure more sizes".to_owned());
    }
    let samples_per_s = f64::from(batch) / step.step_s();
    let times = f64::from(workers) / f64::from(experiment.sizes[base.size].workers);
    Ok(Forecast { step, samples_per_s, efficiency: samples_per_s / base.samples_per_s.mean / times })
}

impl Forecast {
    pub(super) fn exchange_share(&self) -> f64 {
        self.step.exchange_s / self.step.step_s()
    }
}
