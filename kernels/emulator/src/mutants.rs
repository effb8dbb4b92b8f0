//! Sources with one mistake each: a test asserts that the checks catch every one.

/// A source of `kernels/cuda` in which `from`, which occurs once, reads `to`.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    pub name: &'static str,
    pub file: &'static str,
    pub from: &'static str,
    pub to: &'static str,
}

pub const MUTANTS: &[Mutant] = &[
    Mutant { name: "update-barrier-dropped", file: "update.cu", from: "__syncthreads();", to: "" },
    Mutant {
        name: "update-tail-too-long",
        file: "update.cu",
        from: "end - start < QUAD ? static_cast<u32>(end - start) : QUAD",
        to: "QUAD",
    },
    Mutant {
        name: "update-moments-swapped",
        file: "update.cu",
        from: "update<Adamw>(n, begin, step, segments, ends, decays, params, gradient, first, second, out, copy)",
        to: "update<Adamw>(n, begin, step, segments, ends, decays, params, gradient, second, first, out, copy)",
    },
    Mutant {
        name: "update-index-of-32-bits",
        file: "update.cu",
        from: "static_cast<u64>(blockIdx.x) * (THREADS * QUAD)",
        to: "blockIdx.x * (THREADS * QUAD)",
    },
    Mutant { name: "update-skip-ignored", file: "update.cu", from: "if (step.skip)", to: "if (false)" },
];
