// The end of a model: loss and gradient of rows of predictions in bf16, and their sums. References:
// kernels/src/cross_entropy.rs, mean_squared_error.rs.
#include "hc_device.cuh"

static const u32 THREADS = 256;
static const u32 WARP = 32;
static const u32 WARPS = THREADS / WARP;
static const u32 OCT = 8;
static const u32 ALL = 0xffffffffu;

HC_DEVICE float larger(float a, float b) {
    return a > b ? a : b;
}

// Sum of exponentials relative to the largest, of what a lane, a warp or the row has seen. NaN is never the largest, but
// makes the sum NaN.
struct Softmax {
    float largest, sum;
};

HC_DEVICE Softmax merged(Softmax a, Softmax b) {
    const float largest = larger(a.largest, b.largest);
    // Where nothing was seen yet, the difference of infinities would be NaN.
    const float left = a.sum == 0.0f ? 0.0f : a.sum * hc_exp(a.largest - largest);
    const float right = b.sum == 0.0f ? 0.0f : b.sum * hc_exp(b.largest - largest);
    return Softmax{largest, left + right};
}

// Cross-entropy of a row a block: its loss is logsumexp - logit. `n` rows of `outputs` logits each, whose first ones
// are `pitch` apart; the columns between are padding, and their gradient 0. With `backward` the logits become their
// gradient, in place: a row is read twice, the second time out of the cache. `right` counts rows whose first largest
// logit is that of their class.
HC_KERNEL(THREADS) hc_cross_entropy(u64 n, u64 outputs, u64 pitch, u32 backward, const u32* classes, u16* logits,
                                    float* losses, u32* right) {
    HC_SHARED(float, largest_of, WARPS);
    HC_SHARED(float, sum_of, WARPS);
    HC_SHARED(u32, earlier_of, WARPS);
    const u64 row = blockIdx.x;
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    u16* own = logits + row * pitch;
    const u32 wanted = classes[row];
    const float logit = hc_bf16_value(own[wanted]);
    Softmax seen = {-hc_float(HC_INFINITY), 0.0f};
    // Logits larger than that of the class, or as large and before it.
    u32 better = 0;
    for (u64 i = static_cast<u64>(threadIdx.x) * OCT; i < outputs; i += THREADS * OCT) {
        const u32 elems = hc_elems_at(i, outputs, OCT);
        u16 bits[OCT];
        hc_load_oct(own + i, elems, bits);
        float largest = seen.largest;
        for (u32 k = 0; k < elems; k++) {
            const float value = hc_bf16_value(bits[k]);
            largest = larger(value, largest);
            better |= value > logit || (value == logit && i + k < wanted) ? 1u : 0u;
        }
        float sum = seen.sum == 0.0f ? 0.0f : seen.sum * hc_exp(seen.largest - largest);
        for (u32 k = 0; k < elems; k++) sum += hc_exp(hc_bf16_value(bits[k]) - largest);
        seen = Softmax{largest, sum};
    }
    for (u32 distance = WARP / 2; distance > 0; distance /= 2) {
        const float largest = __shfl_xor_sync(ALL, seen.largest, static_cast<int>(distance));
        const float sum = __shfl_xor_sync(ALL, seen.sum, static_cast<int>(distance));
        seen = merged(seen, Softmax{largest, sum});
    }
    const u32 votes = __ballot_sync(ALL, better != 0);
    if (lane == 0) {
        largest_of[warp] = seen.largest;
        sum_of[warp] = seen.sum;
        earlier_of[warp] = votes;
    }
    __syncthreads();
    Softmax all = {largest_of[0], sum_of[0]};
    u32 any = earlier_of[0];
    for (u32 other = 1; other < WARPS; other++) {
        all = merged(all, Softmax{largest_of[other], sum_of[other]});
        any |= earlier_of[other];
    }
    const float lse = all.largest + hc_log(all.sum);
    if (threadIdx.x == 0) {
        losses[row] = lse - logit;
        right[row] = any == 0 && logit == logit ? 1 : 0;
    }
    if (backward == 0) return;
    for (u64 i = static_cast<u64>(threadIdx.x) * OCT; i < pitch; i += THREADS * OCT) {
        const u32 elems = hc_elems_at(i, pitch, OCT);
        u16 bits[OCT];
        hc_load_oct(own + i, elems, bits);
        HC_UNROLL
        for (u32 k = 0; k < OCT; k++) {
            const float probability = i + k < outputs ? hc_exp(hc_bf16_value(bits[k]) - lse) : 0.0f;
            bits[k] = hc_bf16_nearest(i + k == wanted ? probability - 1.0f : probability);
        }
        hc_store_oct(own + i, elems, bits);
    }
}

// Squared error of a row a thread, averaged over its outputs; its gradient in place with `backward`.
HC_KERNEL(THREADS) hc_squared_error(u64 n, u64 outputs, u32 backward, const float* targets, u16* predictions,
                                    float* losses) {
    const u64 row = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x;
    if (row >= n) return;
    const float scale = 2.0f / static_cast<float>(outputs);
    float sum = 0.0f;
    for (u64 i = row * outputs; i < (row + 1) * outputs; i++) {
        const float difference = hc_bf16_value(predictions[i]) - targets[i];
        sum += difference * difference;
        if (backward != 0) predictions[i] = hc_bf16_nearest(scale * difference);
    }
    losses[row] = sum / static_cast<float>(outputs);
}

// Adds `n` losses, and what is right of as many rows where that is known, to the sums of the step. One block: thread i
// adds i, i + 256, ...; then halves are added.
HC_KERNEL(THREADS) hc_add_losses(u64 n, const float* losses, const u32* right, double* sums) {
    HC_SHARED(double, loss_of, THREADS);
    HC_SHARED(double, right_of, THREADS);
    double loss = 0.0, count = 0.0;
    for (u64 i = threadIdx.x; i < n; i += THREADS) {
        loss += static_cast<double>(losses[i]);
        if (right != nullptr) count += static_cast<double>(right[i]);
    }
    loss_of[threadIdx.x] = loss;
    right_of[threadIdx.x] = count;
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            loss_of[threadIdx.x] += loss_of[threadIdx.x + half];
            right_of[threadIdx.x] += right_of[threadIdx.x + half];
        }
    }
    if (threadIdx.x != 0) return;
    sums[0] += loss_of[0];
    sums[1] += right_of[0];
}
