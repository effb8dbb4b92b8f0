//! Compiles each CUDA source by the C++ compiler, and mutants of them for the tests of the tests.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

mod mutants;

use mutants::{MUTANTS, Mutant};

const BARRIER: &str = "__syncthreads();";

fn main() -> Result<(), Box<dyn Error>> {
    let cuda = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cuda").canonicalize()?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let entries = fs::read_to_string("cpp/entries.h")?;
    let stems = entries.lines().filter_map(|line| line.strip_prefix("#define HC_ENTRIES_"));
    let stems = stems.filter_map(|rest| rest.split([' ', '\\']).next());

    let (mut sets, mut mutated) = (Vec::new(), Vec::new());
    let mut units = vec![PathBuf::from("cpp/hc_emu.cpp")];
    for stem in stems {
        let symbol = format!("hc_set_{stem}");
        units.push(unit(&out, stem, &cuda.join(format!("{stem}.cu")), &symbol)?);
        sets.push((String::new(), symbol));
    }
    let probe = Path::new("cpp/probe.cu").canonicalize()?;
    units.push(unit(&out, "probe", &probe, "hc_set_probe")?);
    sets.push((String::new(), "hc_set_probe".to_owned()));
    let mut names = Vec::new();
    for (index, mistaken) in mistaken(&cuda)?.into_iter().enumerate() {
        let folder = out.join(format!("mutant_{index}"));
        fs::create_dir_all(&folder)?;
        let path = folder.join(&mistaken.file);
        fs::write(&path, mistaken.text)?;
        let symbol = format!("hc_set_mutant_{index}");
        mutated.push(unit(&out, mistaken.file.trim_end_matches(".cu"), &path, &symbol)?);
        names.push((mistaken.name.clone(), mistaken.file));
        sets.push((mistaken.name, symbol));
    }
    fs::write(out.join("mutants.rs"), format!("&{names:?}"))?;
    units.push(find(&out, &sets)?);

    for watched in ["cpp", "mutants.rs", "../cuda"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    compiler(&cuda).files(units).try_compile("hc_emulator")?;
    // A mistake may well be worth a warning.
    compiler(&cuda).files(mutated).warnings(false).cargo_warnings(false).try_compile("hc_mutants")?;
    Ok(())
}

/// A source with one mistake.
struct Mistaken {
    name: String,
    file: String,
    text: String,
}

fn mistaken(cuda: &Path) -> Result<Vec<Mistaken>, Box<dyn Error>> {
    let mut all = Vec::new();
    for Mutant { name, file, from, to } in MUTANTS {
        let source = fs::read_to_string(cuda.join(file))?;
        if source.matches(from).count() != 1 {
            return Err(format!("mutant {name}: {file} must contain once: {from}").into());
        }
        let text = source.replace(from, to);
        all.push(Mistaken { name: (*name).to_owned(), file: (*file).to_owned(), text });
    }
    let mut files: Vec<PathBuf> =
        fs::read_dir(cuda)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "cu"));
    files.sort();
    for path in files {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let source = fs::read_to_string(&path)?;
        for (index, (at, _)) in source.match_indices(BARRIER).enumerate() {
            let text = format!("{}{}", &source[..at], &source[at + BARRIER.len()..]);
            let name = format!("{file} without its barrier {}", index + 1);
            all.push(Mistaken { name, file: file.clone(), text });
        }
    }
    Ok(all)
}

fn compiler(cuda: &Path) -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").include("cpp").include(cuda).debug(false);
    // The bits of the CPU: nothing contracted, nothing reordered.
    build.flags([
        "-O1",
        "-ffp-contract=off",
        "-fno-fast-math",
        "-fno-math-errno",
        "-fwrapv",
        "-fno-strict-aliasing",
        // Touches every page of a frame, so that a large one cannot pass over a lane's guard page.
        "-fstack-clash-protection",
    ]);
    build.flags(["-Wno-unused-function", "-Wno-unused-parameter", "-Wno-unknown-pragmas"]);
    build
}

/// A translation unit: one source, in a namespace of its own, and the list of its kernels.
fn unit(out: &Path, stem: &str, source: &Path, symbol: &str) -> Result<PathBuf, Box<dyn Error>> {
    let path = out.join(format!("{symbol}.cpp"));
    let text = format!(
        "#include \"hc_emu.h\"\n#include \"hc_device.cuh\"\n#include \"entries.h\"\nnamespace {{\n#include \"{}\"\n}}\n\
         extern const hc_emu::Entry {symbol}[] = {{HC_ENTRIES_{stem} {{nullptr, nullptr, 0}}}};\n",
        source.display(),
    );
    fs::write(&path, text)?;
    Ok(path)
}

fn find(out: &Path, sets: &[(String, String)]) -> Result<PathBuf, Box<dyn Error>> {
    let path = out.join("sets.cpp");
    let declared: String =
        sets.iter().map(|(_, symbol)| format!("extern const hc_emu::Entry {symbol}[];\n")).collect();
    let listed: String =
        sets.iter().rev().map(|(mutant, symbol)| format!("    {{\"{mutant}\", {symbol}}},\n")).collect();
    let text = format!(
        "#include \"hc_emu.h\"\n{declared}\
         struct Set {{ const char* mutant; const hc_emu::Entry* entries; }};\n\
         static const Set sets[] = {{\n{listed}}};\n\
         // Mutants are listed first; those that are not asked for are passed over.\n\
         extern \"C\" const hc_emu::Entry* hc_emu_find(const char* mutant, const char* kernel) {{\n\
         for (const Set& set : sets) {{\n\
         if (set.mutant[0] != 0 && strcmp(set.mutant, mutant) != 0) continue;\n\
         for (const hc_emu::Entry* entry = set.entries; entry->name != nullptr; entry++) {{\n\
         if (strcmp(entry->name, kernel) == 0) return entry;\n}}\n}}\nreturn nullptr;\n}}\n",
    );
    fs::write(&path, text)?;
    Ok(path)
}
