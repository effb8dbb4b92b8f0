//! Libraries that come as wheels of Python, pinned by hash, installed into the target folder on first use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, bail, ensure};

use crate::target_folder;

/// One library and where it comes from.
pub(crate) struct Wheel {
    pub(crate) name: &'static str,
    /// pip's file of requirements: one package with its version and hashes.
    pub(crate) requirements: &'static str,
    /// In the folder where the wheel is installed.
    pub(crate) library: &'static str,
    /// Names the library, or its folder, instead.
    pub(crate) variable: &'static str,
    pub(crate) megabytes: u32,
}

impl Wheel {
    /// What the variable names, or the library of the wheel.
    pub(crate) fn library(&self) -> anyhow::Result<PathBuf> {
        if let Some(chosen) = env::var_os(self.variable).filter(|chosen| !chosen.is_empty()) {
            return Ok(chosen.into());
        }
        let requirements = fs::read_to_string(self.requirements).context(self.requirements)?;
        let version = requirements.split("==").nth(1).and_then(|rest| rest.split_whitespace().next());
        let version = version.with_context(|| format!("{} names no version", self.requirements))?;
        let folder = target_folder().join(self.name.to_lowercase()).join(version);
        if !folder.exists() {
            self.install(&folder)?;
        }
        let library = folder.join(self.library);
        ensure!(
            library.exists(),
            "{} is not there: remove {} and try again",
            library.display(),
            folder.display()
        );
        Ok(library)
    }

    /// Into a folder beside, then renamed: what is there is whole.
    fn install(&self, folder: &Path) -> anyhow::Result<()> {
        let Wheel { name, requirements, variable, megabytes, .. } = self;
        let partial = folder.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).with_context(|| partial.display().to_string())?;
        }
        println!("installing {name} into {} (about {megabytes} MB)", folder.display());
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        pip.args([
            "--only-binary=:all:",
            "--root-user-action=ignore",
            "--require-hashes",
            "-r",
            requirements,
        ]);
        pip.arg("--target").arg(&partial).stdin(Stdio::null());
        let status = pip.status().with_context(|| {
            format!("python3 cannot be started; its pip installs {name}, or set {variable}")
        })?;
        if !status.success() {
            bail!(
                "pip cannot install {name} (see above): python3 needs pip and a network or a mirror (PIP_INDEX_URL); or \
                 set {variable} to {}",
                self.library.rsplit('/').next().unwrap_or(self.library)
            );
        }
        fs::rename(&partial, folder).with_context(|| folder.display().to_string())
    }
}
