//! What `hcrun doctor` says of a GPU, for each driver that a machine may have.

use hcrun_tests::lab;

#[path = "../../kernels/tests/cuda/folder.rs"]
mod folder;

use folder::Folder;

fn says(folder: &Folder, mode: &str, driver_within_s: &str) -> String {
    let lab = lab!();
    let doctor = lab.hcrun(["doctor", "--json", "--driver-within-s", driver_within_s]);
    let doctor = doctor.env("FAKE_CUDA", mode);
    doctor.env("LD_LIBRARY_PATH", folder.path().to_str().unwrap()).succeed().stdout
}

#[test]
fn doctor_names_the_gpu_or_why_there_is_none() {
    let text = says(&Folder::with_file(b"no library"), "none", "60");
    assert!(text.contains("none (no-driver)") && text.contains("the CPU is used"), "{text}");
    let folder = Folder::with_driver(&[]);
    for (mode, expected) in [
        ("stub", "none (stub-driver)"),
        ("old", "none (old-driver)"),
        ("no-device", "none (no-device)"),
        ("crashes", "none (driver-crashed)"),
        ("none", "Fake H100 (sm_90), 1 of 1, driver for CUDA 12.4"),
    ] {
        let text = says(&folder, mode, "60");
        assert!(text.contains(expected), "{mode}: {text}");
    }
}

#[test]
fn doctor_outlives_a_driver_that_never_answers() {
    let text = says(&Folder::with_driver(&[]), "hangs", "1");
    assert!(text.contains("none (driver-silent)"), "{text}");
    assert!(text.contains("the driver did not answer within 1 s"), "{text}");
}
