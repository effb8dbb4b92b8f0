// The global norm: sums of squares by chunk, their sum, and what follows from it. The tree is part of the result's
// definition (kernels/src/reduce.rs): a chunk has eight interleaved accumulators, whatever runs it.
#include "hc_device.cuh"

static const u32 PARTIALS_THREADS = 64;
static const u32 ACCUMULATORS = 8;
static const u32 LOADS = 16;
static const u32 CLIP_THREADS = 256;

// A thread an accumulator: eight neighbours read the 32 bytes of one sector.
HC_KERNEL(PARTIALS_THREADS) hc_norm_partials(u64 n, u64 elems, u64 chunk_elems, const float* values,
                                             double* partials) {
    const u64 thread = static_cast<u64>(blockIdx.x) * PARTIALS_THREADS + threadIdx.x;
    const u64 chunk = thread / ACCUMULATORS;
    const u32 accumulator = static_cast<u32>(thread % ACCUMULATORS);
    double sum = 0.0;
    if (chunk < n) {
        const u64 start = chunk * chunk_elems;
        const u64 end = elems - start < chunk_elems ? elems : start + chunk_elems;
        u64 i = start + accumulator;
        // Sums wait for loads, so many are on their way at a time.
        for (; i + (LOADS - 1) * ACCUMULATORS < end; i += LOADS * ACCUMULATORS) {
            float x[LOADS];
#pragma unroll
            for (u32 k = 0; k < LOADS; k++) x[k] = values[i + k * ACCUMULATORS];
#pragma unroll
            for (u32 k = 0; k < LOADS; k++) sum += static_cast<double>(x[k]) * static_cast<double>(x[k]);
        }
        for (; i < end; i += ACCUMULATORS) {
            const double x = values[i];
            sum += x * x;
        }
    }
    // Threads without a chunk come along: a shuffle needs the whole warp.
    double total = 0.0;
    for (u32 k = 0; k < ACCUMULATORS; k++) total += __shfl_sync(0xffffffffu, sum, static_cast<int>(k), ACCUMULATORS);
    if (chunk < n && accumulator == 0) partials[chunk] = total;
}

// `global`: weight of the step and limit of the norm. Writes the norm of the mean gradient, and gradient scale and skip
// flag into the step's block. One block: partials are added in their order.
HC_KERNEL(CLIP_THREADS) hc_clip(u64 n, const double* partials, const double* global, double* norm, u32* step) {
    HC_SHARED(double, tile, CLIP_THREADS);
    double sum = 0.0;
    for (u64 start = 0; start < n; start += CLIP_THREADS) {
        if (start + threadIdx.x < n) tile[threadIdx.x] = partials[start + threadIdx.x];
        __syncthreads();
        if (threadIdx.x == 0) {
            const u32 elems = n - start < CLIP_THREADS ? static_cast<u32>(n - start) : CLIP_THREADS;
            for (u32 k = 0; k < elems; k++) sum += tile[k];
        }
        // Before the next partials come.
        __syncthreads();
    }
    if (threadIdx.x != 0) return;
    const double weight = global[0], limit = global[1];
    const double mean_norm = sqrt(sum) / weight;
    double factor = 1.0;
    if (limit > 0.0) {
        const double wanted = limit / (mean_norm + 1e-6);
        // 1 for NaN.
        factor = wanted < 1.0 ? wanted : 1.0;
    }
    const float scale = static_cast<float>(factor / weight);
    norm[0] = mean_norm;
    step[HC_STEP_GRADIENT_SCALE] = hc_bits(scale);
    step[HC_STEP_SKIP] = !(hc_is_finite(sum) && hc_is_finite(mean_norm) && hc_is_finite(scale));
}
