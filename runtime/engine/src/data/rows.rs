//! The rows of a table as numbers, before standardisation.

use super::schema::{Role, Schema, Target};
use super::table::{Problem, Table, TableError};

/// Encoded rows: features as they are in the file, categories as zeros and ones.
#[derive(Debug, PartialEq)]
pub struct Rows {
    /// `[rows, features]`, row-major. f64, so that sums of squares keep their digits.
    features: Vec<f64>,
    width: usize,
    targets: RowTargets,
}

#[derive(Debug, PartialEq)]
pub enum RowTargets {
    /// Index among the declared classes.
    Class(Vec<u32>),
    Value(Vec<f64>),
}

impl Rows {
    /// Encodes a table with targets.
    ///
    /// # Errors
    /// The first field that does not fit, by line and column.
    pub fn encode(schema: &Schema, table: &Table) -> Result<Rows, TableError> {
        let features = encode_inputs(schema, table)?;
        let column = table.column_index(schema.target.column())?;
        let targets = match &schema.target {
            Target::Class { classes, .. } => {
                let class = |row| class_index(table, row, column, classes);
                RowTargets::Class((0..table.len()).map(class).collect::<Result<_, _>>()?)
            }
            Target::Value { .. } => {
                let value = |row| table.number(row, column);
                RowTargets::Value((0..table.len()).map(value).collect::<Result<_, _>>()?)
            }
        };
        Ok(Rows { features, width: schema.features, targets })
    }

    pub fn len(&self) -> usize {
        self.features.len() / self.width
    }

    /// Never true: a table without rows is refused.
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    pub fn features(&self, row: usize) -> &[f64] {
        &self.features[row * self.width..(row + 1) * self.width]
    }

    pub fn targets(&self) -> &RowTargets {
        &self.targets
    }
}

/// Encodes the inputs of a table, `[rows, features]`; its columns may come in any order and the target
/// may be missing, as in a file to predict.
pub fn encode_inputs(schema: &Schema, table: &Table) -> Result<Vec<f64>, TableError> {
    let columns: Vec<usize> =
        schema.inputs.iter().map(|input| table.column_index(&input.column)).collect::<Result<_, _>>()?;
    let mut features = vec![0.0; table.len() * schema.features];
    for (row, features) in features.chunks_exact_mut(schema.features).enumerate() {
        for (input, column) in schema.inputs.iter().zip(&columns) {
            match &input.role {
                Role::Number { feature } => features[*feature] = table.number(row, *column)?,
                Role::Category { feature, values, unknown } => {
                    features[feature + category_index(table, row, *column, values, *unknown)?] = 1.0;
                }
            }
        }
    }
    Ok(features)
}

fn category_index(
    table: &Table,
    row: usize,
    column: usize,
    values: &[String],
    unknown: bool,
) -> Result<usize, TableError> {
    let value = table.text(row, column)?;
    let declared = values.iter().position(|declared| declared == value);
    declared.or(unknown.then_some(values.len())).ok_or_else(|| {
        let name = table.header()[column].clone();
        table.refuse(row, column, Problem::UndeclaredCategory(name))
    })
}

fn class_index(table: &Table, row: usize, column: usize, classes: &[String]) -> Result<u32, TableError> {
    let label = table.text(row, column)?;
    (0..)
        .zip(classes)
        .find_map(|(index, class)| (class == label).then_some(index))
        .ok_or_else(|| table.refuse(row, column, Problem::UndeclaredClass))
}

#[cfg(test)]
mod tests {
    use hcrun_protocol::ShardId;
    use hcrun_protocol::job::Data;

    use super::*;

    fn encode(section: &str, text: &str) -> Result<Rows, TableError> {
        let data: Data = serde_json::from_str(section).unwrap();
        let table = Table::parse(&ShardId::new("s").unwrap(), text.as_bytes())?;
        let schema = Schema::new(&data, &table.columns()).unwrap();
        Rows::encode(&schema, &table)
    }

    const CLASSES: &str = r#"{"format":"csv","held_out":0.2,"target":"y","classes":["no","yes"],
        "categories":{"town":["x","z"]}}"#;

    #[test]
    fn rows_become_numbers() {
        let rows = encode(CLASSES, "age,town,y\n3,z,yes\n4,x,no\n").unwrap();
        assert_eq!(rows.features(0), [3.0, 0.0, 1.0]);
        assert_eq!(rows.features(1), [4.0, 1.0, 0.0]);
        assert_eq!(*rows.targets(), RowTargets::Class(vec![1, 0]));
    }

    #[test]
    fn undeclared_values_are_errors_unless_there_is_a_bucket() {
        let error = encode(CLASSES, "age,town,y\n3,z,yes\n4,moon,no\n").unwrap_err();
        let expected = "shard `s`, line 3, column `town`: a value that data.categories.town does not declare";
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(!error.to_string().contains("moon"));
        let error = encode(CLASSES, "age,town,y\n3,z,perhaps\n").unwrap_err();
        assert!(error.to_string().starts_with("shard `s`, line 2, column `y`: a label"), "{error}");

        let bucket = CLASSES.replace("]}}", "]},\"unknown\":true}");
        let rows = encode(&bucket, "age,town,y\n3,moon,yes\n").unwrap();
        assert_eq!(rows.features(0), [3.0, 0.0, 0.0, 1.0]);
    }
}
