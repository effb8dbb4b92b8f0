//! Cards, compilers and drivers of different ages, which meet in processes of their own.

use std::process::Command;

use hcrun_kernels::cuda::{Code, CudaDevice, LoadError, Sources, probe};
use hcrun_kernels::device::{Argument, Device, DeviceError, Kernel, Launch};

#[path = "cuda/folder.rs"]
mod folder;

use folder::{Folder, is_child, said};

const SOURCES: Sources = Sources { files: &[("fake.cu", "text")], headers: &[] };

static SCALE: Kernel =
    Kernel { name: "scale", file: "fake.cu", block: 4, elems_per_block: 4, shared_bytes: 0, parameters: 5 };

/// Launches a kernel; says where its code came from and for which architecture it was made, or why there is none.
#[test]
fn child_launch() {
    if is_child().is_none() {
        return;
    }
    let device = CudaDevice::open(&probe().unwrap(), 0, Code::new(SOURCES)).unwrap();
    let buffer = device.allocate(4).unwrap();
    device.write(&buffer, 0, &3.0f32.to_le_bytes()).unwrap();
    let address = Argument::Address(buffer.address());
    let arguments = [Argument::U64(1), address, address, Argument::F32(2.0), Argument::U32(1)];
    match device.launch(&Launch { kernel: &SCALE, grid: 1, arguments: &arguments }) {
        Ok(()) => {
            let mut bytes = [0; 4];
            device.read(&buffer, 0, &mut bytes).unwrap();
            assert_eq!(f32::from_le_bytes(bytes), 7.0);
            // As the device got it, from the cache where it is one.
            let code = Code::new(SOURCES).get("fake.cu", device.card().architecture).unwrap();
            let made_for = String::from_utf8_lossy(&code.cubin[128..]).trim_end_matches('\0').to_owned();
            println!("said: {:?}, made for {made_for}", device.origins()[0].1);
        }
        Err(DeviceError::Load { kernel: "scale", cause }) => {
            let kind = match cause.downcast_ref::<LoadError>().expect("the type of the reason") {
                LoadError::Code(_) => "code",
                LoadError::NewerCompiler { .. } => "newer-compiler",
                LoadError::Refused { .. } => "refused",
                LoadError::Driver(_) => "driver",
            };
            println!("said: {kind}: {cause}");
        }
        Err(other) => panic!("{other}"),
    }
}

fn launch(folder: &Folder, card: &str, nvrtc: &str, knows: &str) -> Command {
    let mut child = folder.child("child_launch", "none");
    child.env("FAKE_CUDA_CARD", card).env("FAKE_NVRTC", nvrtc).env("FAKE_NVRTC_KNOWS", knows);
    child
}

#[test]
fn a_compiler_that_does_not_know_the_card_makes_code_of_the_next_older_of_its_generation() {
    for (card, knows, made_for) in [
        ("89", "sm_80 sm_86 sm_90", "sm_86"),
        ("89", "sm_80 sm_90", "sm_80"),
        ("86", "sm_80 sm_86", "sm_86"),
        ("103", "sm_90 sm_100 sm_120", "sm_100"),
    ] {
        let folder = Folder::with_driver_and_compiler();
        let mut child = launch(&folder, card, "12.4", knows);
        let first = said(&child.output().unwrap());
        let made = format!(
            "Compiled {{ version: NvrtcVersion {{ major: 12, minor: 4 }}, not_stored: None }}, made for {made_for}"
        );
        assert_eq!(first, made, "{card}");
        // The next process finds it.
        let again = said(&child.output().unwrap());
        assert_eq!(
            again,
            format!("Cached(NvrtcVersion {{ major: 12, minor: 4 }}), made for {made_for}"),
            "{card}"
        );
    }
}

#[test]
fn a_compiler_that_knows_no_architecture_of_the_generation_is_told_with_the_cards_own() {
    let folder = Folder::with_driver_and_compiler();
    let answer = said(&launch(&folder, "120", "12.4", "sm_90 sm_100").output().unwrap());
    assert_eq!(answer, "code: NVRTC 12.4 does not know sm_120; a newer one may");
}

#[test]
fn a_driver_that_refuses_the_code_of_a_newer_compiler_is_told_with_both_versions() {
    let folder = Folder::with_driver_and_compiler();
    for (code, name) in [
        ("222", "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"),
        ("200", "CUDA_ERROR_INVALID_IMAGE"),
        ("209", "CUDA_ERROR_NO_BINARY_FOR_GPU"),
    ] {
        let answer =
            said(&launch(&folder, "90", "13.0", "sm_90").env("FAKE_CUDA_REFUSES", code).output().unwrap());
        let expected = format!(
            "newer-compiler: NVRTC 13.0 is newer than the driver, which serves CUDA 12.4 and refuses its code of fake.cu \
             (cuModuleLoadData answered {code} ({name})"
        );
        assert!(answer.starts_with(&expected), "{answer}");
        assert!(answer.ends_with("set HCRUN_NVRTC to an NVRTC of 12.4 or older"), "{answer}");
    }
    // One that is not newer is not blamed.
    let answer =
        said(&launch(&folder, "90", "12.4", "sm_90").env("FAKE_CUDA_REFUSES", "209").output().unwrap());
    assert!(
        answer.starts_with(
            "refused: the driver, which serves CUDA 12.4, refuses the code of fake.cu for sm_90"
        ),
        "{answer}"
    );
}
