//! Which cubins go into the library: a part of `build.rs`, apart from it so that a test runs it.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Writes to `list` an expression of the type `&[(&str, &[u8])]`: name and content of each cubin of `folder`, by name;
/// empty without a folder.
///
/// # Errors
/// If the folder has no cubins, or a name or path that cannot be written in a source.
pub(crate) fn write_list(folder: Option<&Path>, list: &Path) -> Result<(), String> {
    let files = folder.map(cubins).transpose()?.unwrap_or_default();
    let mut text = "&[".to_owned();
    for path in &files {
        let name = path.file_name().and_then(|name| name.to_str());
        let (Some(name), Some(path)) = (name, path.to_str()) else {
            return Err(format!("HCRUN_CUBINS: {}: rename it to UTF-8", path.display()));
        };
        text.push_str(&format!("({name:?}, include_bytes!({path:?})),\n"));
    }
    text.push(']');
    fs::write(list, text).map_err(|error| format!("{}: {error}", list.display()))
}

/// Absolute paths: the list lies in another folder.
fn cubins(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let shown = folder.display();
    let absolute = absolute(folder).map_err(|error| format!("HCRUN_CUBINS: {shown}: {error}"))?;
    let entries = fs::read_dir(absolute).map_err(|error| format!("HCRUN_CUBINS: {shown}: {error}"))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let is_cubin = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "cubin");
    let mut paths: Vec<PathBuf> = paths.filter(is_cubin).collect();
    paths.sort();
    match paths.is_empty() {
        true => Err(format!("HCRUN_CUBINS: no cubins in {shown}; `cargo xtask kernels` makes them")),
        false => Ok(paths),
    }
}

fn absolute(folder: &Path) -> io::Result<PathBuf> {
    Ok(env::current_dir()?.join(folder))
}
