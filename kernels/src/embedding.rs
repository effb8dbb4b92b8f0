//! Token and position embeddings.

use crate::simd::kernel;

kernel! {
    /// `y[s, t] = tokens[id[s, t]] + positions[t]`.
    ///
    /// `ids [sequences, length]`, `tokens [vocab, width]`, `positions [at least length, width]`.
    ///
    /// # Panics
    /// If an id is not below `vocab`.
    pub fn embed<'a, T>(
        ids: &'a [u8],
        length: usize,
        width: usize,
        tokens: &'a [T],
        positions: &'a [T],
        y: &'a mut [T],
    ) {
        for (index, (id, y)) in ids.iter().zip(y.chunks_exact_mut(width)).enumerate() {
            let token = &tokens[usize::from(*id) * width..][..width];
            let position = &positions[index % length * width..][..width];
            for i in 0..width {
                y[i] = token[i] + position[i];
            }
        }
    }

    /// Adds the gradients of [`embed`].
    pub fn embed_backward<'a, T>(
        ids: &'a [u8],
        length: usize,
        width: usize,
        dy: &'a [T],
        dtokens: &'a mut [T],
        dpositions: &'a mut [T],
    ) {
        for (index, (id, dy)) in ids.iter().zip(dy.chunks_exact(width)).enumerate() {
            let token = &mut dtokens[usize::from(*id) * width..][..width];
            for i in 0..width {
                token[i] += dy[i];
            }
            let position = &mut dpositions[index % length * width..][..width];
            for i in 0..width {
                position[i] += dy[i];
            }
        }
    }
}
