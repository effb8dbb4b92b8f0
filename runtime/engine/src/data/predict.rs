//! Rows of a file that is no shard: encoded as training did, for a prediction.

use super::rows::encode_inputs;
use super::schema::Schema;
use super::statistics::Statistics;
use super::table::{Table, TableError};

/// Features of every row of a file, `[rows, features]`, standardised. Its columns may be in any order;
/// the target and columns that are not inputs may be missing and are not read.
///
/// `name` stands for the file in errors.
pub fn features(
    schema: &Schema,
    statistics: &Statistics,
    name: &str,
    bytes: &[u8],
) -> Result<Vec<f32>, TableError> {
    let table = Table::parse_named(name, bytes)?;
    let raw = encode_inputs(schema, &table)?;
    let mut features = Vec::with_capacity(raw.len());
    raw.chunks_exact(schema.features).for_each(|row| statistics.standardise(schema, row, &mut features));
    Ok(features)
}

#[cfg(test)]
mod tests {
    use super::super::schema::{Input, Role, Target};
    use super::super::statistics::Moments;
    use super::*;

    #[test]
    fn columns_are_found_by_name() {
        let number = |column: &str, feature| Input { column: column.into(), role: Role::Number { feature } };
        let schema = Schema {
            inputs: vec![number("a", 0), number("b", 1)],
            target: Target::Class { column: "y".into(), classes: vec!["n".into(), "p".into()] },
            features: 2,
            outputs: 2,
        };
        let moments = |column: &str, mean| Moments { column: column.into(), mean, deviation: 2.0 };
        let statistics = Statistics { rows: 9, columns: vec![moments("a", 1.0), moments("b", 10.0)] };
        let features_of = |text: &str| features(&schema, &statistics, "new.csv", text.as_bytes());
        assert_eq!(features_of("b,x,a\n12,?,5\n").unwrap(), [2.0, 1.0]);
        let error = features_of("a\n1\n").unwrap_err().to_string();
        assert_eq!(error, "shard `new.csv` has no column `b`: its columns are `a`");
    }
}
