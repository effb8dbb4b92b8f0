//! What is known about a shard without opening it.
//!
//! A manifest is written in the shard's home (`hcrun shard index`), because nobody else may read a
//! restricted file; the launcher plans with manifests alone, and a worker checks what it opens against
//! them before the first step.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{ShardId, ZoneId};
use crate::job::Policy;

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
    /// The least `policy.min_contributors` that the owner accepts where sums leave a zone; without it
    /// the policy's default. A public shard has no floor.
    #[serde(default)]
    pub min_contributors: Option<u16>,
    /// The same for `policy.min_rows`.
    #[serde(default)]
    pub min_rows: Option<u64>,
    pub content: Content,
}

/// A job wants sums over fewer than the owner of a shard lets out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "sums with shard `{shard}` may leave a zone at {key} of at least {floor}, as its manifest says, but the job \
     has policy.{key} = {job}"
)]
pub struct BelowFloor {
    pub shard: ShardId,
    /// Of the job's policy.
    pub key: &'static str,
    pub floor: u64,
    pub job: u64,
}

impl ShardManifest {
    /// Whether sums over this shard may leave a zone under a job's policy.
    ///
    /// # Errors
    /// The first floor that the policy is below.
    pub fn check_floors(&self, policy: &Policy) -> Result<(), BelowFloor> {
        if self.sensitivity == Sensitivity::Public {
            return Ok(());
        }
        let default = Policy::default();
        let contributors = self.min_contributors.unwrap_or(default.min_contributors);
        let rows = self.min_rows.unwrap_or(default.min_rows);
        for (key, floor, job) in [
            ("min_contributors", u64::from(contributors), u64::from(policy.min_contributors)),
            ("min_rows", rows, policy.min_rows),
        ] {
            if job < floor {
                return Err(BelowFloor { shard: self.id.clone(), key, floor, job });
            }
        }
        Ok(())
    }
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
