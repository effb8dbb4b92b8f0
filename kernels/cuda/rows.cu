// What a model does to rows of a value `[rows, width]` in bf16: normalise, activate, add, and sum over rows. Parameters
// and their gradients are f32; sums are f32 in an order that depends on shapes alone. References: kernels/src/layer_norm.rs,
// gelu.rs, elementwise.rs.
#include "hc_device.cuh"

static const u32 THREADS = 256;
static const u32 WARP = 32;
static const u32 OCT = 8;
static const u64 ROWS_OF_A_BLOCK = THREADS / WARP;
static const float EPSILON = 1e-5f;

HC_DEVICE void values_of(const u16* from, u32 elems, float* to) {
    u16 bits[OCT];
    hc_load_oct(from, elems, bits);
    HC_UNROLL
    for (u32 k = 0; k < OCT; k++) to[k] = hc_bf16_value(bits[k]);
}

HC_DEVICE void put_values(u16* to, u32 elems, const float* from) {
    u16 bits[OCT];
    HC_UNROLL
    for (u32 k = 0; k < OCT; k++) bits[k] = hc_bf16_nearest(from[k]);
    hc_store_oct(to, elems, bits);
}

// Adds what is there already, if `add`.
HC_DEVICE void put_gradient(u16* to, u32 elems, u32 add, float* from) {
    if (add != 0) {
        float before[OCT];
        values_of(to, elems, before);
        HC_UNROLL
        for (u32 k = 0; k < OCT; k++) from[k] += before[k];
    }
    put_values(to, elems, from);
}

HC_DEVICE void parameters_of(const float* from, u32 elems, float* to) {
    hc_load_quad(from, elems < 4 ? elems : 4, to);
    hc_load_quad(from + 4, elems > 4 ? elems - 4 : 0, to + 4);
}

// A warp a row, which it reads three times: from the second on out of the cache. With `addend` the row is x + addend,
// rounded, which `sum` takes: a residual connection costs no pass of its own.
HC_KERNEL(THREADS) hc_layer_norm(u64 n, u64 width, const u16* x, const u16* addend, const float* weight,
                                 const float* bias, u16* sum, u16* y, float* moments) {
    const u64 row = static_cast<u64>(blockIdx.x) * ROWS_OF_A_BLOCK + threadIdx.x / WARP;
    if (row >= n) return;
    const u64 lane = threadIdx.x % WARP, start = row * width;
    float total = 0.0f;
    for (u64 i = lane * OCT; i < width; i += WARP * OCT) {
        const u32 elems = hc_elems_at(i, width, OCT);
        float values[OCT];
        values_of(x + start + i, elems, values);
        if (addend != nullptr) {
            float more[OCT];
            values_of(addend + start + i, elems, more);
            HC_UNROLL
            for (u32 k = 0; k < OCT; k++) values[k] = hc_bf16_value(hc_bf16_nearest(values[k] + more[k]));
            put_values(sum + start + i, elems, values);
        }
        HC_UNROLL
        for (u32 k = 0; k < OCT; k++) total += values[k];
    }
    // A lane reads again only what it wrote itself.
    const u16* normed = addend != nullptr ? sum : x;
    const float scale = 1.0f / static_cast<float>(width);
    const float mean = hc_warp_sum(total) * scale;
    float squares = 0.0f;
    for (u64 i = lane * OCT; i < width; i += WARP * OCT) {
        const u32 elems = hc_elems_at(i, width, OCT);
        float values[OCT];
        values_of(normed + start + i, elems, values);
        HC_UNROLL
        for (u32 k = 0; k < OCT; k++) squares += k < elems ? (values[k] - mean) * (values[k] - mean) : 0.0f;
    }
    const float rstd = 1.0f / sqrtf(hc_warp_sum(squares) * scale + EPSILON);
    for (u64 i = lane * OCT; i < width; i += WARP * OCT) {
        const u32 elems = hc_elems_at(i, width, OCT);
        float values[OCT], weights[OCT], biases[OCT];
        values_of(normed + start + i, elems, values);
        parameters_of(weight + i, elems, weights);
        parameters_of(bias + i, elems, biases);
        HC_UNROLL
        for (u32 k = 0; k < OCT; k++) values[k] = (values[k] - mean) * rstd * weights[k] + biases[k];
        put_values(y + start + i, elems, values);
    }
    if (lane == 0) {
        moments[2 * row] = mean;
        moments[2 * row + 1] = rstd;
    }
}

// Gradient of the rows; that of the parameters is hc_norm_columns'.
HC_KERNEL(THREADS) hc_layer_norm_backward(u64 n, u64 width, u32 add, const u16* x, const float* weight,
                                          const float* moments, const u16* dy, u16* dx) {
    const u64 row = static_cast<u64>(blockIdx.x) * ROWS_OF_A_BLOCK + threadIdx.x / WARP;
    if (row >= n) return;
    const u64 lane = threadIdx.x % WARP, start = row * width;
    const float mean = moments[2 * row], rstd = moments[2 * row + 1];
    float sum = 0.0f, dot = 0.0f;
    for (u64 i = lane * OCT; i < width; i += WARP * OCT) {
        const u32 elems = hc_elems_at(i, width, OCT);
        float values[OCT], weights[OCT], gradient[OCT];
        values_of(x + start + i, elems, values);
        values_of(dy + start + i, elems, gradient);
        parameters_of(weight + i, elems, weights);
        // Behind the end gradient and weight are 0.
        HC_UNROLL
        for (u32 k = 0; k < OCT; k++) {
            sum += gradient[k] * weights[k];
            dot += gradient[k] * weights[k] * (values[k] - mean);
        }
    }
    const float scale = 1.0f / static_cast<float>(width);
    sum = hc_warp_sum(sum) * scale;
    dot = hc_warp_sum(dot) * rstd * scale;
    for (u64 i = lane * OCT; i < width; i += WARP * OCT) {
        const u32 elems = hc_elems_at(i, width, OCT);
        float values[OCT], weights[OCT], gradient[OCT];
        values_of(x + start + i, elems, values);
        values_of(dy + start + i, elems, gradient);
        parameters_of(weight + i, elems, weights);
        HC_UNROLL
        for (u32 k = 0; k < OCT; k++) {
            values[k] = (gradient[k] * weights[k] - sum - (values[k] - mean) * rstd * dot) * rstd;
        }
        put_gradient(dx + start + i, elems, add, values);
    }
}

static const u64 COLUMNS_OF_A_BLOCK = WARP;
static const u64 ROWS_OF_A_PART = 64;

// Sums over parts of 64 rows, a column a lane: of dy, whose rows are `pitch` apart, and with `x` of dy times the normalised x. `n` is blocks of 32
// columns times parts. A warp adds every eighth row; the eight sums are added in order. No atomics: a sum has the same
// bits on every card.
HC_KERNEL(THREADS) hc_column_parts(u64 n, u64 rows, u64 width, u64 pitch, const u16* dy, const u16* x, const float* moments,
                                   float* sums, float* products) {
    HC_SHARED(float, sum_of, THREADS);
    HC_SHARED(float, product_of, THREADS);
    const u64 column_blocks = (width + COLUMNS_OF_A_BLOCK - 1) / COLUMNS_OF_A_BLOCK;
    const u64 part = blockIdx.x / column_blocks;
    const u64 column = blockIdx.x % column_blocks * COLUMNS_OF_A_BLOCK + threadIdx.x % WARP;
    const u64 first = part * ROWS_OF_A_PART;
    const u64 end = rows - first < ROWS_OF_A_PART ? rows : first + ROWS_OF_A_PART;
    float sum = 0.0f, product = 0.0f;
    if (column < width) {
        for (u64 row = first + threadIdx.x / WARP; row < end; row += ROWS_OF_A_BLOCK) {
            const float gradient = hc_bf16_value(dy[row * pitch + column]);
            sum += gradient;
            if (x != nullptr) {
                product += gradient * (hc_bf16_value(x[row * width + column]) - moments[2 * row]) * moments[2 * row + 1];
            }
        }
    }
    sum_of[threadIdx.x] = sum;
    product_of[threadIdx.x] = product;
    __syncthreads();
    if (threadIdx.x >= WARP || column >= width) return;
    for (u32 warp = 1; warp < THREADS / WARP; warp++) {
        sum += sum_of[warp * WARP + threadIdx.x];
        product += product_of[warp * WARP + threadIdx.x];
    }
    sums[part * width + column] = sum;
    if (x != nullptr) products[part * width + column] = product;
}

// Adds the `parts` sums of each of `n` columns, in order, to a gradient.
HC_KERNEL(THREADS) hc_add_parts(u64 n, u64 parts, const float* sums, float* gradient) {
    const u64 column = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x;
    if (column >= n) return;
    float sum = 0.0f;
    for (u64 part = 0; part < parts; part++) sum += sums[part * n + column];
    gradient[column] += sum;
}

// 1 / (1 + exp(-2u)) with u = sqrt(2/pi) (x + 0.044715 x^3), as kernels/src/gelu.rs has it.
HC_DEVICE float sigmoid_of_twice_u(float x) {
    return 1.0f / (1.0f + hc_exp(x * (-1.5957691216f + -0.0713548163f * x * x)));
}

struct Gelu {
    HC_DEVICE float value(float x) { return x * sigmoid_of_twice_u(x); }
    HC_DEVICE float slope(float x) {
        const float s = sigmoid_of_twice_u(x);
        return s + x * s * (1.0f - s) * (1.5957691216f + 0.2140644488f * x * x);
    }
};

struct Relu {
    // NaN stays NaN.
    HC_DEVICE float value(float x) { return x < 0.0f ? 0.0f : x; }
    HC_DEVICE float slope(float x) { return x > 0.0f ? 1.0f : 0.0f; }
};

template <class Function>
HC_DEVICE void activate(u64 n, const u16* x, u16* y) {
    const u64 place = (static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x) * OCT;
    if (place >= n) return;
    const u32 elems = hc_elems_at(place, n, OCT);
    float values[OCT];
    values_of(x + place, elems, values);
    HC_UNROLL
    for (u32 k = 0; k < OCT; k++) values[k] = Function::value(values[k]);
    put_values(y + place, elems, values);
}

template <class Function>
HC_DEVICE void activate_backward(u64 n, u32 add, const u16* x, const u16* dy, u16* dx) {
    const u64 place = (static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x) * OCT;
    if (place >= n) return;
    const u32 elems = hc_elems_at(place, n, OCT);
    float values[OCT], gradient[OCT];
    values_of(x + place, elems, values);
    values_of(dy + place, elems, gradient);
    HC_UNROLL
    for (u32 k = 0; k < OCT; k++) gradient[k] *= Function::slope(values[k]);
    put_gradient(dx + place, elems, add, gradient);
}

HC_KERNEL(THREADS) hc_gelu(u64 n, const u16* x, u16* y) {
    activate<Gelu>(n, x, y);
}

HC_KERNEL(THREADS) hc_gelu_backward(u64 n, u32 add, const u16* x, const u16* dy, u16* dx) {
    activate_backward<Gelu>(n, add, x, dy, dx);
}

HC_KERNEL(THREADS) hc_relu(u64 n, const u16* x, u16* y) {
    activate<Relu>(n, x, y);
}

HC_KERNEL(THREADS) hc_relu_backward(u64 n, u32 add, const u16* x, const u16* dy, u16* dx) {
    activate_backward<Relu>(n, add, x, dy, dx);
}

HC_KERNEL(THREADS) hc_sum_of(u64 n, const u16* a, const u16* b, u16* y) {
    const u64 place = (static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x) * OCT;
    if (place >= n) return;
    const u32 elems = hc_elems_at(place, n, OCT);
    float left[OCT], right[OCT];
    values_of(a + place, elems, left);
    values_of(b + place, elems, right);
    HC_UNROLL
    for (u32 k = 0; k < OCT; k++) left[k] += right[k];
    put_values(y + place, elems, left);
}

// A gradient passed on.
HC_KERNEL(THREADS) hc_put(u64 n, u32 add, const u16* x, u16* y) {
    const u64 place = (static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x) * OCT;
    if (place >= n) return;
    const u32 elems = hc_elems_at(place, n, OCT);
    float values[OCT];
    values_of(x + place, elems, values);
    put_gradient(y + place, elems, add, values);
}

HC_KERNEL(THREADS) hc_to_bf16(u64 n, const float* x, u16* y) {
    const u64 place = (static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x) * OCT;
    if (place >= n) return;
    const u32 elems = hc_elems_at(place, n, OCT);
    float values[OCT];
    parameters_of(x + place, elems, values);
    put_values(y + place, elems, values);
}

HC_KERNEL(THREADS) hc_clear(u64 n, u32* words) {
    const u64 index = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x;
    if (index < n) words[index] = 0;
}
