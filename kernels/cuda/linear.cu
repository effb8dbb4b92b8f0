// Matrix products of linear layers, by tensor cores: bf16 factors, f32 sums. Weights are [outputs, inputs], as
// PyTorch's. For machines without cuBLASLt, and for the emulator.
//
// A block computes a tile of 128 x 128, its eight warps 64 x 32 each. Factors come through shared memory in slices 32
// deep, three of them in flight. What lies outside of a matrix is 0.
#include "hc_device.cuh"

static const u32 THREADS = 256;
static const u32 WARP = 32;
static const u32 TILE = 128;
static const u32 DEPTH = 32;
static const u32 SLICES = 3;
static const u32 OCT = 8;
static const u32 WARPS_ACROSS = 4;
static const u32 WARP_ROWS = 64;
static const u32 WARP_COLUMNS = 32;
// Tile rows that run side by side, so that the columns they share stay in the cache.
static const u64 GROUP = 8;

// Elements of shared memory of one factor's slice: enough for both ways to lie.
static const u32 SLICE_ELEMS = 5120;

// Rows behind the end of a matrix, and elements of a chunk that are not there, become 0.
HC_DEVICE void fetch(u16* shared, const u16* from, u32 elems) {
    if (elems == OCT && hc_aligned(from, 16)) {
        hc_copy16_async(shared, from);
    } else {
        for (u32 k = 0; k < OCT; k++) shared[k] = k < elems ? from[k] : static_cast<u16>(0);
    }
}

// A factor whose rows (of the product: rows of the left, columns of the right) are contiguous along the sum. Lanes
// reach eight rows at once; the padding puts them into different banks.
struct Along {
    static const u32 PITCH = DEPTH + OCT;

    HC_DEVICE void load(u16* slice, const u16* from, u64 pitch, u64 first, u64 rows, u64 start, u64 depth) {
        HC_UNROLL
        for (u32 round = 0; round < TILE * DEPTH / OCT / THREADS; round++) {
            const u32 chunk = round * THREADS + threadIdx.x;
            const u32 row = chunk / (DEPTH / OCT), place = chunk % (DEPTH / OCT) * OCT;
            const u32 elems = first + row < rows ? hc_elems_at(start + place, depth, OCT) : 0;
            const u64 offset = (first + row) * pitch + start + place;
            fetch(slice + row * PITCH + place, from + (elems > 0 ? offset : 0), elems);
        }
    }

    // 16 rows of the left factor, 16 deep.
    HC_DEVICE void left(u32 fragment[4], const u16* slice, u32 row, u32 depth, u32 lane) {
        hc_load_matrices<false>(fragment, slice + (row + lane % 16) * PITCH + depth + lane / 16 * OCT);
    }

    // 16 columns of the right factor: two fragments of 8.
    HC_DEVICE void right(u32 fragments[4], const u16* slice, u32 column, u32 depth, u32 lane) {
        const u32 row = column + lane / 16 * 8 + lane % 8;
        hc_load_matrices<false>(fragments, slice + row * PITCH + depth + lane / 8 % 2 * OCT);
    }
};

// A factor that is contiguous across the sum.
struct Across {
    static const u32 PITCH = TILE + OCT;

    HC_DEVICE void load(u16* slice, const u16* from, u64 pitch, u64 first, u64 rows, u64 start, u64 depth) {
        HC_UNROLL
        for (u32 round = 0; round < TILE * DEPTH / OCT / THREADS; round++) {
            const u32 chunk = round * THREADS + threadIdx.x;
            const u32 place = chunk / (TILE / OCT), row = chunk % (TILE / OCT) * OCT;
            const u32 elems = start + place < depth ? hc_elems_at(first + row, rows, OCT) : 0;
            const u64 offset = (start + place) * pitch + first + row;
            fetch(slice + place * PITCH + row, from + (elems > 0 ? offset : 0), elems);
        }
    }

    HC_DEVICE void left(u32 fragment[4], const u16* slice, u32 row, u32 depth, u32 lane) {
        const u32 place = depth + lane / 16 * 8 + lane % 8;
        hc_load_matrices<true>(fragment, slice + place * PITCH + row + lane / 8 % 2 * OCT);
    }

    HC_DEVICE void right(u32 fragments[4], const u16* slice, u32 column, u32 depth, u32 lane) {
        hc_load_matrices<true>(fragments, slice + (depth + lane % 16) * PITCH + column + lane / 16 * OCT);
    }
};

// Two neighbours of a row; `pair` is 1 where the second is outside.
struct Values {
    u16* to;
    u64 pitch;
    const float* bias;
    u32 add;

    HC_DEVICE void put(const Values& out, u64 row, u64 column, u32 pair, float first, float second) {
        u16* place = out.to + row * out.pitch + column;
        if (out.bias != nullptr) {
            first += out.bias[column];
            if (pair == 2) second += out.bias[column + 1];
        }
        if (out.add != 0) {
            first += hc_bf16_value(place[0]);
            if (pair == 2) second += hc_bf16_value(place[1]);
        }
        if (pair == 2 && hc_aligned(place, 4)) {
            HC_CHECK_ACCESS(place, 4);
            *reinterpret_cast<u32*>(place) = hc_bf16_nearest(first) | static_cast<u32>(hc_bf16_nearest(second)) << 16;
        } else {
            place[0] = hc_bf16_nearest(first);
            if (pair == 2) place[1] = hc_bf16_nearest(second);
        }
    }
};

// Gradients of parameters are always added.
struct Gradient {
    float* to;
    u64 pitch;

    HC_DEVICE void put(const Gradient& out, u64 row, u64 column, u32 pair, float first, float second) {
        float* place = out.to + row * out.pitch + column;
        place[0] += first;
        if (pair == 2) place[1] += second;
    }
};

struct Factor {
    const u16* from;
    u64 pitch;
};

// out[rows, columns] of a sum over `depth`.
template <class Left, class Right, class Out>
HC_DEVICE void multiply(u64 rows, u64 columns, u64 depth, Factor left, Factor right, const Out& out) {
    HC_DYNAMIC_SHARED(u16, slices);
    const u64 tile_rows = (rows + TILE - 1) / TILE, tile_columns = (columns + TILE - 1) / TILE;
    const u64 group = blockIdx.x / (GROUP * tile_columns), place = blockIdx.x % (GROUP * tile_columns);
    const u64 in_group = tile_rows - group * GROUP < GROUP ? tile_rows - group * GROUP : GROUP;
    const u64 first_row = (group * GROUP + place % in_group) * TILE, first_column = place / in_group * TILE;
    const u64 steps = (depth + DEPTH - 1) / DEPTH;
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const u32 warp_row = warp / WARPS_ACROSS * WARP_ROWS, warp_column = warp % WARPS_ACROSS * WARP_COLUMNS;

    float sums[WARP_ROWS / 16][WARP_COLUMNS / 8][4];
    HC_UNROLL
    for (u32 i = 0; i < WARP_ROWS / 16; i++) {
        HC_UNROLL
        for (u32 j = 0; j < WARP_COLUMNS / 8; j++) {
            HC_UNROLL
            for (u32 k = 0; k < 4; k++) sums[i][j][k] = 0.0f;
        }
    }

    for (u64 step = 0; step < SLICES - 1; step++) {
        if (step < steps) {
            u16* slice = slices + step * 2 * SLICE_ELEMS;
            Left::load(slice, left.from, left.pitch, first_row, rows, step * DEPTH, depth);
            Right::load(slice + SLICE_ELEMS, right.from, right.pitch, first_column, columns, step * DEPTH, depth);
        }
        hc_copy_commit();
    }
    for (u64 step = 0; step < steps; step++) {
        // This slice has come, and all warps have left the one that is filled next.
        hc_copy_wait<SLICES - 2>();
        __syncthreads();
        const u64 next = step + SLICES - 1;
        if (next < steps) {
            u16* slice = slices + next % SLICES * 2 * SLICE_ELEMS;
            Left::load(slice, left.from, left.pitch, first_row, rows, next * DEPTH, depth);
            Right::load(slice + SLICE_ELEMS, right.from, right.pitch, first_column, columns, next * DEPTH, depth);
        }
        hc_copy_commit();
        const u16* slice = slices + step % SLICES * 2 * SLICE_ELEMS;
        HC_UNROLL
        for (u32 deep = 0; deep < DEPTH; deep += 16) {
            u32 a[WARP_ROWS / 16][4], b[WARP_COLUMNS / 16][4];
            HC_UNROLL
            for (u32 i = 0; i < WARP_ROWS / 16; i++) Left::left(a[i], slice, warp_row + i * 16, deep, lane);
            HC_UNROLL
            for (u32 j = 0; j < WARP_COLUMNS / 16; j++) {
                Right::right(b[j], slice + SLICE_ELEMS, warp_column + j * 16, deep, lane);
            }
            HC_UNROLL
            for (u32 i = 0; i < WARP_ROWS / 16; i++) {
                HC_UNROLL
                for (u32 j = 0; j < WARP_COLUMNS / 8; j++) hc_multiply_bf16(sums[i][j], a[i], b[j / 2] + j % 2 * 2);
            }
        }
    }
    hc_copy_wait<0>();

    HC_UNROLL
    for (u32 i = 0; i < WARP_ROWS / 16; i++) {
        HC_UNROLL
        for (u32 j = 0; j < WARP_COLUMNS / 8; j++) {
            HC_UNROLL
            for (u32 half = 0; half < 2; half++) {
                const u64 row = first_row + warp_row + i * 16 + half * 8 + lane / 4;
                const u64 column = first_column + warp_column + j * 8 + lane % 4 * 2;
                if (row >= rows || column >= columns) continue;
                const u32 pair = column + 1 < columns ? 2 : 1;
                Out::put(out, row, column, pair, sums[i][j][2 * half], sums[i][j][2 * half + 1]);
            }
        }
    }
}

// y [rows, outputs] = x [rows, inputs] · weightᵀ + bias, if any. `n`: tiles of y. Rows of y are `pitch` apart.
HC_KERNEL(THREADS) hc_linear(u64 n, u64 rows, u64 inputs, u64 outputs, u64 pitch, const u16* x, const u16* weight,
                             const float* bias, u16* y) {
    multiply<Along, Along>(rows, outputs, inputs, Factor{x, inputs}, Factor{weight, inputs},
                           Values{y, pitch, bias, 0});
}

// dx [rows, inputs] = dy [rows, outputs] · weight, or added to it. `n`: tiles of dx.
HC_KERNEL(THREADS) hc_linear_backward(u64 n, u64 rows, u64 inputs, u64 outputs, u64 pitch, u32 add, const u16* dy,
                                      const u16* weight, u16* dx) {
    multiply<Along, Across>(rows, inputs, outputs, Factor{dy, pitch}, Factor{weight, inputs},
                            Values{dx, inputs, nullptr, add});
}

// gradient [outputs, inputs] += dyᵀ · x. `n`: tiles of the weight.
HC_KERNEL(THREADS) hc_linear_weight(u64 n, u64 rows, u64 inputs, u64 outputs, u64 pitch, const u16* dy, const u16* x,
                                    float* gradient) {
    multiply<Across, Across>(outputs, inputs, rows, Factor{dy, pitch}, Factor{x, inputs}, Gradient{gradient, inputs});
}
