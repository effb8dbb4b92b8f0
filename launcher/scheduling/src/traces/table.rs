//! Rows of comma-separated text with a header, read by the names of their columns.

use std::str::FromStr;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    #[error("the trace is empty: it has no header line")]
    Empty,
    #[error("line 1: column `{0}` is missing; the columns are {1}")]
    Missing(String, String),
    #[error("line 1: column `{0}` is unknown to this format; it has {1}")]
    Unknown(String, String),
    #[error("line 1: column `{0}` is there twice")]
    Twice(String),
    #[error("line {line}: {why}")]
    Row { line: u64, why: String },
    #[error("line {line}, column `{column}`: `{text}` is not {what}")]
    Field { line: u64, column: String, text: String, what: &'static str },
}

/// A table whose header has been checked.
pub(crate) struct Table<'a> {
    text: &'a str,
    reader: csv::Reader<&'a [u8]>,
    columns: Vec<String>,
}

pub(crate) struct Row<'t> {
    pub(crate) line: u64,
    columns: &'t [String],
    record: csv::StringRecord,
}

impl<'a> Table<'a> {
    /// Reads the header: it must have all `needed` columns, and no others than these and `ignored`.
    pub(crate) fn new(text: &'a str, needed: &[&str], ignored: &[&str]) -> Result<Table<'a>, TableError> {
        let table = Table::with(text, needed)?;
        let known = |column: &String| needed.contains(&column.as_str()) || ignored.contains(&column.as_str());
        match table.columns.iter().find(|column| !known(column)) {
            Some(unknown) => Err(TableError::Unknown(unknown.clone(), [needed, ignored].concat().join(", "))),
            None => Ok(table),
        }
    }

    /// Reads the header: it must have all `needed` columns, whatever else it has.
    pub(crate) fn with(text: &'a str, needed: &[&str]) -> Result<Table<'a>, TableError> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| row_error(text, 1, &error))?;
        let columns: Vec<String> = header.iter().map(str::to_owned).collect();
        if columns.iter().all(String::is_empty) {
            return Err(TableError::Empty);
        }
        for (index, column) in columns.iter().enumerate() {
            if columns[..index].contains(column) {
                return Err(TableError::Twice(column.clone()));
            }
        }
        if let Some(missing) = needed.iter().find(|needed| !columns.iter().any(|column| column == *needed)) {
            return Err(TableError::Missing((*missing).to_owned(), columns.join(", ")));
        }
        Ok(Table { text, reader, columns })
    }

    pub(crate) fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name == column)
    }

    /// Each row through `read`, in order.
    pub(crate) fn rows<T>(
        mut self,
        mut read: impl FnMut(&Row<'_>) -> Result<T, TableError>,
    ) -> Result<Vec<T>, TableError> {
        let mut rows = Vec::new();
        let mut line = 1;
        for record in self.reader.records() {
            let record = record.map_err(|error| row_error(self.text, line + 1, &error))?;
            line = record.position().map_or(line + 1, |start| first_line(self.text, start));
            rows.push(read(&Row { line, columns: &self.columns, record })?);
        }
        Ok(rows)
    }
}

impl Row<'_> {
    pub(crate) fn text(&self, column: &str) -> &str {
        let index = self.columns.iter().position(|name| name == column);
        index.and_then(|index| self.record.get(index)).unwrap_or("")
    }

    /// A field that is `what`, within what `accept` takes.
    pub(crate) fn parse<T: FromStr>(
        &self,
        column: &str,
        what: &'static str,
        accept: impl Fn(&T) -> bool,
    ) -> Result<T, TableError> {
        let parsed = self.text(column).parse().ok().filter(accept);
        parsed.ok_or_else(|| self.wrong(column, what))
    }

    /// A number of at least zero, in units of which a microsecond has 1 / `micros`, to the nearest microsecond.
    pub(crate) fn micros(&self, column: &str, micros: f64) -> Result<u64, TableError> {
        let what = "a time of at least zero";
        let number: f64 =
            self.parse(column, what, |number: &f64| *number >= 0.0 && number * micros < 1e18)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the range just accepted"
        )]
        let rounded = (number * micros).round() as u64;
        Ok(rounded)
    }

    pub(crate) fn devices(&self, column: &str) -> Result<u32, TableError> {
        self.parse(column, "a number of devices, at least one", |devices: &u32| *devices > 0)
    }

    pub(crate) fn wrong(&self, column: &str, what: &'static str) -> TableError {
        let (column, text) = (column.to_owned(), self.text(column).to_owned());
        TableError::Field { line: self.line, column, text, what }
    }
}

/// The line of a record: it is said to start before the empty lines that precede it.
fn first_line(text: &str, start: &csv::Position) -> u64 {
    let rest = usize::try_from(start.byte()).ok().and_then(|byte| text.as_bytes().get(byte..)).unwrap_or(&[]);
    let empty = rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r'));
    start.line() + empty.filter(|byte| **byte == b'\n').count() as u64
}

fn row_error(text: &str, line: u64, error: &csv::Error) -> TableError {
    let line = error.position().map_or(line, |start| first_line(text, start));
    let why = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("it has {len} fields, the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        _ => error.to_string(),
    };
    TableError::Row { line, why }
}
