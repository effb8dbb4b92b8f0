//! Words of a command line, as each bench reads them.

use std::fmt::Display;
use std::str::FromStr;

use anyhow::{Context, anyhow, ensure};

pub(crate) struct Words {
    words: std::vec::IntoIter<String>,
    usage: &'static str,
}

impl Words {
    pub(crate) fn new(words: Vec<String>, usage: &'static str) -> Words {
        Words { words: words.into_iter(), usage }
    }

    pub(crate) fn next(&mut self) -> Option<String> {
        self.words.next()
    }

    /// The word after a flag.
    pub(crate) fn value(&mut self, flag: &str) -> anyhow::Result<String> {
        self.next().with_context(|| format!("{flag} needs a value\n{}", self.usage))
    }

    /// A number of at least 1 after a flag.
    pub(crate) fn count<T>(&mut self, flag: &str) -> anyhow::Result<T>
    where
        T: FromStr<Err: Display> + From<u8> + PartialOrd,
    {
        let word = self.value(flag)?;
        let count: T = word.parse().map_err(|error| anyhow!("{flag} {word}: {error}"))?;
        ensure!(count >= T::from(1), "{flag} must be at least 1");
        Ok(count)
    }

    pub(crate) fn unknown(&self, word: &str) -> anyhow::Error {
        anyhow!("unknown argument `{word}`\n{}", self.usage)
    }

    pub(crate) fn missing(&self, flag: &str) -> anyhow::Error {
        anyhow!("{flag} is missing\n{}", self.usage)
    }
}
