//! Puts the cubins of the folder `HCRUN_CUBINS`, if it is set, into the library. Needs nothing of CUDA.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=HCRUN_CUBINS");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let folder = env::var_os("HCRUN_CUBINS").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let files = folder.as_deref().map(cubins).unwrap_or_default();
    let lines = files.iter().map(|path| {
        let name = path.file_name().unwrap_or_default();
        format!("({name:?}, include_bytes!({path:?})),\n")
    });
    let list = format!("&[{}]", lines.collect::<String>());
    fs::write(out.join("cubins.rs"), list).expect("OUT_DIR can be written");
}

fn cubins(folder: &Path) -> Vec<PathBuf> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("HCRUN_CUBINS: {}: {error}", folder.display()));
    let paths = entries.flatten().map(|entry| entry.path());
    let is_cubin = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "cubin");
    let mut paths: Vec<PathBuf> =
        paths.filter(is_cubin).filter_map(|path| fs::canonicalize(path).ok()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "HCRUN_CUBINS: no cubins in {}", folder.display());
    paths
}
