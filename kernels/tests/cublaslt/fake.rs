//! A folder with a fake cuBLASLt.

#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests, of which each program uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

pub(crate) struct FakeCublasLt(tempfile::TempDir);

impl FakeCublasLt {
    /// Compiled with `options`.
    pub(crate) fn new(options: &[&str]) -> FakeCublasLt {
        let fake = FakeCublasLt::with_file(b"");
        let source = fake.path().join("fake_cublaslt.c");
        fs::write(&source, include_str!("fake_cublaslt.c")).unwrap();
        let mut cc = Command::new(env::var_os("CC").unwrap_or("cc".into()));
        cc.args(["-shared", "-fPIC", "-O2", "-Wl,-soname,libcublasLt.so.12"]).args(options);
        cc.arg("-o").arg(fake.shared_object()).arg(source).arg("-ldl");
        assert!(cc.status().expect("a C compiler").success());
        fake
    }

    /// With something else in its place.
    pub(crate) fn with_file(content: &[u8]) -> FakeCublasLt {
        let fake = FakeCublasLt(tempfile::tempdir().unwrap());
        fs::write(fake.shared_object(), content).unwrap();
        fake
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn shared_object(&self) -> PathBuf {
        self.path().join("libcublasLt.so.12")
    }

    /// The test `child` of this program, which finds this one by `HCRUN_CUBLASLT`, and no other.
    pub(crate) fn child(&self, child: &str) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", child, "--nocapture"]).env(CHILD, self.path());
        for variable in ["VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH"] {
            command.env_remove(variable);
        }
        command.env("HOME", self.path()).env("HCRUN_CUBLASLT", self.shared_object());
        command
    }

    /// Where it notes calls, as `FAKE_CUBLASLT_LOG`.
    pub(crate) fn log(&self) -> PathBuf {
        self.path().join("log")
    }

    /// Its lines that begin with this word, up to now.
    pub(crate) fn calls(&self, call: &str) -> Vec<String> {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| line.split(' ').next() == Some(call)).map(str::to_owned).collect()
    }
}

/// What a child of a test said behind `said: `.
pub(crate) fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stderr));
    text.lines().rev().find_map(|line| line.split_once("said: ")).expect("an answer").1.to_owned()
}

/// Whether this is a child of a test.
pub(crate) fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

const CHILD: &str = "HCRUN_TEST_CHILD";
