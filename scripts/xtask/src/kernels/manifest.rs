//! `kernels/cuda/kernels.toml`, read and checked.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, ensure};
use serde::Deserialize;

const PATH: &str = "kernels/cuda/kernels.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    #[serde(rename = "kernel")]
    pub(crate) kernels: Vec<Kernel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) doc: String,
    pub(crate) block: u32,
    /// 0 if a single block works on all.
    pub(crate) elems_per_block: u32,
    #[serde(default)]
    pub(crate) shared_bytes: u32,
    pub(crate) bytes_per_elem: f64,
    pub(crate) params: Vec<Param>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Param {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    pub(crate) mode: Option<Mode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    In,
    Out,
    Inout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Kind {
    #[serde(rename = "u64")]
    U64,
    #[serde(rename = "u32")]
    U32,
    #[serde(rename = "f32")]
    F32,
    #[serde(rename = "*f32")]
    F32s,
    #[serde(rename = "*f64")]
    F64s,
    #[serde(rename = "*u64")]
    U64s,
    #[serde(rename = "*u32")]
    U32s,
    #[serde(rename = "*u16")]
    U16s,
    #[serde(rename = "*u8")]
    U8s,
    #[serde(rename = "*i8")]
    I8s,
}

impl Kind {
    /// What an address points to, in Rust and in C++.
    pub(crate) fn pointee(self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Kind::F32s => ("f32", "float"),
            Kind::F64s => ("f64", "double"),
            Kind::U64s => ("u64", "u64"),
            Kind::U32s => ("u32", "u32"),
            Kind::U16s => ("u16", "u16"),
            Kind::U8s => ("u8", "u8"),
            Kind::I8s => ("i8", "i8"),
            Kind::U64 | Kind::U32 | Kind::F32 => return None,
        })
    }
}

pub(crate) fn read() -> anyhow::Result<Manifest> {
    let text = fs::read_to_string(PATH).context(PATH)?;
    let manifest: Manifest = toml::from_str(&text).context(PATH)?;
    let mut names = BTreeSet::new();
    for kernel in &manifest.kernels {
        ensure!(names.insert(&kernel.name), "{PATH}: two kernels are called {}", kernel.name);
        check(kernel).with_context(|| format!("{PATH}: {}", kernel.name))?;
    }
    Ok(manifest)
}

fn check(kernel: &Kernel) -> anyhow::Result<()> {
    ensure!(
        kernel.block.is_multiple_of(32) && (32..=1024).contains(&kernel.block),
        "block = {}",
        kernel.block
    );
    let source = fs::read_to_string(format!("kernels/cuda/{}", kernel.file)).context(kernel.file.clone())?;
    let symbol = format!(") hc_{}(", kernel.name);
    ensure!(source.contains(&symbol), "{} does not define hc_{}", kernel.file, kernel.name);
    let first = kernel.params.first().map(|param| (param.name.as_str(), param.kind));
    ensure!(first == Some(("n", Kind::U64)), "the first parameter must be n, u64");
    for param in &kernel.params {
        let needs_mode = param.kind.pointee().is_some();
        ensure!(param.mode.is_some() == needs_mode, "{}: addresses have a mode, values none", param.name);
    }
    Ok(())
}
