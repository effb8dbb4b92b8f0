//! `hcrun plan`: who would run where, what is held where, what would cross each border.

use std::fmt::Write;

use hcrun_protocol::plan::{Plan, Traffic};
use hcrun_scheduling::{Choice, Rejected};
use serde::Serialize;

use crate::cli::JobArgs;
use crate::failure::Result;
use crate::output::Output;
use crate::prepare;
use crate::report::format::{count, percent, plural, traffic_total};

pub(crate) fn plan(args: &JobArgs, output: &Output) -> Result<()> {
    let prepared = prepare::prepare(args)?;
    match &prepared.choice {
        None => output.answer(&prepared.plan, || to_text(&prepared.plan)),
        Some(choice) => {
            let answer = Chosen { plan: &prepared.plan, choice };
            output.answer(&answer, || format!("{}\n{}", to_text(&prepared.plan), choice_text(choice)));
        }
    }
    Ok(())
}

/// A plan whose pools a strategy chose.
#[derive(Serialize)]
struct Chosen<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    choice: &'a Choice,
}

fn choice_text(choice: &Choice) -> String {
    let mut lines = vec![
        format!("choice: {}", hcrun_scheduling::words(&choice.workers)),
        format!("  because {}", choice.because),
        "rejected".to_owned(),
    ];
    lines.extend(choice.rejected.iter().map(|Rejected { workers, because, .. }| {
        format!("  {}: {because}", hcrun_scheduling::words(workers))
    }));
    if !choice.would_change.is_empty() {
        lines.push("what would change the choice".to_owned());
        lines.extend(choice.would_change.iter().map(|change| format!("  {change}")));
    }
    lines.join("\n")
}

/// The plan for people.
pub(crate) fn to_text(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write(plan, &mut text);
    text
}

fn write(plan: &Plan, text: &mut String) -> std::fmt::Result {
    let workers = &plan.placement.workers;
    writeln!(
        text,
        "{}: {}, {}, strategy {}",
        plan.job,
        plural(workers.len(), "worker"),
        plural(usize::try_from(plan.steps).unwrap_or(usize::MAX), "step"),
        plan.strategy
    )?;

    writeln!(text, "\nworkers")?;
    let rows = workers.iter().map(|worker| {
        let samples = plan.samples_per_step.get(worker.rank.index()).copied().unwrap_or(0.0);
        vec![
            worker.slot.to_string(),
            worker.rank.to_string(),
            format!("zone {} ({})", worker.zone, trust(worker.trust)),
            format!("{samples:.1} samples per step"),
            format!("({})", worker.reason),
        ]
    });
    table(text, rows.collect())?;

    writeln!(text, "\nshards")?;
    let rows = plan.placement.shards.iter().map(|shard| {
        let slots: Vec<String> = shard.slots.iter().map(ToString::to_string).collect();
        vec![shard.id.to_string(), shard.rule.clone(), format!("held by {}", slots.join(", "))]
    });
    table(text, rows.collect())?;

    writeln!(text, "\nsamples")?;
    let rows = plan.classes.iter().map(|class| {
        let zones: Vec<&str> = class.zones.iter().map(|zone| zone.as_str()).collect();
        vec![
            format!("in {}", zones.join(", ")),
            format!("{} trained on", count(class.samples.training)),
            format!("{} held out", count(class.samples.held_out)),
            format!("{} of each batch", percent(class.batch_share)),
        ]
    });
    table(text, rows.collect())?;

    let exchange = &plan.exchange;
    writeln!(text, "\nexchange")?;
    writeln!(
        text,
        "  {} parameters in {}, {} rounds per step, {}",
        count(exchange.parameters as u64),
        plural(exchange.buckets, "bucket"),
        exchange.rounds_per_step,
        if exchange.sharded { "sharded optimizer" } else { "every worker updates all" }
    )?;
    let single = if exchange.min_contributors == 1 { ": single gradients may cross a border" } else { "" };
    writeln!(text, "  min_contributors {}{single}", exchange.min_contributors)?;

    writeln!(text, "\nbytes across zone borders")?;
    if plan.total_bytes.is_empty() {
        writeln!(text, "  none: all workers are in one zone")?;
    } else {
        let mut rows = Vec::new();
        traffic_rows("per step", &plan.bytes_per_step, &mut rows);
        traffic_rows("per evaluation", &plan.bytes_per_evaluation, &mut rows);
        traffic_rows("statistics, once", &plan.statistics_bytes, &mut rows);
        traffic_rows("per checkpoint", &plan.checkpoint_bytes, &mut rows);
        table(text, rows)?;
        writeln!(
            text,
            "  in total {} bytes ({} steps, {})",
            count(traffic_total(&plan.total_bytes)),
            count(plan.steps),
            plural(usize::try_from(plan.evaluations).unwrap_or(usize::MAX), "evaluation")
        )?;
    }

    writeln!(text, "\ncheckpoints")?;
    writeln!(
        text,
        "  {} by the workers of zone {}, written in zone {}; a failure costs at most {}",
        plural(usize::try_from(plan.checkpoints).unwrap_or(usize::MAX), "checkpoint"),
        plan.checkpoint_zone,
        plan.launcher_zone,
        plural(usize::try_from(plan.steps_at_risk).unwrap_or(usize::MAX), "step"),
    )?;

    writeln!(text)?;
    match plan.time_s {
        Some(time) => writeln!(text, "time: {time:.0} s")?,
        None => writeln!(text, "time: not measured")?,
    }
    match (plan.cost_usd, &plan.price) {
        (Some(cost), _) => writeln!(text, "cost: {cost:.2} USD")?,
        (None, Some(price)) => {
            writeln!(text, "cost: {:.2} USD per hour ({})", price.usd_per_hour, price.sources.join("; "))?;
        }
        (None, None) => writeln!(text, "cost: no prices in the cluster file")?,
    }
    for warning in &plan.warnings {
        writeln!(text, "warning: {warning}")?;
    }
    Ok(())
}

fn traffic_rows(name: &str, traffic: &Traffic, rows: &mut Vec<Vec<String>>) {
    for (border, classes) in traffic {
        for (class, bytes) in classes {
            rows.push(vec![
                name.to_owned(),
                border.clone(),
                class.clone(),
                format!("{} bytes", count(*bytes)),
            ]);
        }
    }
}

/// Columns as wide as their widest cell.
fn table(text: &mut String, rows: Vec<Vec<String>>) -> std::fmt::Result {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn trust(trust: hcrun_protocol::cluster::Trust) -> &'static str {
    match trust {
        hcrun_protocol::cluster::Trust::Private => "private",
        hcrun_protocol::cluster::Trust::Public => "public",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plans_of_the_examples_are_as_recorded() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        for example in ["gpt", "hospital", "bank", "factory"] {
            let job = format!("{root}/examples/{example}/job.toml").into();
            let args =
                JobArgs { job, cluster: None, seed: None, set: Vec::new(), strategy: None, workers: None };
            let text = to_text(&prepare::prepare(&args).unwrap().plan);
            let golden = format!("{}/testdata/plans/{example}.txt", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("HCRUN_BLESS").is_some() {
                std::fs::write(&golden, &text).unwrap();
            }
            assert_eq!(
                text,
                std::fs::read_to_string(&golden).unwrap_or_default(),
                "{example}: HCRUN_BLESS=1 accepts"
            );
        }
    }
}
