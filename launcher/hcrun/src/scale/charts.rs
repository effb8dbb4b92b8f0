//! The drawings of a scaling experiment.

use plotters::prelude::*;

use super::measure::Moment;
use super::plan::Experiment;
use super::results::Results;
use crate::report::drawing::{Axes, COLOURS, INK, draw, legend, mesh};

const MEASURED: RGBColor = COLOURS[0];
const PREDICTED: RGBColor = COLOURS[1];
const IDEAL: RGBColor = COLOURS[9];

/// A point with how far it may be off, up and down.
type Point = (f64, f64, f64);

struct Series<'a> {
    name: &'a str,
    colour: RGBColor,
    points: Vec<Point>,
    marked: bool,
}

/// Measured samples per second by workers, beside what would be ideal.
pub(super) fn throughput(experiment: &Experiment, results: &Results) -> Option<String> {
    let measured = measured(experiment, results);
    let (workers, rate, _) = *measured.first()?;
    let ideal = measured.iter().map(|(at, ..)| (*at, rate * at / workers, 0.0)).collect();
    let axes = Axes {
        x: "workers",
        y: "samples/s",
        format_x: &|at| format!("{at:.0}"),
        format_y: &|rate| format!("{rate:.0}"),
    };
    lines(
        &[
            Series { name: "ideal", colour: IDEAL, points: ideal, marked: false },
            Series { name: "measured", colour: MEASURED, points: measured, marked: true },
        ],
        &axes,
        true,
    )
}

/// Both axes logarithmic.
pub(super) fn predictions(experiment: &Experiment, results: &Results) -> Option<String> {
    let log = |(workers, rate, off): Point| (workers.log10(), rate.log10(), ((rate + off) / rate).log10());
    let measured = measured(experiment, results).into_iter().map(log).collect();
    let forecasts =
        results.predictions.iter().filter_map(|one| Some((one.workers, one.outcome.as_ref().ok()?)));
    let predicted = forecasts.map(|(workers, forecast)| {
        (f64::from(workers), forecast.samples_per_s, forecast.samples_per_s * forecast.step.error)
    });
    let predicted: Vec<Point> = predicted.map(log).collect();
    if predicted.is_empty() {
        return None;
    }
    let whole = |exponent: &f64| format!("{:.0}", 10f64.powf(*exponent));
    let axes = Axes { x: "workers (logarithmic)", y: "samples/s", format_x: &whole, format_y: &whole };
    lines(
        &[
            Series { name: "measured", colour: MEASURED, points: measured, marked: true },
            Series { name: "predicted", colour: PREDICTED, points: predicted, marked: true },
        ],
        &axes,
        false,
    )
}

/// Training loss of the first repeat of each size.
pub(super) fn loss(
    experiment: &Experiment,
    results: &Results,
    x: &str,
    of: fn(&Moment) -> f64,
) -> Option<String> {
    let names: Vec<String> =
        results.rows.iter().map(|row| experiment.sizes[row.size].workers.to_string()).collect();
    let series = results.rows.iter().zip(&names).enumerate().map(|(index, (row, name))| {
        let curve = results.of_size(row.size).next().map_or(&[][..], |run| &run.curve);
        let finite = curve.iter().filter(|moment| moment.loss.is_finite());
        let points = finite.map(|moment| (of(moment), moment.loss, 0.0)).collect();
        Series { name, colour: COLOURS[index % COLOURS.len()], points, marked: false }
    });
    let axes =
        Axes { x, y: "training loss", format_x: &|at| short(*at), format_y: &|loss| format!("{loss:.3}") };
    lines(&series.collect::<Vec<_>>(), &axes, false)
}

fn short(value: f64) -> String {
    match value {
        small if small < 20.0 => format!("{small:.1}"),
        large if large < 1e5 => format!("{large:.0}"),
        huge => format!("{:.0}k", huge / 1e3),
    }
}

fn measured(experiment: &Experiment, results: &Results) -> Vec<Point> {
    let point = |row: &super::results::Row| {
        let rate = row.samples_per_s;
        (f64::from(experiment.sizes[row.size].workers), rate.mean, rate.half_width.unwrap_or(0.0))
    };
    results.rows.iter().map(point).collect()
}

fn lines(series: &[Series<'_>], axes: &Axes<'_>, from_zero: bool) -> Option<String> {
    let all = || series.iter().flat_map(|series| &series.points);
    let least = |of: fn(&Point) -> f64| all().map(of).fold(f64::INFINITY, f64::min);
    let most = |of: fn(&Point) -> f64| all().map(of).fold(f64::NEG_INFINITY, f64::max);
    let (left, right) = (least(|point| point.0), most(|point| point.0));
    let (low, high) = (least(|point| point.1 - point.2), most(|point| point.1 + point.2));
    if !(left.is_finite() && right.is_finite() && low.is_finite() && high.is_finite()) {
        return None;
    }
    let (left, low) = if from_zero { (0.0, 0.0) } else { (left, low) };
    let (across, up) = (((right - left) * 0.03).max(1e-6), ((high - low) * 0.06).max(1e-6));
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(66)
            .build_cartesian_2d(left..right + across, (if from_zero { 0.0 } else { low - up })..high + up)?;
        mesh(&mut chart, axes)?;
        for Series { colour, points, marked, .. } in series {
            chart.draw_series(LineSeries::new(
                points.iter().map(|(x, y, _)| (*x, *y)),
                colour.stroke_width(2),
            ))?;
            if *marked {
                chart
                    .draw_series(points.iter().map(|(x, y, _)| Circle::new((*x, *y), 4, colour.filled())))?;
                let bars = points.iter().map(|(x, y, off)| {
                    PathElement::new([(*x, y - off), (*x, y + off)], colour.stroke_width(2))
                });
                chart.draw_series(bars)?;
            }
        }
        let entries: Vec<(&str, RGBColor)> =
            series.iter().map(|series| (series.name, series.colour)).collect();
        legend(area, &entries)
    })
}

/// Compute, exchange and rest of a mean step, stacked, by size.
pub(super) fn step_times(experiment: &Experiment, results: &Results) -> Option<String> {
    let parts: Vec<[f64; 3]> = results
        .rows
        .iter()
        .map(|row| [row.compute_s.mean, row.exchange_s.mean, row.rest_s.mean].map(|seconds| seconds * 1e3))
        .collect();
    let high = parts.iter().map(|parts| parts.iter().sum::<f64>()).fold(0.0, f64::max);
    if !high.is_finite() || high <= 0.0 {
        return None;
    }
    let workers: Vec<u16> = results.rows.iter().map(|row| experiment.sizes[row.size].workers).collect();
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(66)
            .build_cartesian_2d(0.0..parts.len() as f64, 0.0..high * 1.15)?;
        // Labels stand under the middle of their bar.
        mesh(
            &mut chart,
            &Axes {
                x: "",
                y: "ms per step",
                format_x: &|_| String::new(),
                format_y: &|time| format!("{time:.1}"),
            },
        )?;
        for (index, colour) in [COLOURS[0], COLOURS[1], COLOURS[2]].into_iter().enumerate() {
            chart.draw_series(parts.iter().enumerate().map(|(at, parts)| {
                let below: f64 = parts[..index].iter().sum();
                Rectangle::new(
                    [(at as f64 + 0.2, below), (at as f64 + 0.8, below + parts[index])],
                    colour.filled(),
                )
            }))?;
        }
        for (at, workers) in workers.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(at as f64 + 0.5, 0.0));
            let word = crate::report::format::plural((*workers).into(), "worker");
            let style = TextStyle::from(("sans-serif", 16).into_font()).color(&INK).pos(
                plotters::style::text_anchor::Pos::new(
                    plotters::style::text_anchor::HPos::Center,
                    plotters::style::text_anchor::VPos::Top,
                ),
            );
            area.draw(&Text::new(word, (x, y + 8), style))?;
        }
        legend(area, &[("compute", COLOURS[0]), ("exchange", COLOURS[1]), ("update and rest", COLOURS[2])])
    })
}
