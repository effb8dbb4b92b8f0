//! What `hcrun doctor` says of a GPU, for each driver that a machine may have.

use std::path::Path;
use std::process::Command;

use hcrun_tests::lab;

fn says(folder: &Path, mode: &str) -> String {
    let lab = lab!();
    let doctor = lab.hcrun(["doctor", "--json"]).env("FAKE_CUDA", mode);
    doctor.env("LD_LIBRARY_PATH", folder.to_str().unwrap()).succeed().stdout
}

#[test]
fn doctor_names_the_gpu_or_why_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libcuda.so.1");
    std::fs::write(&library, "no library").unwrap();
    let text = says(folder.path(), "none");
    assert!(text.contains("none (no-driver)") && text.contains("the CPU is used"), "{text}");

    std::fs::remove_file(&library).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels/tests/cuda/fake_driver.c");
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or("cc".into()));
    assert!(cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status().unwrap().success());
    for (mode, expected) in [
        ("stub", "none (stub-driver)"),
        ("old", "none (old-driver)"),
        ("no-device", "none (no-device)"),
        ("none", "Fake H100 (sm_90), 1 of 1, driver for CUDA 12.4"),
    ] {
        let text = says(folder.path(), mode);
        assert!(text.contains(expected), "{mode}: {text}");
    }
}
