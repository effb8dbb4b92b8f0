//! Strict reading of comma-separated files: a header line, then rows of as many fields.
//!
//! A byte order mark and CRLF line ends are accepted, fields may be quoted, spaces around a field do not
//! count. Everything else that is not a table is refused with the line and the column. Values never appear
//! in an error's text, because texts travel and rows do not: they are in [`Local`], for the shard's home.

use std::collections::BTreeSet;
use std::fmt;

use csv::{ByteRecord, ReaderBuilder, Trim};
use hcrun_protocol::ShardId;
use hcrun_protocol::manifest::{Column, ColumnKind};

/// A value of a row. Its `Debug` and `Display` withhold it.
#[derive(Clone, PartialEq, Eq)]
pub struct Local(String);

impl Local {
    fn new(bytes: &[u8]) -> Local {
        Local(String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_LOCAL_BYTES)]).into_owned())
    }

    /// The value itself: to be shown in the shard's home alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<withheld>")
    }
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error(
        "not a number: correct it, declare the column's values in data.categories or name the column in data.ignore"
    )]
    NotANumber,
    #[error("a number that is not finite or too large to compute with: correct it or leave the row out")]
    NotFinite,
    #[error("empty: fill it in or leave the row out")]
    Empty,
    #[error("a value that data.categories.{0} does not declare: add it there or set data.unknown = true")]
    UndeclaredCategory(String),
    #[error("a label that data.classes does not declare: add it there or leave the row out")]
    UndeclaredClass,
    #[error("not UTF-8: save the file as UTF-8")]
    NotUtf8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    #[error("shard `{shard}` is empty: it needs a header line and rows")]
    Empty { shard: String },
    #[error("shard `{shard}` has a header line and no rows")]
    NoRows { shard: String },
    #[error(
        "shard `{shard}` has a number as the name of column {index}: its first line must be a header with \
         the names of the columns"
    )]
    NoHeader { shard: String, index: usize },
    #[error("shard `{shard}` has no name for column {index} in its header line")]
    Unnamed { shard: String, index: usize },
    #[error("shard `{shard}` has two columns `{column}`: rename one of them")]
    Duplicate { shard: String, column: String },
    #[error("shard `{shard}` has more than {MAX_COLUMNS} columns")]
    TooWide { shard: String },
    #[error("shard `{shard}`, line {line}: {got} fields where the header has {expected}")]
    Ragged { shard: String, line: u64, expected: usize, got: usize },
    #[error("shard `{shard}`, line {line}, column `{column}`: {problem}")]
    Field { shard: String, line: u64, column: String, problem: Problem, value: Local },
    #[error("shard `{shard}` has no column `{column}`: its columns are {columns}")]
    Absent { shard: String, column: String, columns: String },
    #[error("shard `{shard}` cannot be read as a table: {reason}")]
    Unreadable { shard: String, reason: String },
}

impl TableError {
    /// What only the shard's home may see: the value that was refused.
    pub fn local_detail(&self) -> Option<String> {
        match self {
            TableError::Field { value, .. } => Some(format!("the field is {:?}", value.reveal())),
            _ => None,
        }
    }
}

/// A file as names and fields.
#[derive(Debug)]
pub struct Table {
    /// For errors: the shard's id, or the name of a file to predict.
    name: String,
    header: Vec<String>,
    rows: Vec<(u64, ByteRecord)>,
}

impl Table {
    /// Reads a shard.
    pub fn parse(shard: &ShardId, bytes: &[u8]) -> Result<Table, TableError> {
        Table::parse_named(shard.as_str(), bytes)
    }

    /// Reads a file under a name of its own.
    pub fn parse_named(name: &str, bytes: &[u8]) -> Result<Table, TableError> {
        let shard = name.to_owned();
        let mut reader =
            ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(bytes);
        let mut record = ByteRecord::new();
        let mut lines = Lines { bytes, counted: 0, line: 1 };
        let mut next = |record: &mut ByteRecord| {
            let unreadable = |error: csv::Error| TableError::Unreadable {
                shard: shard.clone(),
                reason: error.to_string(),
            };
            let more = reader.read_byte_record(record).map_err(unreadable)?;
            Ok(more.then(|| lines.line_of(record)))
        };
        if next(&mut record)?.is_none() {
            return Err(TableError::Empty { shard: name.to_owned() });
        }
        let header = check_header(name, &record)?;
        let mut rows = Vec::new();
        while let Some(line) = next(&mut record)? {
            if record.len() != header.len() {
                let (expected, got) = (header.len(), record.len());
                return Err(TableError::Ragged { shard: name.to_owned(), line, expected, got });
            }
            rows.push((line, record.clone()));
        }
        if rows.is_empty() {
            return Err(TableError::NoRows { shard: name.to_owned() });
        }
        Ok(Table { name: name.to_owned(), header, rows })
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Never true: a table without rows is refused.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Names and kinds for the manifest. A column is of numbers when all its fields are.
    pub fn columns(&self) -> Vec<Column> {
        let kind = |index: usize| {
            let numbers = self.rows.iter().all(|(_, row)| parse_number(&row[index]).is_ok());
            if numbers { ColumnKind::Number } else { ColumnKind::Text }
        };
        let column = |(index, name): (usize, &String)| Column { name: name.clone(), kind: kind(index) };
        self.header.iter().enumerate().map(column).collect()
    }

    /// Where a column is.
    ///
    /// # Errors
    /// [`TableError::Absent`], with the columns there are.
    pub fn column_index(&self, column: &str) -> Result<usize, TableError> {
        self.header.iter().position(|name| name == column).ok_or_else(|| TableError::Absent {
            shard: self.name.clone(),
            column: column.to_owned(),
            columns: name_list(&self.header),
        })
    }

    pub(super) fn number(&self, row: usize, column: usize) -> Result<f64, TableError> {
        parse_number(&self.rows[row].1[column]).map_err(|problem| self.refuse(row, column, problem))
    }

    pub(super) fn text(&self, row: usize, column: usize) -> Result<&str, TableError> {
        std::str::from_utf8(&self.rows[row].1[column]).map_err(|_| self.refuse(row, column, Problem::NotUtf8))
    }

    pub(super) fn refuse(&self, row: usize, column: usize, problem: Problem) -> TableError {
        let (line, fields) = &self.rows[row];
        TableError::Field {
            shard: self.name.clone(),
            line: *line,
            column: self.header[column].clone(),
            problem,
            value: Local::new(&fields[column]),
        }
    }
}

/// Line numbers of records. The reader's own are those of the end of the record before, so they are off
/// after blank lines and with CRLF.
struct Lines<'a> {
    bytes: &'a [u8],
    counted: usize,
    line: u64,
}

impl Lines<'_> {
    fn line_of(&mut self, record: &ByteRecord) -> u64 {
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let start = record.position().map_or(0, |position| usize::try_from(position.byte()).unwrap_or(0));
        let blank = self.bytes[start..].iter().take_while(|byte| is_end(byte)).count();
        let start = start + blank;
        for index in self.counted..start {
            let ends_with_next = self.bytes[index] == b'\r' && self.bytes.get(index + 1) == Some(&b'\n');
            if is_end(&self.bytes[index]) && !ends_with_next {
                self.line += 1;
            }
        }
        self.counted = start;
        self.line
    }
}

/// Names for an error's text, cut off where a text would become a page.
pub(super) fn name_list<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<String> =
        names.iter().take(MAX_LISTED).map(|name| format!("`{}`", name.as_ref())).collect();
    let more = names.len().saturating_sub(MAX_LISTED);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

fn check_header(name: &str, record: &ByteRecord) -> Result<Vec<String>, TableError> {
    let shard = || name.to_owned();
    if record.len() > MAX_COLUMNS {
        return Err(TableError::TooWide { shard: shard() });
    }
    let mut seen = BTreeSet::new();
    let mut header = Vec::with_capacity(record.len());
    for (index, field) in (1..).zip(record) {
        // Without a header line the first row would end up in the manifest, which travels.
        if parse_number(field).is_ok() {
            return Err(TableError::NoHeader { shard: shard(), index });
        }
        let text = std::str::from_utf8(field).unwrap_or_default();
        if text.is_empty() {
            return Err(TableError::Unnamed { shard: shard(), index });
        }
        if !seen.insert(text) {
            return Err(TableError::Duplicate { shard: shard(), column: text.to_owned() });
        }
        header.push(text.to_owned());
    }
    Ok(header)
}

fn parse_number(field: &[u8]) -> Result<f64, Problem> {
    if field.is_empty() {
        return Err(Problem::Empty);
    }
    let text = std::str::from_utf8(field).map_err(|_| Problem::NotUtf8)?;
    let number: f64 = text.parse().map_err(|_| Problem::NotANumber)?;
    // Words such as `inf` and `NaN` parse; squares of what passes can still be summed.
    if number.abs() <= MAX_MAGNITUDE { Ok(number) } else { Err(Problem::NotFinite) }
}

const MAX_COLUMNS: usize = 16_384;
const MAX_LISTED: usize = 12;
const MAX_LOCAL_BYTES: usize = 80;
const MAX_MAGNITUDE: f64 = 1e100;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Table, TableError> {
        Table::parse(&ShardId::new("s").unwrap(), text.as_bytes())
    }

    #[test]
    fn marks_line_ends_quotes_and_spaces_are_accepted() {
        let table = parse("\u{feff}a,\"b,c\"\r\n1,\"x \"\"y\"\"\"\r\n 2 , z\r\n").unwrap();
        assert_eq!(table.header(), ["a", "b,c"]);
        assert_eq!((table.number(0, 0), table.number(1, 0)), (Ok(1.0), Ok(2.0)));
        assert_eq!((table.text(0, 1), table.text(1, 1)), (Ok("x \"y\""), Ok("z")));
        assert_eq!(
            table.columns().iter().map(|c| c.kind).collect::<Vec<_>>(),
            [ColumnKind::Number, ColumnKind::Text]
        );
    }

    #[test]
    fn what_is_not_a_table_is_refused() {
        for (text, expected) in [
            ("", "shard `s` is empty: it needs a header line and rows"),
            ("\n\n", "shard `s` is empty: it needs a header line and rows"),
            ("a,b\n", "shard `s` has a header line and no rows"),
            ("a,b\n1,2\n3\n", "shard `s`, line 3: 1 fields where the header has 2"),
            ("a,b\n1,2,3\n", "shard `s`, line 2: 3 fields where the header has 2"),
            ("a,b\n1,\"2\n3,4\n", "shard `s`, line 2"),
            ("a,a\n1,2\n", "shard `s` has two columns `a`: rename one of them"),
            ("a,\n1,2\n", "shard `s` has no name for column 2 in its header line"),
            ("17.5,x\n1,2\n", "shard `s` has a number as the name of column 1"),
        ] {
            let result = parse(text).map(|table| table.number(0, 1));
            let error = match result {
                Err(error) | Ok(Err(error)) => error.to_string(),
                Ok(Ok(number)) => panic!("{text:?} was read, {number}"),
            };
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn fields_that_are_no_numbers_are_named_and_withheld() {
        for (value, expected) in [
            ("secret", "not a number"),
            ("1e999", "a number that is not finite"),
            ("NaN", "a number that is not finite"),
            ("-inf", "a number that is not finite"),
            ("1e101", "a number that is not finite"),
            ("", "empty"),
            ("0x10", "not a number"),
            ("1,5", "1 fields"),
        ] {
            let text = format!("id,age\n1,2\n\n2,{value}\n");
            let error = match parse(&text) {
                Ok(table) => table.number(1, 1).unwrap_err(),
                Err(ragged) => {
                    assert!(matches!(ragged, TableError::Ragged { line: 4, got: 3, .. }));
                    continue;
                }
            };
            let shown = format!("{error} {error:?}");
            assert!(shown.starts_with("shard `s`, line 4, column `age`: "), "{shown}");
            assert!(shown.contains(expected), "{shown}");
            assert!(value.len() < 6 || !shown.contains(value), "the text shows the value: {shown}");
            assert_eq!(error.local_detail().unwrap(), format!("the field is {value:?}"));
        }
    }
}
