//! `hcrun-benches gpu` with a fake driver, whose kernels are those of the emulator, and a fake NCCL: how it ends, and what it
//! writes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hcrun_emulator::{LIBRARIES, MUTANTS};
use hcrun_kernel_checks::{cases, cases_of_products};
use hcrun_kernels::cuda::Sources;
use hcrun_kernels::cuda_sources::{HEADER, SOURCES};
use hcrun_kernels::launch::KERNELS;

#[path = "../../kernels/tests/nccl/fake.rs"]
mod fake_nccl;
#[path = "../../kernels/tests/cuda/folder.rs"]
mod folder;

#[path = "../../kernels/tests/cublaslt/fake.rs"]
mod fake_cublaslt;

use fake_cublaslt::FakeCublasLt;
use fake_nccl::FakeNccl;
use folder::Folder;

/// A card with the code of all kernels.
fn machine() -> Folder {
    let folder = Folder::with_emulator(LIBRARIES);
    Folder::carry(folder.path(), Sources { files: SOURCES, headers: &[HEADER] });
    folder
}

/// With an arena and models that are small enough to emulate, and without an NCCL.
fn command(folder: &Folder, mode: &str, limit_s: &str) -> Command {
    let mut command = folder.command(env!("CARGO_BIN_EXE_hcrun-benches"), mode);
    command
        .args(["gpu", "--elems", "8192", "--model", "tiny", "--limit-s", limit_s, "--kernels"])
        .arg(folder.path());
    command
        .arg("--out")
        .arg(out(folder))
        .env("HCRUN_NCCL", folder.path().join("no-nccl"))
        .env("HCRUN_CUBLASLT", "none");
    command
}

/// These parts alone.
fn only(mut command: Command, parts: &[&str]) -> Command {
    command.args(parts.iter().flat_map(|part| ["--only", part]));
    command
}

/// The exit code, what was said of errors, and the report.
fn end(folder: &Folder, mut command: Command) -> (Option<i32>, String, serde_json::Value) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned(), report(&out(folder)))
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

#[test]
fn all_is_checked_and_every_kernel_measured() {
    let folder = machine();
    let (code, errors, report) = end(&folder, command(&folder, "none", LONG));
    assert_eq!(code, Some(0), "{errors}");
    let checked: Vec<&str> = cases().iter().chain(&cases_of_products()).map(|case| case.name).collect();
    assert_eq!(names(&report["checks"]), checked);
    let kernels: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
    assert_eq!(names(&report["kernels"]), kernels);
    assert_eq!(report["cublaslt"], "HCRUN_CUBLASLT is `none`");
    for kernel in report["kernels"].as_array().unwrap() {
        assert!(kernel["bytes"].as_u64().unwrap() > 0, "{kernel}");
        assert!(!kernel["counted"].as_str().unwrap().is_empty(), "{kernel}");
    }
    let nccl = report["nccl"]["unavailable"].as_str().unwrap();
    assert!(nccl.starts_with("no-nccl: ") && nccl.contains("HCRUN_NCCL"), "{nccl}");
    let example = &report["example"];
    assert_eq!((example["steps"].as_array().unwrap().len(), &example["workers_on_cards"]), (8, &1.into()));
    let [first, last] = [0, 7].map(|step| example["steps"][step]["gpu"].as_f64().unwrap());
    assert!(last < 0.9 * first, "it learns enough to tell right from wrong: {example}");
    assert!(report["training"]["tokens_per_s"].as_f64().unwrap() > 0.0, "{}", report["training"]);
    assert!(
        report["failed"].as_array().unwrap().is_empty() && report["no_time"].as_array().unwrap().is_empty()
    );
}

#[test]
fn products_by_cublaslt_are_measured_beside_our_kernels() {
    let (folder, cublaslt) = (machine(), FakeCublasLt::new(&[]));
    let file = cublaslt.shared_object().canonicalize().unwrap();
    let mut command = only(command(&folder, "none", LONG), &["kernels"]);
    command.env("HCRUN_CUBLASLT", &file);
    let (code, errors, report) = end(&folder, command);
    assert_eq!(code, Some(0), "{errors}");
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
    let mut command = only(command(&folder, "none", LONG), &["checks"]);
    command.env("FAKE_CUDA_MUTANT", mutant);
    let (code, _, report) = end(&folder, command);
    assert_eq!(code, Some(1), "{mutant}");
    let is_wrong = |check: &&serde_json::Value| !check["error"].is_null();
    assert!(report["checks"].as_array().unwrap().iter().any(|check| is_wrong(&check)), "{mutant}");
}

/// The fake driver of workers alone, which have no variables for it.
fn workers_meet(folder: &Folder, mode: &str) {
    let cache = folder.path().join("cache");
    fs::create_dir_all(&cache).unwrap();
    fs::write(cache.join("fake-cuda"), mode).unwrap();
}

/// What failed and why, where that is one thing, and the rest of the results is there.
fn only_failure(report: &serde_json::Value) -> (&str, &str) {
    assert_eq!(names(&report["failed"]).len(), 1, "{report}");
    let failed = &report["failed"][0];
    (failed["name"].as_str().unwrap(), failed["why"].as_str().unwrap())
}

#[test]
fn workers_on_gpus_have_the_losses_of_those_on_cpus_or_it_ends_with_1() {
    let (folder, nccl) = (machine(), FakeNccl::new(&[]));
    let run = |mode| {
        workers_meet(&folder, mode);
        let mut command = only(command(&folder, "none", LONG), &["nccl", "example"]);
        command.env("HCRUN_NCCL", nccl.shared_object()).env("CUDA_VISIBLE_DEVICES", "0,1");
        let (code, errors, report) = end(&folder, command);
        assert_eq!(report["nccl"]["checked"]["ranks"], 2, "{errors}{report}");
        (code, errors, report)
    };
    let (code, errors, report) = run("none");
    assert_eq!(code, Some(0), "{errors}");
    let example = &report["example"];
    assert_eq!(example["workers_on_cards"], 2);
    assert!(example["largest_difference"].as_f64() <= example["tolerance"].as_f64(), "{example}");

    // Its layers miss what they are added to.
    let (code, errors, report) = run("mutant:norm-of-the-first-term-alone");
    assert_eq!(code, Some(1), "{errors}");
    let (name, why) = only_failure(&report);
    assert!(name == "examples/gpt" && why.contains("on the CPU") && errors.contains(why), "{name}: {why}");
    let example = &report["example"];
    assert!(example["largest_difference"].as_f64() > example["tolerance"].as_f64(), "{example}");

    let (code, errors, report) = run("gone-after:200");
    assert_eq!(code, Some(1), "{errors}");
    let (name, why) = only_failure(&report);
    assert!(name == "examples/gpt" && why.starts_with("with workers on GPUs: "), "{name}: {why}");
    assert!(why.contains("HC8008") && why.contains("CUDA_ERROR_UNKNOWN"), "{why}");
    assert!(report["example"].is_null(), "{report}");
}

/// One rank on each card, each of which waits a second for the others.
fn on_nccl(
    folder: &Folder,
    nccl: &FakeNccl,
    cards: &str,
    mode: &str,
) -> (Option<i32>, String, serde_json::Value) {
    let mut command = only(command(folder, "none", LONG), &["nccl"]);
    command.args(["--nccl-within-s", if mode.is_empty() { "60" } else { "1" }]);
    command.env("HCRUN_NCCL", nccl.shared_object()).env("CUDA_VISIBLE_DEVICES", cards);
    command.env("FAKE_NCCL", mode).env("FAKE_NCCL_LOG", nccl.path().join("log"));
    end(folder, command)
}

#[test]
fn ranks_of_nccl_hold_exact_sums_and_are_measured() {
    let (folder, nccl) = (machine(), FakeNccl::new(&[]));
    for (cards, ranks) in [("0", 1), ("0,1", 2), ("0,1,2", 3)] {
        let (code, errors, report) = on_nccl(&folder, &nccl, cards, "");
        assert_eq!(code, Some(0), "{errors}");
        let checked = &report["nccl"]["checked"];
        assert_eq!((&checked["ranks"], &checked["version"]), (&ranks.into(), &"2.19.1".into()), "{report}");
        let rates = checked["all_reduce"].as_array().unwrap();
        assert_eq!(rates.len(), 2, "{report}");
        for rate in rates {
            // The fake driver's events are 2.5 ms apart, with four all-reduces between.
            assert_eq!(rate["microseconds"], 625.0, "{rate}");
            assert_eq!(rate["bus_bytes_per_s"].as_f64().unwrap() > 0.0, ranks > 1, "{rate}");
        }
    }
    assert_eq!(["init", "finalize", "destroy", "abort"].map(|call| nccl.calls(call)), [6, 6, 6, 0]);
}

#[test]
fn nccl_that_fails_is_told_and_one_that_cannot_be_had_is_no_failure() {
    let (folder, nccl) = (machine(), FakeNccl::new(&[]));
    for (cards, mode, words) in [
        ("0,1", "absent", "NCCL, rank 0 of 2, meeting the other ranks: it has not ended within 1s"),
        ("0", "busy=1000000000", "NCCL, rank 0 of 1, meeting the other ranks: it has not ended within 1s"),
        ("0,1", "wrong", "reduce-scatter: rank 0 of 2: element 0 is 20, not 19"),
        ("0", "wrong", "reduce-scatter: rank 0 of 1: element 0 is 2, not 1"),
        ("0", "crashes", "has ended early"),
    ] {
        let (code, errors, report) = on_nccl(&folder, &nccl, cards, mode);
        assert_eq!(code, Some(1), "{mode}: {errors}");
        let (name, why) = only_failure(&report);
        assert!(name == "NCCL" && why.contains(words), "{mode}: {name}: {why}");
    }
    let (code, errors, report) = on_nccl(&folder, &nccl, "0", "old");
    assert_eq!(code, Some(0), "{errors}");
    let reason = report["nccl"]["unavailable"].as_str().unwrap();
    assert!(reason.starts_with("old-nccl: ") && reason.contains("2.18.1 or newer"), "{reason}");
}

#[test]
fn a_kernel_that_never_ends_is_stopped_at_the_limit_with_3_and_named() {
    let folder = machine();
    let (code, errors, report) = end(&folder, command(&folder, "never-ends", "1"));
    assert_eq!(code, Some(3), "{errors}");
    assert!(errors.contains("stopped at the limit; see "), "{errors}");
    assert_eq!(names(&report["failed"]), [cases()[0].name]);
    assert_eq!(report["failed"][0]["why"], "the limit came while it ran");
}

#[test]
fn a_driver_that_never_answers_is_stopped_at_the_limit_with_3() {
    let folder = machine();
    let output = command(&folder, "hangs", "1").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains("stopped at the limit, before a card answered"), "{errors}");
    assert_eq!(fs::read_dir(out(&folder)).unwrap().count(), 0, "no report of no card");
}

#[test]
fn without_a_gpu_it_ends_with_4_and_the_reason() {
    let folder = machine();
    let output = command(&folder, "no-device", LONG).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("the driver finds no GPU"), "{errors}");
}
