//! How many samples of a shard are trained on and how many are held out, from its manifest alone.
//!
//! Planning and workers must agree on these counts although planning never opens the file, so both ask here.

use serde::{Deserialize, Serialize};

use crate::job::{Data, Job, Model};
use crate::manifest::{Content, ShardManifest};

/// Samples of one shard: windows of text or rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Split {
    pub training: u64,
    pub held_out: u64,
}

/// The split of one shard under the job's settings; none if the shard is not of the job's format.
pub fn split(job: &Job, manifest: &ShardManifest) -> Option<Split> {
    match (&job.data, &job.model, &manifest.content) {
        (Data::Text { held_out }, Model::Gpt { context, .. }, Content::Text) => {
            Some(text_split(manifest.bytes, *held_out, u64::from(*context)))
        }
        (Data::Csv { held_out, .. }, _, Content::Csv { rows, .. }) => Some(row_split(*rows, *held_out)),
        _ => None,
    }
}

/// Length of the contiguous tail of a text that is held out, in bytes.
pub fn held_out_bytes(bytes: u64, held_out: f64) -> u64 {
    fraction(bytes, held_out, libm::ceil)
}

/// Windows of `context` bytes and their successors: training windows lie wholly in the head and do not
/// overlap; held-out windows predict every byte of the tail but its first once, the last may be short.
pub fn text_split(bytes: u64, held_out: f64, context: u64) -> Split {
    let tail = held_out_bytes(bytes, held_out);
    let head = bytes - tail;
    let context = context.max(1);
    Split { training: head.saturating_sub(1) / context, held_out: tail.saturating_sub(1).div_ceil(context) }
}

/// Rows held out are a count, so that planning knows it without labels; which rows is drawn by hash.
pub fn row_split(rows: u64, held_out: f64) -> Split {
    let held = fraction(rows, held_out, libm::round);
    Split { training: rows - held, held_out: held }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the product is finite and not negative; `as` saturates and `min` bounds it"
)]
fn fraction(count: u64, part: f64, round: fn(f64) -> f64) -> u64 {
    (round(count as f64 * part) as u64).min(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_stay_on_their_side_of_the_border() {
        // 95 bytes of head: 94 targets, so 23 whole windows of 4; 5 bytes of tail: 4 targets.
        assert_eq!(text_split(100, 0.05, 4), Split { training: 23, held_out: 1 });
        assert_eq!(text_split(0, 0.5, 4), Split { training: 0, held_out: 0 });
        assert_eq!(text_split(3, 0.5, 4), Split { training: 0, held_out: 1 });
    }

    #[test]
    fn rows_are_split_to_the_nearest_whole() {
        assert_eq!(row_split(569, 0.2), Split { training: 455, held_out: 114 });
        assert_eq!(row_split(1, 0.5), Split { training: 0, held_out: 1 });
    }
}
