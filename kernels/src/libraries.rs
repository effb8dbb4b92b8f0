//! Where libraries of NVIDIA lie: toolkits, wheels of Python, what a variable names; and which file was opened.

use std::error::Error;
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

/// Where CUDA's toolkits have their libraries.
pub(crate) fn toolkits() -> Vec<PathBuf> {
    let named = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(variable);
    let folders = named.chain([PathBuf::from("/usr/local/cuda")]).map(|root| root.join("lib64"));
    folders.filter(|folder| folder.is_dir()).collect()
}

/// A path that a variable names; none if it is empty.
pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The file that this code was loaded from: the system says only what it found for a name.
pub(crate) fn file_of(code: usize) -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        let holds = (address(start)?..address(end)?).contains(&code);
        holds.then(|| line.find('/').map(|at| PathBuf::from(&line[at..])))?
    })
}

/// The system's own words on what it cannot open, which name the file.
pub(crate) fn words(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
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
