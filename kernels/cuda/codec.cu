// Lossy packings of f32 values, with the bytes and bits of kernels/src/wire and kernels/src/host_buffers.
//
// Addresses of values are those of a buffer's element 0; a launch works on elements begin..begin + n, of which the
// first begins a block. A payload's address is that of its first byte. Values and what receivers decode may be the
// same buffer.
#include "hc_device.cuh"

static const u32 THREADS = 256;
static const u32 WARP = 32;
static const u32 QUAD = 4;
static const u32 SCALE_BYTES = 2;
static const u32 NOT_A_NUMBER = 0x7fc00000;
// 1.5 * 2^23: adding it leaves the nearest integer in the low bits of the significand.
static const float WHOLE = 12582912.0f;

struct Rounding {
    bool stochastic;
    u64 stream;
};

// Of element `index`; not used to round to nearest.
HC_DEVICE u32 draw_of(const Rounding& rounding, u64 index) {
    return rounding.stochastic ? static_cast<u32>(hc_draw(rounding.stream, index) >> 32) : 0;
}

HC_DEVICE bool is_finite(float x) {
    return (hc_bits(x) & HC_MAGNITUDE) < HC_INFINITY;
}

HC_DEVICE bool is_nan(float x) {
    return (hc_bits(x) & HC_MAGNITUDE) > HC_INFINITY;
}

// The bits of a NaN that arithmetic forms depend on the machine.
HC_DEVICE float one_nan(float x) {
    return is_nan(x) ? hc_float(NOT_A_NUMBER) : x;
}

HC_DEVICE float round_drawn(float value, u32 draw) {
    const float nearest = (value + WHOLE) - WHOLE;
    const float floor = nearest > value ? nearest - 1.0f : nearest;
    const float uniform = static_cast<float>(draw >> 8) * (1.0f / 16777216.0f);
    return uniform < value - floor ? floor + 1.0f : floor;
}

// Of one quad: what is wanted, and, once it is packed, what was lost.
struct Quad {
    float wanted[QUAD], decoded[QUAD];
};

HC_DEVICE void load_wanted(u64 index, u32 elems, const float* values, const float* residual, Quad& quad) {
    hc_load_quad(values + index, elems, quad.wanted);
    if (residual == nullptr) return;
    float lost[QUAD];
    hc_load_quad(residual + index, elems, lost);
    for (u32 k = 0; k < elems; k++) quad.wanted[k] += lost[k];
}

// Nothing is lost where the decoded value is not finite: no later round could make up for it.
HC_DEVICE void store_decoded(u64 index, u32 elems, const Quad& quad, float* residual, float* decoded) {
    if (residual != nullptr) {
        float lost[QUAD];
        for (u32 k = 0; k < elems; k++) {
            lost[k] = is_finite(quad.decoded[k]) ? quad.wanted[k] - quad.decoded[k] : 0.0f;
        }
        hc_store_quad(residual + index, elems, lost);
    }
    if (decoded != nullptr) hc_store_quad(decoded + index, elems, quad.decoded);
}

HC_DEVICE u32 quad_elems(u64 n, u64 quad) {
    const u64 rest = n - quad * QUAD;
    return rest < QUAD ? static_cast<u32>(rest) : QUAD;
}

// Of the quad at a place of a block.
HC_DEVICE u32 elems_at(u32 block_elems, u32 place) {
    const u32 before = place * QUAD;
    return block_elems < before + QUAD ? (block_elems > before ? block_elems - before : 0) : QUAD;
}

// Floats of 16 bits.

HC_DEVICE u16 f16_of(float value, u32 rounded) {
    // 2^16: from here on the formula for normal values leaves the range.
    const u32 overflow = 0x47800000;
    const u32 magnitude = hc_bits(value) & HC_MAGNITUDE;
    if (magnitude > HC_INFINITY) return 0x7e00;
    if (magnitude >= overflow) rounded = 0x7c00;
    return static_cast<u16>(rounded | ((hc_bits(value) >> 16) & 0x8000));
}

struct F16 {
    HC_DEVICE float value(u16 bits) {
        return hc_f16_value(bits);
    }
    HC_DEVICE u16 nearest(float value) {
        const u32 magnitude = hc_bits(value) & HC_MAGNITUDE;
        // One unit of the last place of 0.5 is 2^-24, that of all subnormal halves: the addition rounds.
        if (magnitude < HC_SMALLEST_NORMAL_HALF) {
            return f16_of(value, hc_bits(hc_float(magnitude) + 0.5f) - hc_bits(0.5f));
        }
        return f16_of(value, (magnitude - HC_HALF_EXPONENT_SHIFT + 0xfff + ((magnitude >> 13) & 1)) >> 13);
    }
    HC_DEVICE u16 drawn(float value, u32 draw) {
        const u32 magnitude = hc_bits(value) & HC_MAGNITUDE;
        // Subnormal halves are multiples of 2^-24.
        if (magnitude < HC_SMALLEST_NORMAL_HALF) {
            const float units = hc_float(magnitude) * 16777216.0f;
            return f16_of(value, hc_bits(round_drawn(units, draw) + WHOLE) - hc_bits(WHOLE));
        }
        return f16_of(value, (magnitude - HC_HALF_EXPONENT_SHIFT + (draw >> 19)) >> 13);
    }
};

struct Bf16 {
    HC_DEVICE float value(u16 bits) {
        return hc_bf16_value(bits);
    }
    HC_DEVICE u16 nearest(float value) {
        return hc_bf16_nearest(value);
    }
    HC_DEVICE u16 drawn(float value, u32 draw) {
        return hc_bf16_drawn(value, draw >> 16);
    }
};

template <class Half>
struct Halves {
    typedef u16 Word;

    HC_DEVICE void decode(const u16* payload, u64 quad, u32 elems, float* into) {
        u16 words[QUAD];
        hc_load_quad(payload + quad * QUAD, elems, words);
        for (u32 k = 0; k < elems; k++) into[k] = Half::value(words[k]);
    }
};

template <class Half>
HC_DEVICE void pack_halves(u64 n, u64 begin, Rounding rounding, const float* values, float* residual, u16* payload,
                           float* decoded) {
    const u64 place = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x;
    if (place * QUAD >= n) return;
    const u32 elems = quad_elems(n, place);
    const u64 index = begin + place * QUAD;
    Quad quad;
    u16 words[QUAD];
    load_wanted(index, elems, values, residual, quad);
    for (u32 k = 0; k < elems; k++) {
        const float wanted = quad.wanted[k];
        words[k] = rounding.stochastic ? Half::drawn(wanted, draw_of(rounding, index + k)) : Half::nearest(wanted);
        quad.decoded[k] = Half::value(words[k]);
    }
    hc_store_quad(payload + place * QUAD, elems, words);
    store_decoded(index, elems, quad, residual, decoded);
}

// Values as they are.
struct Floats {
    typedef float Word;

    HC_DEVICE void decode(const float* payload, u64 quad, u32 elems, float* into) {
        hc_load_quad(payload + quad * QUAD, elems, into);
    }
};

// Small integers in blocks that share a scale.

HC_DEVICE u16 load_word(const u8* from) {
    if (hc_aligned(from, 2)) {
        HC_CHECK_ACCESS(from, 2);
        return *reinterpret_cast<const u16*>(from);
    }
    return static_cast<u16>(from[0] | from[1] << 8);
}

HC_DEVICE void store_word(u8* to, u32 word) {
    if (hc_aligned(to, 2)) {
        HC_CHECK_ACCESS(to, 2);
        *reinterpret_cast<u16*>(to) = static_cast<u16>(word);
    } else {
        to[0] = static_cast<u8>(word);
        to[1] = static_cast<u8>(word >> 8);
    }
}

// The codes of a quad, each in a byte; those past `elems` are 0.
struct Int8 {
    static const u32 ELEMS = 256;
    static const u32 BYTES = SCALE_BYTES + 256;
    HC_DEVICE float limit() {
        return 127.0f;
    }
    HC_DEVICE void store(u8* codes, u32 place, u32 elems, const u8* quad) {
        u8* to = codes + place * QUAD;
        if (elems == QUAD) {
            store_word(to, quad[0] | quad[1] << 8);
            store_word(to + 2, quad[2] | quad[3] << 8);
        } else {
            for (u32 k = 0; k < QUAD; k++) {
                if (k < elems) to[k] = quad[k];
            }
        }
    }
    HC_DEVICE void load(const u8* codes, u32 place, u32 elems, u8* quad) {
        const u8* from = codes + place * QUAD;
        if (elems == QUAD) {
            const u32 low = load_word(from), high = load_word(from + 2);
            quad[0] = static_cast<u8>(low), quad[1] = static_cast<u8>(low >> 8);
            quad[2] = static_cast<u8>(high), quad[3] = static_cast<u8>(high >> 8);
        } else {
            for (u32 k = 0; k < elems; k++) quad[k] = from[k];
        }
    }
};

struct Int4 {
    static const u32 ELEMS = 128;
    static const u32 BYTES = SCALE_BYTES + 64;
    HC_DEVICE float limit() {
        return 7.0f;
    }
    // The last high nibble is 0 where the count is odd.
    HC_DEVICE void store(u8* codes, u32 place, u32 elems, const u8* quad) {
        u8* to = codes + place * 2;
        const u32 low = (quad[0] & 0x0f) | (quad[1] & 0x0f) << 4;
        const u32 high = (quad[2] & 0x0f) | (quad[3] & 0x0f) << 4;
        if (elems > 2) {
            store_word(to, low | high << 8);
        } else {
            to[0] = static_cast<u8>(low);
        }
    }
    HC_DEVICE void load(const u8* codes, u32 place, u32 elems, u8* quad) {
        const u8* from = codes + place * 2;
        const u32 both = elems > 2 ? load_word(from) : from[0];
        for (u32 k = 0; k < elems; k++) quad[k] = static_cast<u8>((((both >> (4 * k)) & 0x0f) ^ 8) - 8);
    }
};

HC_DEVICE float dequantised(float scale, u8 code) {
    return one_nan(static_cast<float>(static_cast<i8>(code)) * scale);
}

template <class Format>
struct Blocks {
    typedef u8 Word;

    HC_DEVICE void decode(const u8* payload, u64 quad, u32 elems, float* into) {
        const u32 quads = Format::ELEMS / QUAD;
        const u8* block = payload + quad / quads * Format::BYTES;
        const float scale = hc_bf16_value(load_word(block));
        u8 codes[QUAD];
        Format::load(block + SCALE_BYTES, static_cast<u32>(quad % quads), elems, codes);
        for (u32 k = 0; k < elems; k++) into[k] = dequantised(scale, codes[k]);
    }
};

// Exactly a bf16: rounded up, so that no code is out of range, and at least the smallest normal f32, so that its
// inverse is finite. NaN if the block is not finite or would decode to infinity.
HC_DEVICE float scale_for(float largest, float limit) {
    if (largest == 0.0f) return 0.0f;
    if (!is_finite(largest)) return hc_float(NOT_A_NUMBER);
    const float smallest_normal = hc_float(0x00800000);
    const float up = hc_float((hc_bits(largest / limit) + 0xffff) & 0xffff0000);
    const float scale = up < smallest_normal ? smallest_normal : up;
    return is_finite(scale * limit) ? scale : hc_float(NOT_A_NUMBER);
}

HC_DEVICE u8 code_of(float value, float limit) {
    value = value > limit ? limit : value;
    value = value < -limit ? -limit : value;
    return static_cast<u8>(hc_bits(value + WHOLE));
}

// One block a warp.
template <class Format>
HC_DEVICE void pack_blocks(u64 n, u64 begin, Rounding rounding, const float* values, float* residual, u8* payload,
                           float* decoded) {
    const u32 quads = Format::ELEMS / (QUAD * WARP);
    const u64 block = static_cast<u64>(blockIdx.x) * (THREADS / WARP) + threadIdx.x / WARP;
    const u32 lane = threadIdx.x % WARP;
    const u64 start = block * Format::ELEMS;
    if (start >= n) return;
    const u32 block_elems = n - start < Format::ELEMS ? static_cast<u32>(n - start) : Format::ELEMS;
    const u64 first = begin + start + lane * QUAD;

    float wanted[quads][QUAD];
    // As integers, magnitudes have the order of their values, and NaN is above all of them.
    u32 largest = 0;
    HC_UNROLL
    for (u32 j = 0; j < quads; j++) {
        const u32 elems = elems_at(block_elems, lane + j * WARP);
        const u64 index = first + j * WARP * QUAD;
        hc_load_quad(values + index, elems, wanted[j]);
        if (residual != nullptr) {
            float lost[QUAD];
            hc_load_quad(residual + index, elems, lost);
            HC_UNROLL
            for (u32 k = 0; k < QUAD; k++) wanted[j][k] += lost[k];
        }
        HC_UNROLL
        for (u32 k = 0; k < QUAD; k++) {
            const u32 magnitude = hc_bits(wanted[j][k]) & HC_MAGNITUDE;
            largest = magnitude > largest ? magnitude : largest;
        }
    }
    for (u32 distance = WARP / 2; distance > 0; distance /= 2) {
        const u32 other = __shfl_xor_sync(0xffffffffu, largest, distance);
        largest = other > largest ? other : largest;
    }

    const float scale = scale_for(hc_float(largest), Format::limit());
    const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    u8* packed = payload + block * Format::BYTES;
    if (lane == 0) store_word(packed, hc_bf16_nearest(scale));
    HC_UNROLL
    for (u32 j = 0; j < quads; j++) {
        const u32 elems = elems_at(block_elems, lane + j * WARP);
        const u64 index = first + j * WARP * QUAD;
        u8 codes[QUAD];
        float sent[QUAD], lost[QUAD];
        HC_UNROLL
        for (u32 k = 0; k < QUAD; k++) {
            float value = wanted[j][k] * inverse;
            if (rounding.stochastic) value = round_drawn(value, draw_of(rounding, index + k));
            codes[k] = is_nan(scale) ? 0 : code_of(value, Format::limit());
            sent[k] = dequantised(scale, codes[k]);
            lost[k] = is_finite(sent[k]) ? wanted[j][k] - sent[k] : 0.0f;
        }
        if (elems > 0) Format::store(packed + SCALE_BYTES, lane + j * WARP, elems, codes);
        if (residual != nullptr) hc_store_quad(residual + index, elems, lost);
        if (decoded != nullptr) hc_store_quad(decoded + index, elems, sent);
    }
}

// Reading payloads.

template <class Codec>
HC_DEVICE void unpack(u64 n, u64 begin, const typename Codec::Word* payload, float* values) {
    const u64 place = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x;
    if (place * QUAD >= n) return;
    const u32 elems = quad_elems(n, place);
    float decoded[QUAD];
    Codec::decode(payload, place, elems, decoded);
    hc_store_quad(values + begin + place * QUAD, elems, decoded);
}

template <class Codec>
HC_DEVICE void accumulate(u64 n, u64 begin, const typename Codec::Word* payload, float* values) {
    const u64 place = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x;
    if (place * QUAD >= n) return;
    const u32 elems = quad_elems(n, place);
    float* at = values + begin + place * QUAD;
    float sum[QUAD], decoded[QUAD];
    hc_load_quad(at, elems, sum);
    Codec::decode(payload, place, elems, decoded);
    for (u32 k = 0; k < elems; k++) sum[k] = one_nan(sum[k] + decoded[k]);
    hc_store_quad(at, elems, sum);
}

// Adds in rank order, in f32: payload 0, payload 1, ..., with the own values as number `own_at` if there are any. The
// total is divided once. `stride` is from one payload's start to the next one's, in words.
template <class Codec>
HC_DEVICE void reduce(u64 n, u64 begin, u32 payloads, u64 stride, const typename Codec::Word* payload,
                      const float* own, u32 own_at, float divisor, float* out) {
    const u64 place = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x;
    if (place * QUAD >= n) return;
    const u32 elems = quad_elems(n, place);
    const u64 index = begin + place * QUAD;
    const u32 operands = payloads + (own != nullptr ? 1 : 0);
    float sum[QUAD] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (u32 operand = 0; operand < operands; operand++) {
        float values[QUAD];
        if (own != nullptr && operand == own_at) {
            hc_load_quad(own + index, elems, values);
        } else {
            const u32 rank = own != nullptr && operand > own_at ? operand - 1 : operand;
            Codec::decode(payload + rank * stride, place, elems, values);
        }
        for (u32 k = 0; k < elems; k++) sum[k] = operand == 0 ? values[k] : sum[k] + values[k];
    }
    for (u32 k = 0; k < elems; k++) sum[k] = one_nan(sum[k] / divisor);
    hc_store_quad(out + index, elems, sum);
}

HC_KERNEL(256) hc_pack_bf16(u64 n, u64 begin, u32 stochastic, u64 stream, const float* values, float* residual,
                            u16* payload, float* decoded) {
    pack_halves<Bf16>(n, begin, Rounding{stochastic != 0, stream}, values, residual, payload, decoded);
}

HC_KERNEL(256) hc_pack_f16(u64 n, u64 begin, u32 stochastic, u64 stream, const float* values, float* residual,
                           u16* payload, float* decoded) {
    pack_halves<F16>(n, begin, Rounding{stochastic != 0, stream}, values, residual, payload, decoded);
}

HC_KERNEL(256) hc_pack_int8(u64 n, u64 begin, u32 stochastic, u64 stream, const float* values, float* residual,
                            u8* payload, float* decoded) {
    pack_blocks<Int8>(n, begin, Rounding{stochastic != 0, stream}, values, residual, payload, decoded);
}

HC_KERNEL(256) hc_pack_int4(u64 n, u64 begin, u32 stochastic, u64 stream, const float* values, float* residual,
                            u8* payload, float* decoded) {
    pack_blocks<Int4>(n, begin, Rounding{stochastic != 0, stream}, values, residual, payload, decoded);
}

HC_KERNEL(256) hc_unpack_bf16(u64 n, u64 begin, const u16* payload, float* values) {
    unpack<Halves<Bf16>>(n, begin, payload, values);
}

HC_KERNEL(256) hc_unpack_f16(u64 n, u64 begin, const u16* payload, float* values) {
    unpack<Halves<F16>>(n, begin, payload, values);
}

HC_KERNEL(256) hc_unpack_int8(u64 n, u64 begin, const u8* payload, float* values) {
    unpack<Blocks<Int8>>(n, begin, payload, values);
}

HC_KERNEL(256) hc_unpack_int4(u64 n, u64 begin, const u8* payload, float* values) {
    unpack<Blocks<Int4>>(n, begin, payload, values);
}

HC_KERNEL(256) hc_accumulate_bf16(u64 n, u64 begin, const u16* payload, float* values) {
    accumulate<Halves<Bf16>>(n, begin, payload, values);
}

HC_KERNEL(256) hc_accumulate_f16(u64 n, u64 begin, const u16* payload, float* values) {
    accumulate<Halves<F16>>(n, begin, payload, values);
}

HC_KERNEL(256) hc_accumulate_int8(u64 n, u64 begin, const u8* payload, float* values) {
    accumulate<Blocks<Int8>>(n, begin, payload, values);
}

HC_KERNEL(256) hc_accumulate_int4(u64 n, u64 begin, const u8* payload, float* values) {
    accumulate<Blocks<Int4>>(n, begin, payload, values);
}

HC_KERNEL(256) hc_reduce_f32(u64 n, u64 begin, u32 payloads, u64 stride, const float* payload, const float* own,
                             u32 own_at, float divisor, float* out) {
    reduce<Floats>(n, begin, payloads, stride, payload, own, own_at, divisor, out);
}

HC_KERNEL(256) hc_reduce_bf16(u64 n, u64 begin, u32 payloads, u64 stride, const u16* payload, const float* own,
                              u32 own_at, float divisor, float* out) {
    reduce<Halves<Bf16>>(n, begin, payloads, stride, payload, own, own_at, divisor, out);
}

HC_KERNEL(256) hc_reduce_f16(u64 n, u64 begin, u32 payloads, u64 stride, const u16* payload, const float* own,
                             u32 own_at, float divisor, float* out) {
    reduce<Halves<F16>>(n, begin, payloads, stride, payload, own, own_at, divisor, out);
}

HC_KERNEL(256) hc_reduce_int8(u64 n, u64 begin, u32 payloads, u64 stride, const u8* payload, const float* own,
                              u32 own_at, float divisor, float* out) {
    reduce<Blocks<Int8>>(n, begin, payloads, stride, payload, own, own_at, divisor, out);
}

HC_KERNEL(256) hc_reduce_int4(u64 n, u64 begin, u32 payloads, u64 stride, const u8* payload, const float* own,
                              u32 own_at, float divisor, float* out) {
    reduce<Blocks<Int4>>(n, begin, payloads, stride, payload, own, own_at, divisor, out);
}
