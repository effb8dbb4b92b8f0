//! What the emulator finds, tried by kernels that are wrong on purpose (`cpp/probe.cu`), and what it computes.

use hcrun_emulator::Emulator;
use hcrun_kernels::device::{Argument, Device, DeviceError, Kernel, Launch};

macro_rules! probe {
    ($name:literal, $block:literal) => {{
        const KERNEL: Kernel = Kernel {
            name: concat!("probe_", $name),
            file: "probe.cu",
            block: $block,
            elems_per_block: 0,
            shared_bytes: 0,
            parameters: 3,
        };
        &KERNEL
    }};
}

/// Runs one block of a probe on `input`; gives `n` words of output.
fn run(seed: u64, kernel: &'static Kernel, input: &[u32], n: usize) -> Result<Vec<u32>, DeviceError> {
    let device = Emulator::new(seed);
    let from = device.allocate(4 * input.len())?;
    let bytes: Vec<u8> = input.iter().flat_map(|word| word.to_le_bytes()).collect();
    device.write(&from, 0, &bytes)?;
    let to = device.allocate(4 * n)?;
    let arguments =
        [Argument::U64(n as u64), Argument::Address(from.address()), Argument::Address(to.address())];
    device.launch(&Launch { kernel, grid: 1, arguments: &arguments })?;
    let mut bytes = vec![0; 4 * n];
    device.read(&to, 0, &mut bytes)?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

#[track_caller]
fn finds(kernel: &'static Kernel, expected: &str) {
    for seed in 1..6 {
        let error = run(seed, kernel, &[1; 128], 32).expect_err(kernel.name).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_lane_that_misses_a_barrier_is_named() {
    finds(probe!("exits_before_barrier", 32), "waits at __syncthreads, probe.cu:6, but thread 5 has exited");
    finds(probe!("two_barriers", 64), "thread 0 waits at __syncthreads, probe.cu:12, but thread 32 waits at");
}

#[test]
fn lanes_that_a_mask_does_not_fit_are_named() {
    finds(probe!("shuffle_of_absent", 32), "reads a lane that its mask does not name");
    finds(probe!("own_mask", 32), "is not named by its own mask at __ballot_sync");
}

#[test]
fn accesses_beside_what_is_there_are_found() {
    finds(probe!("shared_overrun", 32), "wrote beside shared array probe.cu:");
    finds(probe!("overrun", 32), "wrote 0 bytes behind a buffer of 128 bytes");
    finds(probe!("misaligned", 32), "thread 7 accesses 16 bytes at an address that is not aligned to them");
    finds(probe!("outside", 32), "thread 7 accesses 16 bytes outside of every buffer");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_lane_that_faults_fails_alone() {
    finds(probe!("wild", 32), "thread 9 accesses memory that is not there");
    finds(probe!("deep", 32), "accesses memory that is not there, or overflows its stack");
}

#[test]
fn shared_memory_is_poisoned_until_it_is_written() {
    assert_eq!(run(1, probe!("shared_unwritten", 32), &[], 32).unwrap(), [u32::MAX; 32]);
}

#[test]
fn copies_arrive_at_the_wait_for_their_group_and_not_before() {
    finds(probe!("never_waited", 32), "exits with cp.async copies that it never waited for");
    let input: Vec<u32> = (0..128).collect();
    let output = run(1, probe!("copies", 32), &input, 96).unwrap();
    let arrived: Vec<u32> = (96..128).rev().collect();
    assert_eq!(output[..32], arrived);
    assert_eq!(output[32..64], [u32::MAX; 32]);
    assert_eq!(output[64..], arrived);
}

#[test]
fn exchanges_in_a_warp_are_those_of_the_manual() {
    let input: Vec<u32> = (100..164).collect();
    let output = run(3, probe!("exchanges", 64), &input, 320).unwrap();
    for lane in 0..64 {
        let in_warp = lane % 32;
        assert_eq!(output[lane], input[lane / 8 * 8 + (lane + 3) % 8], "shfl, width 8, lane {lane}");
        assert_eq!(output[64 + lane], input[lane ^ 5], "xor, lane {lane}");
        let down = if in_warp + 3 < 32 { lane + 3 } else { lane };
        assert_eq!(output[128 + lane], input[down], "down, lane {lane}");
        let up = if in_warp >= 3 { lane - 3 } else { lane };
        assert_eq!(output[192 + lane], input[up], "up, lane {lane}");
        let votes = (0..32).filter(|other| input[lane / 32 * 32 + other].is_multiple_of(3));
        assert_eq!(output[256 + lane], votes.map(|other| 1 << other).sum::<u32>(), "ballot, lane {lane}");
    }
}

#[test]
fn the_order_of_lanes_follows_from_the_seed() {
    let order = |seed| run(seed, probe!("order", 64), &[], 64).unwrap();
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
    let mut sorted = order(1);
    sorted.sort_unstable();
    assert_eq!(sorted, (0..64).collect::<Vec<u32>>());
}

/// Small integers, so that sums are exact in any order.
#[test]
fn a_product_of_fragments_is_that_of_the_matrices() {
    let value = |index: usize| ((index * 7 + index / 5) % 13) as f32 - 6.0;
    let values: Vec<f32> = (0..384).map(value).collect();
    let input: Vec<u32> = values.iter().map(|x| x.to_bits() >> 16).collect();
    let output = run(2, probe!("multiply", 32), &input, 128).unwrap();
    for (index, bits) in output.into_iter().enumerate() {
        let (row, column) = (index / 8, index % 8);
        let product = |k: usize| values[row * 16 + k] * values[256 + k * 8 + column];
        let expected: f32 = (0..16).map(product).sum();
        assert_eq!(f32::from_bits(bits), expected, "row {row}, column {column}");
    }
}

/// From the authors' known answers.
#[test]
fn philox_draws_what_its_authors_state() {
    let drawn = run(1, probe!("philox", 32), &[0; 6], 4).unwrap();
    assert_eq!(drawn, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    let pi = [0xa409_3822, 0x299f_31d0, 0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
    let drawn = run(1, probe!("philox", 32), &pi, 4).unwrap();
    assert_eq!(drawn, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
}

#[test]
fn launches_that_do_not_fit_their_kernel_are_refused() {
    let device = Emulator::new(1);
    let launch = |kernel: &'static Kernel, arguments: &[Argument]| {
        device.launch(&Launch { kernel, grid: 1, arguments }).unwrap_err().to_string()
    };
    let error = launch(probe!("order", 64), &[Argument::U64(0)]);
    assert!(error.contains("probe_order takes 3 arguments, got 1"), "{error}");
    let error = launch(probe!("unknown", 64), &[]);
    assert!(error.contains("kernel probe_unknown cannot be loaded"), "{error}");
    let error = launch(probe!("order", 2048), &[]);
    assert!(error.contains("blocks of 2048 threads"), "{error}");
}
