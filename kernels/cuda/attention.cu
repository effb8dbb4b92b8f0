// Causal attention over several heads, forward and backward, on tensor cores: bf16 in and out, sums in f32.
// kernels/src/attention.rs has the shapes: qkv [sequences, length, 3, heads, head_width].
//
// A block owns rows of one head, whose fragments stay in registers, and streams tiles of 64 rows of the other side
// through two stages of shared memory: queries see keys and values, keys and values see queries and the gradient of
// what these became. Each sum has one owner and one order, so there are no atomics, and the bits are the same in every
// run. The way back therefore has two kernels that both form the scores, seven products where five would do: sums over
// keys and sums over queries cannot both stay in one block's registers, and adding one of them up in memory either
// needs atomics or a partial sum a tile. Source: Dao, "FlashAttention-2", 2023.
#include "hc_device.cuh"

static const u32 WARP = 32;
static const u32 FRAGMENT = 16;  // rows of a left factor, and what one instruction sums over
static const u32 VECTOR = 8;     // elements of 16 bytes
static const u32 STREAMED = 64;  // rows of a tile that comes by
static const float LOG2_E = 1.44269504f;
static const float LN_2 = 0.693147181f;
static const u32 QUERIES = 0, KEYS = 1, VALUES = 2;

// Rows of shared memory are 16 bytes longer than a head, so that eight of them have their vectors in eight banks.
HC_DEVICE constexpr u32 pitch(u32 width) {
    return width + VECTOR;
}

// One head of one sequence, and the tile of it that the block owns.
struct Head {
    u64 length, heads, tiles;
    u32 sequence, head, blocks_before, width;
};

// `n`: heads times tiles of `rows` rows. All heads have their first tile, then all their second.
HC_DEVICE Head own_head(u64 n, u64 length, u64 heads, u32 width, u32 rows) {
    Head own;
    own.length = length, own.heads = heads, own.width = width;
    own.tiles = (length + rows - 1) / rows;
    const u64 pairs = n / own.tiles;
    const u64 pair = blockIdx.x % pairs;
    own.sequence = static_cast<u32>(pair / heads), own.head = static_cast<u32>(pair % heads);
    own.blocks_before = static_cast<u32>(blockIdx.x / pairs);
    return own;
}

// Of lse and delta, [sequences, heads, length].
HC_DEVICE u64 scalars_start(const Head& own) {
    return (own.heads * own.sequence + own.head) * own.length;
}

// What a head has in an array, by token.
template <class T>
struct Rows {
    T* start;
    u64 stride, count;
    u32 width;
    bool by_vectors;
};

template <class T>
HC_DEVICE Rows<T> rows_of(const Head& own, T* array, u64 parts, u64 part) {
    const u64 start = ((own.length * own.sequence * parts + part) * own.heads + own.head) * own.width;
    const bool by_vectors = own.width % VECTOR == 0 && hc_aligned(array, 16);
    return Rows<T>{array + start, parts * own.heads * own.width, own.length, own.width, by_vectors};
}

// By the whole block: rows `first`.. into shared memory. Zero beside the head and behind the last row, since what is
// masked is still multiplied, by zero.
template <u32 WIDTH, u32 ROWS, u32 THREADS>
HC_DEVICE void load_rows(const Rows<const u16>& from, u64 first, u16* to) {
    constexpr u32 VECTORS = WIDTH / VECTOR;
    // Not unrolled: nothing waits for these copies, and addresses would take registers from the sums.
    HC_ROLLED
    for (u32 i = threadIdx.x; i < ROWS * VECTORS; i += THREADS) {
        const u32 row = i / VECTORS, column = i % VECTORS * VECTOR;
        u16* place = to + row * pitch(WIDTH) + column;
        if (first + row >= from.count || column >= from.width) {
            hc_zero16(place);
            continue;
        }
        const u16* source = from.start + (first + row) * from.stride + column;
        if (from.by_vectors) {
            hc_copy16_async(place, source);
        } else {
            for (u32 j = 0; j < VECTOR; j++) place[j] = column + j < from.width ? source[j] : 0;
        }
    }
}

// Scalars of rows `first`..; `behind` for those behind the last.
template <u32 ROWS>
HC_DEVICE void load_scalars(const float* from, u64 first, u64 count, float behind, float* to) {
    if (threadIdx.x >= ROWS) return;
    const u64 row = first + threadIdx.x;
    if (row < count) {
        hc_copy4_async(to + threadIdx.x, from + row);
    } else {
        to[threadIdx.x] = behind;
    }
}

// Fragments of a warp's own rows in shared memory, as left factors.
template <u32 WIDTH, u32 TILES>
HC_DEVICE void load_left(const u16* rows, u32 left[TILES][WIDTH / FRAGMENT][4]) {
    const u32 lane = threadIdx.x % WARP;
    const u16* place = rows + lane % FRAGMENT * pitch(WIDTH) + lane / FRAGMENT * VECTOR;
    HC_UNROLL
    for (u32 tile = 0; tile < TILES; tile++) {
        HC_UNROLL
        for (u32 k = 0; k < WIDTH / FRAGMENT; k++) {
            hc_load_matrices<false>(left[tile][k], place + tile * FRAGMENT * pitch(WIDTH) + k * FRAGMENT);
        }
    }
}

// sum = left rows^T: products of own rows with COLUMNS rows of shared memory.
template <u32 WIDTH, u32 TILES, u32 COLUMNS>
HC_DEVICE void multiply_by_rows(const u32 left[TILES][WIDTH / FRAGMENT][4], const u16* rows,
                                float sum[TILES][COLUMNS / 8][4]) {
    const u32 lane = threadIdx.x % WARP;
    const u16* place = rows + (lane / 16 * 8 + lane % 8) * pitch(WIDTH) + lane / 8 % 2 * VECTOR;
    HC_UNROLL
    for (u32 tile = 0; tile < TILES; tile++) {
        HC_UNROLL
        for (u32 n = 0; n < COLUMNS / 8; n++) {
            HC_UNROLL
            for (u32 i = 0; i < 4; i++) sum[tile][n][i] = 0.0f;
        }
    }
    HC_UNROLL
    for (u32 k = 0; k < WIDTH / FRAGMENT; k++) {
        HC_UNROLL
        for (u32 n = 0; n < COLUMNS / 16; n++) {
            u32 right[4];
            hc_load_matrices<false>(right, place + n * 16 * pitch(WIDTH) + k * FRAGMENT);
            HC_UNROLL
            for (u32 tile = 0; tile < TILES; tile++) {
                hc_multiply_bf16(sum[tile][2 * n], left[tile][k], right);
                hc_multiply_bf16(sum[tile][2 * n + 1], left[tile][k], right + 2);
            }
        }
    }
}

// sum += left rows, where `left` has COLUMNS columns, one a row of shared memory.
template <u32 WIDTH, u32 TILES, u32 COLUMNS>
HC_DEVICE void add_product(const float left[TILES][COLUMNS / 8][4], const u16* rows, float sum[TILES][WIDTH / 8][4]) {
    const u32 lane = threadIdx.x % WARP;
    const u16* place = rows + lane % FRAGMENT * pitch(WIDTH) + lane / FRAGMENT * VECTOR;
    HC_UNROLL
    for (u32 k = 0; k < COLUMNS / FRAGMENT; k++) {
        // Sums lie over the lanes as left factors do.
        u32 packed[TILES][4];
        HC_UNROLL
        for (u32 tile = 0; tile < TILES; tile++) {
            HC_UNROLL
            for (u32 i = 0; i < 4; i++) {
                const float* pair = left[tile][2 * k + i / 2] + i % 2 * 2;
                packed[tile][i] = hc_pack_bf16(pair[0], pair[1]);
            }
        }
        HC_UNROLL
        for (u32 n = 0; n < WIDTH / 16; n++) {
            u32 right[4];
            hc_load_matrices<true>(right, place + k * FRAGMENT * pitch(WIDTH) + n * 16);
            HC_UNROLL
            for (u32 tile = 0; tile < TILES; tile++) {
                hc_multiply_bf16(sum[tile][2 * n], packed[tile], right);
                hc_multiply_bf16(sum[tile][2 * n + 1], packed[tile], right + 2);
            }
        }
    }
}

// By a warp: its sums times `factor` of their rows, as bf16, through its own part of shared memory.
template <u32 WIDTH, u32 TILES>
HC_DEVICE void store_rows(const float sum[TILES][WIDTH / 8][4], const float factor[TILES][2], u16* staged,
                          const Rows<u16>& to, u64 first) {
    constexpr u32 VECTORS = WIDTH / VECTOR;
    const u32 lane = threadIdx.x % WARP;
    HC_UNROLL
    for (u32 tile = 0; tile < TILES; tile++) {
        HC_UNROLL
        for (u32 n = 0; n < WIDTH / 8; n++) {
            HC_UNROLL
            for (u32 half = 0; half < 2; half++) {
                const u32 row = tile * FRAGMENT + half * 8 + lane / 4;
                u16* place = staged + row * pitch(WIDTH) + n * 8 + lane % 4 * 2;
                const float* pair = sum[tile][n] + 2 * half;
                *reinterpret_cast<u32*>(place) =
                    hc_pack_bf16(pair[0] * factor[tile][half], pair[1] * factor[tile][half]);
            }
        }
    }
    __syncwarp();
    for (u32 i = lane; i < TILES * FRAGMENT * VECTORS; i += WARP) {
        const u32 row = i / VECTORS, column = i % VECTORS * VECTOR;
        if (first + row >= to.count || column >= to.width) continue;
        const u16* place = staged + row * pitch(WIDTH) + column;
        u16* target = to.start + (first + row) * to.stride + column;
        if (to.by_vectors) {
            hc_copy16(target, place);
        } else {
            for (u32 j = 0; j < VECTOR && column + j < to.width; j++) target[j] = place[j];
        }
    }
}

template <u32 TILES, u32 COLUMNS>
HC_DEVICE void zero(float sum[TILES][COLUMNS / 8][4]) {
    HC_UNROLL
    for (u32 tile = 0; tile < TILES; tile++) {
        HC_UNROLL
        for (u32 n = 0; n < COLUMNS / 8; n++) {
            HC_UNROLL
            for (u32 i = 0; i < 4; i++) sum[tile][n][i] = 0.0f;
        }
    }
}

// Over the four lanes that share a row of sums.
HC_DEVICE float quad_maximum(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

HC_DEVICE float quad_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Where element `i` of a lane's part of sums lies: row within a tile of 16, and column within 8.
HC_DEVICE u32 row_of(u32 i) {
    return threadIdx.x % WARP / 4 + i / 2 * 8;
}

HC_DEVICE u32 column_of(u32 i) {
    return threadIdx.x % 4 * 2 + i % 2;
}

HC_DEVICE float score_scale(u32 width) {
    return 1.0f / sqrtf(static_cast<float>(width));
}

// From a score and its row's logsumexp, in units of log2. Not above 1, to which rounding may bring very large scores.
HC_DEVICE float probability_of(float score, float scale, float row_lse) {
    const float exponent = fmaf(score, scale, -row_lse);
    return hc_exp2(exponent > 0.0f ? 0.0f : exponent);
}

// Scores become minus infinity where the key comes after the query; the first row is `ahead` behind the first column.
template <u32 TILES, u32 COLUMNS>
HC_DEVICE void mask_scores(float scores[TILES][COLUMNS / 8][4], int ahead) {
    HC_UNROLL
    for (u32 tile = 0; tile < TILES; tile++) {
        HC_UNROLL
        for (u32 n = 0; n < COLUMNS / 8; n++) {
            HC_UNROLL
            for (u32 i = 0; i < 4; i++) {
                const int key = static_cast<int>(n * 8 + column_of(i));
                const int query = ahead + static_cast<int>(tile * FRAGMENT + row_of(i));
                if (key > query) scores[tile][n][i] = -hc_float(HC_INFINITY);
            }
        }
    }
}

// The softmax of a row so far, in units of log2: its largest score, and the sum of 2^(score - largest) over this lane's
// columns.
template <u32 TILES>
struct Softmax {
    float largest[TILES][2], sum[TILES][2];
};

// Scores become probabilities that are not divided by their sum yet, and what was summed is brought to the same scale.
template <u32 WIDTH, u32 TILES>
HC_DEVICE void go_on(Softmax<TILES>& softmax, float scale, float scores[TILES][STREAMED / 8][4],
                     float out[TILES][WIDTH / 8][4]) {
    HC_UNROLL
    for (u32 tile = 0; tile < TILES; tile++) {
        HC_UNROLL
        for (u32 half = 0; half < 2; half++) {
            float largest = -hc_float(HC_INFINITY);
            HC_UNROLL
            for (u32 n = 0; n < STREAMED / 8; n++) {
                largest = fmaxf(largest, fmaxf(scores[tile][n][2 * half], scores[tile][n][2 * half + 1]));
            }
            const float before = softmax.largest[tile][half];
            const float now = fmaxf(before, quad_maximum(largest) * scale);
            const float change = hc_exp2(before - now);
            float sum = softmax.sum[tile][half] * change;
            HC_UNROLL
            for (u32 n = 0; n < STREAMED / 8; n++) {
                HC_UNROLL
                for (u32 i = 2 * half; i < 2 * half + 2; i++) {
                    // Not by fmaf: the largest one must be rounded as it was for `now`, to give 1 however large.
                    scores[tile][n][i] = hc_exp2(scores[tile][n][i] * scale - now);
                    sum += scores[tile][n][i];
                }
            }
            softmax.largest[tile][half] = now;
            softmax.sum[tile][half] = sum;
            HC_UNROLL
            for (u32 n = 0; n < WIDTH / 8; n++) {
                out[tile][n][2 * half] *= change;
                out[tile][n][2 * half + 1] *= change;
            }
        }
    }
}

template <u32 WIDTH, u32 WARPS, u32 TILES>
HC_DEVICE void forward(u64 n, u64 length, u64 heads, u32 head_width, const u16* qkv, u16* out, float* lse) {
    constexpr u32 THREADS = WARPS * WARP, OWN = TILES * FRAGMENT, ROWS = WARPS * OWN;
    constexpr u32 STAGE = 2 * STREAMED * pitch(WIDTH);
    static_assert(ROWS <= 2 * STREAMED, "queries come, and results leave, through one stage");
    HC_DYNAMIC_SHARED(u16, shared);
    const Head own = own_head(n, length, heads, head_width, ROWS);
    // The last tile sees the most keys: it starts first.
    const u64 first = (own.tiles - 1 - own.blocks_before) * ROWS;
    const Rows<const u16> keys = rows_of(own, qkv, 3, KEYS), values = rows_of(own, qkv, 3, VALUES);
    const auto stage_of = [&](u64 row) { return shared + row / STREAMED % 2 * STAGE; };
    const auto load = [&](u64 row) {
        load_rows<WIDTH, STREAMED, THREADS>(keys, row, stage_of(row));
        load_rows<WIDTH, STREAMED, THREADS>(values, row, stage_of(row) + STREAMED * pitch(WIDTH));
        hc_copy_commit();
    };
    load_rows<WIDTH, ROWS, THREADS>(rows_of(own, qkv, 3, QUERIES), first, shared + STAGE);
    hc_copy_commit();
    load(0);
    hc_copy_wait<1>();
    __syncthreads();
    const u32 own_row = threadIdx.x / WARP * OWN;
    const u64 own_first = first + own_row;
    u32 queries[TILES][WIDTH / FRAGMENT][4];
    load_left<WIDTH, TILES>(shared + STAGE + own_row * pitch(WIDTH), queries);

    float sum[TILES][WIDTH / 8][4];
    zero<TILES, WIDTH>(sum);
    Softmax<TILES> softmax;
    HC_UNROLL
    for (u32 k = 0; k < 2 * TILES; k++) {
        softmax.largest[k / 2][k % 2] = -hc_float(HC_INFINITY);
        softmax.sum[k / 2][k % 2] = 0.0f;
    }
    const float scale = score_scale(head_width) * LOG2_E;
    const u64 end = first + ROWS < length ? first + ROWS : length;
    u64 seen = 0;
    for (; seen < end; seen += STREAMED) {
        hc_copy_wait<0>();
        // This tile is there, and nobody reads the one before it any more.
        __syncthreads();
        if (seen + STREAMED < end) load(seen + STREAMED);
        const u16* stage = stage_of(seen);
        if (own_first >= length || seen >= own_first + OWN) continue;
        float scores[TILES][STREAMED / 8][4];
        multiply_by_rows<WIDTH, TILES, STREAMED>(queries, stage, scores);
        if (seen + STREAMED > own_first + 1) {
            mask_scores<TILES, STREAMED>(scores, static_cast<int>(own_first - seen));
        }
        go_on<WIDTH, TILES>(softmax, scale, scores, sum);
        add_product<WIDTH, TILES, STREAMED>(scores, stage + STREAMED * pitch(WIDTH), sum);
    }

    float factor[TILES][2];
    HC_UNROLL
    for (u32 tile = 0; tile < TILES; tile++) {
        HC_UNROLL
        for (u32 half = 0; half < 2; half++) {
            const float total = quad_sum(softmax.sum[tile][half]);
            factor[tile][half] = 1.0f / total;
            const u64 row = own_first + tile * FRAGMENT + row_of(2 * half);
            if (row < length && threadIdx.x % 4 == 0) {
                lse[scalars_start(own) + row] = (softmax.largest[tile][half] + log2f(total)) * LN_2;
            }
        }
    }
    // The stage that the last tile is not in.
    u16* staged = stage_of(seen) + own_row * pitch(WIDTH);
    store_rows<WIDTH, TILES>(sum, factor, staged, rows_of(own, out, 1, 0), own_first);
}

static const u32 DELTA_THREADS = 256;
static const u32 DELTA_LANES = 8;

// The sum of dout times out over a head, of `n` rows [sequences, length, heads]; eight lanes a row.
HC_KERNEL(DELTA_THREADS) hc_attention_delta(u64 n, u64 length, u64 heads, u32 head_width, const u16* out,
                                            const u16* dout, float* delta) {
    const u64 row = (static_cast<u64>(blockIdx.x) * DELTA_THREADS + threadIdx.x) / DELTA_LANES;
    const u32 lane = threadIdx.x % DELTA_LANES;
    float sum = 0.0f;
    if (row < n) {
        for (u32 start = lane * 4; start < head_width; start += DELTA_LANES * 4) {
            const u32 elems = head_width - start < 4 ? head_width - start : 4;
            u16 a[4], b[4];
            hc_load_quad(out + row * head_width + start, elems, a);
            hc_load_quad(dout + row * head_width + start, elems, b);
            HC_UNROLL
            for (u32 k = 0; k < 4; k++) sum = fmaf(hc_bf16_value(a[k]), hc_bf16_value(b[k]), sum);
        }
    }
    // Rows behind the end come along: a shuffle needs the whole warp.
    sum += __shfl_xor_sync(0xffffffffu, sum, 4);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    if (row >= n || lane != 0) return;
    const u64 token = row / heads, head = row % heads;
    const u64 sequence = token / length;
    delta[(sequence * heads + head) * length + (token - sequence * length)] = sum;
}

// Gradients of queries: a block owns queries and sees keys and values.
template <u32 WIDTH, u32 WARPS, u32 TILES, u32 COLUMNS>
HC_DEVICE void backward_queries(u64 n, u64 length, u64 heads, u32 head_width, const u16* qkv, const float* lse,
                                const float* delta, const u16* dout, u16* dqkv) {
    constexpr u32 THREADS = WARPS * WARP, OWN = TILES * FRAGMENT, ROWS = WARPS * OWN;
    constexpr u32 STAGE = 2 * STREAMED * pitch(WIDTH);
    static_assert(ROWS == STREAMED, "two factors come through one stage");
    HC_DYNAMIC_SHARED(u16, shared);
    const Head own = own_head(n, length, heads, head_width, ROWS);
    const u64 first = (own.tiles - 1 - own.blocks_before) * ROWS;
    const Rows<const u16> keys = rows_of(own, qkv, 3, KEYS), values = rows_of(own, qkv, 3, VALUES);
    const auto stage_of = [&](u64 row) { return shared + row / STREAMED % 2 * STAGE; };
    const auto load = [&](u64 row) {
        load_rows<WIDTH, STREAMED, THREADS>(keys, row, stage_of(row));
        load_rows<WIDTH, STREAMED, THREADS>(values, row, stage_of(row) + STREAMED * pitch(WIDTH));
        hc_copy_commit();
    };
    u16* const owned = shared + STAGE;
    load_rows<WIDTH, ROWS, THREADS>(rows_of(own, qkv, 3, QUERIES), first, owned);
    load_rows<WIDTH, ROWS, THREADS>(rows_of(own, dout, 1, 0), first, owned + ROWS * pitch(WIDTH));
    hc_copy_commit();
    load(0);
    hc_copy_wait<1>();
    __syncthreads();
    const u32 own_row = threadIdx.x / WARP * OWN;
    const u64 own_first = first + own_row;
    u32 queries[TILES][WIDTH / FRAGMENT][4], douts[TILES][WIDTH / FRAGMENT][4];
    load_left<WIDTH, TILES>(owned + own_row * pitch(WIDTH), queries);
    load_left<WIDTH, TILES>(owned + (ROWS + own_row) * pitch(WIDTH), douts);
    float row_lse[TILES][2], row_delta[TILES][2], factor[TILES][2];
    HC_UNROLL
    for (u32 k = 0; k < 2 * TILES; k++) {
        const u64 row = own_first + k / 2 * FRAGMENT + row_of(k % 2 * 2);
        const u64 place = scalars_start(own) + row;
        // Probabilities of rows that are not there are 0.
        row_lse[k / 2][k % 2] = row < length ? lse[place] * LOG2_E : hc_float(HC_INFINITY);
        row_delta[k / 2][k % 2] = row < length ? delta[place] : 0.0f;
        factor[k / 2][k % 2] = score_scale(head_width);
    }

    float sum[TILES][WIDTH / 8][4];
    zero<TILES, WIDTH>(sum);
    const float scale = score_scale(head_width) * LOG2_E;
    const u64 end = first + ROWS < length ? first + ROWS : length;
    u64 seen = 0;
    for (; seen < end; seen += STREAMED) {
        hc_copy_wait<0>();
        // As on the way forward.
        __syncthreads();
        if (seen + STREAMED < end) load(seen + STREAMED);
        const u16* stage = stage_of(seen);
        if (own_first >= length) continue;
        HC_ROLLED
        for (u32 part = 0; part < STREAMED; part += COLUMNS) {
            const u64 column = seen + part;
            if (column >= own_first + OWN) break;
            const u16* key = stage + part * pitch(WIDTH);
            float scores[TILES][COLUMNS / 8][4], dscores[TILES][COLUMNS / 8][4];
            multiply_by_rows<WIDTH, TILES, COLUMNS>(queries, key, scores);
            multiply_by_rows<WIDTH, TILES, COLUMNS>(douts, key + STREAMED * pitch(WIDTH), dscores);
            if (column + COLUMNS > own_first + 1) {
                mask_scores<TILES, COLUMNS>(scores, static_cast<int>(own_first - column));
            }
            HC_UNROLL
            for (u32 tile = 0; tile < TILES; tile++) {
                HC_UNROLL
                for (u32 k = 0; k < COLUMNS / 8; k++) {
                    HC_UNROLL
                    for (u32 i = 0; i < 4; i++) {
                        const float probability = probability_of(scores[tile][k][i], scale, row_lse[tile][i / 2]);
                        dscores[tile][k][i] = probability * (dscores[tile][k][i] - row_delta[tile][i / 2]);
                    }
                }
            }
            add_product<WIDTH, TILES, COLUMNS>(dscores, key, sum);
        }
    }
    u16* staged = stage_of(seen) + own_row * pitch(WIDTH);
    store_rows<WIDTH, TILES>(sum, factor, staged, rows_of(own, dqkv, 3, QUERIES), own_first);
}

struct alignas(8) Pair {
    float of[2];
};

// Gradients of keys and values: a block owns these and sees queries. Its scores have a row a key, so that what becomes
// of them is a left factor, as it lies. Values stay in shared memory: with their fragments, registers would not last.
// SEEN: queries of a tile.
template <u32 WIDTH, u32 WARPS, u32 TILES, u32 SEEN, u32 COLUMNS>
HC_DEVICE void backward_keys(u64 n, u64 length, u64 heads, u32 head_width, const u16* qkv, const float* lse,
                             const float* delta, const u16* dout, u16* dqkv) {
    constexpr u32 THREADS = WARPS * WARP, OWN = TILES * FRAGMENT, ROWS = WARPS * OWN;
    constexpr u32 SCALARS = 2 * SEEN * pitch(WIDTH);
    constexpr u32 STAGE = SCALARS + 2 * SEEN * sizeof(float) / sizeof(u16);
    static_assert(ROWS % SEEN == 0 && ROWS <= 2 * SEEN, "tiles begin where keys do, which come through one stage");
    static_assert(THREADS >= SEEN, "a thread a scalar");
    HC_DYNAMIC_SHARED(u16, shared);
    const Head own = own_head(n, length, heads, head_width, ROWS);
    // The first keys are seen by the most queries.
    const u64 first = static_cast<u64>(own.blocks_before) * ROWS;
    const Rows<const u16> query_rows = rows_of(own, qkv, 3, QUERIES), dout_rows = rows_of(own, dout, 1, 0);
    const u64 scalars = scalars_start(own);
    u16* const values = shared;
    const auto stage_of = [&](u64 row) { return shared + ROWS * pitch(WIDTH) + row / SEEN % 2 * STAGE; };
    const auto load = [&](u64 row) {
        u16* stage = stage_of(row);
        load_rows<WIDTH, SEEN, THREADS>(query_rows, row, stage);
        load_rows<WIDTH, SEEN, THREADS>(dout_rows, row, stage + SEEN * pitch(WIDTH));
        float* scalar = reinterpret_cast<float*>(stage + SCALARS);
        // Probabilities of queries that are not there are 0.
        load_scalars<SEEN>(lse + scalars, row, length, hc_float(HC_INFINITY), scalar);
        load_scalars<SEEN>(delta + scalars, row, length, 0.0f, scalar + SEEN);
        hc_copy_commit();
    };
    load_rows<WIDTH, ROWS, THREADS>(rows_of(own, qkv, 3, KEYS), first, stage_of(first + SEEN));
    load_rows<WIDTH, ROWS, THREADS>(rows_of(own, qkv, 3, VALUES), first, values);
    hc_copy_commit();
    load(first);
    hc_copy_wait<1>();
    __syncthreads();
    const u32 own_row = threadIdx.x / WARP * OWN;
    const u64 own_first = first + own_row;
    u16* const own_values = values + own_row * pitch(WIDTH);
    u32 keys[TILES][WIDTH / FRAGMENT][4];
    load_left<WIDTH, TILES>(stage_of(first + SEEN) + own_row * pitch(WIDTH), keys);

    float dkeys[TILES][WIDTH / 8][4], dvalues[TILES][WIDTH / 8][4];
    zero<TILES, WIDTH>(dkeys);
    zero<TILES, WIDTH>(dvalues);
    const float scale = score_scale(head_width) * LOG2_E;
    u64 seen = first;
    for (; seen < length; seen += SEEN) {
        hc_copy_wait<0>();
        // As on the way forward.
        __syncthreads();
        if (seen + SEEN < length) load(seen + SEEN);
        const u16* stage = stage_of(seen);
        const float* scalar = reinterpret_cast<const float*>(stage + SCALARS);
        if (own_first >= length) continue;
        HC_ROLLED
        for (u32 part = 0; part < SEEN; part += COLUMNS) {
            const u64 row = seen + part;
            if (row >= length) break;
            if (row + COLUMNS <= own_first) continue;
            const bool masked = row < own_first + OWN - 1;
            // Where the first query is from the first key; only looked at where both are near.
            const int ahead = static_cast<int>(row - own_first);
            const u16* query = stage + part * pitch(WIDTH);
            const u16* dout_row = query + SEEN * pitch(WIDTH);
            float scores[TILES][COLUMNS / 8][4], dscores[TILES][COLUMNS / 8][4];
            multiply_by_rows<WIDTH, TILES, COLUMNS>(keys, query, scores);
            u32 left[TILES][WIDTH / FRAGMENT][4];
            load_left<WIDTH, TILES>(own_values, left);
            multiply_by_rows<WIDTH, TILES, COLUMNS>(left, dout_row, dscores);
            HC_UNROLL
            for (u32 k = 0; k < COLUMNS / 8; k++) {
                const u32 place = part + k * 8 + column_of(0);
                const Pair column_lse = *reinterpret_cast<const Pair*>(scalar + place);
                const Pair column_delta = *reinterpret_cast<const Pair*>(scalar + SEEN + place);
                HC_UNROLL
                for (u32 tile = 0; tile < TILES; tile++) {
                    HC_UNROLL
                    for (u32 i = 0; i < 4; i++) {
                        const int own_key = static_cast<int>(tile * FRAGMENT + row_of(i));
                        const bool later = masked && own_key > ahead + static_cast<int>(k * 8 + column_of(i));
                        const float probability =
                            later ? 0.0f : probability_of(scores[tile][k][i], scale, column_lse.of[i % 2] * LOG2_E);
                        scores[tile][k][i] = probability;
                        dscores[tile][k][i] = probability * (dscores[tile][k][i] - column_delta.of[i % 2]);
                    }
                }
            }
            add_product<WIDTH, TILES, COLUMNS>(scores, dout_row, dvalues);
            add_product<WIDTH, TILES, COLUMNS>(dscores, query, dkeys);
        }
    }
    float of_keys[TILES][2], of_values[TILES][2];
    HC_UNROLL
    for (u32 k = 0; k < 2 * TILES; k++) {
        of_keys[k / 2][k % 2] = score_scale(head_width);
        of_values[k / 2][k % 2] = 1.0f;
    }
    u16* staged = stage_of(seen) + own_row * pitch(WIDTH);
    store_rows<WIDTH, TILES>(dkeys, of_keys, staged, rows_of(own, dqkv, 3, KEYS), own_first);
    store_rows<WIDTH, TILES>(dvalues, of_values, own_values, rows_of(own, dqkv, 3, VALUES), own_first);
}

#define FORWARD_PARAMETERS \
    u64 n, u64 length, u64 heads, u32 head_width, const u16 *qkv, u16 *out, float *lse
#define FORWARD_ARGUMENTS n, length, heads, head_width, qkv, out, lse
#define BACKWARD_PARAMETERS                                                                            \
    u64 n, u64 length, u64 heads, u32 head_width, const u16 *qkv, const float *lse, const float *delta, \
        const u16 *dout, u16 *dqkv
#define BACKWARD_ARGUMENTS n, length, heads, head_width, qkv, lse, delta, dout, dqkv

// Two tiles a warp where registers last: each fragment of the other side is then read for twice the work.

HC_KERNEL(128) hc_attention_32(FORWARD_PARAMETERS) {
    forward<32, 4, 2>(FORWARD_ARGUMENTS);
}

HC_KERNEL(128) hc_attention_64(FORWARD_PARAMETERS) {
    forward<64, 4, 2>(FORWARD_ARGUMENTS);
}

HC_KERNEL(256) hc_attention_128(FORWARD_PARAMETERS) {
    forward<128, 8, 1>(FORWARD_ARGUMENTS);
}

HC_KERNEL(64) hc_attention_backward_queries_32(BACKWARD_PARAMETERS) {
    backward_queries<32, 2, 2, 32>(BACKWARD_ARGUMENTS);
}

HC_KERNEL(64) hc_attention_backward_queries_64(BACKWARD_PARAMETERS) {
    backward_queries<64, 2, 2, 16>(BACKWARD_ARGUMENTS);
}

HC_KERNEL(128) hc_attention_backward_queries_128(BACKWARD_PARAMETERS) {
    backward_queries<128, 4, 1, 16>(BACKWARD_ARGUMENTS);
}

HC_KERNEL(64) hc_attention_backward_keys_32(BACKWARD_PARAMETERS) {
    backward_keys<32, 2, 2, 64, 16>(BACKWARD_ARGUMENTS);
}

HC_KERNEL(128) hc_attention_backward_keys_64(BACKWARD_PARAMETERS) {
    backward_keys<64, 4, 1, 64, 32>(BACKWARD_ARGUMENTS);
}

HC_KERNEL(128) hc_attention_backward_keys_128(BACKWARD_PARAMETERS) {
    backward_keys<128, 4, 1, 32, 32>(BACKWARD_ARGUMENTS);
}
