//! Makes trained parameters smaller: the smallest weights of each matrix become zero, the rest 8 or 4 bits.
//!
//! Only matrices change (linear layers and embeddings); biases and norms stay f32, since they
//! are few and a model is sensitive to them. [`checkpoint::write_compressed`](crate::checkpoint::write_compressed)
//! stores the result and [`checkpoint::load_model`](crate::checkpoint::load_model) restores it.

mod bits;
mod blocks;
mod prune;

pub(crate) use bits::{clear_positions, join_nibbles, mask, positions, split_nibbles};
pub(crate) use blocks::restore;

use hcrun_protocol::model::Segment;
use serde::{Deserialize, Serialize};

use crate::spec::TIED_EMBEDDING;

/// What a weight of a matrix is rounded to: a whole number times its block's scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bits {
    Int8,
    Int4,
}

impl Bits {
    pub fn name(self) -> &'static str {
        match self {
            Bits::Int8 => "int8",
            Bits::Int4 => "int4",
        }
    }

    pub(crate) fn range(self) -> (i8, i8) {
        match self {
            Bits::Int8 => (-128, 127),
            Bits::Int4 => (-8, 7),
        }
    }
}

/// Weights that share a scale, row after row: its 16 bits cost 1.6 % with 8 bits and 3.1 % with 4.
pub const BLOCK_ELEMS: usize = 128;

/// The share of each matrix that becomes zero: above 0, below 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    millionths: u32,
}

impl Share {
    /// Rounded to millionths; none outside of the range.
    pub fn new(share: f64) -> Option<Share> {
        let millionths = (share * f64::from(MILLION)).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number below a million"
        )]
        (millionths >= 1.0 && millionths < f64::from(MILLION))
            .then_some(Share { millionths: millionths as u32 })
    }

    pub fn millionths(self) -> u32 {
        self.millionths
    }

    /// Of so many weights, rounded down.
    fn of(self, elems: usize) -> usize {
        let count = elems as u128 * u128::from(self.millionths) / u128::from(MILLION);
        usize::try_from(count).expect("a part of a usize")
    }
}

const MILLION: u32 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// None: weights stay f32.
    pub quantize: Option<Bits>,
    pub prune: Option<Share>,
}

/// One parameter tensor in few bits, or as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Values,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    Plain(Vec<f32>),
    /// One code a weight; `scales` are bf16 values, one a block.
    Coded {
        bits: Bits,
        codes: Vec<i8>,
        scales: Vec<f32>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressError {
    #[error(
        "`{name}` has a weight that is not finite, at element {element}: this model diverged in training"
    )]
    NotFinite { name: String, element: usize },
}

/// Packs every segment of an arena.
///
/// # Errors
/// The first weight that is not finite, by the name of its tensor.
pub fn compress(
    segments: &[Segment],
    params: &[f32],
    settings: &Settings,
) -> Result<Vec<Packed>, CompressError> {
    let pack = |segment: &Segment| {
        let mut values = params[segment.offset..segment.offset + segment.elems()].to_vec();
        if let Some(element) = values.iter().position(|value| !value.is_finite()) {
            return Err(CompressError::NotFinite { name: segment.name.clone(), element });
        }
        let Settings { quantize, prune } = gentler(segment, settings);
        if let Some(share) = prune {
            let count = share.of(values.len());
            prune::prune(&mut values, count);
        }
        let values = match quantize {
            Some(bits) => blocks::quantise(&values, bits),
            None => Values::Plain(values),
        };
        Ok(Packed { name: segment.name.clone(), shape: segment.shape.clone(), values })
    };
    segments.iter().map(pack).collect()
}

/// The arena that the packed segments stand for.
pub fn restore_arena(segments: &[Segment], packed: &[Packed], arena_elems: usize) -> Vec<f32> {
    let mut arena = vec![0.0; arena_elems];
    for (segment, packed) in segments.iter().zip(packed) {
        let out = &mut arena[segment.offset..segment.offset + segment.elems()];
        match &packed.values {
            Values::Plain(values) => out.copy_from_slice(values),
            Values::Coded { codes, scales, .. } => restore(codes, scales, BLOCK_ELEMS, out),
        }
    }
    arena
}

/// What is done with a segment. Vectors stay. The tied embedding of a GPT is its input and its head at once, and all
/// of its error is in the logits: it is rounded to 8 bits at the least, and not pruned.
fn gentler(segment: &Segment, settings: &Settings) -> Settings {
    match segment.shape.len() {
        0 | 1 => Settings::default(),
        _ if segment.name == TIED_EMBEDDING => {
            Settings { quantize: settings.quantize.map(|_| Bits::Int8), prune: None }
        }
        _ => *settings,
    }
}

impl Packed {
    pub fn elems(&self) -> usize {
        self.shape.iter().product()
    }

    /// Weights that are exactly zero.
    pub fn zeros(&self) -> usize {
        match &self.values {
            Values::Plain(values) => values.iter().filter(|value| **value == 0.0).count(),
            Values::Coded { codes, .. } => codes.iter().filter(|code| **code == 0).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(name: &str, offset: usize, shape: &[usize]) -> Segment {
        Segment { name: name.to_owned(), offset, shape: shape.to_vec(), decay: shape.len() > 1 }
    }

    #[test]
    fn matrices_are_packed_and_vectors_stay() {
        let segments = [segment("w", 0, &[3, 2]), segment("b", 6, &[2])];
        let params = [0.1, -0.2, 0.3, -0.4, 0.5, 0.6, 0.01, 0.02, 0.0, 0.0];
        let settings = Settings { quantize: Some(Bits::Int8), prune: Share::new(0.5) };
        let packed = compress(&segments, &params, &settings).unwrap();
        assert_eq!(packed[1].values, Values::Plain(vec![0.01, 0.02]));
        let Values::Coded { codes, .. } = &packed[0].values else { panic!("a matrix is coded") };
        let kept: Vec<usize> = (0..6).filter(|index| codes[*index] != 0).collect();
        assert_eq!((kept, packed[0].zeros()), (vec![3, 4, 5], 3));

        let alone = compress(&segments, &params, &Settings { quantize: None, ..settings }).unwrap();
        assert_eq!(alone[0].values, Values::Plain(vec![0.0, 0.0, 0.0, -0.4, 0.5, 0.6]));
    }

    #[test]
    fn a_tied_embedding_keeps_8_bits_and_all_its_weights() {
        let segments = [segment(TIED_EMBEDDING, 0, &[4, 2]), segment("other", 8, &[4, 2])];
        let params: Vec<f32> = (0..16).map(|index| 0.1 + index as f32 / 16.0).collect();
        let settings = Settings { quantize: Some(Bits::Int4), prune: Share::new(0.5) };
        let packed = compress(&segments, &params, &settings).unwrap();
        let found = packed.iter().map(|packed| match packed.values {
            Values::Coded { bits, .. } => (bits, packed.zeros()),
            Values::Plain(_) => panic!("matrices are coded"),
        });
        assert_eq!(found.collect::<Vec<_>>(), [(Bits::Int8, 0), (Bits::Int4, 4)]);
    }

    #[test]
    fn weights_that_are_not_finite_are_named() {
        let segments = [segment("w", 0, &[2, 2]), segment("b", 4, &[1])];
        for (at, name, element) in [(3, "w", 3), (4, "b", 0)] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut params = [0.5; 5];
                params[at] = bad;
                let settings = Settings { quantize: Some(Bits::Int4), prune: Share::new(0.1) };
                let error = compress(&segments, &params, &settings).unwrap_err();
                assert_eq!(error, CompressError::NotFinite { name: name.to_owned(), element });
            }
        }
    }

    #[test]
    fn shares_are_between_none_and_all() {
        for share in [0.0, 1.0, -0.5, 1.5, 1e-9, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::new(share), None, "{share}");
        }
        let most = Share::new(0.999_999).unwrap();
        assert_eq!((most.of(10), most.of(1), Share::new(0.5).unwrap().of(7)), (9, 0, 3));
    }
}
