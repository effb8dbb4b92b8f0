// The order-independent checksum of kernels/src/digest.rs, added to what `sum` holds. Addition of integers mod 2^64
// gives the same value in any order.
#include "hc_device.cuh"

static const u32 THREADS = 256;
static const u32 QUAD = 4;
static const u32 QUADS = 4;
static const u32 WARPS = THREADS / 32;
static const u64 SPREAD = 0x9e3779b97f4a7c15ull;

HC_KERNEL(THREADS) hc_digest(u64 n, u64 begin, const float* values, u64* sum) {
    HC_SHARED(u64, warp_sums, WARPS);
    const u64 end = begin + n;
    const u64 block_start = begin + static_cast<u64>(blockIdx.x) * (THREADS * QUAD * QUADS);
    u64 own = 0;
    HC_UNROLL
    for (u32 quad = 0; quad < QUADS; quad++) {
        const u64 start = block_start + (static_cast<u64>(quad) * THREADS + threadIdx.x) * QUAD;
        if (start >= end) continue;
        const u32 elems = end - start < QUAD ? static_cast<u32>(end - start) : QUAD;
        float value[QUAD];
        hc_load_quad(values + start, elems, value);
        HC_UNROLL
        for (u32 k = 0; k < QUAD; k++) {
            if (k < elems) own += hc_mix64((start + k + 1) * SPREAD ^ hc_bits(value[k]));
        }
    }
    for (int distance = 16; distance > 0; distance /= 2) own += __shfl_xor_sync(0xffffffffu, own, distance);
    if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = own;
    __syncthreads();
    if (threadIdx.x != 0) return;
    u64 total = 0;
    for (u32 warp = 0; warp < WARPS; warp++) total += warp_sums[warp];
    atomicAdd(sum, total);
}
