//! Launchers, the emulator's entry points, embedded sources and the table of the documentation, from the manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::manifest::{self, Kernel, Kind, Manifest, Mode, Param};

const NOTICE: &str = "Made from kernels/cuda/kernels.toml by `cargo xtask kernels generate`: change that.";

pub(crate) fn write() -> anyhow::Result<()> {
    for (path, text) in outputs()? {
        fs::write(path, text).context(path)?;
    }
    Ok(())
}

pub(crate) fn check() -> anyhow::Result<()> {
    let stale: Vec<&str> = outputs()?
        .into_iter()
        .filter(|(path, text)| fs::read_to_string(path).ok().as_ref() != Some(text))
        .map(|(path, _)| path)
        .collect();
    ensure!(stale.is_empty(), "stale: {}; run `cargo xtask kernels generate`", stale.join(", "));
    Ok(())
}

fn outputs() -> anyhow::Result<Vec<(&'static str, String)>> {
    let manifest = manifest::read()?;
    Ok(vec![
        ("kernels/src/launch.rs", format_rust(&launchers(&manifest)?)?),
        ("kernels/src/cuda_sources.rs", format_rust(&sources(&manifest)?)?),
        ("kernels/emulator/cpp/entries.h", entries(&manifest)?),
        ("docs/kernels.md", table(&manifest)?),
    ])
}

fn launchers(manifest: &Manifest) -> anyhow::Result<String> {
    let mut text = format!(
        "//! A struct a kernel, with a field a parameter.\n//!\n//! {NOTICE}\n\n\
         use crate::device::{{Address, Argument, Device, DeviceError, Kernel}};\n\n\
         pub const KERNELS: &[&Kernel] = &["
    );
    for kernel in &manifest.kernels {
        write!(text, "&{}::KERNEL,", camel(&kernel.name))?;
    }
    text.push_str("];\n");
    for kernel in &manifest.kernels {
        launcher(&mut text, kernel)?;
    }
    Ok(text)
}

fn launcher(text: &mut String, kernel: &Kernel) -> anyhow::Result<()> {
    let Kernel { name, file, doc, block, elems_per_block, shared_bytes, params, .. } = kernel;
    let fields: String = params.iter().map(field).collect();
    let arguments: String = params.iter().map(argument).collect();
    write!(
        text,
        "\n/// {doc}\n#[derive(Debug, Clone, Copy)]\npub struct {camel} {{{fields}}}\n\n\
         impl {camel} {{\n\
         pub const KERNEL: Kernel = Kernel {{ name: \"{name}\", file: \"{file}\", block: {block}, \
         elems_per_block: {elems_per_block}, shared_bytes: {shared_bytes}, parameters: {parameters} }};\n\n\
         /// # Errors\n/// As [`Kernel::start`].\n\
         pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {{\
         Kernel::start(&Self::KERNEL, device, self.n, &[{arguments}]) }}\n}}\n",
        camel = camel(name),
        parameters = params.len(),
    )?;
    Ok(())
}

fn field(param: &Param) -> String {
    let Param { name, kind, mode } = param;
    let kind = match (kind.pointee(), kind) {
        (Some((pointee, _)), _) => format!("Address<{pointee}>"),
        (None, Kind::U32) => "u32".to_owned(),
        (None, Kind::F32) => "f32".to_owned(),
        (None, _) => "u64".to_owned(),
    };
    let doc = match mode {
        Some(Mode::Out) => "/// Written.\n",
        Some(Mode::Inout) => "/// Read and written.\n",
        Some(Mode::In) | None => "",
    };
    format!("{doc}pub {name}: {kind},\n")
}

fn argument(param: &Param) -> String {
    let name = &param.name;
    match (param.kind.pointee(), param.kind) {
        (Some(_), _) => format!("Argument::Address(self.{name}.value()),"),
        (None, Kind::U32) => format!("Argument::U32(self.{name}),"),
        (None, Kind::F32) => format!("Argument::F32(self.{name}),"),
        (None, _) => format!("Argument::U64(self.{name}),"),
    }
}

/// `top_k_select` is `TopKSelect`.
fn camel(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

fn sources(manifest: &Manifest) -> anyhow::Result<String> {
    let mut text = format!(
        "//! The kernels' sources, for compilers at run time.\n//!\n//! {NOTICE}\n\n\
         /// The one header, by the name that sources include.\n\
         pub const HEADER: (&str, &str) = (\"hc_device.cuh\", include_str!(\"../cuda/hc_device.cuh\"));\n\n\
         /// Name and text of each source.\n\
         pub const SOURCES: &[(&str, &str)] = &[\n"
    );
    for file in files(manifest) {
        writeln!(text, "(\"{file}\", include_str!(\"../cuda/{file}\")),")?;
    }
    text.push_str("];\n");
    Ok(text)
}

fn files(manifest: &Manifest) -> BTreeSet<&str> {
    manifest.kernels.iter().map(|kernel| kernel.file.as_str()).collect()
}

/// One macro a source: the entry points that its translation unit lists, with exact types.
fn entries(manifest: &Manifest) -> anyhow::Result<String> {
    let mut by_file: BTreeMap<&str, Vec<&Kernel>> = BTreeMap::new();
    for kernel in &manifest.kernels {
        by_file.entry(&kernel.file).or_default().push(kernel);
    }
    let mut text = format!("// {NOTICE}\n#pragma once\n");
    for (file, kernels) in by_file {
        write!(text, "\n#define HC_ENTRIES_{}", file.trim_end_matches(".cu"))?;
        for kernel in kernels {
            let params: Vec<String> = kernel.params.iter().map(cpp_type).collect();
            write!(text, " \\\n    HC_ENTRY({}, {})", kernel.name, params.join(", "))?;
        }
        text.push('\n');
    }
    Ok(text)
}

fn cpp_type(param: &Param) -> String {
    match (param.kind.pointee(), param.kind) {
        (Some((_, pointee)), _) if param.mode == Some(Mode::In) => format!("const {pointee}*"),
        (Some((_, pointee)), _) => format!("{pointee}*"),
        (None, Kind::U32) => "u32".to_owned(),
        (None, Kind::F32) => "float".to_owned(),
        (None, _) => "u64".to_owned(),
    }
}

fn table(manifest: &Manifest) -> anyhow::Result<String> {
    let mut text = format!(
        "# Kernels\n\n<!-- {NOTICE} -->\n\n\
         Sources: `kernels/cuda`. Bytes are those that an element moves through memory; a block works on the \
         elements named.\n\n\
         | kernel | source | what | bytes an element | threads a block | elements a block |\n\
         | --- | --- | --- | --- | --- | --- |\n"
    );
    for Kernel { name, file, doc, block, elems_per_block, bytes_per_elem, .. } in &manifest.kernels {
        let bytes = if *bytes_per_elem == 0.0 { "-".to_owned() } else { bytes_per_elem.to_string() };
        let elems = if *elems_per_block == 0 { "all".to_owned() } else { elems_per_block.to_string() };
        writeln!(text, "| `{name}` | `{file}` | {doc} | {bytes} | {block} | {elems} |")?;
    }
    Ok(text)
}

pub(crate) fn format_rust(text: &str) -> anyhow::Result<String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path", "rustfmt.toml"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start rustfmt")?;
    // Sources are smaller than what a pipe holds for output; rustfmt reads all before it writes.
    child.stdin.take().context("rustfmt has no input")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "rustfmt refused what was generated");
    Ok(String::from_utf8(output.stdout)?)
}
