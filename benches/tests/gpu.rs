//! `hcrun-benches gpu` with a fake driver, whose kernels are those of the emulator: how it ends, and what it writes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use hcrun_emulator::{LIBRARIES, MUTANTS};
use hcrun_kernel_checks::{cases, cases_of_products};
use hcrun_kernels::cuda::Sources;
use hcrun_kernels::cuda_sources::{HEADER, SOURCES};
use hcrun_kernels::launch::KERNELS;

#[path = "../../kernels/tests/cuda/folder.rs"]
mod folder;

#[path = "../../kernels/tests/cublaslt/fake.rs"]
mod fake_cublaslt;

use fake_cublaslt::FakeCublasLt;
use folder::Folder;

/// A card with the code of all kernels.
fn machine() -> Folder {
    let folder = Folder::with_emulator(LIBRARIES);
    Folder::carry(folder.path(), Sources { files: SOURCES, headers: &[HEADER] });
    folder
}

/// With an arena and a model that are small enough to emulate.
fn gpu(folder: &Folder, mode: &str, limit_s: &str, variable: (&str, &str)) -> Output {
    let mut command = folder.command(env!("CARGO_BIN_EXE_hcrun-benches"), mode);
    command
        .args(["gpu", "--elems", "8192", "--model", "tiny", "--limit-s", limit_s, "--kernels"])
        .arg(folder.path());
    command.arg("--out").arg(out(folder)).env(variable.0, variable.1).output().unwrap()
}

fn out(folder: &Folder) -> PathBuf {
    folder.path().join("out")
}

fn report(out: &Path) -> serde_json::Value {
    let path = fs::read_dir(out).unwrap().next().expect("a report").unwrap().path();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("gpu-fake-h100-") && name.ends_with(".json"), "{name}");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn names(list: &serde_json::Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect()
}

const LONG: &str = "600";
const NOTHING: (&str, &str) = ("HCRUN_TEST_NOTHING", "");

#[test]
fn all_is_checked_and_every_kernel_measured() {
    let folder = machine();
    let output = gpu(&folder, "none", LONG, NOTHING);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let report = report(&out(&folder));
    let checked: Vec<&str> = cases().iter().chain(&cases_of_products()).map(|case| case.name).collect();
    assert_eq!(names(&report["checks"]), checked);
    let kernels: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
    assert_eq!(names(&report["kernels"]), kernels);
    assert_eq!(report["cublaslt"], "HCRUN_CUBLASLT is `none`");
    for kernel in report["kernels"].as_array().unwrap() {
        assert!(kernel["bytes"].as_u64().unwrap() > 0, "{kernel}");
        assert!(!kernel["counted"].as_str().unwrap().is_empty(), "{kernel}");
    }
    assert!(report["training"]["tokens_per_s"].as_f64().unwrap() > 0.0, "{}", report["training"]);
    assert!(
        report["failed"].as_array().unwrap().is_empty() && report["no_time"].as_array().unwrap().is_empty()
    );
}

#[test]
fn products_by_cublaslt_are_checked_and_measured_beside_our_kernels() {
    let (folder, cublaslt) = (machine(), FakeCublasLt::new(&[]));
    let file = cublaslt.shared_object().canonicalize().unwrap();
    let output = gpu(&folder, "none", LONG, ("HCRUN_CUBLASLT", file.to_str().unwrap()));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let report = report(&out(&folder));
    assert_eq!(report["cublaslt"], format!("12.2.5 ({})", file.display()));
    let products = report["by_cublaslt"].as_array().unwrap();
    let kernels: Vec<&str> = products.iter().map(|product| product["kernel"].as_str().unwrap()).collect();
    assert_eq!(kernels, ["linear", "linear_backward", "linear_weight"]);
    // The fake card takes as long for all.
    assert!(products.iter().all(|product| product["kernel_takes_times"] == 1.0), "{products:?}");
}

#[test]
fn other_bits_end_it_with_1() {
    let folder = machine();
    let (mutant, _) = MUTANTS.iter().find(|(_, file)| *file == "norm.cu").unwrap();
    let output = gpu(&folder, "none", LONG, ("FAKE_CUDA_MUTANT", mutant));
    assert_eq!(output.status.code(), Some(1), "{mutant}");
    let report = report(&out(&folder));
    let is_wrong = |check: &&serde_json::Value| !check["error"].is_null();
    assert!(report["checks"].as_array().unwrap().iter().any(|check| is_wrong(&check)), "{mutant}");
}

#[test]
fn a_kernel_that_never_ends_is_stopped_at_the_limit_with_3_and_named() {
    let folder = machine();
    let output = gpu(&folder, "never-ends", "1", NOTHING);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains("stopped at the limit; see "), "{errors}");
    let report = report(&out(&folder));
    assert_eq!(names(&report["failed"]), [cases()[0].name]);
    assert_eq!(report["failed"][0]["why"], "the limit came while it ran");
}

#[test]
fn a_driver_that_never_answers_is_stopped_at_the_limit_with_3() {
    let folder = machine();
    let output = gpu(&folder, "hangs", "1", NOTHING);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains("stopped at the limit, before a card answered"), "{errors}");
    assert_eq!(fs::read_dir(out(&folder)).unwrap().count(), 0, "no report of no card");
}

#[test]
fn without_a_gpu_it_ends_with_4_and_the_reason() {
    let folder = machine();
    let output = gpu(&folder, "no-device", LONG, NOTHING);
    assert_eq!(output.status.code(), Some(4));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("the driver finds no GPU"), "{errors}");
}
