//! The report's drawings as inline SVG, readable on light and dark backgrounds.

use plotters::prelude::*;

use super::drawing::{Axes, draw, legend, mesh};
use super::metrics::{EvaluationRow, StepRow};

/// Mid tones: enough contrast on white and on near-black.
const TRAINING: RGBColor = RGBColor(64, 132, 214);
const HELD_OUT: RGBColor = RGBColor(224, 122, 48);
const COMPUTE: RGBColor = RGBColor(64, 132, 214);
const EXCHANGE: RGBColor = RGBColor(224, 122, 48);
const UPDATE: RGBColor = RGBColor(104, 168, 92);
/// Bars of the step-time drawing at most; more are thinner than a pixel.
const MAX_BARS: usize = 120;
/// Points of the loss curve at most, so that the report of a long run stays small.
const MAX_POINTS: usize = 1_500;

/// Training loss per step, held-out loss as points.
pub fn loss(steps: &[StepRow], evaluations: &[EvaluationRow]) -> Option<String> {
    let stride = steps.len().div_ceil(MAX_POINTS).max(1);
    // Means over strides rather than every n-th step: the noise is not drawn as a trend.
    let training: Vec<(f64, f64)> = steps
        .chunks(stride)
        .filter_map(|rows| {
            let finite: Vec<f64> = rows.iter().map(|row| row.loss).filter(|loss| loss.is_finite()).collect();
            let last = rows.last()?;
            (!finite.is_empty()).then(|| (last.step as f64, finite.iter().sum::<f64>() / finite.len() as f64))
        })
        .collect();
    let held_out: Vec<(f64, f64)> = evaluations
        .iter()
        .filter(|row| row.loss.is_finite())
        .map(|row| (row.step as f64, row.loss))
        .collect();
    let all = || training.iter().chain(&held_out);
    let last = all().map(|(step, _)| *step).fold(f64::NAN, f64::max);
    let (low, high) = all()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (_, loss)| (low.min(*loss), high.max(*loss)));
    if !last.is_finite() || !low.is_finite() {
        return None;
    }
    let margin = ((high - low) * 0.05).max(1e-6);
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(66)
            .build_cartesian_2d(0.0..last.max(1.0), (low - margin)..(high + margin))?;
        mesh(
            &mut chart,
            &Axes {
                x: "step",
                y: "loss",
                format_x: &|step| format!("{step:.0}"),
                format_y: &|loss| format!("{loss:.3}"),
            },
        )?;
        chart.draw_series(LineSeries::new(training.iter().copied(), TRAINING.stroke_width(2)))?;
        chart.draw_series(LineSeries::new(held_out.iter().copied(), HELD_OUT.stroke_width(2)))?;
        chart.draw_series(held_out.iter().map(|point| Circle::new(*point, 4, HELD_OUT.filled())))?;
        legend(area, &[("training", TRAINING), ("held out", HELD_OUT)])
    })
}

/// Compute, exchange and update of a step, stacked, over the run.
pub fn step_times(steps: &[StepRow]) -> Option<String> {
    let stride = steps.len().div_ceil(MAX_BARS).max(1);
    let mean = |rows: &[StepRow], part: fn(&StepRow) -> f64| {
        rows.iter().map(part).sum::<f64>() / rows.len() as f64 * 1e3
    };
    let bars: Vec<(f64, f64, [f64; 3])> = steps
        .chunks(stride)
        .map(|rows| {
            let parts = [
                mean(rows, |row| row.compute_s),
                mean(rows, |row| row.exchange_s),
                mean(rows, |row| row.update_s),
            ];
            let (first, last) = (rows[0].step as f64, rows[rows.len() - 1].step as f64);
            (first - 1.0, last, parts)
        })
        .collect();
    let last = bars.last()?.1;
    let high = bars.iter().map(|(_, _, parts)| parts.iter().sum::<f64>()).fold(0.0, f64::max);
    if !high.is_finite() || high <= 0.0 {
        return None;
    }
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(66)
            .build_cartesian_2d(0.0..last.max(1.0), 0.0..high * 1.1)?;
        mesh(
            &mut chart,
            &Axes {
                x: "step",
                y: "ms per step",
                format_x: &|step| format!("{step:.0}"),
                format_y: &|time| format!("{time:.1}"),
            },
        )?;
        for (index, colour) in [COMPUTE, EXCHANGE, UPDATE].into_iter().enumerate() {
            chart.draw_series(bars.iter().map(|(start, end, parts)| {
                let below: f64 = parts[..index].iter().sum();
                Rectangle::new([(*start, below), (*end, below + parts[index])], colour.filled())
            }))?;
        }
        legend(area, &[("compute", COMPUTE), ("exchange", EXCHANGE), ("update", UPDATE)])
    })
}
