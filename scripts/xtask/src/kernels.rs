//! `cargo xtask kernels`: what is made from the kernels' sources and manifest.

use anyhow::bail;

mod cubins;
mod generate;
mod manifest;

use cubins::Missing;
pub(crate) use cubins::cubins_folder;
pub(crate) use generate::format_rust;

pub(crate) fn run(words: &[&str]) -> anyhow::Result<()> {
    match words {
        [] => cubins::compile(Missing::Fails, &[]),
        ["--or-skip"] => cubins::compile(Missing::Skips, &[]),
        ["--bless"] => cubins::compile(Missing::Fails, &["--bless"]),
        ["generate"] => generate::write(),
        ["generate", "--check"] => generate::check(),
        _ => bail!("usage: cargo xtask kernels [--bless | --or-skip | generate [--check]]"),
    }
}
