//! All checks through the CUDA driver's interface, behind which a fake driver runs the kernels by the emulator: copies,
//! launches, arguments and errors take the way that they take to a GPU.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;

use hcrun_emulator::{LIBRARIES, MUTANTS};
use hcrun_kernel_checks::cases;
use hcrun_kernels::cuda::{Code, CudaDevice, Sources, probe};
use hcrun_kernels::cuda_sources::{HEADER, SOURCES};
use hcrun_kernels::device::Device;
use hcrun_kernels::launch;

#[path = "../../tests/cuda/folder.rs"]
mod folder;

use folder::{Folder, is_child, said};

fn device(folder: &Path) -> CudaDevice {
    let sources = Sources { files: SOURCES, headers: &[HEADER] };
    Folder::carry(folder, sources);
    CudaDevice::open(&probe().unwrap(), 0, Code::new(sources).with_carried(folder)).unwrap()
}

#[test]
fn child_checks() {
    let Some(folder) = is_child() else { return };
    let device = device(&folder);
    let cases = cases();
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let result = (case.run)(&device).and_then(|()| Ok(device.synchronize()?));
            result.err().map(|why| format!("{}: {why}", case.name))
        })
        .collect();
    println!("said: {} of {} fail: {}", failures.len(), cases.len(), failures.join("; "));
}

#[test]
fn all_checks_hold_through_the_interface_of_the_driver() {
    let said = said(&Folder::with_emulator(LIBRARIES).run("child_checks", "none"));
    assert_eq!(said, format!("0 of {} fail: ", cases().len()));
}

#[test]
fn a_mistake_in_a_kernel_is_found_through_the_interface_of_the_driver() {
    let (mutant, _) = MUTANTS.iter().find(|(_, file)| *file == "norm.cu").unwrap();
    let said = said(
        &Folder::with_emulator(LIBRARIES)
            .child("child_checks", "none")
            .env("FAKE_CUDA_MUTANT", mutant)
            .output()
            .unwrap(),
    );
    assert!(!said.starts_with("0 of"), "{mutant}: {said}");
}

#[test]
fn child_fault() {
    let Some(folder) = is_child() else { return };
    let device = device(&folder);
    let (payload, values) = (device.allocate(2 * 64).unwrap(), device.allocate(4 * 32).unwrap());
    let launch = launch::UnpackBf16 { n: 64, begin: 0, payload: payload.at(0), values: values.at(0) };
    launch.launch(&device).unwrap();
    let failed = device.synchronize().unwrap_err();
    // What failed stays failed.
    let later = device.write(&values, 0, &[0]).unwrap_err();
    println!("said: {failed}; later {later}");
}

#[test]
fn an_access_beside_a_buffer_fails_the_stream_and_names_the_kernel() {
    let said = said(&Folder::with_emulator(LIBRARIES).run("child_fault", "none"));
    let failed = "unpack_bf16, or before it: cuStreamSynchronize answered 719 (CUDA_ERROR_LAUNCH_FAILED)";
    assert!(said.starts_with(failed), "{said}");
    assert!(said.contains("; later unpack_bf16, or before it: "), "{said}");
}
