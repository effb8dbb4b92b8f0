//! The report of a comparison: one page that a person would rather look at than read.

use hcrun_scheduling::comparison::{Interval, mean_interval};
use hcrun_scheduling::strategies;

use super::metrics::Unit;
use super::table::{differences_of, shown, values};
use super::{Inputs, METRICS, Metric, Results, charts, notes};
use crate::report::page::{escape, page, section};

/// Schedules drawn at most: each is a large drawing.
const MAX_SCHEDULES: usize = 4;

pub(super) fn to_html(inputs: &Inputs, results: &Results) -> String {
    let title = format!("{} strategies, {} jobs", inputs.strategies.len(), inputs.workload.len());
    let status = match (results.interrupted, results.failed().count()) {
        (Some(_), _) => "<span class=\"status interrupted\">interrupted</span>",
        (None, 0) => "",
        (None, _) => "<span class=\"status failed\">in part failed</span>",
    };
    let header = format!(
        "<h1>{}</h1>{status}<p class=\"run\">{} on {}, {} devices, {} seed{}</p>",
        escape(&title),
        escape(&inputs.trace),
        escape(&inputs.cluster),
        inputs.fleet.devices(),
        inputs.seeds,
        if inputs.seeds == 1 { "" } else { "s" }
    );
    let figure = |title: &str, drawing: Option<String>, words: &str| {
        let body = drawing.map(|drawing| {
            format!("{}{drawing}<p class=\"run\">{}</p>", key(inputs), caption(inputs, words))
        });
        section(title, body)
    };
    let drawn = &results.drawn;
    let mut sections = vec![
        cards(inputs, results),
        about(inputs, results),
        section("Figures", Some(table(inputs, results))),
        differences(inputs, results),
        costs(inputs, results),
        figure("How long jobs took", charts::completion_times(drawn), "Further left is faster."),
        figure("Devices in use", charts::used(drawn), "Means over equal stretches of time."),
        figure("The queue", charts::queue(drawn), "Means over equal stretches of time."),
    ];
    for drawn in drawn.iter().take(MAX_SCHEDULES) {
        let body = charts::schedule(&inputs.fleet, drawn).map(|drawing| {
            let left_out = match drawn.timeline.slices_left_out() {
                0 => String::new(),
                more => format!(" {more} of its runs are left out."),
            };
            let words = format!("A bar is one run of a job on its devices; the largest are drawn.{left_out}");
            format!("{drawing}<p class=\"run\">{}</p>", caption(inputs, &words))
        });
        sections.push(section(&format!("Schedule of {}", drawn.strategy), body));
    }
    sections.push(words(inputs));
    page(&title, &header, &sections.concat())
}

fn caption(inputs: &Inputs, words: &str) -> String {
    format!("{} Again: <code>{}</code>", escape(words), escape(&inputs.command))
}

/// Which colour is which strategy.
fn key(inputs: &Inputs) -> String {
    let entries = inputs.strategies.iter().enumerate().map(|(index, name)| {
        let colour = charts::colour_hex(index);
        format!("<span style=\"white-space:nowrap;margin-right:16px\"><span class=\"key\" style=\"background:{colour}\"></span> {name}</span>")
    });
    format!("<p>{}</p>", entries.collect::<String>())
}

/// What is to be known of the figures before they are read.
fn about(inputs: &Inputs, results: &Results) -> String {
    let notes = notes::all(inputs, results);
    let items: String = notes.iter().map(|note| format!("<li>{}</li>", escape(note))).collect();
    section("To be known", (!notes.is_empty()).then(|| format!("<ul>{items}</ul>")))
}

/// The best of the figures that people ask for first, of the strategies that refuse fewest jobs: others have done less.
fn cards(inputs: &Inputs, results: &Results) -> String {
    let refused = |strategy: &str| {
        let refused: Vec<f64> = results.of(strategy).map(|run| run.figures.refused as f64).collect();
        (!refused.is_empty()).then(|| mean_interval(&refused).mean)
    };
    let fewest =
        inputs.strategies.iter().filter_map(|strategy| refused(strategy)).fold(f64::INFINITY, f64::min);
    let card = |key: &str, name: &str| {
        let metric = METRICS.iter().find(|metric| metric.key == key)?;
        let comparable = inputs.strategies.iter().filter(|strategy| refused(strategy) == Some(fewest));
        let means = comparable.filter_map(|strategy| {
            let values = values(metric, strategy, results);
            (!values.is_empty()).then(|| (mean_interval(&values).mean, *strategy))
        });
        let (best, strategy) = means.min_by(|a, b| a.0.total_cmp(&b.0))?;
        let shown = metric.unit.show(best);
        Some(format!("<div class=\"card\"><span>{name}</span><b>{shown}</b><small>{strategy}</small></div>"))
    };
    let cards = [
        card("avg_jct_s", "lowest mean JCT"),
        card("p99_jct_s", "lowest p99 JCT"),
        card("makespan_s", "lowest makespan"),
        card("worst_fairness", "lowest worst rho"),
    ];
    format!("<section class=\"cards\">{}</section>\n", cards.into_iter().flatten().collect::<String>())
}

fn table(inputs: &Inputs, results: &Results) -> String {
    let shown = shown(results);
    let heads =
        shown.iter().filter_map(|metric| metric.title).map(|title| format!("<th class=\"n\">{title}</th>"));
    let mut html = format!("<table><tr><th>strategy</th>{}</tr>", heads.collect::<String>());
    for (index, strategy) in inputs.strategies.iter().enumerate() {
        let colour = charts::colour_hex(index);
        html += &format!("<tr><td><span class=\"key\" style=\"background:{colour}\"></span> {strategy}</td>");
        for metric in &shown {
            let values = values(metric, strategy, results);
            if values.is_empty() {
                html += "<td class=\"n less\">-</td>";
                continue;
            }
            let Interval { mean, half_width } = mean_interval(&values);
            let spread = half_width.filter(|_| metric.unit != Unit::Milliseconds);
            let spread = spread.map(|half| format!("<br><small>± {}</small>", metric.unit.show(half)));
            html += &format!("<td class=\"n\">{}{}</td>", metric.unit.show(mean), spread.unwrap_or_default());
        }
        html += "</tr>";
    }
    html + "</table>"
}

/// What can be said for sure, seed by seed.
fn differences(inputs: &Inputs, results: &Results) -> String {
    let base = inputs.strategies[0];
    let shown = ["avg_jct_s", "p99_jct_s", "makespan_s", "avg_queue_s"];
    let shown: Vec<&Metric> = METRICS.iter().filter(|metric| shown.contains(&metric.key)).collect();
    if inputs.seeds < 2 || inputs.strategies.len() < 2 {
        return String::new();
    }
    let heads =
        shown.iter().filter_map(|metric| metric.title).map(|title| format!("<th class=\"n\">{title}</th>"));
    let mut html = format!("<table><tr><th>strategy</th>{}</tr>", heads.collect::<String>());
    for strategy in &inputs.strategies[1..] {
        html += &format!("<tr><td>{strategy}</td>");
        for metric in &shown {
            let differences = differences_of(metric, strategy, base, results);
            let Interval { mean, half_width: Some(half) } = mean_interval(&differences) else {
                html += "<td class=\"n less\">-</td>";
                continue;
            };
            let class = match () {
                () if mean.abs() <= half => "less",
                () if mean < 0.0 => "equal",
                () => "more",
            };
            let (mean, half) = (metric.unit.show(mean), metric.unit.show(half));
            html += &format!("<td class=\"n {class}\">{mean}<br><small>± {half}</small></td>");
        }
        html += "</tr>";
    }
    let note = format!(
        "<p class=\"run\">Means of the differences over {} seeds with their 95 % confidence intervals (Student's t, paired); of \
         times over the jobs that both finished. Green is lower, red is higher, grey is not told apart by these seeds.</p>",
        inputs.seeds
    );
    section(&format!("Beside {base}"), Some(html + "</table>" + &note))
}

/// Mean dollars by kind, one bar per strategy; nothing where a price is unknown.
fn costs(inputs: &Inputs, results: &Results) -> String {
    const KINDS: [(&str, &str, &str); 4] = [
        ("usd_private", "private", "var(--green)"),
        ("usd_on_demand", "on-demand", "var(--orange)"),
        ("usd_spot", "spot", "var(--blue)"),
        ("usd_egress", "egress", "var(--red)"),
    ];
    let mean = |key: &str, strategy: &str| {
        let metric = METRICS.iter().find(|metric| metric.key == key)?;
        let values = values(metric, strategy, results);
        (!values.is_empty()).then(|| mean_interval(&values).mean)
    };
    let most = inputs.strategies.iter().filter_map(|strategy| mean("usd", strategy)).fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let mut html = "<table>".to_owned();
    for strategy in &inputs.strategies {
        let Some(total) = mean("usd", strategy) else { continue };
        let parts = KINDS.iter().map(|(key, _, colour)| {
            let width = mean(key, strategy).unwrap_or(0.0) / most * 100.0;
            format!("<span style=\"display:inline-block;height:14px;width:{width:.2}%;background:{colour}\"></span>")
        });
        let bar = parts.collect::<String>();
        html += &format!(
            "<tr><td>{strategy}</td><td style=\"width:65%;font-size:0;white-space:nowrap\">{bar}</td>\
             <td class=\"n\">{}</td></tr>",
            Unit::Dollars.show(total)
        );
    }
    let key = KINDS.iter().map(|(_, name, colour)| {
        format!("<span style=\"margin-right:16px\"><span class=\"key\" style=\"background:{colour}\"></span> {name}</span>")
    });
    let egress = match results.runs.iter().any(|run| run.sent_bytes.is_some()) {
        true => "egress by the month's tiers of each account",
        false => "without egress, since the trace does not say what jobs send",
    };
    let words = format!("Means over seeds, {egress}; what is owned is paid for while it is held.");
    let body = format!(
        "<p>{}</p>{html}</table><p class=\"run\">{}</p>",
        key.collect::<String>(),
        caption(inputs, &words)
    );
    section("Cost by kind", Some(body))
}

fn words(inputs: &Inputs) -> String {
    let about = strategies::ALL.iter().filter(|about| inputs.strategies.contains(&about.name));
    let rows = about.map(|about| format!("<tr><td>{}</td><td>{}</td></tr>", about.name, escape(about.what)));
    let text = "<p class=\"run\">JCT: from submission to completion. rho: JCT over the time that a fair share of the fleet would \
                take; above 1.05 a job counts as unfair. violations: starts where a job's data may not be; always 0.</p>";
    section("The strategies", Some(format!("<table>{}</table>{text}", rows.collect::<String>())))
}
