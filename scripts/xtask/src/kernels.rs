//! `cargo xtask kernels`: what is made from the kernels' sources and manifest.

use anyhow::bail;

mod generate;
mod manifest;

pub(crate) fn run(words: &[&str]) -> anyhow::Result<()> {
    match words {
        ["generate"] => generate::write(),
        ["generate", "--check"] => generate::check(),
        _ => bail!("usage: cargo xtask kernels generate [--check]"),
    }
}
