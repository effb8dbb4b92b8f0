//! Puts the cubins of the folder `HCRUN_CUBINS`, if it is set, into the library. Needs nothing of CUDA.

use std::env;
use std::path::PathBuf;

#[path = "embedding.rs"]
mod embedding;

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=embedding.rs");
    println!("cargo::rerun-if-env-changed=HCRUN_CUBINS");
    let folder = env::var_os("HCRUN_CUBINS").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    if let Some(folder) = &folder {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    embedding::write_list(folder.as_deref(), &PathBuf::from(out).join("cubins.rs"))
}
