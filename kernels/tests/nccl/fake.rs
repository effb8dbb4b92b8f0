//! A folder with a fake NCCL.

#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests, of which each program uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

pub(crate) struct FakeNccl(tempfile::TempDir);

impl FakeNccl {
    /// Compiled against NCCL's own header, with `options`.
    pub(crate) fn new(options: &[&str]) -> FakeNccl {
        let fake = FakeNccl::with_file(b"");
        for (name, text) in [
            ("fake_nccl.c", include_str!("fake_nccl.c")),
            ("nccl.h", include_str!("../../nccl/nccl.h")),
            ("cuda_runtime.h", include_str!("../../nccl/stubs/cuda_runtime.h")),
            ("cuda_fp16.h", include_str!("../../nccl/stubs/cuda_fp16.h")),
            ("cuda_bf16.h", include_str!("../../nccl/stubs/cuda_bf16.h")),
        ] {
            fs::write(fake.path().join(name), text).unwrap();
        }
        let mut cc = Command::new(env::var_os("CC").unwrap_or("cc".into()));
        cc.args(["-shared", "-fPIC", "-O1", "-pthread", "-Wl,-soname,libnccl.so.2", "-I"]).arg(fake.path());
        cc.args(options).arg("-o").arg(fake.shared_object()).arg(fake.path().join("fake_nccl.c"));
        assert!(cc.status().expect("a C compiler").success());
        fake
    }

    /// With something else in its place.
    pub(crate) fn with_file(content: &[u8]) -> FakeNccl {
        let fake = FakeNccl(tempfile::tempdir().unwrap());
        fs::write(fake.shared_object(), content).unwrap();
        fake
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn shared_object(&self) -> PathBuf {
        self.path().join("libnccl.so.2")
    }

    /// The test `child` of this program, which finds this NCCL by `HCRUN_NCCL`, and no other.
    pub(crate) fn child(&self, child: &str) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", child, "--nocapture"]).env(CHILD, self.path());
        for variable in ["VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH"] {
            command.env_remove(variable);
        }
        command.env("HOME", self.path()).env("HCRUN_NCCL", self.shared_object());
        command.env("FAKE_NCCL_LOG", self.path().join("log"));
        command
    }

    /// [`Self::child`] with variables, to its end: what it said behind `said: `.
    pub(crate) fn says(&self, child: &str, variables: &[(&str, &str)]) -> String {
        said(&self.child(child).envs(variables.iter().copied()).output().unwrap())
    }

    /// How often each call of init, finalize, destroy and abort was made, by all children up to now.
    pub(crate) fn calls(&self, call: &str) -> usize {
        let log = fs::read_to_string(self.path().join("log")).unwrap_or_default();
        log.lines().filter(|line| line.split(' ').next() == Some(call)).count()
    }
}

/// All that a child of a test said behind `said: `.
pub(crate) fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stderr));
    // The harness may write before it on the line.
    let lines: Vec<&str> =
        text.lines().filter_map(|line| line.split_once("said: ")).map(|(_, said)| said).collect();
    assert!(!lines.is_empty(), "no answer: {text}");
    lines.join("\n")
}

/// The folder, in a child of a test.
pub(crate) fn is_child() -> Option<PathBuf> {
    env::var_os(CHILD).map(PathBuf::from)
}

const CHILD: &str = "HCRUN_TEST_CHILD";
