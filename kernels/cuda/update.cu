// Optimizer updates of a bucket in one launch, with the bits of kernels/src/update.rs.
//
// Addresses are those of the arena's element 0; a launch works on elements begin..begin + n. Each thread updates four
// elements. Decay comes from a table of segments: `ends` ascending, elements from the last end on do not decay.
// A skipped step copies the parameters and leaves the state as it is.
#include "hc_device.cuh"

static const u32 THREADS = 256;
static const u32 QUAD = 4;

struct Sgd {
    static const int STATES = 0;
    HC_DEVICE float apply(const HcStep& step, float decay, float param, float gradient, float*, float*) {
        const float g = gradient * step.gradient_scale + decay * param;
        return param - step.learning_rate * g;
    }
};

struct Momentum {
    static const int STATES = 1;
    HC_DEVICE float apply(const HcStep& step, float decay, float param, float gradient, float* velocity, float*) {
        const float g = gradient * step.gradient_scale + decay * param;
        *velocity = step.momentum * *velocity + g;
        return param - step.learning_rate * *velocity;
    }
};

struct Nesterov {
    static const int STATES = 1;
    HC_DEVICE float apply(const HcStep& step, float decay, float param, float gradient, float* velocity, float*) {
        const float g = gradient * step.gradient_scale + decay * param;
        *velocity = step.momentum * *velocity + g;
        return param - step.learning_rate * (g + step.momentum * *velocity);
    }
};

HC_DEVICE float adam_delta(const HcStep& step, float gradient, float* first, float* second) {
    *first += (gradient - *first) * (1.0f - step.beta1);
    *second = *second * step.beta2 + gradient * gradient * (1.0f - step.beta2);
    const float scale = sqrtf(*second) / step.correction2_sqrt + step.epsilon;
    return step.step_size * (*first / scale);
}

struct Adam {
    static const int STATES = 2;
    HC_DEVICE float apply(const HcStep& step, float decay, float param, float gradient, float* first, float* second) {
        const float g = gradient * step.gradient_scale + decay * param;
        return param - adam_delta(step, g, first, second);
    }
};

struct Adamw {
    static const int STATES = 2;
    HC_DEVICE float apply(const HcStep& step, float decay, float param, float gradient, float* first, float* second) {
        const float keep = 1.0f - step.learning_rate * decay;
        const float g = gradient * step.gradient_scale;
        return param * keep - adam_delta(step, g, first, second);
    }
};

// State in f32 or bf16. `draw` is 16 uniform bits.
HC_DEVICE float state_value(float stored) {
    return stored;
}

HC_DEVICE float state_value(u16 stored) {
    return hc_bf16_value(stored);
}

HC_DEVICE void state_store(float* stored, float value, const HcStep&, u32) {
    *stored = value;
}

HC_DEVICE void state_store(u16* stored, float value, const HcStep& step, u32 draw) {
    *stored = step.stochastic ? hc_bf16_drawn(value, draw) : hc_bf16_nearest(value);
}

// The first segment that ends after `index`.
HC_DEVICE u64 segment_of(u64 index, u64 segments, const u64* ends) {
    u64 low = 0, high = segments;
    while (low < high) {
        const u64 middle = low + (high - low) / 2;
        if (ends[middle] <= index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

template <class Rule, class State>
HC_DEVICE void update(u64 n, u64 begin, const u32* step_words, u64 segments, const u64* ends, const float* decays,
                      const float* params, const float* gradient, State* first, State* second, float* out,
                      u16* copy) {
    HC_SHARED(u64, block_segment, 1);
    const u64 block_start = begin + static_cast<u64>(blockIdx.x) * (THREADS * QUAD);
    const u64 start = block_start + static_cast<u64>(threadIdx.x) * QUAD;
    const u64 end = begin + n;
    const u64 left = start < end ? end - start : 0;
    const u32 elems = left < QUAD ? static_cast<u32>(left) : QUAD;

    // All loads are on their way before the search for the segment.
    float param[QUAD], sum[QUAD], result[QUAD];
    State stored[2][QUAD];
    hc_load_quad(params + start, elems, param);
    hc_load_quad(gradient + start, elems, sum);
    if (Rule::STATES > 0) hc_load_quad(first + start, elems, stored[0]);
    if (Rule::STATES > 1) hc_load_quad(second + start, elems, stored[1]);
    if (threadIdx.x == 0) block_segment[0] = segment_of(block_start, segments, ends);
    __syncthreads();
    if (elems == 0) return;

    const HcStep step = hc_step(step_words);
    if (step.skip) {
        HC_UNROLL
        for (u32 k = 0; k < QUAD; k++) result[k] = param[k];
    } else {
        u64 segment = block_segment[0];
        HC_UNROLL
        for (u32 k = 0; k < QUAD; k++) {
            const u64 index = start + k;
            while (segment < segments && ends[segment] <= index) segment++;
            const float decay = segment < segments ? decays[segment] : 0.0f;
            float a = Rule::STATES > 0 ? state_value(stored[0][k]) : 0.0f;
            float b = Rule::STATES > 1 ? state_value(stored[1][k]) : 0.0f;
            result[k] = Rule::apply(step, decay, param[k], sum[k], &a, &b);
            const u64 draw = sizeof(State) == 2 && step.stochastic ? hc_draw(step.stream, index) : 0;
            if (Rule::STATES > 0) state_store(&stored[0][k], a, step, static_cast<u32>(draw >> 48));
            if (Rule::STATES > 1) state_store(&stored[1][k], b, step, static_cast<u32>(draw >> 32) & 0xffff);
        }
        if (Rule::STATES > 0) hc_store_quad(first + start, elems, stored[0]);
        if (Rule::STATES > 1) hc_store_quad(second + start, elems, stored[1]);
    }
    hc_store_quad(out + start, elems, result);
    if (copy != nullptr) {
        u16 rounded[QUAD];
        HC_UNROLL
        for (u32 k = 0; k < QUAD; k++) rounded[k] = hc_bf16_nearest(result[k]);
        hc_store_quad(copy + start, elems, rounded);
    }
}

HC_KERNEL(THREADS) hc_sgd(u64 n, u64 begin, const u32* step, u64 segments, const u64* ends, const float* decays,
                          const float* params, const float* gradient, float* out, u16* copy) {
    float* const none = nullptr;
    update<Sgd>(n, begin, step, segments, ends, decays, params, gradient, none, none, out, copy);
}

HC_KERNEL(THREADS) hc_momentum(u64 n, u64 begin, const u32* step, u64 segments, const u64* ends, const float* decays,
                               const float* params, const float* gradient, float* velocity, float* out, u16* copy) {
    update<Momentum>(n, begin, step, segments, ends, decays, params, gradient, velocity, static_cast<float*>(nullptr),
                     out, copy);
}

HC_KERNEL(THREADS) hc_nesterov(u64 n, u64 begin, const u32* step, u64 segments, const u64* ends, const float* decays,
                               const float* params, const float* gradient, float* velocity, float* out, u16* copy) {
    update<Nesterov>(n, begin, step, segments, ends, decays, params, gradient, velocity, static_cast<float*>(nullptr),
                     out, copy);
}

HC_KERNEL(THREADS) hc_adam(u64 n, u64 begin, const u32* step, u64 segments, const u64* ends, const float* decays,
                           const float* params, const float* gradient, float* first, float* second, float* out,
                           u16* copy) {
    update<Adam>(n, begin, step, segments, ends, decays, params, gradient, first, second, out, copy);
}

HC_KERNEL(THREADS) hc_adamw(u64 n, u64 begin, const u32* step, u64 segments, const u64* ends, const float* decays,
                            const float* params, const float* gradient, float* first, float* second, float* out,
                            u16* copy) {
    update<Adamw>(n, begin, step, segments, ends, decays, params, gradient, first, second, out, copy);
}

HC_KERNEL(THREADS) hc_momentum_bf16(u64 n, u64 begin, const u32* step, u64 segments, const u64* ends,
                                    const float* decays,
                                    const float* params, const float* gradient, u16* velocity, float* out, u16* copy) {
    update<Momentum>(n, begin, step, segments, ends, decays, params, gradient, velocity, static_cast<u16*>(nullptr),
                     out, copy);
}

HC_KERNEL(THREADS) hc_nesterov_bf16(u64 n, u64 begin, const u32* step, u64 segments, const u64* ends,
                                    const float* decays,
                                    const float* params, const float* gradient, u16* velocity, float* out, u16* copy) {
    update<Nesterov>(n, begin, step, segments, ends, decays, params, gradient, velocity, static_cast<u16*>(nullptr),
                     out, copy);
}

HC_KERNEL(THREADS) hc_adam_bf16(u64 n, u64 begin, const u32* step, u64 segments, const u64* ends, const float* decays,
                                const float* params, const float* gradient, u16* first, u16* second, float* out,
                                u16* copy) {
    update<Adam>(n, begin, step, segments, ends, decays, params, gradient, first, second, out, copy);
}

HC_KERNEL(THREADS) hc_adamw_bf16(u64 n, u64 begin, const u32* step, u64 segments, const u64* ends, const float* decays,
                                 const float* params, const float* gradient, u16* first, u16* second, float* out,
                                 u16* copy) {
    update<Adamw>(n, begin, step, segments, ends, decays, params, gradient, first, second, out, copy);
}
