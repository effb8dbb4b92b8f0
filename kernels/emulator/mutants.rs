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
        "i < end; i += ACCUMULATORS",
        "i + 7 < end; i += ACCUMULATORS",
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
