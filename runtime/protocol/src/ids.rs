//! Names of things. Each is its own type, so that a rank cannot stand where a step is meant.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A worker's index in the current generation, dense from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rank(pub u16);

impl Rank {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The rank with this index.
    ///
    /// # Panics
    /// Above 65,535: a job is refused long before (see `cluster::MAX_WORKERS`).
    pub fn from_index(index: usize) -> Rank {
        Rank(u16::try_from(index).expect("fewer than 65,536 ranks: cluster::MAX_WORKERS"))
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {}", self.0)
    }
}

/// One optimizer step, counted from 0. "After step n" means n + 1 updates have been applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Step(pub u64);

impl Step {
    pub fn next(self) -> Step {
        Step(self.0 + 1)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A membership, numbered up from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Generation(pub u32);

/// One run of one job; random, in every segment header, so that runs on one host cannot mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a {kind} name: use 1 to 40 lower-case letters, digits and `-`, beginning with a letter or digit"
)]
pub struct NameError {
    pub kind: &'static str,
    pub text: String,
}

/// Names end up in certificates, file names and log lines: one strict alphabet for all of them.
fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=40).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-')
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            pub fn new(text: impl Into<String>) -> Result<$type, NameError> {
                let text = text.into();
                if is_name(&text) { Ok($type(text)) } else { Err(NameError { kind: $kind, text }) }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<$type, NameError> {
                $type::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A place with one owner, one trust class and one certificate authority.
    ZoneId, "zone"
);
name!(
    /// Nodes of one kind in a zone.
    PoolId, "pool"
);
name!(
    /// A host in a zone.
    NodeId, "node"
);
name!(
    /// A piece of the data set with a sensitivity and allowed zones.
    ShardId, "shard"
);

/// A place for one worker in a placement, its stable name across generations: `private-0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotId {
    pub pool: PoolId,
    pub index: u16,
}

impl SlotId {
    /// Reads `private-0`.
    pub fn parse(text: &str) -> Result<SlotId, NameError> {
        let wrong = || NameError { kind: "slot", text: text.to_owned() };
        let (pool, index) = text.rsplit_once('-').ok_or_else(wrong)?;
        let digits = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
        let index = index.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        let slot = SlotId { pool: PoolId::new(pool).map_err(|_| wrong())?, index };
        // `private-00` would be a second name for one slot.
        if slot.to_string() == text { Ok(slot) } else { Err(wrong()) }
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.pool, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_strict() {
        for bad in ["", "-a", "A", "a b", "a/b", "..", "a\n", &"x".repeat(41), "é"] {
            assert!(ZoneId::new(bad).is_err(), "{bad:?} was taken for a name");
        }
        assert!(ZoneId::new("aws-us-east-1").is_ok());
    }

    #[test]
    fn slots_have_one_spelling() {
        assert_eq!(SlotId::parse("public-12").unwrap().to_string(), "public-12");
        for bad in ["private", "private-", "private-00", "private-+1", "-1", "private-70000"] {
            assert!(SlotId::parse(bad).is_err(), "{bad:?} was taken for a slot");
        }
    }
}
