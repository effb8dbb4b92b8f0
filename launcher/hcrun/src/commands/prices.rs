//! `hcrun prices check`: which prices of a file are old or have no source.

use serde::Serialize;
use time::OffsetDateTime;

use crate::cli::PricesCheckArgs;
use crate::cluster_file;
use crate::codes;
use crate::failure::{Failure, Result};
use crate::output::Output;
use hcrun_scheduling::costs::stale;

#[derive(Serialize)]
struct Answer {
    file: String,
    quotes: usize,
    days: u32,
}

pub(crate) fn check(args: &PricesCheckArgs, output: &Output) -> Result<()> {
    let table = cluster_file::prices(&args.file)?;
    let problems = stale(&table, OffsetDateTime::now_utc().date(), args.days);
    if problems.is_empty() {
        let answer =
            Answer { file: args.file.display().to_string(), quotes: table.quotes.len(), days: args.days };
        output.answer(&answer, || {
            format!("{} prices, none older than {} days and each with its source", answer.quotes, answer.days)
        });
        return Ok(());
    }
    let place = args.file.display();
    let failure =
        Failure::new(&codes::PRICES_STALE, format!("{} prices are old or have no source", problems.len()));
    let failure = failure.at(place.to_string());
    Err(problems.iter().fold(failure, |failure, problem| {
        failure.because(format!("line {}: {}: {}", problem.line, problem.what, problem.why))
    }))
}
