//! The levels of a round in host memory.
//!
//! Level 0 is the vector that comes in; the others appear with their first store and are taken from the
//! spare vectors, so that a training step allocates nothing after the first. A level's content is undefined
//! where nothing was stored: spares are not cleared, and `Schedule::verify` excludes such reads.

use std::ops::Range;

use hcrun_protocol::buffers::{BufferError, Buffers};
use hcrun_protocol::dtype::DType;
use hcrun_protocol::schedule::{Level, Write};

/// An element type that can lie in [`HostBuffers`].
pub trait Element: Copy + Default + std::ops::Add<Output = Self> + Send + 'static + sealed::Sealed {
    const DTYPE: DType;
    /// Appends the little-endian bytes of `values`.
    fn encode(values: &[Self], out: &mut Vec<u8>);
    /// Reads as many values as `into` holds; `payload` has exactly their length.
    fn decode(payload: &[u8], into: &mut [Self], write: Write);
    fn wrap(levels: Levels<Self>) -> HostBuffers;
    fn unwrap(buffers: HostBuffers) -> Option<Levels<Self>>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// Buffers of either type; rounds of both share one group.
#[derive(Debug)]
pub enum HostBuffers {
    F32(Levels<f32>),
    F64(Levels<f64>),
}

/// Vectors of equal length by level.
#[derive(Debug)]
pub struct Levels<T> {
    elems: usize,
    levels: Vec<Option<Vec<T>>>,
    spares: Vec<Vec<T>>,
}

impl HostBuffers {
    pub fn new<T: Element>(own: Vec<T>) -> HostBuffers {
        HostBuffers::with_spares(own, Vec::new())
    }

    /// As [`Self::new`]; further levels use the spare vectors, of any length, before they allocate.
    pub fn with_spares<T: Element>(own: Vec<T>, spares: Vec<Vec<T>>) -> HostBuffers {
        T::wrap(Levels { elems: own.len(), levels: vec![Some(own)], spares })
    }

    /// The vector of a level and all others, as spares for a later round; none for another element type or a
    /// level that nothing was stored in.
    pub fn into_level<T: Element>(self, level: Level) -> Option<(Vec<T>, Vec<Vec<T>>)> {
        let mut levels = T::unwrap(self)?;
        let result = levels.levels.get_mut(level.index())?.take()?;
        let rest = levels.levels.into_iter().flatten();
        Some((result, levels.spares.into_iter().chain(rest).collect()))
    }
}

impl<T: Element> Levels<T> {
    fn level(&self, level: Level) -> &[T] {
        let stored = self.levels.get(level.index()).and_then(Option::as_ref);
        stored.expect("a level is stored before it is read: Schedule::verify")
    }

    fn level_mut(&mut self, level: Level) -> &mut Vec<T> {
        if self.levels.len() <= level.index() {
            self.levels.resize_with(level.index() + 1, || None);
        }
        let slot = &mut self.levels[level.index()];
        slot.get_or_insert_with(|| {
            let mut fresh = self.spares.pop().unwrap_or_default();
            fresh.resize(self.elems, T::default());
            fresh
        })
    }

    fn encode(&self, level: Level, range: Range<usize>, out: &mut Vec<u8>) {
        T::encode(&self.level(level)[range], out);
    }

    fn receive(
        &mut self,
        level: Level,
        range: Range<usize>,
        write: Write,
        payload: &[u8],
    ) -> Result<(), BufferError> {
        let elems = range.len();
        if payload.len() != elems * T::DTYPE.bytes() {
            return Err(BufferError::Length { got: payload.len(), elems, dtype: T::DTYPE });
        }
        let Range { start, end } = range;
        let outside = BufferError::Range { start, end, elems: self.elems };
        let into = self.level_mut(level).get_mut(range).ok_or(outside)?;
        T::decode(payload, into, write);
        Ok(())
    }

    fn combine(&mut self, from: Level, into: Level, range: Range<usize>, write: Write) {
        // Taken out so that both levels can be borrowed; a pointer moves, no elements.
        let mut target = std::mem::take(self.level_mut(into));
        let source = &self.level(from)[range.clone()];
        match write {
            Write::Store => target[range].copy_from_slice(source),
            Write::Add => add(&mut target[range], source),
        }
        *self.level_mut(into) = target;
    }
}

impl Buffers for HostBuffers {
    fn elems(&self) -> usize {
        match self {
            HostBuffers::F32(levels) => levels.elems,
            HostBuffers::F64(levels) => levels.elems,
        }
    }

    fn dtype(&self) -> DType {
        match self {
            HostBuffers::F32(_) => DType::F32,
            HostBuffers::F64(_) => DType::F64,
        }
    }

    fn encode(&mut self, level: Level, range: Range<usize>, out: &mut Vec<u8>) {
        match self {
            HostBuffers::F32(levels) => levels.encode(level, range, out),
            HostBuffers::F64(levels) => levels.encode(level, range, out),
        }
    }

    fn receive(
        &mut self,
        level: Level,
        range: Range<usize>,
        write: Write,
        payload: &[u8],
    ) -> Result<(), BufferError> {
        match self {
            HostBuffers::F32(levels) => levels.receive(level, range, write, payload),
            HostBuffers::F64(levels) => levels.receive(level, range, write, payload),
        }
    }

    fn combine(&mut self, from: Level, into: Level, range: Range<usize>, write: Write) {
        match self {
            HostBuffers::F32(levels) => levels.combine(from, into, range, write),
            HostBuffers::F64(levels) => levels.combine(from, into, range, write),
        }
    }
}

fn add<T: Element>(into: &mut [T], values: &[T]) {
    for (sum, value) in into.iter_mut().zip(values) {
        *sum = *sum + *value;
    }
}

macro_rules! element {
    ($type:ident, $variant:ident) => {
        impl Element for $type {
            const DTYPE: DType = DType::$variant;

            fn encode(values: &[$type], out: &mut Vec<u8>) {
                const BYTES: usize = size_of::<$type>();
                let start = out.len();
                out.resize(start + values.len() * BYTES, 0);
                let (words, _) = out[start..].as_chunks_mut::<BYTES>();
                for (word, value) in words.iter_mut().zip(values) {
                    *word = value.to_le_bytes();
                }
            }

            fn decode(payload: &[u8], into: &mut [$type], write: Write) {
                let (words, _) = payload.as_chunks::<{ size_of::<$type>() }>();
                let pairs = into.iter_mut().zip(words);
                match write {
                    Write::Store => pairs.for_each(|(value, word)| *value = $type::from_le_bytes(*word)),
                    Write::Add => pairs.for_each(|(value, word)| *value += $type::from_le_bytes(*word)),
                }
            }

            fn wrap(levels: Levels<$type>) -> HostBuffers {
                HostBuffers::$variant(levels)
            }

            fn unwrap(buffers: HostBuffers) -> Option<Levels<$type>> {
                match buffers {
                    HostBuffers::$variant(levels) => Some(levels),
                    _ => None,
                }
            }
        }
    };
}

element!(f32, F32);
element!(f64, F64);

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Level = Level(1);

    #[test]
    fn payloads_are_stored_and_added() {
        let mut sender = HostBuffers::new(vec![1.5f32, -2.0, 3.25]);
        let mut payload = vec![0xee];
        sender.encode(Level(0), 1..3, &mut payload);
        assert_eq!(payload[1..], [(-2.0f32).to_le_bytes(), 3.25f32.to_le_bytes()].concat());

        let mut buffers = HostBuffers::new(vec![10.0f32, 20.0, 30.0]);
        buffers.receive(ONE, 1..3, Write::Store, &payload[1..]).unwrap();
        buffers.combine(Level(0), ONE, 1..3, Write::Add);
        buffers.receive(ONE, 2..3, Write::Add, &payload[5..]).unwrap();
        let (level, spares) = buffers.into_level::<f32>(ONE).unwrap();
        assert_eq!(level[1..], [18.0, 36.5]);
        assert_eq!(spares, [[10.0, 20.0, 30.0]]);
    }

    #[test]
    fn spares_are_used_at_any_length() {
        let mut buffers = HostBuffers::with_spares(vec![1.0f64; 4], vec![vec![9.0; 7]]);
        buffers.combine(Level(0), ONE, 0..4, Write::Store);
        let (level, _) = buffers.into_level::<f64>(ONE).unwrap();
        assert_eq!(level, [1.0; 4]);
    }

    #[test]
    fn payloads_that_do_not_fit_are_refused() {
        let mut buffers = HostBuffers::new(vec![0.0f32; 4]);
        let short = buffers.receive(ONE, 0..4, Write::Store, &[0; 15]).unwrap_err();
        assert_eq!(short, BufferError::Length { got: 15, elems: 4, dtype: DType::F32 });
        let outside = buffers.receive(ONE, 3..5, Write::Store, &[0; 8]).unwrap_err();
        assert_eq!(outside, BufferError::Range { start: 3, end: 5, elems: 4 });
        assert!(buffers.into_level::<f64>(Level(0)).is_none());
    }
}
