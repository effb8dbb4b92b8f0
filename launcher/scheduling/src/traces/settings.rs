//! Settings of a generator as text: `jobs=500,rate=6`.

use std::str::FromStr;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("`{0}` is no setting: write key=value, separated by commas")]
    Malformed(String),
    #[error("there is no setting `{key}`; there are {known}")]
    Unknown { key: String, known: String },
    #[error("setting `{0}` is there twice")]
    Twice(String),
    #[error("setting `{key}` is `{value}`, which is not {what}")]
    Value { key: String, value: String, what: &'static str },
}

/// Pairs of keys and values, each key known and there once.
#[derive(Debug)]
pub(crate) struct Pairs<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Pairs<'a> {
    pub(crate) fn parse(text: &'a str, known: &[&str]) -> Result<Pairs<'a>, SettingsError> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for part in text.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) =
                part.split_once('=').ok_or_else(|| SettingsError::Malformed(part.to_owned()))?;
            let (key, value) = (key.trim(), value.trim());
            if !known.contains(&key) {
                let known = known.join(", ");
                return Err(SettingsError::Unknown { key: key.to_owned(), known });
            }
            if pairs.iter().any(|(other, _)| *other == key) {
                return Err(SettingsError::Twice(key.to_owned()));
            }
            pairs.push((key, value));
        }
        Ok(Pairs(pairs))
    }

    /// Replaces `setting` by the value of `key`, if it is there and `accept` takes it.
    pub(crate) fn set<T: FromStr>(
        &self,
        key: &str,
        setting: &mut T,
        what: &'static str,
        accept: impl Fn(&T) -> bool,
    ) -> Result<(), SettingsError> {
        let Some((_, value)) = self.0.iter().find(|(name, _)| *name == key) else { return Ok(()) };
        let parsed = value.parse().ok().filter(accept);
        *setting = parsed.ok_or_else(|| SettingsError::Value {
            key: key.to_owned(),
            value: (*value).to_owned(),
            what,
        })?;
        Ok(())
    }
}

pub(crate) const SHARE: &str = "a share from 0 to 1";
pub(crate) const COUNT: &str = "a whole number of at least one";

pub(crate) fn is_share(number: &f64) -> bool {
    (0.0..=1.0).contains(number)
}

pub(crate) fn is_positive(number: &f64) -> bool {
    *number > 0.0 && number.is_finite()
}
