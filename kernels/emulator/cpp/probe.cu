// Kernels that try the emulator itself: most of them are wrong on purpose.
#include "hc_device.cuh"

HC_KERNEL(32) hc_probe_exits_before_barrier(u64 n, const u32*, u32* out) {
    if (threadIdx.x == 5) return;
    __syncthreads();
    if (threadIdx.x < n) out[threadIdx.x] = 1;
}

HC_KERNEL(64) hc_probe_two_barriers(u64 n, const u32*, u32* out) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    if (threadIdx.x < n) out[threadIdx.x] = 1;
}

HC_KERNEL(32) hc_probe_shared_overrun(u64, const u32*, u32*) {
    HC_SHARED(u32, first, 32);
    HC_SHARED(u32, second, 32);
    first[threadIdx.x + 1] = 0;
    second[threadIdx.x] = 0;
}

HC_KERNEL(32) hc_probe_shared_unwritten(u64 n, const u32*, u32* out) {
    HC_SHARED(u32, words, 32);
    if (threadIdx.x < n) out[threadIdx.x] = words[threadIdx.x];
}

HC_KERNEL(32) hc_probe_overrun(u64 n, const u32*, u32* out) {
    if (threadIdx.x == 0) out[n] = 0;
}

HC_KERNEL(32) hc_probe_misaligned(u64, const u32* in, u32*) {
    float quad[4];
    if (threadIdx.x == 7) hc_load4(reinterpret_cast<const float*>(in + 1), quad);
}

HC_KERNEL(32) hc_probe_outside(u64, const u32* in, u32*) {
    float quad[4];
    if (threadIdx.x == 7) hc_load4(reinterpret_cast<const float*>(in + 128), quad);
}

HC_KERNEL(32) hc_probe_wild(u64, const u32*, u32* out) {
    if (threadIdx.x == 9) *reinterpret_cast<volatile u32*>(reinterpret_cast<u64>(out) ^ (1ull << 46)) = 1;
}

HC_KERNEL(32) hc_probe_deep(u64, const u32*, u32* out) {
    volatile u32 large[32 * 1024];
    large[0] = 1;
    large[32 * 1024 - 1] = 1;
    if (threadIdx.x == 0) out[0] = large[0];
}

HC_KERNEL(32) hc_probe_never_waited(u64, const u32* in, u32*) {
    HC_SHARED(u32, words, 128);
    hc_copy16_async(words + 4 * threadIdx.x, in + 4 * threadIdx.x);
    hc_copy_commit();
}

// Two groups of copies: after the first wait only the first has arrived.
HC_KERNEL(32) hc_probe_copies(u64, const u32* in, u32* out) {
    HC_SHARED(u32, first, 128);
    HC_SHARED(u32, second, 128);
    hc_copy16_async(first + 4 * threadIdx.x, in + 4 * threadIdx.x);
    hc_copy_commit();
    hc_copy16_async(second + 4 * threadIdx.x, in + 4 * threadIdx.x);
    hc_copy_commit();
    hc_copy_wait<1>();
    __syncthreads();
    out[threadIdx.x] = first[127 - threadIdx.x];
    out[32 + threadIdx.x] = second[127 - threadIdx.x];
    __syncthreads();
    hc_copy_wait<0>();
    __syncthreads();
    out[64 + threadIdx.x] = second[127 - threadIdx.x];
}

HC_KERNEL(32) hc_probe_shuffle_of_absent(u64, const u32*, u32* out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, threadIdx.x, 20);
}

HC_KERNEL(32) hc_probe_own_mask(u64, const u32*, u32* out) {
    out[threadIdx.x] = __ballot_sync(0xffffu, true);
}

HC_KERNEL(64) hc_probe_exchanges(u64, const u32* in, u32* out) {
    const u32 lane = threadIdx.x;
    out[lane] = __shfl_sync(0xffffffffu, in[lane], static_cast<int>(lane) + 3, 8);
    out[64 + lane] = __shfl_xor_sync(0xffffffffu, in[lane], 5);
    out[128 + lane] = __shfl_down_sync(0xffffffffu, in[lane], 3);
    out[192 + lane] = __shfl_up_sync(0xffffffffu, in[lane], 3);
    out[256 + lane] = __ballot_sync(0xffffffffu, in[lane] % 3 == 0);
}

// In which order lanes come, if nothing orders them.
HC_KERNEL(64) hc_probe_order(u64, const u32*, u32* out) {
    HC_SHARED(u32, count, 1);
    if (threadIdx.x == 0) count[0] = 0;
    __syncthreads();
    out[threadIdx.x] = atomicAdd(count, 1u);
}

// 16 x 16 times 16 x 8, both row by row as bf16 in the low halves of `in`; sums as bits of f32.
HC_KERNEL(32) hc_probe_multiply(u64, const u32* in, u32* out) {
    HC_SHARED(u16, left, 16 * 16);
    HC_SHARED(u16, right, 16 * 8);
    const u32 lane = threadIdx.x;
    for (u32 i = lane; i < 256; i += 32) left[i] = static_cast<u16>(in[i]);
    for (u32 i = lane; i < 128; i += 32) right[i] = static_cast<u16>(in[256 + i]);
    __syncthreads();
    u32 a[4], b[4];
    hc_load_matrices<false>(a, left + (lane % 16) * 16 + lane / 16 * 8);
    hc_load_matrices<true>(b, right + (lane % 16) * 8);
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    hc_multiply_bf16(sum, a, b);
    for (u32 i = 0; i < 4; i++) {
        const u32 row = lane / 4 + (i >= 2 ? 8 : 0), column = lane % 4 * 2 + i % 2;
        out[row * 8 + column] = hc_bits(sum[i]);
    }
}

HC_KERNEL(32) hc_probe_philox(u64 n, const u32* in, u32* out) {
    if (threadIdx.x != 0) return;
    const u64 key = in[0] | static_cast<u64>(in[1]) << 32;
    const u64 low = in[2] | static_cast<u64>(in[3]) << 32;
    const u64 high = in[4] | static_cast<u64>(in[5]) << 32;
    const HcPhilox drawn = hc_philox(key, low, high);
    for (u32 k = 0; k < n; k++) out[k] = drawn.words[k];
}

#define HC_PROBE(name) HC_ENTRY(probe_##name, u64, const u32*, u32*)
#define HC_ENTRIES_probe                                                                                          \
    HC_PROBE(exits_before_barrier) HC_PROBE(two_barriers) HC_PROBE(shared_overrun) HC_PROBE(shared_unwritten)     \
    HC_PROBE(overrun) HC_PROBE(misaligned) HC_PROBE(outside) HC_PROBE(wild) HC_PROBE(deep) HC_PROBE(never_waited) \
    HC_PROBE(copies) HC_PROBE(shuffle_of_absent) HC_PROBE(own_mask) HC_PROBE(exchanges) HC_PROBE(order)           \
    HC_PROBE(multiply) HC_PROBE(philox)
