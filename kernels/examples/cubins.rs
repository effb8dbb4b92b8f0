//! Compiles all kernels for all architectures, without a GPU: `cargo xtask kernels` runs this.
//!
//! `cubins FOLDER TABLE [--bless]` writes the cubins into FOLDER and compares what they take with TABLE.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "tells people what it does")]

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use hcrun_kernels::cuda::{Architecture, Code, ResourceTable, Sources, ptxas_resources};
use hcrun_kernels::cuda_sources::{HEADER, SOURCES};
use hcrun_kernels::launch::KERNELS;

/// Has the instructions of the header that no kernel uses yet: they have to be assembled all the same.
const PROBE: &[(&str, &str)] = &[("probe.cu", include_str!("../emulator/cpp/probe.cu"))];

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), Box<dyn Error>> {
    let (folder, table, bless) = match words {
        [folder, table] => (Path::new(folder), Path::new(table), false),
        [folder, table, flag] if flag == "--bless" => (Path::new(folder), Path::new(table), true),
        _ => return Err("usage: cubins FOLDER TABLE [--bless]".into()),
    };
    let now = compile(folder)?;
    if bless {
        fs::write(table, now.to_string()).map_err(|error| format!("{}: {error}", table.display()))?;
        return Ok(());
    }
    let text = fs::read_to_string(table)
        .map_err(|error| format!("{}: {error}; `cargo xtask kernels --bless` writes it", table.display()))?;
    let differences = ResourceTable::parse(&text)?.differences(&now);
    if differences.is_empty() {
        return Ok(());
    }
    let list = differences.join("\n  ");
    Err(format!(
        "kernels take other resources than {} says:\n  {list}\n`cargo xtask kernels --bless` accepts that",
        table.display()
    )
    .into())
}

fn compile(folder: &Path) -> Result<ResourceTable, Box<dyn Error>> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    remove_cubins(folder)?;
    let code = Code::new(Sources { files: SOURCES, headers: &[HEADER] });
    let mut table = ResourceTable::default();
    let mut bytes = 0;
    for (file, _) in SOURCES {
        for architecture in Architecture::ALL {
            let (cubin, log) = code.compile(file, architecture)?;
            if log.contains("warning") {
                return Err(format!("{file} for {architecture} has warnings:\n{log}").into());
            }
            let mut found = ptxas_resources(&log)?;
            for kernel in KERNELS.iter().filter(|kernel| kernel.file == *file) {
                let resources = found.remove(&format!("hc_{}", kernel.name));
                let missing = || format!("{file} has no kernel hc_{} for {architecture}", kernel.name);
                table.insert(kernel.name.to_owned(), architecture, resources.ok_or_else(missing)?);
            }
            if let Some(name) = found.keys().next() {
                return Err(format!("{name} of {file} is not in the manifest").into());
            }
            let path = folder.join(code.cubin_name(file, architecture)?);
            // Renamed: what has this name is whole.
            let partial = path.with_extension("partial");
            fs::write(&partial, &cubin).and_then(|()| fs::rename(&partial, &path))?;
            bytes += cubin.len();
        }
    }
    let probe = Code::new(Sources { files: PROBE, headers: &[HEADER] });
    for architecture in Architecture::ALL {
        probe.compile("probe.cu", architecture)?;
    }
    let version = code.nvrtc().map_err(ToString::to_string)?.version();
    println!(
        "{} kernels for {} architectures by NVRTC {version}: {} files, {} KiB in {}",
        KERNELS.len(),
        Architecture::ALL.len(),
        SOURCES.len() * Architecture::ALL.len(),
        bytes >> 10,
        folder.display()
    );
    Ok(table)
}

/// Those of other sources would only lie there.
fn remove_cubins(folder: &Path) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cubin" || extension == "partial") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
