//! What a settings file may hold: a table of keys, and the check of a document against it.

use hcrun_protocol::{BitsPerSec, Bytes};

use super::tree::{Document, Node, Value};
use crate::codes::{self, Code};
use crate::failure::{Failure, Result};

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// Shown in the reference; none for a key that must be given.
    pub default: Option<&'static str>,
    pub doc: &'static str,
}

/// What a value must be.
#[derive(Debug)]
pub enum Kind {
    Text,
    /// The name of a thing of ours: lower-case letters, digits and `-`.
    Name,
    Whole {
        min: i64,
        max: i64,
    },
    Number,
    Flag,
    Size,
    Rate,
    Words(&'static [&'static str]),
    List(&'static Kind),
    Pair(&'static Kind),
    /// Any names as keys.
    Map(&'static Kind),
    Table(&'static [Key]),
    Tables(&'static [Key]),
    /// A table whose other keys depend on the word under `tag`.
    Tagged {
        tag: &'static str,
        doc: &'static str,
        variants: &'static [(&'static str, &'static [Key])],
    },
}

impl Kind {
    pub fn describe(&self) -> String {
        match self {
            Kind::Text => "a text in quotes".to_owned(),
            Kind::Name => "a name of 1 to 40 lower-case letters, digits and `-`".to_owned(),
            Kind::Whole { min, max: i64::MAX } => format!("a whole number of at least {min}"),
            Kind::Whole { min, max } => format!("a whole number between {min} and {max}"),
            Kind::Number => "a number".to_owned(),
            Kind::Flag => "true or false".to_owned(),
            Kind::Size => "a size such as \"1MiB\"".to_owned(),
            Kind::Rate => "a rate such as \"200Mbit\"".to_owned(),
            Kind::Words(words) => format!("one of {}", quoted(words)),
            Kind::List(item) => format!("a list, each {}", item.describe()),
            Kind::Pair(item) => format!("a list of two, each {}", item.describe()),
            Kind::Map(item) => format!("a table from names, each to {}", item.describe()),
            Kind::Table(_) | Kind::Tagged { .. } => "a table".to_owned(),
            Kind::Tables(_) => "one or more tables, each begun by its name in [[ ]]".to_owned(),
        }
    }
}

/// Refuses the first thing in `node` that is not as `kind` says. `path` is its dotted name.
pub(super) fn check(document: &Document, node: &Node, kind: &Kind, path: &str) -> Result<()> {
    let mistyped = || {
        refuse(document, &codes::JOB_WRONG_TYPE, &document.position(&node.place))
            .because(format!("`{path}` must be {}, not {}", kind.describe(), node.describe()))
            .hint(format!("give `{path}` {}", kind.describe()))
    };
    match (kind, &node.value) {
        (Kind::Text, Value::Text(_)) | (Kind::Flag, Value::Flag(_)) => Ok(()),
        (Kind::Name, Value::Text(text)) => {
            hcrun_protocol::PoolId::new(text.clone()).map(drop).map_err(|_| mistyped())
        }
        (Kind::Whole { min, max }, Value::Integer(number)) if (min..=max).contains(&number) => Ok(()),
        (Kind::Number, Value::Integer(_)) => Ok(()),
        (Kind::Number, Value::Float(number)) if number.is_finite() => Ok(()),
        (Kind::Size, Value::Integer(number)) if *number >= 0 => Ok(()),
        (Kind::Size, Value::Text(text)) => Bytes::parse(text).map(drop).map_err(|_| mistyped()),
        (Kind::Rate, Value::Integer(number)) if *number > 0 => Ok(()),
        (Kind::Rate, Value::Text(text)) => BitsPerSec::parse(text).map(drop).map_err(|_| mistyped()),
        (Kind::Words(words), Value::Text(text)) if words.contains(&text.as_str()) => Ok(()),
        (Kind::Words(words), Value::Text(text)) => match nearest(text, words.iter().copied()) {
            Some(word) => Err(mistyped().hint(format!("did you mean \"{word}\"?"))),
            None => Err(mistyped()),
        },
        (Kind::List(item), Value::List(nodes)) => check_items(document, nodes, item, path),
        (Kind::Pair(item), Value::List(nodes)) if nodes.len() == 2 => {
            check_items(document, nodes, item, path)
        }
        (Kind::Map(item), Value::Table(entries)) => {
            entries.iter().try_for_each(|(name, (_, node))| check(document, node, item, &join(path, name)))
        }
        (Kind::Tables(keys), Value::List(nodes)) => check_items(document, nodes, &Kind::Table(keys), path),
        (Kind::Table(keys), Value::Table(_)) => check_table(document, node, &[keys], None, path),
        (Kind::Tagged { tag, variants, .. }, Value::Table(entries)) => {
            let words: Vec<&str> = variants.iter().map(|(word, _)| *word).collect();
            let Some((_, chosen)) = entries.get(*tag) else {
                return Err(refuse(document, &codes::JOB_WRONG_TYPE, &document.position(&node.place))
                    .because(format!("`{}` is missing", join(path, tag)))
                    .hint(format!("add `{tag}`, one of {}", quoted(&words))));
            };
            let Value::Text(word) = &chosen.value else {
                return check(document, chosen, &Kind::Text, &join(path, tag));
            };
            let Some((_, keys)) = variants.iter().find(|(name, _)| name == word) else {
                let hint = match nearest(word, words.iter().copied()) {
                    Some(word) => format!("did you mean \"{word}\"?"),
                    None => format!("give `{}` one of {}", join(path, tag), quoted(&words)),
                };
                return Err(refuse(document, &codes::JOB_WRONG_TYPE, &document.position(&chosen.place))
                    .because(format!(
                        "`{}` must be one of {}, not {}",
                        join(path, tag),
                        quoted(&words),
                        chosen.describe()
                    ))
                    .hint(hint));
            };
            check_table(document, node, &[keys], Some(tag), path)
        }
        _ => Err(mistyped()),
    }
}

fn check_items(document: &Document, nodes: &[Node], kind: &Kind, path: &str) -> Result<()> {
    nodes
        .iter()
        .enumerate()
        .try_for_each(|(index, node)| check(document, node, kind, &format!("{path}[{index}]")))
}

/// Unknown keys come first: a missing key is often a misspelt one.
fn check_table(
    document: &Document,
    node: &Node,
    keys: &[&[Key]],
    tag: Option<&str>,
    path: &str,
) -> Result<()> {
    let Value::Table(entries) = &node.value else { return Ok(()) };
    let known = || keys.iter().copied().flatten();
    let mut unknown: Vec<_> = entries
        .iter()
        .filter(|(name, _)| tag != Some(name) && known().all(|key| key.name != name.as_str()))
        .collect();
    // The first in the file, not in the alphabet.
    unknown.sort_by_key(|(_, (place, _))| match place {
        super::tree::Place::Offset(offset) => *offset,
        super::tree::Place::Flag(_) => usize::MAX,
    });
    if let Some((name, (place, _))) = unknown.first() {
        let names: Vec<&str> = known().map(|key| key.name).chain(tag).collect();
        let hint = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if path.is_empty() => format!("the keys of a {} are {}", document.kind, names.join(", ")),
            None => format!("the keys of `{path}` are {}", names.join(", ")),
        };
        return Err(refuse(document, &codes::JOB_UNKNOWN_KEY, &document.position(place))
            .because(format!("unknown key `{}`", join(path, name)))
            .hint(hint));
    }
    for key in known() {
        let path = join(path, key.name);
        match entries.get(key.name) {
            Some((_, node)) => check(document, node, &key.kind, &path)?,
            None if key.default.is_none() => {
                let table = document.find(&path);
                return Err(refuse(document, &codes::JOB_WRONG_TYPE, &table)
                    .because(format!("`{path}` is missing"))
                    .hint(format!("add `{}`, {}", key.name, key.kind.describe())));
            }
            None => {}
        }
    }
    Ok(())
}

fn refuse(document: &Document, code: &'static Code, place: &str) -> Failure {
    Failure::new(code, format!("cannot use the {}", document.kind)).at(place)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// The candidate that `text` most probably was meant to be, if any is near.
pub fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &&str| strsim::damerau_levenshtein(text, candidate);
    let best = candidates.min_by_key(near)?;
    (near(&best) <= 1 + text.chars().count() / 3).then_some(best)
}
