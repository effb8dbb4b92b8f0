//! A folder that lies in front of the system's libraries, with a fake driver or compiler.

#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests, of which each program uses a part")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use hcrun_kernels::cuda::{Architecture, Code, Sources};

pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// With a `libcuda.so.1`, compiled with `options`.
    pub(crate) fn with_driver(options: &[&str]) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.add("libcuda.so.1", include_str!("fake_driver.c"), options);
        folder
    }

    /// With a driver that runs all kernels by the emulator, whose static libraries lie in `libraries`.
    pub(crate) fn with_emulator(libraries: &str) -> Folder {
        let libraries = format!("-L{libraries}");
        let group = ["-Wl,--start-group", "-lhc_emulator", "-lhc_mutants", "-Wl,--end-group"];
        let options = ["-DWITH_EMULATOR", "-Wl,-Bsymbolic", &libraries];
        Folder::with_driver(&[&options[..], &group, &["-lstdc++", "-lm"]].concat())
    }

    /// Puts what the fake driver takes for machine code of each file where compiled cubins would lie.
    pub(crate) fn carry(path: &Path, sources: Sources) {
        // A header and one section without content.
        let mut cubin = [0; 128];
        cubin[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (cubin[40], cubin[58], cubin[60]) = (64, 64, 1);
        let code = Code::new(sources);
        for file in code.files() {
            let name = code.cubin_name(file, Architecture::new(9, 0)).unwrap();
            fs::write(path.join(name), cubin).unwrap();
        }
    }

    /// With a `libnvrtc.so.12` too, which [`Self::command`] names.
    pub(crate) fn with_driver_and_compiler() -> Folder {
        let folder = Folder::with_driver(&[]);
        folder.add_compiler();
        folder
    }

    pub(crate) fn add_compiler(&self) {
        self.add("libnvrtc.so.12", include_str!("fake_nvrtc.c"), &[]);
    }

    /// With something else in the driver's place.
    pub(crate) fn with_file(content: &[u8]) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("libcuda.so.1"), content).unwrap();
        Folder(folder)
    }

    fn add(&self, library: &str, source: &str, options: &[&str]) {
        let file = self.path().join(format!("{library}.c"));
        fs::write(&file, source).unwrap();
        let mut cc = Command::new(env::var_os("CC").unwrap_or("cc".into()));
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(self.path().join(library)).arg(file).args(options);
        assert!(cc.status().expect("a C compiler").success());
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A program that meets this driver, in a mode of it, and no cuBLASLt, and caches what it compiles here.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>, mode: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", self.path()).env("FAKE_CUDA", mode);
        command.env_remove("CUDA_VISIBLE_DEVICES").env_remove("HCRUN_KERNELS");
        command.env("HCRUN_CACHE", self.path().join("cache"));
        let nvrtc = self.path().join("libnvrtc.so.12");
        command.env("HCRUN_CUBLASLT", "none");
        command.env("HCRUN_NVRTC", if nvrtc.exists() { nvrtc } else { self.path().join("no-nvrtc") });
        command
    }

    /// The test `child` of this program, which ends in 0 if it got as far as it can.
    pub(crate) fn child(&self, child: &str, mode: &str) -> Command {
        let mut command = self.command(env::current_exe().unwrap(), mode);
        command.args(["--exact", child, "--nocapture"]).env(CHILD, self.path());
        command
    }

    /// [`Self::child`], to its end.
    pub(crate) fn run(&self, child: &str, mode: &str) -> Output {
        self.child(child, mode).output().unwrap()
    }
}

/// What a child of a test said last behind `said: `.
pub(crate) fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stderr));
    text.lines().rev().find_map(|line| line.split_once("said: ")).expect("an answer").1.to_owned()
}

/// The folder, in a child of a test.
pub(crate) fn is_child() -> Option<PathBuf> {
    env::var_os(CHILD).map(PathBuf::from)
}

const CHILD: &str = "HCRUN_TEST_CHILD";
