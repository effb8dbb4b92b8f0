//! Compiles each CUDA source by the C++ compiler, and mutants of them for the tests of the tests.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

#[expect(unreachable_pub, reason = "the library exports it")]
#[path = "src/mutants.rs"]
mod mutants;

use mutants::MUTANTS;

fn main() -> Result<(), Box<dyn Error>> {
    let cuda = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cuda").canonicalize()?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let entries = fs::read_to_string("cpp/entries.h")?;
    let stems = entries.lines().filter_map(|line| line.strip_prefix("#define HC_ENTRIES_"));
    let stems = stems.filter_map(|rest| rest.split([' ', '\\']).next());

    let mut sets = Vec::new();
    let mut units = vec![PathBuf::from("cpp/hc_emu.cpp")];
    for stem in stems {
        let symbol = format!("hc_set_{stem}");
        units.push(unit(&out, stem, &cuda.join(format!("{stem}.cu")), &symbol)?);
        sets.push((String::new(), symbol));
    }
    let probe = Path::new("cpp/probe.cu").canonicalize()?;
    units.push(unit(&out, "probe", &probe, "hc_set_probe")?);
    sets.push((String::new(), "hc_set_probe".to_owned()));
    for (index, mutant) in MUTANTS.iter().enumerate() {
        let source = fs::read_to_string(cuda.join(mutant.file))?;
        if source.matches(mutant.from).count() != 1 {
            let why = format!("mutant {}: {} must contain once: {}", mutant.name, mutant.file, mutant.from);
            return Err(why.into());
        }
        let folder = out.join(format!("mutant_{index}"));
        fs::create_dir_all(&folder)?;
        let path = folder.join(mutant.file);
        fs::write(&path, source.replace(mutant.from, mutant.to))?;
        let symbol = format!("hc_set_mutant_{index}");
        units.push(unit(&out, mutant.file.trim_end_matches(".cu"), &path, &symbol)?);
        sets.push((mutant.name.to_owned(), symbol));
    }
    units.push(find(&out, &sets)?);

    for watched in ["cpp", "src/mutants.rs", "../cuda"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .include("cpp")
        .include(&cuda)
        .files(units)
        // The bits of the CPU: nothing contracted, nothing reordered.
        .flags([
            "-O1",
            "-ffp-contract=off",
            "-fno-fast-math",
            "-fno-math-errno",
            "-fwrapv",
            "-fno-strict-aliasing",
        ])
        .flags(["-Wno-unused-function", "-Wno-unused-parameter", "-Wno-unknown-pragmas", "-Wno-parentheses"])
        .debug(false)
        .try_compile("hc_emulator")?;
    Ok(())
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
