//! The drawings of a comparison.

use hcrun_protocol::time::Time;
use hcrun_scheduling::Fleet;
use hcrun_scheduling::fleet::PoolIndex;
use hcrun_scheduling::simulator::{Level, Slice};
use plotters::prelude::*;

use super::metrics::seconds;
use super::sweep::Drawn;
use crate::report::drawing::{Area, Axes, COLOURS, Drawn as Painted, INK, draw, mesh, text};

/// Points of one curve at most.
const MAX_POINTS: usize = 400;
/// Bars of one schedule at most; thinner ones are left out first.
const MAX_BARS: usize = 3_000;

/// A strategy's colour, as the page writes it.
pub(super) fn colour_hex(index: usize) -> String {
    let RGBColor(red, green, blue) = colour(index);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// Share of jobs that were complete within a time, on a logarithmic axis.
pub(super) fn completion_times(drawn: &[Drawn]) -> Option<String> {
    let curves = drawn.iter().map(|drawn| {
        let times = drawn.outcome.completion_times();
        let stride = times.len().div_ceil(MAX_POINTS).max(1);
        let last = times.len().saturating_sub(1);
        let shown = times.iter().enumerate().filter(|(index, _)| index % stride == 0 || *index == last);
        let point = |(index, time): (usize, &hcrun_protocol::time::Span)| {
            (time.as_secs_f64().max(1.0).log10(), (index + 1) as f64 / times.len() as f64)
        };
        (drawn.place, shown.map(point).collect())
    });
    let curves: Vec<Curve> = curves.collect();
    let axes = Axes {
        x: "time from submission to completion",
        y: "share of jobs",
        format_x: &|exponent| seconds(10f64.powf(*exponent)),
        format_y: &|share| format!("{:.0} %", share * 100.0),
    };
    lines(&curves, &axes, Some(1.0))
}

/// Devices held over time.
pub(super) fn used(drawn: &[Drawn]) -> Option<String> {
    levels(drawn, "devices held", |level| level.used as f64)
}

/// Jobs waiting over time.
pub(super) fn queue(drawn: &[Drawn]) -> Option<String> {
    levels(drawn, "jobs waiting", |level| level.waiting as f64)
}

fn levels(drawn: &[Drawn], y: &str, of: impl Fn(&Level) -> f64) -> Option<String> {
    let end = drawn.iter().map(|drawn| drawn.outcome.makespan.0).max()?.max(1);
    let curves = drawn.iter().map(|drawn| (drawn.place, averaged(drawn.timeline.levels(), end, &of)));
    let axes = Axes { x: "time", y, format_x: &|at| seconds(*at), format_y: &|level| format!("{level:.0}") };
    lines(&curves.collect::<Vec<_>>(), &axes, None)
}

/// Means over equal stretches of time: peaks are not drawn wider than they are.
fn averaged(levels: &[Level], end: u64, of: impl Fn(&Level) -> f64) -> Vec<(f64, f64)> {
    let points = MAX_POINTS as u64;
    let edge =
        |index: u64| u64::try_from(u128::from(end) * u128::from(index) / u128::from(points)).unwrap_or(end);
    let mut curve = Vec::new();
    let mut next = 0;
    let mut level = 0.0;
    for index in 0..points {
        let (from, to) = (edge(index), edge(index + 1));
        let (mut at, mut sum) = (from, 0.0);
        while let Some(change) = levels.get(next).filter(|change| change.at.0 < to) {
            sum += level * (change.at.0.max(at) - at) as f64;
            at = change.at.0.max(at);
            level = of(change);
            next += 1;
        }
        sum += level * (to - at) as f64;
        if to > from {
            curve.push(((from + (to - from) / 2) as f64 / 1e6, sum / (to - from) as f64));
        }
    }
    curve
}

/// Points, with the place of their strategy.
type Curve = (usize, Vec<(f64, f64)>);

fn lines(curves: &[Curve], axes: &Axes<'_>, top: Option<f64>) -> Option<String> {
    let all = || curves.iter().flat_map(|(_, points)| points);
    let bound =
        |pick: fn(f64, f64) -> f64, start: f64, of: fn(&(f64, f64)) -> f64| all().map(of).fold(start, pick);
    let (left, right) =
        (bound(f64::min, f64::INFINITY, |p| p.0), bound(f64::max, f64::NEG_INFINITY, |p| p.0));
    let high = top.unwrap_or_else(|| bound(f64::max, 0.0, |p| p.1) * 1.05);
    if !left.is_finite() || !right.is_finite() || high <= 0.0 {
        return None;
    }
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(66)
            .build_cartesian_2d(left..right.max(left + 1e-9), 0.0..high)?;
        mesh(&mut chart, axes)?;
        for (place, points) in curves {
            chart.draw_series(LineSeries::new(points.iter().copied(), colour(*place).stroke_width(2)))?;
        }
        Ok(())
    })
}

/// Who held which devices when: a band per pool, a row per device, a bar per run of a job.
pub(super) fn schedule(fleet: &Fleet, drawn: &Drawn) -> Option<String> {
    let end = drawn.outcome.makespan.0.max(1);
    let bars = bars(fleet, drawn.timeline.slices(), end);
    if bars.is_empty() {
        return None;
    }
    let rows: u64 = fleet.devices();
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(66)
            .build_cartesian_2d(0.0..end as f64 / 1e6, (rows as f64)..0.0)?;
        let axes = Axes {
            x: "time",
            y: "devices, by pool",
            format_x: &|at| seconds(*at),
            format_y: &|row| format!("{row:.0}"),
        };
        mesh(&mut chart, &axes)?;
        let bars = bars.iter().map(|bar| {
            let corners = [(bar.from.0 as f64 / 1e6, bar.top), (bar.to.0 as f64 / 1e6, bar.bottom)];
            Rectangle::new(corners, colour(bar.colour).mix(0.85).filled())
        });
        chart.draw_series(bars)?;
        let mut first = 0.0;
        for pool in fleet.pool_indices() {
            let size = f64::from(fleet.pool(pool).nodes) * f64::from(fleet.pool(pool).devices_per_node);
            let edge = [(0.0, first), (end as f64 / 1e6, first)];
            chart.draw_series(LineSeries::new(edge, INK.mix(0.5)))?;
            if fleet.pools.len() > 1 {
                name(area, &fleet.pool(pool).name, chart.backend_coord(&(0.0, first)))?;
            }
            first += size;
        }
        Ok(())
    })
}

fn name(area: &Area<'_>, pool: &str, (x, y): (i32, i32)) -> Painted {
    text(area, pool, (x + 4, y + 10))
}

struct Bar {
    from: Time,
    to: Time,
    top: f64,
    bottom: f64,
    colour: usize,
}

/// Gives each slice rows of its pool that are free for all of it; of rows that are not neighbours each gets a bar.
fn bars(fleet: &Fleet, slices: &[Slice], end: u64) -> Vec<Bar> {
    let mut by_size: Vec<&Slice> = slices.iter().filter(|slice| slice.to > slice.from).collect();
    if by_size.len() > MAX_BARS {
        let area = |slice: &Slice| u128::from(slice.to.0 - slice.from.0) * u128::from(slice.devices);
        by_size.sort_by_key(|slice| std::cmp::Reverse(area(slice)));
        by_size.truncate(MAX_BARS);
    }
    by_size.sort_by_key(|slice| (slice.from, slice.job));
    let (mut bars, mut first) = (Vec::new(), 0);
    for pool in fleet.pool_indices() {
        let size = fleet.pool(pool).nodes * fleet.pool(pool).devices_per_node;
        let mut free_from = vec![Time::ZERO; size as usize];
        for slice in by_size.iter().filter(|slice| slice.pool == PoolIndex(pool.0)) {
            let free = free_from.iter().enumerate().filter(|(_, free)| **free <= slice.from);
            let rows: Vec<usize> = free.map(|(row, _)| row).take(slice.devices as usize).collect();
            for chunk in rows.chunk_by(|a, b| a + 1 == *b) {
                let (top, bottom) = (first as usize + chunk[0], first as usize + chunk[chunk.len() - 1] + 1);
                let (from, to, colour) = (slice.from, Time(slice.to.0.min(end)), slice.job.index());
                bars.push(Bar { from, to, top: top as f64, bottom: bottom as f64, colour });
            }
            rows.iter().for_each(|row| free_from[*row] = slice.to);
        }
        first += size;
    }
    bars
}
