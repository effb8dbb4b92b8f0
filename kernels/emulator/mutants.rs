//! Sources with one mistake each: a test asserts that the checks catch every one.
//!
//! `build.rs` compiles them. Besides these, each source is tried without each one of its barriers.

/// A source of `kernels/cuda` in which `from`, which occurs once, reads `to`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

const fn mutant(name: &'static str, file: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { name, file, from, to }
}

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant(
        "top-k-index-of-32-bits",
        "select.cu",
        "hc_load_quad(wanted + place + k, elems - k < QUAD ? elems - k : QUAD, values + k);",
        "hc_load_quad(wanted + static_cast<u32>(place) + k, elems - k < QUAD ? elems - k : QUAD, values + k);",
    ),
    mutant(
        "clip-parts-in-the-wrong-row",
        "privacy.cu",
        "partials[row * partials_pitch +",
        "partials[row * parts +",
    ),
    mutant(
        "pack-draws-by-place-in-the-launch",
        "codec.cu",
        "Half::drawn(wanted, draw_of(rounding, index + k))",
        "Half::drawn(wanted, draw_of(rounding, place * QUAD + k))",
    ),
    mutant(
        "pack-block-draws-by-place-in-the-launch",
        "codec.cu",
        "round_drawn(value, draw_of(rounding, index + k))",
        "round_drawn(value, draw_of(rounding, index - begin + k))",
    ),
    mutant(
        "pack-index-of-32-bits",
        "codec.cu",
        "const u64 start = block * Format::ELEMS;",
        "const u64 start = static_cast<u32>(block * Format::ELEMS);",
    ),
    mutant(
        "pack-tail-too-long",
        "codec.cu",
        "return rest < QUAD ? static_cast<u32>(rest) : QUAD;",
        "return rest > 0 ? QUAD : 0;",
    ),
    mutant("pack-residual-not-sent", "codec.cu", "wanted[j][k] += lost[k]", "wanted[j][k] += 0.0f * lost[k]"),
    mutant(
        "pack-residual-of-infinity",
        "codec.cu",
        "is_finite(sent[k]) ? wanted[j][k] - sent[k] : 0.0f",
        "wanted[j][k] - sent[k]",
    ),
    mutant(
        "pack-largest-of-half-a-warp",
        "codec.cu",
        "for (u32 distance = WARP / 2; distance > 0;",
        "for (u32 distance = WARP / 4; distance > 0;",
    ),
    mutant(
        "pack-scale-rounded-down",
        "codec.cu",
        "(hc_bits(largest / limit) + 0xffff)",
        "(hc_bits(largest / limit) + 0)",
    ),
    mutant(
        "pack-nibbles-swapped",
        "codec.cu",
        "const u32 low = (quad[0] & 0x0f) | (quad[1] & 0x0f) << 4;",
        "const u32 low = (quad[1] & 0x0f) | (quad[0] & 0x0f) << 4;",
    ),
    mutant("pack-ties-away", "codec.cu", "0xfff + ((magnitude >> 13) & 1)", "0x1000"),
    mutant(
        "unpack-nan-of-the-machine",
        "codec.cu",
        "return one_nan(static_cast<float>(static_cast<i8>(code)) * scale);",
        "return -one_nan(-static_cast<float>(static_cast<i8>(code)) * scale);",
    ),
    mutant(
        "reduce-own-out-of-order",
        "codec.cu",
        "own != nullptr && operand == own_at",
        "own != nullptr && operand == 0",
    ),
    mutant(
        "reduce-sum-in-half-precision",
        "codec.cu",
        "operand == 0 ? values[k] : sum[k] + values[k]",
        "operand == 0 ? values[k] : F16::value(F16::nearest(sum[k] + values[k]))",
    ),
    mutant("top-k-ties-not-cut", "select.cu", "(key == threshold && equal < ties)", "key == threshold"),
    mutant(
        "top-k-nan-below-infinity",
        "select.cu",
        "return magnitude > HC_INFINITY ? 0x7fc00000 : magnitude;",
        "return magnitude > HC_INFINITY ? 0 : magnitude;",
    ),
    mutant(
        "top-k-part-from-the-launch",
        "select.cu",
        "const u64 part = begin / PART_ELEMS + blockIdx.x;\n    counts[2 * part] = sum >> 16;",
        "const u64 part = blockIdx.x;\n    counts[2 * part] = sum >> 16;",
    ),
    mutant(
        "clip-by-the-square-of-the-norm",
        "privacy.cu",
        "const double norm = sqrt(sum);",
        "const double norm = sum;",
    ),
    mutant(
        "clip-keeps-rows-that-are-not-finite",
        "privacy.cu",
        "norm < hc_float(HC_INFINITY) && bound >= 0.0f ? factor : 0.0f",
        "factor",
    ),
    mutant(
        "noise-by-place-in-the-launch",
        "privacy.cu",
        "normals(seed, step, index / QUAD, noise)",
        "normals(seed, step, place / QUAD, noise)",
    ),
    mutant(
        "noise-without-the-step",
        "privacy.cu",
        "hc_philox(seed, group, step)",
        "hc_philox(seed, group, 0)",
    ),
    mutant(
        "noise-index-of-32-bits",
        "privacy.cu",
        "const u64 place = (static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x) * QUAD;",
        "const u64 place = (blockIdx.x * THREADS + threadIdx.x) * QUAD;",
    ),
    mutant("update-tail-too-long", "update.cu", "left < QUAD ? static_cast<u32>(left) : QUAD", "QUAD"),
    mutant("update-tail-dropped", "update.cu", "if (elems == 0) return;", "if (elems < QUAD) return;"),
    mutant("update-moments-swapped", "update.cu", "&a, &b);", "&b, &a);"),
    mutant(
        "update-index-of-32-bits",
        "update.cu",
        "static_cast<u64>(blockIdx.x) * (THREADS * QUAD)",
        "blockIdx.x * (THREADS * QUAD)",
    ),
    mutant("update-skip-ignored", "update.cu", "if (step.skip) {", "if (false) {"),
    mutant("update-segment-not-advanced", "update.cu", "while (segment < segments &&", "while (false &&"),
    mutant(
        "update-draws-by-place-in-the-launch",
        "update.cu",
        "hc_draw(step.stream, index)",
        "hc_draw(step.stream, index - begin)",
    ),
    mutant(
        "update-nesterov-without-gradient",
        "update.cu",
        "(g + step.momentum * *velocity)",
        "(step.momentum * *velocity)",
    ),
    mutant(
        "outer-index-of-32-bits",
        "outer.cu",
        "(static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x) * QUAD",
        "(blockIdx.x * THREADS + threadIdx.x) * QUAD",
    ),
    mutant("outer-skip-ignored", "outer.cu", "if (!step.skip) {", "if (true) {"),
    mutant("outer-anchor-kept", "outer.cu", "hc_store_quad(anchor + start, elems, held);", ""),
    mutant(
        "norm-leaves-before-the-shuffle",
        "norm.cu",
        "double sum = 0.0;\n    if (chunk < n) {",
        "double sum = 0.0;\n    if (chunk >= n) return;\n    {",
    ),
    mutant(
        "norm-rest-of-a-chunk-dropped",
        "norm.cu",
        "; i < end; i += ACCUMULATORS",
        "; i + 7 < end; i += ACCUMULATORS",
    ),
    mutant("norm-of-four-accumulators", "norm.cu", "ACCUMULATORS = 8", "ACCUMULATORS = 4"),
    mutant("clip-by-the-squared-norm", "norm.cu", "sqrt(sum) / weight", "sum / weight"),
    mutant("clip-skips-nothing", "norm.cu", "!(hc_is_finite(sum) &&", "!(true ||"),
    mutant(
        "norm-index-of-32-bits",
        "norm.cu",
        "static_cast<u64>(blockIdx.x) * PARTIALS_THREADS",
        "blockIdx.x * PARTIALS_THREADS",
    ),
    mutant(
        "digest-index-of-32-bits",
        "digest.cu",
        "static_cast<u64>(blockIdx.x) * (THREADS * QUAD * QUADS)",
        "blockIdx.x * (THREADS * QUAD * QUADS)",
    ),
    mutant("digest-of-half-a-warp", "digest.cu", "distance = 16", "distance = 8"),
    mutant("digest-overwrites", "digest.cu", "atomicAdd(sum, total);", "*sum = total;"),
    mutant(
        "digest-by-place-in-the-launch",
        "digest.cu",
        "(start + k + 1) * SPREAD",
        "(start - begin + k + 1) * SPREAD",
    ),
];
