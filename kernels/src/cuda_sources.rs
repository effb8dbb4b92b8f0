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
    ("embedding.cu", include_str!("../cuda/embedding.cu")),
    ("linear.cu", include_str!("../cuda/linear.cu")),
    ("loss.cu", include_str!("../cuda/loss.cu")),
    ("norm.cu", include_str!("../cuda/norm.cu")),
    ("outer.cu", include_str!("../cuda/outer.cu")),
    ("privacy.cu", include_str!("../cuda/privacy.cu")),
    ("rows.cu", include_str!("../cuda/rows.cu")),
    ("select.cu", include_str!("../cuda/select.cu")),
    ("update.cu", include_str!("../cuda/update.cu")),
];
