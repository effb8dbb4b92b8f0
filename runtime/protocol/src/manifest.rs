//! What is known about a shard without opening it.
//!
//! A manifest is written in the shard's home (`hcrun shard index`), because nobody else may read a
//! restricted file; the launcher plans with manifests alone, and a worker checks what it opens against
//! them before the first step.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{ShardId, ZoneId};

/// Who may hold a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Sensitivity {
    /// Any zone.
    Public,
    /// Zones of the home zone's owner.
    Internal,
    /// The private zones named by its owner, by default its home alone. What is not classified is this.
    #[default]
    Restricted,
}

impl std::fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Sensitivity::Public => "public",
            Sensitivity::Internal => "internal",
            Sensitivity::Restricted => "restricted",
        })
    }
}

/// One shard, described in its home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardManifest {
    pub id: ShardId,
    pub bytes: u64,
    /// In hexadecimal.
    pub sha256: String,
    pub sensitivity: Sensitivity,
    /// The zone that owns the shard; none for a public shard.
    pub home: Option<ZoneId>,
    /// Beside the home, the private zones that may hold a restricted shard.
    #[serde(default)]
    pub allowed_zones: Vec<ZoneId>,
    pub content: Content,
}

/// What is in the shard, as far as planning needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// `bytes` bytes of text.
    Text,
    Csv {
        rows: u64,
        columns: Vec<Column>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub name: String,
    pub kind: ColumnKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnKind {
    /// Every value is a finite decimal number.
    Number,
    /// Anything else; usable only with declared categories or classes.
    Text,
}

/// SHA-256 in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
