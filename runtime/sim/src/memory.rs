//! Plain f32 buffers for rehearsals.

use std::ops::Range;

use hcrun_protocol::buffers::{BufferError, Buffers, Operand};
use hcrun_protocol::dtype::{Codec, DType, Packing, ReduceOp};
use hcrun_protocol::schedule::Level;

/// All levels of an element lie in one place. Sums in the order of the operands; no codec.
#[derive(Debug, Clone)]
pub struct Memory {
    values: Vec<f32>,
    fails: bool,
}

impl Memory {
    pub fn new(own: Vec<f32>) -> Memory {
        Memory { values: own, fails: false }
    }

    /// Cannot add: a device that is lost.
    pub fn failing(own: Vec<f32>) -> Memory {
        Memory { values: own, fails: true }
    }

    /// The bits of what was written last.
    pub fn bits(&self, range: Range<usize>) -> Vec<u32> {
        self.values[range].iter().map(|value| value.to_bits()).collect()
    }
}

impl Buffers for Memory {
    fn elems(&self) -> usize {
        self.values.len()
    }

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn op(&self) -> ReduceOp {
        ReduceOp::Sum
    }

    fn encode(
        &mut self,
        _: Level,
        range: Range<usize>,
        _: Packing,
        out: &mut Vec<u8>,
    ) -> Result<(), BufferError> {
        out.extend(self.values[range].iter().flat_map(|value| value.to_le_bytes()));
        Ok(())
    }

    fn reduce(
        &mut self,
        _: Level,
        range: Range<usize>,
        operands: &[Operand<'_>],
        _: Option<usize>,
    ) -> Result<(), BufferError> {
        if self.fails {
            return Err(BufferError::Memory { cause: "the device is gone".to_owned() });
        }
        let read = |operand: &Operand<'_>| match operand {
            Operand::Own(_) => Ok(self.values[range.clone()].to_vec()),
            Operand::Received { codec, pieces } => {
                let bytes = pieces.concat();
                let (words, rest) = bytes.as_chunks::<4>();
                if words.len() != range.len() || !rest.is_empty() || codec.is_lossy() {
                    let (got, elems) = (bytes.len(), range.len());
                    return Err(BufferError::Length { got, elems, dtype: DType::F32, codec: Codec::None });
                }
                Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
            }
        };
        let values: Vec<Vec<f32>> = operands.iter().map(read).collect::<Result<_, _>>()?;
        let add = |sum: Vec<f32>, next: Vec<f32>| sum.iter().zip(&next).map(|(a, b)| a + b).collect();
        if let Some(sum) = values.into_iter().reduce(add) {
            self.values[range].copy_from_slice(&sum);
        }
        Ok(())
    }
}
