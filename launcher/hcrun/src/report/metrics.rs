//! `metrics.jsonl`: one line per step and per evaluation.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Row {
    Step(StepRow),
    Evaluation(EvaluationRow),
}

/// One optimizer step, global. Times are the mean over workers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StepRow {
    /// Counted from 1 for people: the number of updates applied.
    pub step: u64,
    #[serde(deserialize_with = "number_or_nan")]
    pub loss: f64,
    pub samples_per_s: f64,
    /// Wall time.
    pub step_s: f64,
    pub compute_s: f64,
    /// Blocked on the exchange, not hidden behind computing.
    pub exchange_s: f64,
    pub update_s: f64,
    pub learning_rate: f64,
    /// Tensor bytes over all zone borders since the start.
    pub egress_bytes: u64,
}

/// Held-out data, after `step` updates.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EvaluationRow {
    pub step: u64,
    #[serde(deserialize_with = "number_or_nan")]
    pub loss: f64,
    /// Of the loss: `nats per byte`, `nats`, `squared error`.
    pub unit: String,
    pub samples: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rmse: Option<f64>,
}

/// JSON has no NaN: what is not finite is written as null.
pub(super) fn number_or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// Appends rows; each is one write, so a crash leaves whole lines but perhaps the last.
#[derive(Debug)]
pub struct MetricsFile {
    file: File,
}

impl MetricsFile {
    pub fn append(path: &Path) -> io::Result<MetricsFile> {
        Ok(MetricsFile { file: File::options().create(true).append(true).open(path)? })
    }

    pub fn write(&mut self, row: &Row) -> io::Result<()> {
        let mut line = serde_json::to_vec(row).map_err(io::Error::other)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

/// All rows of a run, in order; a resumed run counts a step again, then the later row holds. A torn last
/// line is left out.
pub fn read(path: &Path) -> io::Result<(Vec<StepRow>, Vec<EvaluationRow>)> {
    let (mut steps, mut evaluations) = (Vec::<StepRow>::new(), Vec::<EvaluationRow>::new());
    for line in BufReader::new(File::open(path)?).lines() {
        match serde_json::from_str(&line?) {
            Ok(Row::Step(row)) => {
                steps.truncate(steps.partition_point(|earlier| earlier.step < row.step));
                // The evaluation after a step may be there before the last worker lets the step be committed.
                evaluations.truncate(evaluations.partition_point(|earlier| earlier.step <= row.step));
                steps.push(row);
            }
            Ok(Row::Evaluation(row)) => {
                evaluations.truncate(evaluations.partition_point(|earlier| earlier.step < row.step));
                evaluations.push(row);
            }
            Err(_) => {}
        }
    }
    Ok((steps, evaluations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_run_overwrites_its_steps_and_a_torn_line_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let mut file = MetricsFile::append(&path).unwrap();
        for (step, loss) in [(1, 5.0), (2, 4.0), (3, 3.0), (2, 4.5)] {
            file.write(&Row::Step(StepRow { step, loss, ..StepRow::default() })).unwrap();
            file.write(&Row::Evaluation(EvaluationRow { step, loss, ..EvaluationRow::default() })).unwrap();
        }
        file.write(&Row::Step(StepRow { step: 3, loss: f64::NAN, ..StepRow::default() })).unwrap();
        assert!(read(&path).unwrap().0[2].loss.is_nan());
        // An evaluation that overtakes its step stays.
        file.write(&Row::Evaluation(EvaluationRow { step: 3, ..EvaluationRow::default() })).unwrap();
        file.write(&Row::Step(StepRow { step: 3, loss: 2.0, ..StepRow::default() })).unwrap();
        file.file.write_all(b"{\"kind\":\"step\",\"st").unwrap();
        let (steps, evaluations) = read(&path).unwrap();
        let losses: Vec<(u64, f64)> = steps.iter().map(|row| (row.step, row.loss)).collect();
        assert_eq!(losses, [(1, 5.0), (2, 4.5), (3, 2.0)]);
        assert_eq!(evaluations.iter().map(|row| row.step).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
