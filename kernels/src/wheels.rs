//! Where libraries lie that came as wheels of Python.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The folders of these wheels, such as `nvidia/nccl/lib`, in the Pythons of this machine, one that was chosen first.
pub(crate) fn folders(wheels: &[&str]) -> Vec<PathBuf> {
    let chosen = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(variable);
    let home = variable("HOME").map(|home| home.join(".local"));
    let roots = chosen.chain(home).chain(["/usr/local", "/usr"].map(PathBuf::from));
    let packages = roots.flat_map(|root| packages(&root));
    let folders = packages.flat_map(|packages| wheels.iter().map(move |wheel| packages.join(wheel)));
    folders.filter(|folder| folder.is_dir()).collect()
}

/// A path that a variable names; none if it is empty.
pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn packages(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("lib")).into_iter().flatten().flatten();
    let is_python = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("python3"))
    };
    let mut pythons: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_python).collect();
    pythons.sort();
    let names = ["site-packages", "dist-packages"];
    pythons.iter().flat_map(|python| names.map(|name| python.join(name))).collect()
}
