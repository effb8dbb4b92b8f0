// Clipping and Gaussian noise, with the bits of kernels/src/privacy.rs, which says what they protect and what not.
//
// Gradients are rows of `pitch` elements, one an example; per-worker clipping has one row. Addresses are those of
// column 0; a launch works on columns begin..begin + columns, of which the first begins a part of 4,096.
#include "hc_device.cuh"

static const u32 THREADS = 256;
static const u32 QUAD = 4;
static const u64 PART_ELEMS = 4096;
static const float SMALLEST_NORMAL = 1.17549435e-38f;

// Sums of squares of parts, one a block: `n` is rows times parts. Thread i has elements i, i + 256, ...; then halves
// are added.
HC_KERNEL(256) hc_clip_partials(u64 n, u64 begin, u64 columns, u64 pitch, u64 partials_pitch, const float* rows,
                                double* partials) {
    HC_SHARED(double, sums, THREADS);
    const u64 parts = (columns + PART_ELEMS - 1) / PART_ELEMS;
    const u64 row = blockIdx.x / parts, part = blockIdx.x % parts;
    const u64 start = part * PART_ELEMS;
    const u64 elems = columns - start < PART_ELEMS ? columns - start : PART_ELEMS;
    const float* values = rows + row * pitch + begin + start;
    double sum = 0.0;
    for (u64 i = threadIdx.x; i < elems; i += THREADS) {
        sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    }
    sums[threadIdx.x] = sum;
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) partials[row * partials_pitch + begin / PART_ELEMS + part] = sums[0];
}

// What scales a row to a norm of at most `bound`; 0 for a row that is not finite.
HC_KERNEL(256) hc_clip_factors(u64 n, u64 parts, float bound, const double* partials, float* factors) {
    const u64 row = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x;
    if (row >= n) return;
    double sum = 0.0;
    for (u64 part = 0; part < parts; part++) sum += partials[row * parts + part];
    const double norm = sqrt(sum);
    float factor = 1.0f;
    if (!(norm <= static_cast<double>(bound))) {
        // Four halves of a unit in the last place: more than all roundings up can add.
        factor = static_cast<float>(static_cast<double>(bound) / norm) * (1.0f - 1.0f / 4194304.0f);
        // A factor of fewer bits could be rounded up by more.
        if (factor < SMALLEST_NORMAL) factor = 0.0f;
    }
    // As comparisons, false for NaN.
    factors[row] = norm < hc_float(HC_INFINITY) && bound >= 0.0f ? factor : 0.0f;
}

// -2 ln((word + 1/2) / 2^32). Source of the polynomial: Cephes, logf.
HC_DEVICE float minus_two_log(u32 word) {
    const u32 bits = hc_bits(static_cast<float>(word) + 0.5f);
    int exponent = static_cast<int>(bits >> 23) - 127 - 32;
    float m = hc_float((bits & 0x007fffff) | 0x3f800000);
    if (m > 1.41421356f) {
        m = m * 0.5f;
        exponent += 1;
    }
    const float e = static_cast<float>(exponent);
    const float x = m - 1.0f;
    const float square = x * x;
    float poly = 7.0376836292e-2f;
    poly = poly * x - 1.1514610310e-1f;
    poly = poly * x + 1.1676998740e-1f;
    poly = poly * x - 1.2420140846e-1f;
    poly = poly * x + 1.4249322787e-1f;
    poly = poly * x - 1.6668057665e-1f;
    poly = poly * x + 2.0000714765e-1f;
    poly = poly * x - 2.4999993993e-1f;
    poly = poly * x + 3.3333331174e-1f;
    float y = poly * x * square;
    // ln 2 in two parts, so that the product with the larger one is exact.
    y = y - 2.12194440e-4f * e;
    y = y - 0.5f * square;
    const float log = (x + y) + 0.693359375f * e;
    return -2.0f * log;
}

struct Turn {
    float cosine, sine;
};

// Of 2 pi word / 2^32. Source of the polynomials: Cephes, sinf and cosf.
HC_DEVICE Turn turn(u32 word) {
    const u32 quarter = (word + 0x20000000u) >> 30;
    // Within an eighth of a turn, exactly; pi / 2^31 makes it an angle.
    const float x = static_cast<float>(static_cast<int>(word - (quarter << 30))) * 1.4629180792671596e-9f;
    const float square = x * x;
    const float s = ((-1.9515295891e-4f * square + 8.3321608736e-3f) * square - 1.6666654611e-1f) * square * x + x;
    const float c = ((2.443315711809948e-5f * square - 1.388731625493765e-3f) * square + 4.166664568298827e-2f) *
                        square * square - 0.5f * square + 1.0f;
    if (quarter == 0) return Turn{c, s};
    if (quarter == 1) return Turn{-s, c};
    if (quarter == 2) return Turn{-c, -s};
    return Turn{s, -c};
}

// Standard normals of elements 4 group..4 group + 4, by Box and Muller.
HC_DEVICE void normals(u64 seed, u64 step, u64 group, float* out) {
    const HcPhilox draws = hc_philox(seed, group, step);
    for (u32 pair = 0; pair < 2; pair++) {
        const float radius = sqrtf(minus_two_log(draws.words[2 * pair]));
        const Turn direction = turn(draws.words[2 * pair + 1]);
        out[2 * pair] = radius * direction.cosine;
        out[2 * pair + 1] = radius * direction.sine;
    }
}

// Adds the clipped rows in their order, then noise of deviation `sigma`, none where it is 0. `n` is the number of
// columns; `out` may be a row.
HC_KERNEL(256) hc_clipped_sum(u64 n, u64 begin, u64 rows, u64 pitch, const float* values, const float* factors,
                              u64 seed, u64 step, float sigma, float* out) {
    const u64 place = (static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x) * QUAD;
    if (place >= n) return;
    const u32 elems = n - place < QUAD ? static_cast<u32>(n - place) : QUAD;
    const u64 index = begin + place;
    // In f32 a row could move the sum by more than itself.
    double total[QUAD] = {0.0, 0.0, 0.0, 0.0};
    for (u64 row = 0; row < rows; row++) {
        const float factor = factors[row];
        if (factor == 0.0f) continue;
        float quad[QUAD];
        hc_load_quad(values + row * pitch + index, elems, quad);
        for (u32 k = 0; k < elems; k++) total[k] += static_cast<double>(factor * quad[k]);
    }
    float sum[QUAD];
    for (u32 k = 0; k < QUAD; k++) sum[k] = static_cast<float>(total[k]);
    if (sigma != 0.0f) {
        float noise[QUAD];
        normals(seed, step, index / QUAD, noise);
        for (u32 k = 0; k < elems; k++) sum[k] += sigma * noise[k];
    }
    hc_store_quad(out + index, elems, sum);
}
