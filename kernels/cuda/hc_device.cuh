// What all kernels share: element types, vector accesses, draws, and every instruction that C++ cannot say.
//
// The only header. Kernels include nothing else, so that NVRTC needs no toolkit. All inline PTX is here; the emulator
// defines HC_EMULATOR, includes hc_emu.h first, and has a C++ twin of each.
#pragma once

typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;
typedef signed char i8;

#ifdef HC_EMULATOR
#define HC_KERNEL(threads) static void
#define HC_DEVICE static inline
#define HC_SHARED(type, name, count) \
    type* const name = static_cast<type*>(hc_emu::shared(__FILE__, __LINE__, sizeof(type) * (count)))
// The launch's `shared_bytes`.
#define HC_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(hc_emu::dynamic_shared())
#define HC_CHECK_ACCESS(address, bytes) hc_emu::check_access(address, bytes)
#define HC_UNROLL
#define HC_ROLLED
#else
#define HC_KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
#define HC_DEVICE static __device__ __forceinline__
#define HC_SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define HC_DYNAMIC_SHARED(type, name)               \
    extern __shared__ __align__(16) u8 hc_dynamic[]; \
    type* const name = reinterpret_cast<type*>(hc_dynamic)
#define HC_CHECK_ACCESS(address, bytes)
// Before loops over small arrays, which stay in registers only if every index is known.
#define HC_UNROLL _Pragma("unroll")
#define HC_ROLLED _Pragma("unroll 1")
#endif

// Bits of a float and back.

HC_DEVICE u32 hc_bits(float x) {
#ifdef HC_EMULATOR
    return hc_emu::bits_of(x);
#else
    return __float_as_uint(x);
#endif
}

HC_DEVICE float hc_float(u32 bits) {
#ifdef HC_EMULATOR
    return hc_emu::float_of(bits);
#else
    return __uint_as_float(bits);
#endif
}

// Infinities and NaN give NaN.
HC_DEVICE bool hc_is_finite(double x) {
    return x - x == 0.0;
}

// For results that are compared within a tolerance; the hardware's own where it has one.

HC_DEVICE float hc_exp(float x) {
#ifdef HC_EMULATOR
    return expf(x);
#else
    return __expf(x);
#endif
}

HC_DEVICE float hc_log(float x) {
#ifdef HC_EMULATOR
    return logf(x);
#else
    return __logf(x);
#endif
}

// The sum over a warp, in all its lanes, in an order that is always the same.
HC_DEVICE float hc_warp_sum(float x) {
    for (u32 distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, static_cast<int>(distance));
    return x;
}

// Floats of 16 bits, as kernels/src/wire/halves.rs has them.

static const u32 HC_MAGNITUDE = 0x7fffffff;
static const u32 HC_INFINITY = 0x7f800000;

HC_DEVICE float hc_bf16_value(u16 bits) {
    return hc_float(static_cast<u32>(bits) << 16);
}

HC_DEVICE u16 hc_bf16_or_nan(u32 bits, u32 carried) {
    return static_cast<u16>((bits & HC_MAGNITUDE) > HC_INFINITY ? 0x7fc0 : carried >> 16);
}

// Ties to even.
HC_DEVICE u16 hc_bf16_nearest(float x) {
    const u32 bits = hc_bits(x);
    return hc_bf16_or_nan(bits, bits + 0x7fff + ((bits >> 16) & 1));
}

// `draw`: 16 uniform bits.
HC_DEVICE u16 hc_bf16_drawn(float x, u32 draw) {
    const u32 bits = hc_bits(x);
    return hc_bf16_or_nan(bits, bits + draw);
}

static const u32 HC_SMALLEST_NORMAL_HALF = 113u << 23;  // 2^-14
static const u32 HC_HALF_EXPONENT_SHIFT = 112u << 23;

HC_DEVICE float hc_f16_value(u16 half) {
    const u32 bits = half;
    const u32 sign = (bits & 0x8000) << 16;
    u32 magnitude = (bits & 0x7fff) << 13;
    if (magnitude < (1u << 23)) {
        magnitude = hc_bits(hc_float(magnitude + HC_SMALLEST_NORMAL_HALF) - hc_float(HC_SMALLEST_NORMAL_HALF));
    } else if (magnitude >= (0x1fu << 23)) {
        magnitude += 2 * HC_HALF_EXPONENT_SHIFT;
    } else {
        magnitude += HC_HALF_EXPONENT_SHIFT;
    }
    return hc_float(sign | magnitude);
}

// Draws: a pure function of a stream and an element, whatever the launch.

static const u64 HC_GOLDEN_GAMMA = 0x9e3779b97f4a7c15ull;

HC_DEVICE u64 hc_mix64(u64 x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// 64 bits of element `index`: SplitMix64's output `index` of a generator that starts at `stream`.
HC_DEVICE u64 hc_draw(u64 stream, u64 index) {
    return hc_mix64(stream + (index + 1) * HC_GOLDEN_GAMMA);
}

struct HcPhilox {
    u32 words[4];
};

// Philox4x32-10. Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
HC_DEVICE HcPhilox hc_philox(u64 key, u64 counter_low, u64 counter_high) {
    u32 c0 = static_cast<u32>(counter_low), c1 = static_cast<u32>(counter_low >> 32);
    u32 c2 = static_cast<u32>(counter_high), c3 = static_cast<u32>(counter_high >> 32);
    u32 k0 = static_cast<u32>(key), k1 = static_cast<u32>(key >> 32);
    for (int round = 0; round < 10; round++) {
        const u64 a = static_cast<u64>(0xd2511f53u) * c0;
        const u64 b = static_cast<u64>(0xcd9e8d57u) * c2;
        c0 = static_cast<u32>(b >> 32) ^ c1 ^ k0;
        c1 = static_cast<u32>(b);
        c2 = static_cast<u32>(a >> 32) ^ c3 ^ k1;
        c3 = static_cast<u32>(a);
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return HcPhilox{{c0, c1, c2, c3}};
}

// Four elements by one access; the address must be aligned to their size.

HC_DEVICE bool hc_aligned(const void* address, u64 bytes) {
    return (reinterpret_cast<u64>(address) & (bytes - 1)) == 0;
}

HC_DEVICE void hc_load4(const float* from, float* to) {
    HC_CHECK_ACCESS(from, 16);
#ifdef HC_EMULATOR
    for (int k = 0; k < 4; k++) to[k] = from[k];
#else
    const float4 quad = *reinterpret_cast<const float4*>(from);
    to[0] = quad.x, to[1] = quad.y, to[2] = quad.z, to[3] = quad.w;
#endif
}

HC_DEVICE void hc_store4(float* to, const float* from) {
    HC_CHECK_ACCESS(to, 16);
#ifdef HC_EMULATOR
    for (int k = 0; k < 4; k++) to[k] = from[k];
#else
    // Said in PTX: the compiler takes most of such stores apart.
    asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "f"(from[0]),
                 "f"(from[1]), "f"(from[2]), "f"(from[3])
                 : "memory");
#endif
}

HC_DEVICE void hc_load4(const u16* from, u16* to) {
    HC_CHECK_ACCESS(from, 8);
#ifdef HC_EMULATOR
    for (int k = 0; k < 4; k++) to[k] = from[k];
#else
    const ushort4 quad = *reinterpret_cast<const ushort4*>(from);
    to[0] = quad.x, to[1] = quad.y, to[2] = quad.z, to[3] = quad.w;
#endif
}

HC_DEVICE void hc_store4(u16* to, const u16* from) {
    HC_CHECK_ACCESS(to, 8);
#ifdef HC_EMULATOR
    for (int k = 0; k < 4; k++) to[k] = from[k];
#else
    asm volatile("st.global.v4.u16 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "h"(from[0]),
                 "h"(from[1]), "h"(from[2]), "h"(from[3])
                 : "memory");
#endif
}

// How many of `most` elements from `place` on come before `n`; none behind it.
HC_DEVICE u32 hc_elems_at(u64 place, u64 n, u32 most) {
    if (place >= n) return 0;
    return n - place < most ? static_cast<u32>(n - place) : most;
}

// Eight elements of 16 bits by one access.

HC_DEVICE void hc_load8(const u16* from, u16* to) {
    HC_CHECK_ACCESS(from, 16);
#ifdef HC_EMULATOR
    for (int k = 0; k < 8; k++) to[k] = from[k];
#else
    const uint4 quad = *reinterpret_cast<const uint4*>(from);
    const u32 words[4] = {quad.x, quad.y, quad.z, quad.w};
    HC_UNROLL
    for (int k = 0; k < 8; k++) to[k] = static_cast<u16>(words[k / 2] >> (k % 2 * 16));
#endif
}

HC_DEVICE void hc_store8(u16* to, const u16* from) {
    HC_CHECK_ACCESS(to, 16);
#ifdef HC_EMULATOR
    for (int k = 0; k < 8; k++) to[k] = from[k];
#else
    u32 words[4];
    HC_UNROLL
    for (int k = 0; k < 4; k++) words[k] = from[2 * k] | static_cast<u32>(from[2 * k + 1]) << 16;
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "r"(words[0]),
                 "r"(words[1]), "r"(words[2]), "r"(words[3])
                 : "memory");
#endif
}

// As quads below, by eight.
HC_DEVICE void hc_load_oct(const u16* from, u32 elems, u16* to) {
    if (elems == 8 && hc_aligned(from, 16)) {
        hc_load8(from, to);
    } else {
        HC_UNROLL
        for (u32 k = 0; k < 8; k++) to[k] = k < elems ? from[k] : static_cast<u16>(0);
    }
}

HC_DEVICE void hc_store_oct(u16* to, u32 elems, const u16* from) {
    if (elems == 8 && hc_aligned(to, 16)) {
        hc_store8(to, from);
    } else {
        HC_UNROLL
        for (u32 k = 0; k < 8; k++) {
            if (k < elems) to[k] = from[k];
        }
    }
}

// Whole quads by one access, the rest and misaligned ones by element; what lies behind the end is 0.
template <class T>
HC_DEVICE void hc_load_quad(const T* from, u32 elems, T* to) {
    if (elems == 4 && hc_aligned(from, 4 * sizeof(T))) {
        hc_load4(from, to);
    } else {
        HC_UNROLL
        for (u32 k = 0; k < 4; k++) to[k] = k < elems ? from[k] : static_cast<T>(0);
    }
}

template <class T>
HC_DEVICE void hc_store_quad(T* to, u32 elems, const T* from) {
    if (elems == 4 && hc_aligned(to, 4 * sizeof(T))) {
        hc_store4(to, from);
    } else {
        HC_UNROLL
        for (u32 k = 0; k < 4; k++) {
            if (k < elems) to[k] = from[k];
        }
    }
}

// 16 bytes at once, between any two memories.
HC_DEVICE void hc_copy16(void* to, const void* from) {
    HC_CHECK_ACCESS(to, 16);
    HC_CHECK_ACCESS(from, 16);
#ifdef HC_EMULATOR
    memcpy(to, from, 16);
#else
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
#endif
}

HC_DEVICE void hc_zero16(void* to) {
    HC_CHECK_ACCESS(to, 16);
#ifdef HC_EMULATOR
    memset(to, 0, 16);
#else
    *reinterpret_cast<uint4*>(to) = make_uint4(0, 0, 0, 0);
#endif
}

// 2^x to about 22 bits; 0 for minus infinity.
HC_DEVICE float hc_exp2(float x) {
#ifdef HC_EMULATOR
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// Two values to the nearest bf16, the first one in the low half. The instruction has a NaN of its own.
HC_DEVICE u32 hc_pack_bf16(float low, float high) {
#ifdef HC_EMULATOR
    return hc_bf16_nearest(low) | static_cast<u32>(hc_bf16_nearest(high)) << 16;
#else
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#endif
}

// Copies of 4 or 16 bytes to shared memory that run beside the arithmetic. Commit makes a group of those so far; wait
// returns when at most IN_FLIGHT groups are on their way, and shows only this lane's: a barrier must follow.

HC_DEVICE void hc_copy16_async(void* shared, const void* global) {
#ifdef HC_EMULATOR
    hc_emu::copy_async(shared, global, 16);
#else
    const u32 to = static_cast<u32>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
#endif
}

HC_DEVICE void hc_copy4_async(void* shared, const void* global) {
#ifdef HC_EMULATOR
    hc_emu::copy_async(shared, global, 4);
#else
    const u32 to = static_cast<u32>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(global) : "memory");
#endif
}

HC_DEVICE void hc_copy_commit() {
#ifdef HC_EMULATOR
    hc_emu::copy_commit();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int IN_FLIGHT>
HC_DEVICE void hc_copy_wait() {
#ifdef HC_EMULATOR
    hc_emu::copy_wait(IN_FLIGHT);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(IN_FLIGHT) : "memory");
#endif
}

// Matrix fragments over the 32 lanes of a warp, as the PTX manual lays them: m16n8k16, bf16 in, f32 sums.

// Four 8 x 8 matrices of 16-bit elements; lane 8 m + r gives the address of row r of matrix m.
template <bool TRANSPOSED>
HC_DEVICE void hc_load_matrices(u32 fragment[4], const void* shared_row) {
#ifdef HC_EMULATOR
    hc_emu::load_matrix(__FILE__, __LINE__, shared_row, fragment, TRANSPOSED);
#else
    const u32 row = static_cast<u32>(__cvta_generic_to_shared(shared_row));
    if (TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                     : "r"(row)
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                     : "r"(row)
                     : "memory");
    }
#endif
}

// sum += a b.
HC_DEVICE void hc_multiply_bf16(float sum[4], const u32 a[4], const u32 b[2]) {
#ifdef HC_EMULATOR
    hc_emu::multiply_bf16(__FILE__, __LINE__, sum, a, b);
#else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// The scalars of a step in device memory, so that nothing waits for the host: kernels/src/step_block.rs writes it.
struct HcStep {
    float learning_rate, gradient_scale;
    float beta1, beta2, epsilon, step_size, correction2_sqrt;
    float momentum;
    bool skip;
    bool stochastic;
    u64 stream;
};

// Words of the block that hc_clip writes.
static const u32 HC_STEP_GRADIENT_SCALE = 1;
static const u32 HC_STEP_SKIP = 8;

HC_DEVICE HcStep hc_step(const u32* words) {
    HcStep step;
    step.learning_rate = hc_float(words[0]);
    step.gradient_scale = hc_float(words[HC_STEP_GRADIENT_SCALE]);
    step.beta1 = hc_float(words[2]);
    step.beta2 = hc_float(words[3]);
    step.epsilon = hc_float(words[4]);
    step.step_size = hc_float(words[5]);
    step.correction2_sqrt = hc_float(words[6]);
    step.momentum = hc_float(words[7]);
    step.skip = words[HC_STEP_SKIP] != 0;
    step.stochastic = words[9] != 0;
    step.stream = words[10] | static_cast<u64>(words[11]) << 32;
    return step;
}
