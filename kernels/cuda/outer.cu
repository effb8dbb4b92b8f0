// The outer step of local training: Nesterov's momentum on the averaged change, with the bits of kernels/src/update.rs.
//
// `change` is the sum over workers of anchor - parameters; the step's gradient scale makes the mean of it. Anchor and
// parameters become the same. A skipped step takes the parameters back to the anchor.
#include "hc_device.cuh"

static const u32 THREADS = 256;
static const u32 QUAD = 4;

HC_KERNEL(THREADS) hc_outer_nesterov(u64 n, u64 begin, const u32* step_words, const float* change, float* anchor,
                                     float* velocity, float* params) {
    const u64 end = begin + n;
    const u64 start = begin + (static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x) * QUAD;
    if (start >= end) return;
    const u32 elems = end - start < QUAD ? static_cast<u32>(end - start) : QUAD;
    const HcStep step = hc_step(step_words);
    float held[QUAD];
    hc_load_quad(anchor + start, elems, held);
    if (!step.skip) {
        float sum[QUAD], speed[QUAD];
        hc_load_quad(change + start, elems, sum);
        hc_load_quad(velocity + start, elems, speed);
        HC_UNROLL
        for (u32 k = 0; k < QUAD; k++) {
            const float g = sum[k] * step.gradient_scale;
            speed[k] = step.momentum * speed[k] + g;
            held[k] = held[k] - step.learning_rate * (g + step.momentum * speed[k]);
        }
        hc_store_quad(velocity + start, elems, speed);
        hc_store_quad(anchor + start, elems, held);
    }
    hc_store_quad(params + start, elems, held);
}
