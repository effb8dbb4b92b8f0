//! Drivers that are missing, wrong or fake, each met by a process of its own: this test program once more, with a
//! folder in front of the system's libraries.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::fs;
use std::time::Duration;

use hcrun_kernels::cuda::{Architecture, Cache, Code, CudaDevice, CudaStream, Nvrtc, Sources, probe};
use hcrun_kernels::device::{Argument, Device, DeviceError, Kernel, Launch};
use hcrun_kernels::nccl::DeviceStream;

#[path = "cuda/folder.rs"]
mod folder;

use folder::{Folder, is_child, said};

/// What the probe says.
fn probe_says(folder: &Folder, mode: &str) -> String {
    said(&folder.run("child_probe", mode))
}

#[test]
fn child_probe() {
    if is_child().is_none() {
        return;
    }
    match probe() {
        Ok(driver) => println!("said: {driver:?}, {:?}", driver.card(0)),
        Err(reason) => println!("said: {}: {reason}", reason.code()),
    }
}

#[test]
fn each_wrong_driver_has_its_reason() {
    let whole = Folder::with_driver(&[]);
    for (mode, reason) in [
        ("stub", "stub-driver: libcuda.so.1 is the stub that comes with the CUDA toolkit"),
        ("late-stub", "stub-driver: "),
        ("old", "old-driver: the driver serves CUDA 11.4, kernels need 12.0"),
        ("no-device", "no-device: the driver finds no GPU"),
        ("zero-devices", "no-device: "),
        (
            "mismatch",
            "driver-failed: the driver does not start: cuInit answered 803 (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)",
        ),
        (
            "none",
            "Driver(12.4, 1 GPUs), Ok(Card { ordinal: 7, name: \"Fake H100\", architecture: Architecture(90)",
        ),
    ] {
        let said = probe_says(&whole, mode);
        assert!(said.starts_with(reason), "{mode}: {said}");
    }
}

#[test]
fn a_driver_that_lacks_a_function_is_refused_before_any_call_to_it() {
    let lacking = Folder::with_driver(&["-DWITHOUT_FUNCTION_ATTRIBUTES"]);
    let said = probe_says(&lacking, "none");
    assert!(said.starts_with("missing-symbol: the driver lacks cuFuncSetAttribute"), "{said}");
    // An old one that lacks it is called old.
    let said = probe_says(&lacking, "old");
    assert!(said.starts_with("old-driver"), "{said}");
}

#[test]
fn what_is_no_library_is_no_driver() {
    for content in [&b"not a library"[..], b""] {
        let said = probe_says(&Folder::with_file(content), "none");
        assert!(said.starts_with("no-driver: no NVIDIA driver: libcuda.so.1 cannot be opened ("), "{said}");
    }
}

static SCALE: Kernel = Kernel {
    name: "scale",
    file: "fake.cu",
    block: 4,
    elems_per_block: 4,
    shared_bytes: 64 << 10,
    parameters: 5,
};
static CRASH: Kernel = Kernel { name: "crash", parameters: 0, ..SCALE };
static ABSENT: Kernel = Kernel { name: "absent", parameters: 0, ..SCALE };
static OTHER: Kernel = Kernel { name: "other", file: "other.cu", parameters: 0, ..SCALE };
const SOURCES: Sources = Sources { files: &[("fake.cu", "text"), ("other.cu", "text")], headers: &[] };

fn scale(device: &CudaDevice, n: u64, from: u64, to: u64, factor: f32) -> Result<(), DeviceError> {
    let arguments = [
        Argument::U64(n),
        Argument::Address(from),
        Argument::Address(to),
        Argument::F32(factor),
        Argument::U32(1),
    ];
    let grid = u32::try_from(n.div_ceil(4)).unwrap();
    device.launch(&Launch { kernel: &SCALE, grid, arguments: &arguments })
}

#[test]
fn child_device() {
    let Some(folder) = is_child() else { return };
    // All but one file.
    Folder::carry(&folder, Sources { files: &SOURCES.files[..1], ..SOURCES });
    let driver = probe().unwrap();
    assert!(CudaDevice::open(&driver, 1, Code::new(SOURCES)).is_err());
    let device = CudaDevice::open(&driver, 0, Code::new(SOURCES).with_carried(&folder)).unwrap();
    assert_eq!(device.name(), "Fake H100");

    let values: Vec<u8> = (0..10).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let (from, to) = (device.allocate(40).unwrap(), device.allocate(44).unwrap());
    let mut passing = values.clone();
    device.write(&from, 0, &passing).unwrap();
    passing.fill(0xFF);
    // Two launches, the second of which reads what the first wrote; eleven elements of room, ten written.
    device.write(&to, 40, &7.0f32.to_le_bytes()).unwrap();
    let time = device.measure(|| {
        scale(&device, 10, from.address(), to.address(), 2.0)?;
        scale(&device, 10, to.address(), to.address(), 10.0)
    });
    assert_eq!(time.unwrap().as_micros(), 2_500);
    scale(&device, 0, from.address(), to.address(), 0.0).unwrap();
    let mut bytes = [0; 44];
    device.read(&to, 0, &mut bytes).unwrap();
    let read: Vec<f32> = bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let expected: Vec<f32> = (0..10).map(|i| (i as f32 * 2.0 + 1.0) * 10.0 + 1.0).chain([7.0]).collect();
    assert_eq!(read, expected);

    device.copy(&from, &to, 40).unwrap();
    device.read(&to, 4, &mut bytes[..8]).unwrap();
    assert_eq!(bytes[..8], values[4..12]);

    assert!(matches!(device.copy(&to, &from, 44), Err(DeviceError::Range { end: 44, len: 40, .. })));
    assert!(matches!(device.read(&to, 40, &mut bytes[..5]), Err(DeviceError::Range { .. })));
    assert!(matches!(device.write(&to, usize::MAX, &[1]), Err(DeviceError::Range { .. })));
    assert!(matches!(device.allocate(1 << 60), Err(DeviceError::OutOfMemory { .. })));
    let launch = |kernel| device.launch(&Launch { kernel, grid: 1, arguments: &[] });
    let error = launch(&SCALE).unwrap_err();
    assert!(matches!(error, DeviceError::Arguments { kernel: "scale", expected: 5, got: 0 }), "{error}");
    let error = launch(&ABSENT).unwrap_err().to_string();
    assert!(error.contains("absent") && error.contains("cuModuleGetFunction answered 500"), "{error}");
    let error = launch(&OTHER).unwrap_err().to_string();
    assert!(error.contains("no machine code of other.cu for sm_90") && error.contains("no-nvrtc"), "{error}");

    launch(&CRASH).unwrap();
    let error = device.synchronize().unwrap_err().to_string();
    assert!(error.contains("crash") && error.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{error}");
    // Buffers hold what they lie in: the device goes first here.
    drop(device);
    drop((from, to));
    println!("said: done");
}

#[test]
fn a_device_packs_orders_waits_and_gives_back() {
    let output = Folder::with_driver(&[]).run("child_device", "none");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("said: done"), "{text}");
}

#[test]
fn child_stream() {
    if is_child().is_none() {
        return;
    }
    let mut stream = CudaStream::open(&probe().unwrap(), 0).unwrap();
    let timer = stream.timer().unwrap();
    timer.start().unwrap();
    assert!(timer.elapsed().is_err(), "it was not stopped");
    timer.stop().unwrap();
    assert_eq!(timer.elapsed().unwrap(), Duration::from_micros(2_500));
    // A communicator's thread.
    let answer = std::thread::spawn(move || {
        stream.enter().unwrap();
        assert_ne!(stream.handle(), 0);
        // What is queued runs after the first question.
        let first = stream.is_done();
        let second = first.and_then(|done| if done { Ok(done) } else { stream.is_done() });
        second.map_err(|error| error.to_string())
    });
    println!("said: {:?}", answer.join().unwrap());
}

#[test]
fn a_stream_for_nccl_says_whether_it_is_done_and_is_given_back() {
    let folder = Folder::with_driver(&[]);
    assert_eq!(said(&folder.run("child_stream", "none")), "Ok(true)");
    let failed = said(&folder.run("child_stream", "late-failure"));
    assert!(failed.starts_with("Err(\"cuStreamQuery answered 719 (CUDA_ERROR_LAUNCH_FAILED)"), "{failed}");
}

#[test]
fn child_compiler() {
    let Some(folder) = is_child() else { return };
    match Nvrtc::find() {
        Ok(nvrtc) => println!("said: {nvrtc:?}"),
        Err(error) => println!("said: {error}"),
    }
    let code = Code::new(SOURCES).with_cache(Some(Cache::new(folder)));
    println!("and said: {}", code.compile("fake.cu", Architecture::new(9, 0)).unwrap_err());
}

#[test]
fn a_compiler_that_is_named_and_missing_is_named_in_the_error() {
    let folder = Folder::with_file(b"");
    let output = folder.run("child_compiler", "none");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let path = folder.path().join("no-nvrtc");
    for line in ["said: no NVRTC in ", "and said: no NVRTC in "] {
        let line = text.lines().find_map(|found| found.split_once(line)).expect("an answer").1;
        assert!(line.contains(path.to_str().unwrap()) && line.contains("HCRUN_NVRTC"), "{line}");
    }
}

#[test]
fn child_cache() {
    let Some(folder) = is_child() else { return };
    let cache = Cache::new(folder.join("cubins"));
    // Whatever another process does to the same names, what is found is whole.
    for round in 0..64u8 {
        let content = vec![round / 4; 1 << 16];
        let name = format!("{}.cubin", round / 4);
        let found = cache.get_or_make(&name, || Ok::<_, Infallible>(content.clone())).unwrap().0;
        assert_eq!(found, content);
    }
    println!("said: done");
}

#[test]
fn two_processes_share_a_cache() {
    let folder = Folder::with_file(b"");
    std::thread::scope(|scope| {
        let children: Vec<_> = (0..2).map(|_| scope.spawn(|| folder.run("child_cache", "none"))).collect();
        for child in children {
            let output = child.join().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(String::from_utf8_lossy(&output.stdout).contains("said: done"));
        }
    });
    let names = fs::read_dir(folder.path().join("cubins")).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.collect();
    assert_eq!(names.len(), 16, "{names:?}");
}
