// The k values of largest magnitude, with the bits of kernels/src/top_k.rs.
//
// In order: three times hc_top_k_histogram and hc_top_k_digit (the threshold by digits of 11, 10 and 10 bits, largest
// first), hc_top_k_count, hc_top_k_offsets, hc_top_k_write. `state` holds the threshold's digits so far, and how many
// values with these digits are still to be taken; it begins as 0 and k. `histogram` begins as zeros. Ranges that
// together form a buffer may be launched one after another into one histogram and one table of counts.
#include "hc_device.cuh"

static const u32 THREADS = 256;
static const u32 WARP = 32;
static const u32 QUAD = 4;
static const u32 BINS = 2048;
static const u32 HISTOGRAM_QUADS = 8;
static const u32 PART_ELEMS = 2048;
static const u32 THREAD_ELEMS = PART_ELEMS / THREADS;

// The order of values; one NaN, above infinity.
HC_DEVICE u32 key_of(float value) {
    const u32 magnitude = hc_bits(value) & HC_MAGNITUDE;
    return magnitude > HC_INFINITY ? 0x7fc00000 : magnitude;
}

HC_DEVICE u32 digit_shift(u32 digit) {
    return 20 - 10 * digit;
}

// With `values`, they are added to what is wanted first.
HC_KERNEL(256) hc_top_k_histogram(u64 n, u64 begin, u32 digit, const u64* state, const float* values, float* wanted,
                                  u64* histogram) {
    HC_SHARED(u32, bins, BINS);
    for (u32 i = threadIdx.x; i < BINS; i += THREADS) bins[i] = 0;
    __syncthreads();
    const u32 shift = digit_shift(digit);
    const u32 mask = digit == 0 ? BINS - 1 : 1023;
    const u32 prefix = digit == 0 ? 0 : static_cast<u32>(state[0]);
    for (u32 j = 0; j < HISTOGRAM_QUADS; j++) {
        const u64 place = ((static_cast<u64>(blockIdx.x) * HISTOGRAM_QUADS + j) * THREADS + threadIdx.x) * QUAD;
        if (place >= n) break;
        const u32 elems = n - place < QUAD ? static_cast<u32>(n - place) : QUAD;
        float quad[QUAD];
        hc_load_quad(wanted + begin + place, elems, quad);
        if (values != nullptr) {
            float more[QUAD];
            hc_load_quad(values + begin + place, elems, more);
            for (u32 k = 0; k < elems; k++) quad[k] += more[k];
            hc_store_quad(wanted + begin + place, elems, quad);
        }
        for (u32 k = 0; k < elems; k++) {
            const u32 key = key_of(quad[k]);
            const u32 above = digit == 0 ? 0 : key >> (shift + 10);
            if (above == prefix) atomicAdd(&bins[(key >> shift) & mask], 1u);
        }
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < BINS; i += THREADS) {
        if (bins[i] != 0) atomicAdd(&histogram[i], static_cast<u64>(bins[i]));
    }
}

// Appends the digit of the value that is taken last, and leaves zeros in the histogram. `n` is the number of bins.
HC_KERNEL(256) hc_top_k_digit(u64 n, u32 digit, u64* state, u64* histogram) {
    HC_SHARED(u64, sums, THREADS);
    const u32 bins = static_cast<u32>(n) / THREADS;
    const u32 bits = digit == 0 ? 11 : 10;
    const u64 prefix = state[0], wanted = state[1];
    // Thread 0 has the largest digits.
    const u32 end = (THREADS - threadIdx.x) * bins;
    u64 sum = 0;
    for (u32 i = 1; i <= bins; i++) sum += histogram[end - i];
    sums[threadIdx.x] = sum;
    __syncthreads();
    u64 above = 0;
    for (u32 i = 0; i < threadIdx.x; i++) above += sums[i];
    if (above < wanted && wanted <= above + sum) {
        u32 i = 1;
        while (above + histogram[end - i] < wanted) {
            above += histogram[end - i];
            i++;
        }
        state[0] = prefix << bits | (end - i);
        state[1] = wanted - above;
    }
    // No value has this threshold, and none is above it.
    if (wanted == 0 && threadIdx.x == 0) state[0] = prefix << bits | (n - 1);
    for (u32 i = 1; i <= bins; i++) histogram[end - i] = 0;
}

HC_DEVICE u32 load_part(u64 n, const float* wanted, u64 place, float* values) {
    if (place >= n) return 0;
    const u32 elems = n - place < THREAD_ELEMS ? static_cast<u32>(n - place) : THREAD_ELEMS;
    for (u32 k = 0; k < elems; k += QUAD) {
        hc_load_quad(wanted + place + k, elems - k < QUAD ? elems - k : QUAD, values + k);
    }
    return elems;
}

// Values above the threshold in the upper half, values at it in the lower one: a part has fewer than 2^16.
HC_DEVICE u32 counted(u32 elems, const float* values, u32 threshold) {
    u32 count = 0;
    for (u32 k = 0; k < elems; k++) {
        const u32 key = key_of(values[k]);
        count += key > threshold ? 0x10000u : key == threshold ? 1u : 0u;
    }
    return count;
}

// Two counts for each part of 2,048 elements: above the threshold, and at it.
HC_KERNEL(256) hc_top_k_count(u64 n, u64 begin, const u64* state, const float* wanted, u64* counts) {
    HC_SHARED(u32, sums, THREADS / WARP);
    const u64 place = static_cast<u64>(blockIdx.x) * PART_ELEMS + threadIdx.x * THREAD_ELEMS;
    float values[THREAD_ELEMS];
    const u32 elems = load_part(n, wanted + begin, place, values);
    u32 sum = counted(elems, values, static_cast<u32>(state[0]));
    for (u32 distance = WARP / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    sum = 0;
    for (u32 i = 0; i < THREADS / WARP; i++) sum += sums[i];
    const u64 part = begin / PART_ELEMS + blockIdx.x;
    counts[2 * part] = sum >> 16;
    counts[2 * part + 1] = sum & 0xffff;
}

// Turns the counts of `n` parts into the counts of all parts before them.
HC_KERNEL(256) hc_top_k_offsets(u64 n, u64* counts) {
    HC_SHARED(u64, above, THREADS);
    HC_SHARED(u64, equal, THREADS);
    u64 before_above = 0, before_equal = 0;
    for (u64 start = 0; start < n; start += THREADS) {
        const u64 part = start + threadIdx.x;
        above[threadIdx.x] = part < n ? counts[2 * part] : 0;
        equal[threadIdx.x] = part < n ? counts[2 * part + 1] : 0;
        __syncthreads();
        for (u32 distance = 1; distance < THREADS; distance *= 2) {
            const bool far = threadIdx.x >= distance;
            const u64 more_above = far ? above[threadIdx.x - distance] : 0;
            const u64 more_equal = far ? equal[threadIdx.x - distance] : 0;
            __syncthreads();
            above[threadIdx.x] += more_above;
            equal[threadIdx.x] += more_equal;
            __syncthreads();
        }
        if (part < n) {
            counts[2 * part] = before_above + (threadIdx.x == 0 ? 0 : above[threadIdx.x - 1]);
            counts[2 * part + 1] = before_equal + (threadIdx.x == 0 ? 0 : equal[threadIdx.x - 1]);
        }
        before_above += above[THREADS - 1];
        before_equal += equal[THREADS - 1];
        __syncthreads();
    }
}

// Writes indices and values of what was chosen, by ascending index. `residual`, if any, becomes what was not sent; it
// may be the buffer of what is wanted.
HC_KERNEL(256) hc_top_k_write(u64 n, u64 begin, const u64* state, const u64* counts, const float* wanted,
                              u64* indices, float* chosen, float* residual) {
    HC_SHARED(u32, sums, THREADS / WARP);
    const u64 place = static_cast<u64>(blockIdx.x) * PART_ELEMS + threadIdx.x * THREAD_ELEMS;
    const u32 lane = threadIdx.x % WARP;
    const u32 threshold = static_cast<u32>(state[0]);
    float values[THREAD_ELEMS];
    const u32 elems = load_part(n, wanted + begin, place, values);
    const u32 own = counted(elems, values, threshold);
    u32 sum = own;
    for (u32 distance = 1; distance < WARP; distance *= 2) {
        const u32 other = __shfl_up_sync(0xffffffffu, sum, distance);
        if (lane >= distance) sum += other;
    }
    if (lane == WARP - 1) sums[threadIdx.x / WARP] = sum;
    __syncthreads();
    u32 before = sum - own;
    for (u32 i = 0; i < threadIdx.x / WARP; i++) before += sums[i];

    const u64 part = begin / PART_ELEMS + blockIdx.x;
    const u64 ties = state[1];
    u64 above = counts[2 * part] + (before >> 16);
    u64 equal = counts[2 * part + 1] + (before & 0xffff);
    for (u32 k = 0; k < elems; k++) {
        const u32 key = key_of(values[k]);
        const bool taken = key > threshold || (key == threshold && equal < ties);
        if (taken) {
            const u64 position = above + (equal < ties ? equal : ties);
            indices[position] = begin + place + k;
            chosen[position] = key > HC_INFINITY ? hc_float(key) : values[k];
        }
        above += key > threshold ? 1 : 0;
        equal += key == threshold ? 1 : 0;
        // What is not finite could not be made up for later.
        if (taken || key >= HC_INFINITY) values[k] = 0.0f;
    }
    if (residual == nullptr) return;
    for (u32 k = 0; k < elems; k += QUAD) {
        hc_store_quad(residual + begin + place + k, elems - k < QUAD ? elems - k : QUAD, values + k);
    }
}

// Adds `n` chosen values where they belong. No index comes twice.
HC_KERNEL(256) hc_top_k_add(u64 n, const u64* indices, const float* chosen, float* values) {
    const u64 place = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x;
    if (place >= n) return;
    const float sum = values[indices[place]] + chosen[place];
    values[indices[place]] = (hc_bits(sum) & HC_MAGNITUDE) > HC_INFINITY ? hc_float(0x7fc00000) : sum;
}
