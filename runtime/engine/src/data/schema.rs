//! How the columns of a table become features and a target: decided from manifests and the job alone.
//!
//! Every worker computes the same schema, also one that holds no rows. Numeric columns keep their place;
//! a declared category takes one feature per value, in the declared order, and one more for the unknown
//! where the job asks for it. Nothing is learnt from rows.

use std::collections::BTreeSet;

use hcrun_protocol::job::Data;
use hcrun_protocol::manifest::{Column, ColumnKind, Content, ShardManifest};
use serde::{Deserialize, Serialize};

use super::table::name_list;

/// What a column is used as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "use", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Role {
    /// One feature, standardised.
    Number { feature: usize },
    /// One feature per value beginning at `feature`, one of them 1; with `unknown` one more at the end.
    Category { feature: usize, values: Vec<String>, unknown: bool },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub column: String,
    pub role: Role,
}

/// What is predicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Target {
    Class {
        column: String,
        classes: Vec<String>,
    },
    /// A number, standardised for training.
    Value {
        column: String,
    },
}

impl Target {
    pub fn column(&self) -> &str {
        match self {
            Target::Class { column, .. } | Target::Value { column } => column,
        }
    }
}

/// The encoding of a table. Part of a checkpoint, so that a prediction encodes as training did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// In the order of the file, without the target and ignored columns.
    pub inputs: Vec<Input>,
    pub target: Target,
    /// Features of a row.
    pub features: usize,
    /// Outputs of the model: classes, or 1.
    pub outputs: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("data.format is text: only tables have columns")]
    NotATable,
    #[error("data.target is `{target}`, and no column has this name: the columns are {columns}")]
    NoTarget { target: String, columns: String },
    #[error("{key} names `{column}`, and no column has this name: the columns are {columns}")]
    NoColumn { key: &'static str, column: String, columns: String },
    #[error("{key} names `{column}`, which is data.target")]
    IsTarget { key: &'static str, column: String },
    #[error("{key} lists `{value}` twice")]
    Twice { key: String, value: String },
    #[error("data.categories.{column} is empty: list the column's values")]
    NoValues { column: String },
    #[error("column `{column}` holds text: declare its values in data.categories, or name it in data.ignore")]
    Text { column: String },
    #[error(
        "data.target is `{column}`, which holds text: declare data.classes, or predict a column of numbers"
    )]
    TextTarget { column: String },
    #[error("no column is left to predict from: all are the target or in data.ignore")]
    NoInputs,
    #[error("the columns add up to more than {MAX_FEATURES} features")]
    TooManyFeatures,
    #[error("shard `{shard}` is indexed as text: index it again with `hcrun shard index`")]
    TextShard { shard: String },
    #[error("shards `{first}` and `{other}` differ in column {index}: `{expected}` and `{found}`")]
    Columns { first: String, other: String, index: usize, expected: String, found: String },
}

impl Schema {
    /// The encoding under the job's `data` section of tables with these columns.
    ///
    /// # Errors
    /// A key of the section that does not fit the columns, or a column that nothing says how to use.
    pub fn new(data: &Data, columns: &[Column]) -> Result<Schema, SchemaError> {
        let Data::Csv { target, classes, categories, unknown, ignore, .. } = data else {
            return Err(SchemaError::NotATable);
        };
        let encoded_target = target_of(target, classes, columns)?;
        check_keys(target, "data.ignore", ignore, columns)?;
        check_keys(target, "data.categories", categories.keys(), columns)?;
        check_distinct("data.classes", classes)?;
        let mut features = 0;
        let mut inputs = Vec::new();
        for column in columns.iter().filter(|column| column.name != *target) {
            if ignore.contains(&column.name) {
                continue;
            }
            let (role, width) = match (categories.get(&column.name), column.kind) {
                (Some(values), _) => category(&column.name, values, *unknown, features)?,
                (None, ColumnKind::Number) => (Role::Number { feature: features }, 1),
                (None, ColumnKind::Text) => return Err(SchemaError::Text { column: column.name.clone() }),
            };
            features += width;
            if features > MAX_FEATURES {
                return Err(SchemaError::TooManyFeatures);
            }
            inputs.push(Input { column: column.name.clone(), role });
        }
        if inputs.is_empty() {
            return Err(SchemaError::NoInputs);
        }
        let outputs = match &encoded_target {
            Target::Class { classes, .. } => classes.len(),
            Target::Value { .. } => 1,
        };
        Ok(Schema { inputs, target: encoded_target, features, outputs })
    }

    /// Whether every feature lies inside a row: a schema read from a file may say anything.
    pub(crate) fn features_fit(&self) -> bool {
        let end = |input: &Input| match &input.role {
            Role::Number { feature } => feature.checked_add(1),
            Role::Category { feature, values, unknown } => {
                feature.checked_add(values.len() + usize::from(*unknown))
            }
        };
        self.inputs.iter().all(|input| end(input).is_some_and(|end| end <= self.features))
    }

    /// The feature of every numeric column, in order: what statistics are kept of.
    pub fn numeric_features(&self) -> impl Iterator<Item = (&str, usize)> {
        self.inputs.iter().filter_map(|input| match input.role {
            Role::Number { feature } => Some((input.column.as_str(), feature)),
            Role::Category { .. } => None,
        })
    }

    /// Numeric columns and, when a number is predicted, the target: the columns of the statistics.
    pub fn statistics_columns(&self) -> Vec<&str> {
        let inputs = self.numeric_features().map(|(column, _)| column);
        let target = match &self.target {
            Target::Value { column } => Some(column.as_str()),
            Target::Class { .. } => None,
        };
        inputs.chain(target).collect()
    }
}

/// The columns that all these tables have. A column is of numbers only where every shard's is.
///
/// # Errors
/// The first difference in name or order. None of the manifests may be of text.
pub fn common_columns<'a>(
    manifests: impl IntoIterator<Item = &'a ShardManifest>,
) -> Result<Vec<Column>, SchemaError> {
    let mut common: Option<(&ShardManifest, Vec<Column>)> = None;
    for manifest in manifests {
        let Content::Csv { columns, .. } = &manifest.content else {
            return Err(SchemaError::TextShard { shard: manifest.id.to_string() });
        };
        match &mut common {
            None => common = Some((manifest, columns.clone())),
            Some((first, merged)) => merge(first, merged, manifest, columns)?,
        }
    }
    Ok(common.map(|(_, columns)| columns).unwrap_or_default())
}

fn merge(
    first: &ShardManifest,
    merged: &mut [Column],
    other: &ShardManifest,
    columns: &[Column],
) -> Result<(), SchemaError> {
    let name = |columns: &[Column], index: usize| {
        columns.get(index).map_or_else(|| "no column".to_owned(), |column| column.name.clone())
    };
    for index in 0..merged.len().max(columns.len()) {
        let (expected, found) = (name(merged, index), name(columns, index));
        if index >= merged.len() || index >= columns.len() || expected != found {
            let (first, other) = (first.id.to_string(), other.id.to_string());
            return Err(SchemaError::Columns { first, other, index: index + 1, expected, found });
        }
        if columns[index].kind == ColumnKind::Text {
            merged[index].kind = ColumnKind::Text;
        }
    }
    Ok(())
}

fn category(
    column: &str,
    values: &[String],
    unknown: bool,
    feature: usize,
) -> Result<(Role, usize), SchemaError> {
    if values.is_empty() {
        return Err(SchemaError::NoValues { column: column.to_owned() });
    }
    check_distinct(&format!("data.categories.{column}"), values)?;
    let width = values.len() + usize::from(unknown);
    Ok((Role::Category { feature, values: values.to_vec(), unknown }, width))
}

fn target_of(target: &str, classes: &[String], columns: &[Column]) -> Result<Target, SchemaError> {
    let Some(column) = columns.iter().find(|column| column.name == target) else {
        return Err(SchemaError::NoTarget { target: target.to_owned(), columns: listed(columns) });
    };
    match (classes.is_empty(), column.kind) {
        (false, _) => Ok(Target::Class { column: target.to_owned(), classes: classes.to_vec() }),
        (true, ColumnKind::Number) => Ok(Target::Value { column: target.to_owned() }),
        (true, ColumnKind::Text) => Err(SchemaError::TextTarget { column: target.to_owned() }),
    }
}

fn check_keys<'a>(
    target: &str,
    key: &'static str,
    names: impl IntoIterator<Item = &'a String>,
    columns: &[Column],
) -> Result<(), SchemaError> {
    for name in names {
        if name == target {
            return Err(SchemaError::IsTarget { key, column: name.clone() });
        }
        if !columns.iter().any(|column| column.name == *name) {
            return Err(SchemaError::NoColumn { key, column: name.clone(), columns: listed(columns) });
        }
    }
    Ok(())
}

fn check_distinct(key: &str, values: &[String]) -> Result<(), SchemaError> {
    let mut seen = BTreeSet::new();
    match values.iter().find(|value| !seen.insert(value.as_str())) {
        Some(value) => Err(SchemaError::Twice { key: key.to_owned(), value: value.clone() }),
        None => Ok(()),
    }
}

fn listed(columns: &[Column]) -> String {
    name_list(&columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>())
}

/// Features are a dimension of the model.
const MAX_FEATURES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(kinds: &[(&str, ColumnKind)]) -> Vec<Column> {
        kinds.iter().map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect()
    }

    fn data(text: &str) -> Data {
        serde_json::from_str(text).unwrap()
    }

    const COLUMNS: [(&str, ColumnKind); 4] = [
        ("age", ColumnKind::Number),
        ("town", ColumnKind::Text),
        ("dose", ColumnKind::Number),
        ("outcome", ColumnKind::Text),
    ];

    #[test]
    fn columns_become_features_in_file_order() {
        let data = data(
            r#"{"format":"csv","held_out":0.2,"target":"outcome","classes":["ill","well"],
                "categories":{"town":["x","y"]},"unknown":true}"#,
        );
        let schema = Schema::new(&data, &columns(&COLUMNS)).unwrap();
        assert_eq!((schema.features, schema.outputs), (5, 2));
        let numbers: Vec<_> = schema.numeric_features().collect();
        assert_eq!(numbers, [("age", 0), ("dose", 4)]);
        let town = Role::Category { feature: 1, values: vec!["x".into(), "y".into()], unknown: true };
        assert_eq!(schema.inputs[1].role, town);
    }

    #[test]
    fn sections_that_do_not_fit_the_columns_are_refused() {
        let ignored = r#""ignore":["town"]"#;
        for (section, expected) in [
            (format!(r#""target":"x",{ignored}"#), "data.target is `x`, and no column has this name"),
            (r#""target":"age","ignore":["x"]"#.into(), "data.ignore names `x`, and no column"),
            (r#""target":"age","ignore":["age"]"#.into(), "data.ignore names `age`, which is data.target"),
            (r#""target":"age","categories":{"x":["a"]}"#.into(), "data.categories names `x`, and no column"),
            (r#""target":"age","categories":{"town":[]}"#.into(), "data.categories.town is empty"),
            (
                r#""target":"age","categories":{"town":["a","a"]}"#.into(),
                "data.categories.town lists `a` twice",
            ),
            (r#""target":"age","ignore":["outcome"]"#.into(), "column `town` holds text: declare its values"),
            (format!(r#""target":"outcome",{ignored}"#), "data.target is `outcome`, which holds text"),
            (r#""target":"age","ignore":["town","dose","outcome"]"#.into(), "no column is left"),
        ] {
            let data = data(&format!(r#"{{"format":"csv","held_out":0.2,{section}}}"#));
            let error = Schema::new(&data, &columns(&COLUMNS)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn shards_must_have_the_same_columns() {
        let manifest = |id: &str, kinds: &[(&str, ColumnKind)]| ShardManifest {
            id: hcrun_protocol::ShardId::new(id).unwrap(),
            bytes: 1,
            sha256: String::new(),
            sensitivity: hcrun_protocol::manifest::Sensitivity::Public,
            home: None,
            allowed_zones: Vec::new(),
            min_contributors: None,
            min_rows: None,
            content: Content::Csv { rows: 1, columns: columns(kinds) },
        };
        let north = manifest("north", &COLUMNS);
        let renamed = manifest("south", &[COLUMNS[0], ("city", ColumnKind::Text)]);
        let error = common_columns([&north, &renamed]).unwrap_err().to_string();
        assert_eq!(error, "shards `north` and `south` differ in column 2: `town` and `city`");
        let shorter = manifest("south", &COLUMNS[..3]);
        let error = common_columns([&north, &shorter]).unwrap_err().to_string();
        assert_eq!(error, "shards `north` and `south` differ in column 4: `outcome` and `no column`");
        // Numbers in one shard and text in the other are text in both.
        let words = manifest("south", &[("age", ColumnKind::Text), COLUMNS[1], COLUMNS[2], COLUMNS[3]]);
        assert_eq!(common_columns([&north, &words]).unwrap()[0].kind, ColumnKind::Text);
    }
}
