// Token and position embeddings. The way back adds rows of one token in their order, which the host finds by sorting
// them: no atomics, the same bits each time. Reference: kernels/src/embedding.rs.
#include "hc_device.cuh"

static const u32 THREADS = 256;
static const u32 OCT = 8;
static const u32 QUAD = 4;

// A block a row: `n` rows of sequences of `length`.
HC_KERNEL(THREADS) hc_embed(u64 n, u64 length, u64 width, const u32* ids, const float* tokens, const float* positions,
                            u16* y) {
    const u64 row = blockIdx.x;
    const float* token = tokens + static_cast<u64>(ids[row]) * width;
    const float* position = positions + row % length * width;
    for (u64 i = static_cast<u64>(threadIdx.x) * OCT; i < width; i += THREADS * OCT) {
        const u32 elems = hc_elems_at(i, width, OCT);
        u16 sum[OCT];
        HC_UNROLL
        for (u32 half = 0; half < OCT; half += QUAD) {
            const u32 part = hc_elems_at(half, elems, QUAD);
            float left[QUAD], right[QUAD];
            hc_load_quad(token + i + half, part, left);
            hc_load_quad(position + i + half, part, right);
            HC_UNROLL
            for (u32 k = 0; k < QUAD; k++) sum[half + k] = hc_bf16_nearest(left[k] + right[k]);
        }
        hc_store_oct(y + row * width + i, elems, sum);
    }
}

// A block a token that occurs: `n` of them, `tokens` says which, its rows are `rows[starts[b]..starts[b + 1]]`.
HC_KERNEL(THREADS) hc_embed_backward(u64 n, u64 width, const u32* tokens, const u32* starts, const u32* rows,
                                     const u16* dy, float* gradient) {
    const u64 bucket = blockIdx.x;
    const u32 start = starts[bucket], end = starts[bucket + 1];
    float* own = gradient + static_cast<u64>(tokens[bucket]) * width;
    for (u64 i = static_cast<u64>(threadIdx.x) * QUAD; i < width; i += THREADS * QUAD) {
        const u32 elems = hc_elems_at(i, width, QUAD);
        float sum[QUAD] = {0.0f, 0.0f, 0.0f, 0.0f};
        for (u32 place = start; place < end; place++) {
            u16 bits[QUAD];
            hc_load_quad(dy + static_cast<u64>(rows[place]) * width + i, elems, bits);
            HC_UNROLL
            for (u32 k = 0; k < QUAD; k++) sum[k] += hc_bf16_value(bits[k]);
        }
        float before[QUAD];
        hc_load_quad(own + i, elems, before);
        HC_UNROLL
        for (u32 k = 0; k < QUAD; k++) sum[k] += before[k];
        hc_store_quad(own + i, elems, sum);
    }
}

// A block a position: `n` of them, each summed over the sequences.
HC_KERNEL(THREADS) hc_positions_backward(u64 n, u64 sequences, u64 width, const u16* dy, float* gradient) {
    const u64 position = blockIdx.x;
    float* own = gradient + position * width;
    for (u64 i = static_cast<u64>(threadIdx.x) * QUAD; i < width; i += THREADS * QUAD) {
        const u32 elems = hc_elems_at(i, width, QUAD);
        float sum[QUAD] = {0.0f, 0.0f, 0.0f, 0.0f};
        for (u64 sequence = 0; sequence < sequences; sequence++) {
            u16 bits[QUAD];
            hc_load_quad(dy + (sequence * n + position) * width + i, elems, bits);
            HC_UNROLL
            for (u32 k = 0; k < QUAD; k++) sum[k] += hc_bf16_value(bits[k]);
        }
        float before[QUAD];
        hc_load_quad(own + i, elems, before);
        HC_UNROLL
        for (u32 k = 0; k < QUAD; k++) sum[k] += before[k];
        hc_store_quad(own + i, elems, sum);
    }
}
