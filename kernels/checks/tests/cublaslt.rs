//! Products by cuBLASLt through the interface of the driver: a fake library computes them on the memory of the fake driver,
//! in the order of its stream, and refuses what it was not promised. Our kernels run there by the emulator.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::process::Command;

use hcrun_emulator::LIBRARIES;
use hcrun_kernel_checks::cases_of_products;
use hcrun_kernels::cuda::{Code, CudaDevice, Sources, probe};
use hcrun_kernels::cuda_sources::{HEADER, SOURCES};
use hcrun_kernels::device::{Address, Device, DeviceBuffer, DeviceError};
use hcrun_kernels::device_linear::{Backward, Forward, WeightGradient};

#[path = "../../tests/cublaslt/fake.rs"]
mod fake;
#[path = "../../tests/cuda/folder.rs"]
mod folder;

use fake::FakeCublasLt;
use folder::{Folder, is_child, said};

fn device(folder: &Path) -> CudaDevice {
    let sources = Sources { files: SOURCES, headers: &[HEADER] };
    Folder::carry(folder, sources);
    CudaDevice::open(&probe().unwrap(), 0, Code::new(sources).with_carried(folder)).unwrap()
}

/// A driver and a cuBLASLt.
struct Machine {
    driver: Folder,
    cublaslt: FakeCublasLt,
}

impl Machine {
    fn new() -> Machine {
        Machine { driver: Folder::with_emulator(LIBRARIES), cublaslt: FakeCublasLt::new(&[]) }
    }

    /// A child that meets both.
    fn child(&self, child: &str, driver: &str, cublaslt: &str) -> Command {
        let mut command = self.driver.child(child, driver);
        command.env("HCRUN_CUBLASLT", self.cublaslt.shared_object()).env("FAKE_CUBLASLT", cublaslt);
        command.env("FAKE_CUBLASLT_LOG", self.cublaslt.log());
        command
    }

    fn says(&self, child: &str, driver: &str, cublaslt: &str) -> String {
        said(&self.child(child, driver, cublaslt).output().unwrap())
    }
}

#[test]
fn child_checks() {
    let Some(folder) = is_child() else { return };
    let device = device(&folder);
    let cases = cases_of_products();
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let result = (case.run)(&device).and_then(|()| Ok(device.synchronize()?));
            result.err().map(|why| format!("{}: {why}", case.name))
        })
        .collect();
    let refused = device.refused_products().len();
    let has_kernels = device.origins().iter().any(|(file, _)| *file == "linear.cu");
    println!(
        "said: {} of {} fail: {}, {refused} shapes refused, own kernels {has_kernels}",
        failures.len(),
        cases.len(),
        failures.join("; ")
    );
}

/// 6 shapes, forward, back and weight as often as the checks start them, two of one shape, and micro-batches at once and
/// in two parts.
const PRODUCTS: usize = 6 * (3 + 3 + 2) + 2 + 3;
/// The two of one shape have been met, and the parts have the same one.
const SHAPES: usize = PRODUCTS - 3;

#[test]
fn products_by_the_library_are_those_of_the_cpu() {
    let machine = Machine::new();
    assert_eq!(
        machine.says("child_checks", "none", ""),
        "0 of 5 fail: , 0 shapes refused, own kernels false"
    );
    assert_eq!(machine.cublaslt.calls("product").len(), PRODUCTS);
    // Every object was given back before the handle.
    assert_eq!(machine.cublaslt.calls("destroy"), ["destroy 0"]);
}

/// No sum is put together in an order that chance decides, nor in bf16; and there is the memory that was promised.
#[test]
fn only_reductions_in_f32_and_of_one_order_are_asked_for() {
    let machine = Machine::new();
    machine.says("child_checks", "none", "");
    let asked = machine.cublaslt.calls("heuristic");
    assert_eq!(asked.len(), SHAPES);
    assert!(asked.iter().all(|line| line == "heuristic schemes=2 workspace=33554432"), "{asked:?}");
}

#[test]
fn shapes_that_the_library_refuses_are_computed_by_our_kernels() {
    for (mode, some) in
        [("refuses", false), ("knows-none", false), ("refuses-late", false), ("refuses-odd", true)]
    {
        let machine = Machine::new();
        let text = machine.says("child_checks", "none", mode);
        assert!(text.starts_with("0 of 5 fail: , "), "{mode}: {text}");
        assert!(!text.contains(" 0 shapes refused") && text.ends_with("own kernels true"), "{mode}: {text}");
        let products = machine.cublaslt.calls("product").len();
        assert_eq!((products > 0, products < PRODUCTS), (some, true), "{mode}: {products}");
        // Refusals are kept as well.
        assert_eq!(machine.cublaslt.calls("heuristic").len(), SHAPES, "{mode}");
    }
}

#[test]
fn without_the_library_our_kernels_compute_everything() {
    let machine = Machine::new();
    for (driver, cublaslt) in [("none", "old"), ("out-of-memory-after:0", "")] {
        let text = machine.says("child_reason", driver, cublaslt);
        let expected = if cublaslt == "old" { "old-cublaslt: " } else { "no-workspace: " };
        assert!(text.starts_with(expected) && text.ends_with("; products: false"), "{text}");
    }
    let output = machine
        .child("child_reason", "none", "")
        .env("FAKE_CUBLASLT_FAILS", "cublasLtCreate=1")
        .output()
        .unwrap();
    let text = said(&output);
    let file = machine.cublaslt.shared_object().canonicalize().unwrap();
    let expected = format!(
        "cublaslt-failed: {} does not start: cublasLtCreate answered 1 (CUBLAS_STATUS_NOT_INITIALIZED): words",
        file.display()
    );
    assert!(text.starts_with(&expected) && text.ends_with("; products: false"), "{text}");
    assert!(machine.cublaslt.calls("product").is_empty());
    let text = said(&machine.driver.child("child_checks", "none").output().unwrap());
    assert_eq!(text, "0 of 5 fail: , 0 shapes refused, own kernels true");
}

#[test]
fn child_reason() {
    let Some(folder) = is_child() else { return };
    let device = device(&folder);
    let reason = device.cublaslt().unwrap_err();
    println!("said: {}: {reason}; products: {}", reason.code(), device.products().is_some());
}

/// One layer of 16 rows, 8 inputs and 24 outputs, each in memory of its own.
struct Layer {
    x: DeviceBuffer,
    weight: DeviceBuffer,
    y: DeviceBuffer,
    gradient: DeviceBuffer,
}

impl Layer {
    /// Allocations of [`Self::new`].
    const ALLOCATIONS: usize = 4;

    fn new(device: &CudaDevice) -> Layer {
        let zeroed = |bytes: usize| {
            let buffer = device.allocate(bytes).unwrap();
            device.write(&buffer, 0, &vec![0; bytes]).unwrap();
            buffer
        };
        Layer {
            x: zeroed(2 * 16 * 8),
            weight: zeroed(2 * 24 * 8),
            y: zeroed(2 * 16 * 24),
            gradient: zeroed(4 * 24 * 8),
        }
    }

    fn step(&self, device: &CudaDevice) -> Result<(), DeviceError> {
        let (rows, inputs, outputs, pitch) = (16, 8, 24, 24);
        let (x, weight, y) = (self.x.at(0), self.weight.at(0), self.y.at(0));
        let (bias, narrow_bias) = (Address::NULL, Address::NULL);
        Forward { rows, inputs, outputs, pitch, x, weight, bias, narrow_bias, y }.start(device)?;
        let gradient = self.gradient.at(0);
        WeightGradient { rows, inputs, outputs, pitch, dy: y, x, gradient }.start(device)?;
        Backward { rows, inputs, outputs, pitch, add: false, dy: y, weight, dx: x }.start(device)
    }
}

#[test]
fn child_steps() {
    let Some(folder) = is_child() else { return };
    let device = device(&folder);
    let layer = Layer::new(&device);
    for _ in 0..5 {
        layer.step(&device).unwrap();
    }
    device.synchronize().unwrap();
    println!(
        "said: {}",
        device.cublaslt().map_or_else(|error| error.code().to_owned(), |_| "done".to_owned())
    );
}

#[test]
fn a_step_after_the_first_asks_nothing_and_allocates_nothing() {
    let machine = Machine::new();
    // The workspace is the last allocation there is room for.
    let room = |allocations: usize| format!("out-of-memory-after:{allocations}");
    assert_eq!(machine.says("child_steps", &room(Layer::ALLOCATIONS + 1), ""), "done");
    let calls = |call| machine.cublaslt.calls(call).len();
    assert_eq!((calls("create"), calls("descriptor"), calls("heuristic"), calls("product")), (1, 3, 3, 15));
    // One less, and it is the workspace that is missing.
    assert_eq!(machine.says("child_steps", &room(Layer::ALLOCATIONS), ""), "no-workspace");
}

#[test]
fn child_failure() {
    let Some(folder) = is_child() else { return };
    let device = device(&folder);
    let layer = Layer::new(&device);
    let error = layer.step(&device).unwrap_err();
    let DeviceError::Product { cause } = &error else { panic!("{error}") };
    let code = cause.downcast_ref::<hcrun_kernels::cublaslt::CublasLtError>().unwrap().code;
    println!("said: {code}: {error}");
}

#[test]
fn a_product_that_fails_is_an_error_with_the_librarys_code_and_words() {
    let machine = Machine::new();
    for (code, name, words) in [
        ("13", "CUBLAS_STATUS_EXECUTION_FAILED", "the function failed to launch on the GPU"),
        ("99", "unknown", "words of the library"),
    ] {
        let mut child = machine.child("child_failure", "none", "");
        let output = child.env("FAKE_CUBLASLT_FAILS", format!("cublasLtMatmul={code}")).output().unwrap();
        let expected = format!(
            "{code}: a matrix product cannot be started: cublasLtMatmul answered {code} ({name}): {words}"
        );
        assert_eq!(said(&output), expected);
    }
}
