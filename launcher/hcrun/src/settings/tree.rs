//! A TOML document in which every value knows where it was written: in the file or on the command line.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::codes;
use crate::failure::{Failure, Result};

/// A settings file, with changes from the command line laid over it.
#[derive(Debug)]
pub struct Document {
    /// As the user named it: `demo/job.toml`.
    pub name: String,
    /// "job file" or "cluster file".
    pub kind: &'static str,
    text: String,
    pub root: Node,
}

#[derive(Debug, Clone)]
pub struct Node {
    pub value: Value,
    pub place: Place,
}

#[derive(Debug, Clone)]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    Date,
    List(Vec<Node>),
    /// Each key with the place of the key itself.
    Table(BTreeMap<String, (Place, Node)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Byte offset in the file.
    Offset(usize),
    /// The flag as it was given: `--set train.steps=5`.
    Flag(String),
}

impl Document {
    pub fn parse(text: String, name: String, kind: &'static str) -> Result<Document> {
        let refuse = |place: String, cause: &str| {
            Failure::new(&codes::FILE_SYNTAX, format!("cannot read the {kind}")).at(place).because(cause)
        };
        let table = DeTable::parse(&text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            refuse(position(&name, &text, offset), error.message())
        })?;
        let span = table.span();
        let root = Node::read(&DeValue::Table(table.into_inner()), span.start)
            .map_err(|(offset, cause)| refuse(position(&name, &text, offset), &cause))?;
        Ok(Document { name, kind, text, root })
    }

    /// Lays `key=value` over the file. The value is TOML; what is not TOML is text.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let flag = format!("--set {assignment}");
        let refuse = |cause: String| {
            Failure::new(&codes::USAGE, format!("cannot use `{flag}`"))
                .because(cause)
                .hint("write --set KEY=VALUE with the key as in the job file: `--set train.steps=500`")
        };
        let (key, value) = assignment.split_once('=').ok_or_else(|| refuse("there is no `=`".to_owned()))?;
        let place = Place::Flag(flag.clone());
        let mut value = match DeValue::parse(value.trim()) {
            Ok(parsed) => Node::read(parsed.get_ref(), 0).map_err(|(_, cause)| refuse(cause))?,
            Err(_) => Node { value: Value::Text(value.to_owned()), place: place.clone() },
        };
        value.stamp(&place);
        let mut names: Vec<&str> = key.trim().split('.').collect();
        let last = names.pop().unwrap_or_default();
        let mut table = &mut self.root;
        for name in names {
            let empty = Node { value: Value::Table(BTreeMap::new()), place: place.clone() };
            table = match &mut table.value {
                Value::Table(entries) => {
                    &mut entries.entry(name.to_owned()).or_insert_with(|| (place.clone(), empty)).1
                }
                _ => return Err(refuse(format!("`{name}` is not inside a table"))),
            };
        }
        match &mut table.value {
            Value::Table(entries) => entries.insert(last.to_owned(), (place, value)),
            _ => return Err(refuse(format!("`{last}` is not inside a table"))),
        };
        Ok(())
    }

    /// `job.toml:3:7`, or the flag.
    pub fn position(&self, place: &Place) -> String {
        match place {
            Place::Offset(offset) => position(&self.name, &self.text, *offset),
            Place::Flag(flag) => flag.clone(),
        }
    }

    /// Where a key such as `train.batch` or `shard[1].home` is written; its nearest table if it is not.
    pub fn find(&self, key: &str) -> String {
        let mut node = &self.root;
        let mut place = None;
        for name in key.split('.') {
            let (name, index) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
                Some((name, index)) => (name, index.parse::<usize>().ok()),
                None => (name, None),
            };
            let Value::Table(entries) = &node.value else { break };
            let Some((key_place, child)) = entries.get(name) else { break };
            (node, place) = (child, Some(key_place));
            if let (Some(index), Value::List(items)) = (index, &node.value)
                && let Some(item) = items.get(index)
            {
                (node, place) = (item, Some(&item.place));
            }
        }
        place.map_or_else(|| self.name.clone(), |place| self.position(place))
    }
}

impl Node {
    fn read(value: &DeValue<'_>, offset: usize) -> Result<Node, (usize, String)> {
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => Value::Integer(
                i64::from_str_radix(number.as_str(), number.radix())
                    .map_err(|_| (offset, format!("`{}` is too large for a number", number.as_str())))?,
            ),
            DeValue::Float(number) => Value::Float(
                number
                    .as_str()
                    .parse()
                    .map_err(|_| (offset, format!("`{}` is not a number", number.as_str())))?,
            ),
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .map(|item| Node::read(item.get_ref(), item.span().start))
                    .collect::<Result<_, _>>()?,
            ),
            DeValue::Table(entries) => Value::Table(
                entries
                    .iter()
                    .map(|(key, value)| {
                        let node = Node::read(value.get_ref(), value.span().start)?;
                        Ok((key.get_ref().to_string(), (Place::Offset(key.span().start), node)))
                    })
                    .collect::<Result<_, _>>()?,
            ),
        };
        Ok(Node { value, place: Place::Offset(offset) })
    }

    fn stamp(&mut self, place: &Place) {
        self.place = place.clone();
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.stamp(place)),
            Value::Table(entries) => entries.values_mut().for_each(|(key_place, node)| {
                *key_place = place.clone();
                node.stamp(place);
            }),
            _ => {}
        }
    }

    pub fn to_toml(&self) -> toml::Value {
        match &self.value {
            Value::Text(text) => toml::Value::String(text.clone()),
            Value::Integer(number) => toml::Value::Integer(*number),
            Value::Float(number) => toml::Value::Float(*number),
            Value::Flag(flag) => toml::Value::Boolean(*flag),
            Value::Date => toml::Value::String(String::new()),
            Value::List(items) => toml::Value::Array(items.iter().map(Node::to_toml).collect()),
            Value::Table(entries) => toml::Value::Table(
                entries.iter().map(|(key, (_, node))| (key.clone(), node.to_toml())).collect(),
            ),
        }
    }

    /// What was written, for "got …".
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Text(text) if text.chars().count() > 60 => "a long text".to_owned(),
            Value::Text(text) => format!("the text {text:?}"),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Date => "a date".to_owned(),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Table(_) => "a table".to_owned(),
        }
    }
}

/// `name:line:column`, both from 1, columns in characters.
fn position(name: &str, text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{name}:{line}:{column}")
}
