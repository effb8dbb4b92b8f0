//! Where this node keeps its shards. A worker finds a file by the shard's id; no path comes from outside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hcrun_protocol::ShardId;

/// The node's own knowledge of its files.
#[derive(Debug, Clone, Default)]
pub struct DataLocations {
    /// Files named one by one, as the local backend does.
    pub files: BTreeMap<ShardId, PathBuf>,
    /// Folders searched in order for `<id>`, `<id>.txt` and `<id>.csv`.
    pub roots: Vec<PathBuf>,
}

const ENDINGS: [&str; 3] = ["", ".txt", ".csv"];

impl DataLocations {
    /// The file of a shard, or the places that were looked at.
    pub fn find(&self, id: &ShardId) -> Result<PathBuf, Vec<PathBuf>> {
        if let Some(path) = self.files.get(id) {
            return Ok(path.clone());
        }
        let places: Vec<PathBuf> = self.roots.iter().flat_map(|root| candidates(root, id)).collect();
        places.iter().find(|path| path.is_file()).cloned().ok_or(places)
    }
}

/// An id is a plain name (letters, digits, `-`), so a candidate cannot leave its root.
fn candidates(root: &Path, id: &ShardId) -> impl Iterator<Item = PathBuf> {
    ENDINGS.iter().map(move |ending| root.join(format!("{id}{ending}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_found_by_id_under_the_first_root_that_has_it() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let expected = folders[1].path().join("emma.txt");
        std::fs::write(&expected, "x").unwrap();
        let locations = DataLocations {
            files: BTreeMap::new(),
            roots: folders.iter().map(|folder| folder.path().to_owned()).collect(),
        };
        assert_eq!(locations.find(&ShardId::new("emma").unwrap()), Ok(expected));
        let missing = locations.find(&ShardId::new("persuasion").unwrap()).unwrap_err();
        assert_eq!(missing.len(), 6, "every place is named: {missing:?}");
    }
}
