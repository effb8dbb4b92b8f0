//! The report of a scaling experiment.

use super::charts;
use super::plan::Experiment;
use super::results::Results;
use super::table::{HEADER, PREDICTED, cells, model_words, not_predicted, predicted_cells, title};
use crate::report::format::{percent, plural};
use crate::report::page::{escape, page, section};

pub(crate) fn to_html(experiment: &Experiment, results: &Results) -> String {
    let header = format!(
        "<h1>How {} scales</h1><p class=\"run\">{}</p>",
        escape(&experiment.job),
        escape(&title(experiment))
    );
    let figure = |title: &str, drawing: Option<String>, words: &str| {
        let again = escape(&experiment.command);
        section(
            title,
            drawing.map(|drawing| {
                format!("{drawing}<p class=\"run\">{} Again: <code>{again}</code></p>", escape(words))
            }),
        )
    };
    let samples = |moment: &super::measure::Moment| moment.samples;
    let seconds = |moment: &super::measure::Moment| moment.seconds;
    let sections = [
        cards(experiment, results),
        remarks(experiment, results),
        section(
            "Figures",
            Some(table(&HEADER, results.rows.iter().map(|row| cells(experiment, row).into()))),
        ),
        figure(
            "Throughput",
            charts::throughput(experiment, results),
            "Measured, with 95 % confidence intervals over the repeats; ideal: as many times faster as there are workers.",
        ),
        figure(
            "Where a step's time goes",
            charts::step_times(experiment, results),
            "Means over steps and repeats.",
        ),
        figure(
            "Loss against samples",
            charts::loss(experiment, results, "samples trained on", samples),
            "Training loss of the first repeat of each size. Curves that lie on each other learn as much from a sample.",
        ),
        figure(
            "Loss against time",
            charts::loss(experiment, results, "seconds of training", seconds),
            "Training loss of the first repeat of each size; evaluations are not counted.",
        ),
        predictions(experiment, results),
    ];
    page(&format!("Scaling of {}", experiment.job), &header, &sections.concat())
}

fn cards(experiment: &Experiment, results: &Results) -> String {
    let card = |name: &str, value: String, note: String| {
        format!("<div class=\"card\"><span>{name}</span><b>{value}</b><small>{note}</small></div>")
    };
    let workers = |size: usize| plural(experiment.sizes[size].workers.into(), "worker");
    let best = results.rows.iter().max_by(|a, b| a.samples_per_s.mean.total_cmp(&b.samples_per_s.mean));
    let best = best.map(|row| {
        card("highest throughput", format!("{:.0} samples/s", row.samples_per_s.mean), workers(row.size))
    });
    let last = results.rows.last().filter(|_| results.rows.len() > 1).map(|row| {
        let note = match experiment.shares_cores(&experiment.sizes[row.size]) {
            true => format!("{}, which share cores", workers(row.size)),
            false => workers(row.size),
        };
        let share =
            row.exchange_share.map(|share| card("of a step in exchange", percent(share.mean), note.clone()));
        card("efficiency", percent(row.efficiency.mean), note) + &share.unwrap_or_default()
    });
    let cards: String = best.into_iter().chain(last).collect();
    format!("<section class=\"cards\">{cards}</section>\n")
}

fn remarks(experiment: &Experiment, results: &Results) -> String {
    let mut remarks = experiment.warnings();
    remarks.extend(results.ended.as_ref().map(|failure| {
        let made = results.runs.len();
        let all = experiment.sizes.len() * experiment.repeats as usize;
        format!("the experiment ended after {made} of {all} runs: {}", failure.what)
    }));
    let list: String = remarks.iter().map(|remark| format!("<p>{}</p>", escape(remark))).collect();
    section("Before you believe it", (!list.is_empty()).then_some(list))
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let class = |column: usize| if column == 0 { "" } else { " class=\"n\"" };
    let row = |cells: &[String], tag: &str| {
        let cells = cells.iter().enumerate();
        let cells = cells.map(|(column, cell)| format!("<{tag}{}>{}</{tag}>", class(column), escape(cell)));
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let rows: String = rows.map(|cells| row(&cells, "td")).collect();
    format!("<table>{}{rows}</table>", row(&header, "th"))
}

fn predictions(experiment: &Experiment, results: &Results) -> String {
    let mut body = String::new();
    if let Some(model) = &results.model {
        body += &charts::predictions(experiment, results).unwrap_or_default();
        body += &table(
            &PREDICTED,
            results.predictions.iter().filter_map(|one| predicted_cells(one).map(Vec::from)),
        );
        let words = model_words(experiment, model);
        body.extend(words.iter().map(|line| format!("<p class=\"run\">{}</p>", escape(line))));
    }
    body.extend(not_predicted(results).iter().map(|line| format!("<p>{}</p>", escape(line))));
    section("Predicted, not measured", (!body.is_empty()).then_some(body))
}
