//! Plain f32 buffers for rehearsals.

use std::collections::BTreeMap;
use std::ops::Range;

use hcrun_protocol::buffers::{BufferError, Buffers};
use hcrun_protocol::dtype::DType;
use hcrun_protocol::schedule::{Level, Write};

/// What was never written reads as NaN, so that it cannot pass for a result.
#[derive(Debug, Clone)]
pub struct Memory {
    elems: usize,
    levels: BTreeMap<Level, Vec<f32>>,
}

impl Memory {
    pub fn new(own: Vec<f32>) -> Memory {
        Memory { elems: own.len(), levels: BTreeMap::from([(Level(0), own)]) }
    }

    /// The bits of a level.
    pub fn bits(&self, level: Level, range: Range<usize>) -> Vec<u32> {
        let values = self.levels.get(&level).map(|values| &values[range.clone()]);
        values.map_or(vec![f32::NAN.to_bits(); range.len()], |values| {
            values.iter().map(|v| v.to_bits()).collect()
        })
    }

    fn write(&mut self, level: Level, range: Range<usize>, write: Write, values: &[f32]) {
        let target = self.levels.entry(level).or_insert_with(|| vec![f32::NAN; self.elems]);
        for (old, new) in target[range].iter_mut().zip(values) {
            *old = match write {
                Write::Store => *new,
                Write::Add => *old + *new,
            };
        }
    }
}

impl Buffers for Memory {
    fn elems(&self) -> usize {
        self.elems
    }

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn encode(&mut self, level: Level, range: Range<usize>, out: &mut Vec<u8>) {
        out.extend(self.levels[&level][range].iter().flat_map(|value| value.to_le_bytes()));
    }

    fn receive(
        &mut self,
        level: Level,
        range: Range<usize>,
        write: Write,
        payload: &[u8],
    ) -> Result<(), BufferError> {
        let (words, rest) = payload.as_chunks::<4>();
        if words.len() != range.len() || !rest.is_empty() {
            return Err(BufferError::Length { got: payload.len(), elems: range.len(), dtype: DType::F32 });
        }
        let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        self.write(level, range, write, &values);
        Ok(())
    }

    fn combine(&mut self, from: Level, into: Level, range: Range<usize>, write: Write) {
        let values = self.levels[&from][range.clone()].to_vec();
        self.write(into, range, write, &values);
    }
}
