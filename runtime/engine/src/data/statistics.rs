//! Mean and deviation of numeric columns, from sums that cross a border once.
//!
//! Each worker adds up its part of the training rows; the sums are reduced like gradients, over zones, so
//! all ranks compute the same [`Statistics`] to the bit; over how many rows they must be, the sender checks.
//! One-hot features stay as they are.

use serde::{Deserialize, Serialize};

use super::rows::{RowTargets, Rows};
use super::schema::{Schema, Target};

/// Count, sum and sum of squares per column, as one vector of f64 that can be added elementwise:
/// `[rows, sum, squares, sum, squares, ...]`, columns as in [`Schema::statistics_columns`].
#[derive(Debug, Clone, PartialEq)]
pub struct Sums(Vec<f64>);

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatisticsError {
    #[error("{got} sums for {expected}: the workers disagree about the columns")]
    Length { got: usize, expected: usize },
    #[error("no training rows: the job has none or its workers sent none")]
    NoRows,
    #[error("the sums of column `{column}` are not finite")]
    NotFinite { column: String },
    #[error("the statistics are of {found}, and the columns are {expected}")]
    Columns { found: String, expected: String },
}

impl Sums {
    pub fn elems(schema: &Schema) -> usize {
        1 + 2 * schema.statistics_columns().len()
    }

    pub fn zero(schema: &Schema) -> Sums {
        Sums(vec![0.0; Sums::elems(schema)])
    }

    /// What travels.
    pub fn into_vec(self) -> Vec<f64> {
        self.0
    }

    pub(super) fn add_row(&mut self, schema: &Schema, rows: &Rows, row: usize) {
        self.0[0] += 1.0;
        let features = rows.features(row);
        let inputs = schema.numeric_features().map(|(_, feature)| features[feature]);
        let target = match rows.targets() {
            RowTargets::Value(values) => Some(values[row]),
            RowTargets::Class(_) => None,
        };
        for (pair, value) in self.0[1..].chunks_exact_mut(2).zip(inputs.chain(target)) {
            pair[0] += value;
            pair[1] += value * value;
        }
    }
}

/// What one column is standardised by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    pub column: String,
    pub mean: f64,
    /// Over all training rows; 1 for a column that does not vary.
    pub deviation: f64,
}

/// Part of the model and its checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    pub rows: u64,
    /// As in [`Schema::statistics_columns`].
    pub columns: Vec<Moments>,
}

impl Statistics {
    /// From the sums over all workers.
    pub fn from_sums(schema: &Schema, total: &[f64]) -> Result<Statistics, StatisticsError> {
        let expected = Sums::elems(schema);
        if total.len() != expected {
            return Err(StatisticsError::Length { got: total.len(), expected });
        }
        let rows = total[0];
        if !(1.0..=MAX_ROWS).contains(&rows) {
            return Err(StatisticsError::NoRows);
        }
        let pairs = schema.statistics_columns().into_iter().zip(total[1..].chunks_exact(2));
        let columns = pairs.map(|(column, pair)| moments(column, rows, pair[0], pair[1]));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and MAX_ROWS, checked above"
        )]
        let rows = rows as u64;
        Ok(Statistics { rows, columns: columns.collect::<Result<_, _>>()? })
    }

    /// Whether these statistics, read from a file, are of this schema's columns.
    pub fn check(&self, schema: &Schema) -> Result<(), StatisticsError> {
        let (found, expected): (Vec<&str>, _) =
            (self.columns.iter().map(|column| column.column.as_str()).collect(), schema.statistics_columns());
        if found != expected {
            let (found, expected) = (found.join(", "), expected.join(", "));
            return Err(StatisticsError::Columns { found, expected });
        }
        let sane = |column: &&Moments| {
            !(column.mean.is_finite() && column.deviation.is_finite() && column.deviation > 0.0)
        };
        match self.columns.iter().find(sane) {
            Some(column) => Err(StatisticsError::NotFinite { column: column.column.clone() }),
            None => Ok(()),
        }
    }

    /// Appends a row's features as the model takes them.
    pub fn standardise(&self, schema: &Schema, row: &[f64], out: &mut Vec<f32>) {
        let start = out.len();
        out.extend(row.iter().map(|value| narrow(*value)));
        for ((_, feature), column) in schema.numeric_features().zip(&self.columns) {
            out[start + feature] = narrow((row[feature] - column.mean) / column.deviation);
        }
    }

    /// The target's moments; none where classes are predicted. A squared error of the standardised target
    /// times `deviation` squared is one in the target's unit.
    pub fn target(&self, schema: &Schema) -> Option<&Moments> {
        match schema.target {
            Target::Value { .. } => self.columns.last(),
            Target::Class { .. } => None,
        }
    }
}

impl Moments {
    pub fn standardise(&self, value: f64) -> f32 {
        narrow((value - self.mean) / self.deviation)
    }

    /// The value that a standardised prediction stands for.
    pub fn restore(&self, value: f32) -> f64 {
        f64::from(value) * self.deviation + self.mean
    }
}

fn moments(column: &str, rows: f64, sum: f64, squares: f64) -> Result<Moments, StatisticsError> {
    if !(sum.is_finite() && squares.is_finite()) {
        return Err(StatisticsError::NotFinite { column: column.to_owned() });
    }
    let mean = sum / rows;
    let variance = squares / rows - mean * mean;
    // Below this part of the mean square a difference of two f64 is noise: the column does not vary.
    let varies = variance > squares / rows * 1e-14;
    let deviation = if varies { variance.sqrt() } else { 1.0 };
    Ok(Moments { column: column.to_owned(), mean, deviation })
}

#[expect(clippy::cast_possible_truncation, reason = "features are f32; rounding is meant")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// Counts beyond it are not whole in f64.
const MAX_ROWS: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use hcrun_protocol::ShardId;
    use hcrun_protocol::job::Data;

    use super::super::table::Table;
    use super::*;

    fn example(text: &str) -> (Schema, Rows) {
        let data: Data = serde_json::from_str(
            r#"{"format":"csv","held_out":0.2,"target":"y","categories":{"t":["p","q"]}}"#,
        )
        .unwrap();
        let table = Table::parse(&ShardId::new("s").unwrap(), text.as_bytes()).unwrap();
        let schema = Schema::new(&data, &table.columns()).unwrap();
        let rows = Rows::encode(&schema, &table).unwrap();
        (schema, rows)
    }

    #[test]
    fn features_and_target_are_standardised_and_categories_are_not() {
        let (schema, rows) = example("a,t,c,y\n1,p,0.1,10\n2,q,0.1,20\n3,p,0.1,60\n");
        let mut sums = Sums::zero(&schema);
        (0..3).for_each(|row| sums.add_row(&schema, &rows, row));
        let statistics = Statistics::from_sums(&schema, &sums.into_vec()).unwrap();
        statistics.check(&schema).unwrap();
        let deviation = (2.0f64 / 3.0).sqrt();
        let mut out = Vec::new();
        statistics.standardise(&schema, rows.features(2), &mut out);
        assert!((f64::from(out[0]) - 1.0 / deviation).abs() < 1e-6, "{out:?}");
        assert_eq!(out[1..3], [1.0, 0.0]);
        // A column that does not vary is only centred.
        assert_eq!(statistics.columns[1].deviation, 1.0);
        assert!(out[3].abs() < 1e-6);
        let target = statistics.target(&schema).unwrap();
        assert_eq!(target.mean, 30.0);
        assert!((target.restore(target.standardise(60.0)) - 60.0).abs() < 1e-4);
    }

    #[test]
    fn sums_that_make_no_sense_are_refused() {
        let (schema, _) = example("a,t,y\n1,p,10\n");
        let from = |total: &[f64]| Statistics::from_sums(&schema, total).unwrap_err();
        assert_eq!(from(&[1.0]), StatisticsError::Length { got: 1, expected: 5 });
        assert_eq!(from(&[0.0; 5]), StatisticsError::NoRows);
        assert_eq!(from(&[f64::NAN; 5]), StatisticsError::NoRows);
        let infinite = [2.0, 1.0, f64::INFINITY, 1.0, 1.0];
        assert_eq!(from(&infinite), StatisticsError::NotFinite { column: "a".to_owned() });
    }
}
