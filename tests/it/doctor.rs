//! What `hcrun doctor` says of a GPU, for each driver that a machine may have, of NCCL and of cuBLASLt.

use hcrun_tests::lab;

#[path = "../../kernels/tests/cuda/folder.rs"]
mod folder;

#[path = "../../kernels/tests/nccl/fake.rs"]
mod fake_nccl;

#[path = "../../kernels/tests/cublaslt/fake.rs"]
mod fake_cublaslt;

use fake_cublaslt::FakeCublasLt;
use fake_nccl::FakeNccl;
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

fn says_of_nccl(nccl: &FakeNccl, mode: &str, within_s: &str) -> String {
    let lab = lab!();
    let doctor = lab.hcrun(["doctor", "--json", "--driver-within-s", within_s]);
    let doctor = doctor.env("FAKE_NCCL", mode).env("HCRUN_NCCL", nccl.shared_object().to_str().unwrap());
    doctor.succeed().stdout
}

#[test]
fn doctor_names_nccl_or_why_there_is_none() {
    let nccl = FakeNccl::new(&[]);
    let file = nccl.shared_object().canonicalize().unwrap();
    for (mode, expected) in [
        ("", format!("2.19.1 ({})", file.display())),
        ("old", "none (old-nccl)".to_owned()),
        ("crashes", "none (nccl-crashed)".to_owned()),
    ] {
        let text = says_of_nccl(&nccl, mode, "60");
        assert!(text.contains(&expected), "{mode}: {text}");
    }
    let text = says_of_nccl(&FakeNccl::with_file(b"no library"), "", "60");
    assert!(text.contains("none (no-nccl)") && text.contains("workers exchange over QUIC"), "{text}");
}

#[test]
fn doctor_outlives_an_nccl_that_never_answers() {
    let text = says_of_nccl(&FakeNccl::new(&[]), "hangs", "1");
    assert!(text.contains("none (nccl-silent)"), "{text}");
    assert!(text.contains("NCCL did not answer within 1 s"), "{text}");
}

#[test]
fn doctor_names_cublaslt_or_why_there_is_none() {
    let cublaslt = FakeCublasLt::new(&[]);
    let says = |mode: &str, within_s: &str, chosen: &str| {
        let lab = lab!();
        let doctor = lab.hcrun(["doctor", "--json", "--driver-within-s", within_s]);
        doctor.env("FAKE_CUBLASLT", mode).env("HCRUN_CUBLASLT", chosen).succeed().stdout
    };
    let file = cublaslt.shared_object().canonicalize().unwrap();
    let file = file.to_str().unwrap();
    for (mode, expected) in [
        ("", format!("12.2.5 ({file})")),
        ("old", "none (old-cublaslt)".to_owned()),
        ("crashes", "none (cublaslt-crashed)".to_owned()),
    ] {
        let text = says(mode, "60", file);
        assert!(text.contains(&expected), "{mode}: {text}");
    }
    let text = says("hangs", "1", file);
    assert!(text.contains("cuBLASLt did not answer within 1 s"), "{text}");
    let text = says("", "60", "none");
    assert!(text.contains("none (cublaslt-off)") && text.contains("by kernels of hcrun"), "{text}");
}
