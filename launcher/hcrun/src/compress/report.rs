//! Before and after: as JSON, and as a table for people.

use std::fmt::Write;
use std::io;
use std::path::Path;

use hcrun_engine::checkpoint::{Compression, MODEL_FILE};
use serde::Serialize;

use super::evaluation::Evaluation;
use super::held_out::NotOpened;
use super::timing::Forward;
use crate::report::format::{count, percent};

#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    source: String,
    out: String,
    steps: u64,
    #[serde(flatten)]
    compression: Done<'a>,
    sizes: Sizes,
    /// None: no row may be opened here.
    evaluation: Option<Evaluation>,
    not_opened: Vec<NotOpened>,
    forward: Forward,
}

#[derive(Debug, Serialize)]
struct Done<'a> {
    quantize: Option<&'a str>,
    pruned: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Sizes {
    /// Numbers in matrices, with scales and masks, without names and shapes.
    matrices: Size,
    weights: u64,
    zeros: u64,
    model_file: Size,
    checkpoint: Size,
}

/// Bytes.
#[derive(Debug, Clone, Copy, Serialize)]
struct Size {
    before: u64,
    after: u64,
    ratio: f64,
}

impl Size {
    fn new(before: u64, after: u64) -> Size {
        Size { before, after, ratio: before as f64 / after as f64 }
    }
}

impl Sizes {
    /// Of the files as they lie there.
    pub(crate) fn measure(source: &Path, out: &Path, compression: &Compression) -> io::Result<Sizes> {
        let sum = |of: fn(&hcrun_engine::checkpoint::PackedEntry) -> usize| -> u64 {
            compression.tensors.values().map(|entry| of(entry) as u64).sum()
        };
        let weights = sum(|entry| entry.shape.iter().product());
        let file = |folder: &Path| std::fs::metadata(folder.join(MODEL_FILE)).map(|file| file.len());
        Ok(Sizes {
            matrices: Size::new(weights * 4, sum(|entry| entry.bytes)),
            weights,
            zeros: sum(|entry| entry.zeros),
            model_file: Size::new(file(source)?, file(out)?),
            checkpoint: Size::new(folder_bytes(source)?, folder_bytes(out)?),
        })
    }
}

fn folder_bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

impl<'a> Report<'a> {
    #[expect(clippy::too_many_arguments, reason = "each is a part of the report")]
    pub(crate) fn new(
        source: &Path,
        out: &Path,
        steps: u64,
        compression: &'a Compression,
        sizes: Sizes,
        evaluation: Option<Evaluation>,
        not_opened: Vec<NotOpened>,
        forward: Forward,
    ) -> Report<'a> {
        let compression = Done {
            quantize: compression.quantize.map(|bits| bits.name()),
            pruned: compression.pruned_millionths.map(|millionths| f64::from(millionths) / 1e6),
        };
        let (source, out) = (source.display().to_string(), out.display().to_string());
        Report { source, out, steps, compression, sizes, evaluation, not_opened, forward }
    }

    pub(crate) fn to_text(&self) -> String {
        let mut rows = vec![["", "before", "after", ""].map(str::to_owned)];
        let sizes = &self.sizes;
        for (name, size) in [
            ("matrices, bytes", sizes.matrices),
            ("model.safetensors, bytes", sizes.model_file),
            ("whole checkpoint, bytes", sizes.checkpoint),
        ] {
            let ratio = format!("{:.2} times smaller", size.ratio);
            rows.push([name.to_owned(), count(size.before), count(size.after), ratio]);
        }
        rows.extend(self.evaluation.iter().flat_map(evaluation_rows));
        let Forward { before_seconds, after_seconds, rounds, threads } = self.forward;
        let plural = if threads == 1 { "" } else { "s" };
        rows.push([
            "forward, ms for 1,000 rows".to_owned(),
            format!("{:.2}", before_seconds * 1e3),
            format!("{:.2}", after_seconds * 1e3),
            format!("the same arithmetic; median of {rounds}, {threads} thread{plural}"),
        ]);
        let mut text = format!("{} after {} steps -> {}\n", self.source, self.steps, self.out);
        table(&rows, &mut text);
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{} of {} weights of matrices are zero; biases and norms are as they were",
            count(sizes.zeros),
            count(sizes.weights)
        );
        match &self.evaluation {
            Some(evaluation) => {
                let shards: Vec<&str> = evaluation.shards.iter().map(|shard| shard.as_str()).collect();
                let _ = writeln!(text, "evaluated on held-out rows of {}", shards.join(", "));
            }
            None => text.push_str("not evaluated: nothing is known of what this costs in accuracy\n"),
        }
        for NotOpened { shard, why } in &self.not_opened {
            let shard = shard.as_ref().map_or("any shard", |shard| shard.as_str());
            let _ = writeln!(text, "not opened: {shard} ({why})");
        }
        text
    }
}

fn evaluation_rows(evaluation: &Evaluation) -> Vec<[String; 4]> {
    let Evaluation { before, after, unit, counted, .. } = evaluation;
    let samples = format!("{} rows", count(evaluation.rows));
    let mut rows = vec![[
        format!("held-out loss, {unit}"),
        format!("{:.4}", before.loss),
        format!("{:.4}", after.loss),
        format!("{:+.4} on {samples}", after.loss - before.loss),
    ]];
    if let (Some(before), Some(after), Some(fewer)) =
        (before.accuracy, after.accuracy, evaluation.worse_count)
    {
        rows.push([
            "held-out accuracy".to_owned(),
            percent(before),
            percent(after),
            format!(
                "{:+.2} points, {:+} of {} right answers",
                // Not minus zero.
                0.0 - evaluation.worse_points,
                -fewer,
                count(*counted)
            ),
        ]);
    }
    if let (Some(before), Some(after)) = (before.rmse, after.rmse) {
        rows.push([
            "held-out RMSE".to_owned(),
            format!("{before:.4}"),
            format!("{after:.4}"),
            format!("{:+.2} %", evaluation.worse_points),
        ]);
    }
    rows
}

fn table(rows: &[[String; 4]], text: &mut String) {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (first, second, third) = (width(0), width(1), width(2));
    for [name, before, after, remark] in rows {
        let line = format!("  {name:<first$}  {before:>second$}  {after:>third$}  {remark}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
