// CUDA's words for a C++ compiler: what kernels see of the emulator.
//
// Blocks run one after another. Each lane is a fibre that runs until it waits for others, so that whatever a lane may
// not rely on between two barriers differs from seed to seed. Faults end the launch and name the lane.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#define HC_EMULATOR 1

namespace hc_emu {

struct Dim3 {
    unsigned x, y, z;
};

enum class Operation {
    SyncThreads,
    SyncWarp,
    Shuffle,
    ShuffleXor,
    ShuffleDown,
    ShuffleUp,
    Ballot,
    LoadMatrix,
    Multiply
};

Dim3 thread_index();
Dim3 block_index();
Dim3 block_size();
Dim3 grid_size();

// The same array for all lanes of a block that come here.
void* shared(const char* file, int line, uint64_t bytes);
void* dynamic_shared();
// Vector accesses: inside one allocation, and aligned to their size.
void check_access(const void* address, uint64_t bytes);

void sync_threads(const char* file, int line);
void sync_warp(const char* file, int line, unsigned mask);
uint64_t exchange(Operation operation, const char* file, int line, unsigned mask, uint64_t value, int argument,
                  int width);
unsigned ballot(const char* file, int line, unsigned mask, bool vote);

// cp.async: nothing arrives before the wait.
void copy_async(void* to, const void* from, uint64_t bytes);
void copy_commit();
void copy_wait(unsigned groups_in_flight);

void load_matrix(const char* file, int line, const void* row, uint32_t fragment[4], bool transposed);
void multiply_bf16(const char* file, int line, float sum[4], const uint32_t a[4], const uint32_t b[2]);

inline uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

inline float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

template <class T>
T shuffle(Operation operation, const char* file, int line, unsigned mask, T value, int argument, int width) {
    static_assert(sizeof(T) <= 8, "shuffles move at most 8 bytes");
    uint64_t word = 0;
    memcpy(&word, &value, sizeof(T));
    word = exchange(operation, file, line, mask, word, argument, width);
    memcpy(&value, &word, sizeof(T));
    return value;
}

// Integers only: sums of floats would depend on the order.
template <class T>
T atomic_add(T* address, T value) {
    static_assert(static_cast<T>(1) / 2 == 0, "no float atomics");
    const T before = *address;
    *address += value;
    return before;
}

template <class T>
T atomic_max(T* address, T value) {
    static_assert(static_cast<T>(1) / 2 == 0, "no float atomics");
    const T before = *address;
    if (value > before) *address = value;
    return before;
}

template <class T>
T atomic_or(T* address, T value) {
    const T before = *address;
    *address |= value;
    return before;
}

using Thunk = void (*)(const uint64_t* arguments);

struct Entry {
    const char* name;
    Thunk thunk;
    unsigned arguments;
};

template <class T>
T argument(uint64_t word) {
    T value;
    memcpy(&value, &word, sizeof(T));
    return value;
}

template <int... I>
struct Indices {};
template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
    using type = Indices<I...>;
};

// `kernel` must have exactly these parameters: the manifest is checked by the compiler.
template <class... P>
struct Call {
    static const unsigned COUNT = sizeof...(P);

    template <void (*kernel)(P...)>
    static void with(const uint64_t* arguments) {
        spread<kernel>(arguments, typename MakeIndices<sizeof...(P)>::type());
    }

    template <void (*kernel)(P...), int... I>
    static void spread(const uint64_t* arguments, Indices<I...>) {
        kernel(argument<P>(arguments[I])...);
    }
};

}  // namespace hc_emu

#define threadIdx (hc_emu::thread_index())
#define blockIdx (hc_emu::block_index())
#define blockDim (hc_emu::block_size())
#define gridDim (hc_emu::grid_size())

#define __syncthreads() hc_emu::sync_threads(__FILE__, __LINE__)
#define __syncwarp(...) hc_emu::sync_warp(__FILE__, __LINE__, hc_emu::mask_or_all(__VA_ARGS__))
#define __shfl_sync(mask, value, ...) \
    hc_emu::shuffle_width(hc_emu::Operation::Shuffle, __FILE__, __LINE__, mask, value, __VA_ARGS__)
#define __shfl_xor_sync(mask, value, ...) \
    hc_emu::shuffle_width(hc_emu::Operation::ShuffleXor, __FILE__, __LINE__, mask, value, __VA_ARGS__)
#define __shfl_down_sync(mask, value, ...) \
    hc_emu::shuffle_width(hc_emu::Operation::ShuffleDown, __FILE__, __LINE__, mask, value, __VA_ARGS__)
#define __shfl_up_sync(mask, value, ...) \
    hc_emu::shuffle_width(hc_emu::Operation::ShuffleUp, __FILE__, __LINE__, mask, value, __VA_ARGS__)
#define __ballot_sync(mask, vote) hc_emu::ballot(__FILE__, __LINE__, mask, vote)
#define __any_sync(mask, vote) (hc_emu::ballot(__FILE__, __LINE__, mask, vote) != 0)
#define __all_sync(mask, vote) (hc_emu::ballot(__FILE__, __LINE__, mask, vote) == (mask))
#define atomicAdd hc_emu::atomic_add
#define atomicMax hc_emu::atomic_max
#define atomicOr hc_emu::atomic_or

#define __popc __builtin_popcount
#define __popcll __builtin_popcountll
#define __clz(x) ((x) == 0 ? 32 : __builtin_clz(x))
#define __ffs __builtin_ffs

namespace hc_emu {
inline unsigned mask_or_all(unsigned mask = 0xffffffffu) { return mask; }

template <class T>
T shuffle_width(Operation operation, const char* file, int line, unsigned mask, T value, int argument, int width = 32) {
    return shuffle(operation, file, line, mask, value, argument, width);
}
}  // namespace hc_emu

#define HC_ENTRY(name, ...) \
    {#name, &hc_emu::Call<__VA_ARGS__>::with<&hc_##name>, hc_emu::Call<__VA_ARGS__>::COUNT},
