//! Each set-up on the emulator, which finds accesses beside buffers.

use hcrun_emulator::Emulator;
use hcrun_kernels::launch::KERNELS;

use super::*;

/// Few enough to emulate, and not a whole number of blocks, parts or chunks.
const ELEMS: usize = (1 << 15) + 3 * 256;

fn content(setup: &Setup, device: &Emulator) -> Vec<Vec<u8>> {
    let buffers = setup.buffers.iter().chain(setup.used_up.iter().map(|(buffer, _)| buffer));
    buffers
        .map(|buffer| {
            let mut content = vec![0; buffer.bytes()];
            device.read(buffer, 0, &mut content).unwrap();
            content
        })
        .collect()
}

#[test]
fn every_kernel_of_the_manifest_is_measured() {
    let described: Vec<String> = manifest().unwrap().kernels.into_iter().map(|kernel| kernel.name).collect();
    let launchers: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
    assert_eq!(described, launchers, "`cargo xtask kernels generate`");
    for kernel in KERNELS {
        let device = Emulator::new(1);
        let setup = setup(&device, kernel, ELEMS).unwrap_or_else(|error| panic!("{error:#}"));
        let before = content(&setup, &device);
        setup.launch(&device).unwrap_or_else(|error| panic!("{error}"));
        let after = content(&setup, &device);
        assert_ne!(before, after, "{} did nothing", kernel.name);
        // The next launch finds what the first one found.
        setup.restore(&device).unwrap();
        setup.launch(&device).unwrap_or_else(|error| panic!("again: {error}"));
        for ((buffer, _), (first, again)) in
            setup.used_up.iter().zip(after.iter().zip(&content(&setup, &device)).skip(setup.buffers.len()))
        {
            assert_eq!(first, again, "{}: {buffer:?}", kernel.name);
        }
        let held: usize = after.iter().map(Vec::len).sum();
        assert!(setup.bytes > 0 && setup.bytes <= 2 * held as u64, "{}: {}", kernel.name, setup.bytes);
        assert!(setup.elems > 0 && !setup.counted.is_empty(), "{}", kernel.name);
    }
}

/// No other order of blocks may change what a set-up computes.
#[test]
fn the_largest_hundredth_is_chosen_before_it_is_added() {
    let device = Emulator::new(3);
    let kernel = KERNELS.iter().find(|kernel| kernel.name == "top_k_write").unwrap();
    let setup = setup(&device, kernel, ELEMS).unwrap();
    setup.launch(&device).unwrap();
    let chosen = ELEMS.div_ceil(100);
    let is_indices = |buffer: &&DeviceBuffer| buffer.bytes() == 8 * chosen;
    let buffer = setup.buffers.iter().find(is_indices).unwrap();
    let mut indices = vec![0u64; chosen];
    device.read(buffer, 0, bytemuck::cast_slice_mut(&mut indices)).unwrap();
    assert!(indices.is_sorted_by(|a, b| a < b), "{indices:?}");
    assert!(indices.iter().all(|index| *index < ELEMS as u64));
}

#[test]
fn a_kernel_that_nothing_is_said_of_is_refused() {
    static UNKNOWN: Kernel = Kernel {
        name: "top_k_sort",
        file: "select.cu",
        block: 256,
        elems_per_block: 256,
        shared_bytes: 0,
        parameters: 1,
    };
    let error = setup(&Emulator::new(1), &UNKNOWN, ELEMS).err().unwrap().to_string();
    assert!(error.contains("nothing says how top_k_sort is measured"), "{error}");
}
