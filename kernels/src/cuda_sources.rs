//! The kernels' sources, for compilers at run time.
//!
//! Made from kernels/cuda/kernels.toml by `cargo xtask kernels generate`: change that.

/// The one header, by the name that sources include.
pub const HEADER: (&str, &str) = ("hc_device.cuh", include_str!("../cuda/hc_device.cuh"));

/// Name and text of each source.
pub const SOURCES: &[(&str, &str)] = &[
    ("attention.cu", include_str!("../cuda/attention.cu")),
    ("codec.cu", include_str!("../cuda/codec.cu")),
    ("digest.cu", include_str!("../cuda/digest.cu")),
    ("norm.cu", include_str!("../cuda/norm.cu")),
    ("outer.cu", include_str!("../cuda/outer.cu")),
    ("privacy.cu", include_str!("../cuda/privacy.cu")),
    ("select.cu", include_str!("../cuda/select.cu")),
    ("update.cu", include_str!("../cuda/update.cu")),
];
