//! Which rows of a table are held out: by hash, as many as planned, in proportion to the classes.

use std::collections::BTreeMap;

use hcrun_protocol::ShardId;
use hcrun_protocol::prng::{hash_bytes, hash64};

/// The rows of a shard on either side of the split, each in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowSplit {
    pub training: Vec<usize>,
    pub held_out: Vec<usize>,
}

/// Holds out exactly `held_out` rows. With labels every class gives its share, by largest remainder; within
/// a class the rows with the lowest hash of (seed, shard, row) are held out.
///
/// `labels` has the class of each row, or is all equal where there are no classes.
pub fn split_rows(seed: u64, shard: &ShardId, labels: &[u32], held_out: usize) -> RowSplit {
    let shard = hash_bytes(shard.as_str().as_bytes());
    let mut by_class: BTreeMap<u32, Vec<(u64, usize)>> = BTreeMap::new();
    for (row, label) in labels.iter().enumerate() {
        by_class.entry(*label).or_default().push((hash64(&[SPLIT_KEY, seed, shard, row as u64]), row));
    }
    let sizes: Vec<usize> = by_class.values().map(Vec::len).collect();
    let mut is_held_out = vec![false; labels.len()];
    for (rows, quota) in by_class.values_mut().zip(quotas(&sizes, held_out)) {
        rows.sort_unstable();
        rows[..quota].iter().for_each(|(_, row)| is_held_out[*row] = true);
    }
    let (held_out, training) = (0..labels.len()).partition(|row| is_held_out[*row]);
    RowSplit { training, held_out }
}

/// `total` in proportion to `sizes` by largest remainder, the first of equals first. `total` is at most the
/// sum of the sizes, so no quota exceeds its size.
fn quotas(sizes: &[usize], total: usize) -> Vec<usize> {
    let all: usize = sizes.iter().sum();
    if all == 0 {
        return vec![0; sizes.len()];
    }
    let mut quotas: Vec<usize> = sizes.iter().map(|size| size * total / all).collect();
    let missing = total - quotas.iter().sum::<usize>();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(sizes[*index] * total % all));
    order[..missing].iter().for_each(|index| quotas[*index] += 1);
    quotas
}

/// Keeps these draws apart from others keyed on the same seed: "split".
const SPLIT_KEY: u64 = 0x0073_706c_6974;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shard(id: &str) -> ShardId {
        ShardId::new(id).unwrap()
    }

    #[test]
    fn splits_depend_on_seed_and_shard() {
        let labels = vec![0; 100];
        let split = split_rows(1, &shard("a"), &labels, 20);
        assert_eq!(split, split_rows(1, &shard("a"), &labels, 20));
        assert_ne!(split, split_rows(2, &shard("a"), &labels, 20));
        assert_ne!(split, split_rows(1, &shard("b"), &labels, 20));
    }

    proptest! {
        #[test]
        fn each_class_gives_its_share(labels in prop::collection::vec(0u32..4, 1..300), percent in 0usize..=100) {
            let total = labels.len() * percent / 100;
            let split = split_rows(3, &shard("a"), &labels, total);
            prop_assert_eq!(split.held_out.len(), total);
            let mut all: Vec<usize> = split.held_out.iter().chain(&split.training).copied().collect();
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(0..labels.len()));
            for class in 0..4 {
                let count = |rows: &[usize]| rows.iter().filter(|row| labels[**row] == class).count() as f64;
                let size = count(&(0..labels.len()).collect::<Vec<_>>());
                let exact = size * total as f64 / labels.len() as f64;
                prop_assert!((count(&split.held_out) - exact).abs() < 1.0);
            }
        }
    }
}
