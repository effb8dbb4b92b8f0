//! The k values of largest magnitude.

use std::ops::Range;

use hcrun_kernels::device::{Address, Device};
use hcrun_kernels::launch;
use hcrun_kernels::top_k::{self, Selection};

use crate::placed::{Placed, same};
use crate::values::{SHARDS, aligned_shards, any, finite};
use crate::{Case, Failure};

pub(crate) const CASES: &[Case] = &[
    Case { name: "the_largest_are_those_of_the_cpu", run: chosen },
    Case { name: "ties_are_cut_by_index", run: ties },
    Case { name: "any_number_of_shards_chooses_the_same", run: sharded },
    Case { name: "misaligned_values_and_far_indices_choose_the_same", run: placed },
    Case { name: "offsets_of_many_parts_are_sums", run: offsets },
];

pub(crate) const LAST_BLOCK_CASES: &[Case] =
    &[Case { name: "selections_of_more_than_32_bits_reach_their_last_elements", run: last_block }];

const PART_ELEMS: usize = 2048;
const BINS: usize = 2048;

struct Job {
    values: Vec<f32>,
    /// With error feedback: what was not sent yet.
    unsent: Option<Vec<f32>>,
    k: u64,
}

#[derive(Debug, Clone, Copy)]
struct How {
    parts: usize,
    far: u64,
    /// The launches begin at element 0 all the same.
    from_zero: bool,
    shift: usize,
}

const WHOLE: How = How { parts: 1, far: 0, from_zero: false, shift: 0 };

struct Chosen {
    indices: Vec<u64>,
    values: Vec<f32>,
    unsent: Vec<f32>,
}

impl Job {
    fn on_cpu(&self, far: u64) -> Chosen {
        let mut unsent = self.values.clone();
        if let Some(before) = &self.unsent {
            unsent.clone_from(before);
            top_k::add(&self.values, &mut unsent);
        }
        let mut selection = Selection::new([&unsent[..]].into_iter(), self.k);
        let (mut indices, mut values) = (Vec::new(), Vec::new());
        selection.take_from(far, &mut unsent, |index, value| {
            indices.push(index);
            values.push(value);
        });
        Chosen { indices, values, unsent }
    }

    fn on_device(&self, device: &dyn Device, how: How) -> Result<Chosen, Failure> {
        let How { parts, far, from_zero, shift } = how;
        let elems = self.values.len();
        let k = self.k.min(elems as u64);
        let values = Placed::new(device, &self.values, shift)?;
        let wanted = Placed::new(device, self.unsent.as_ref().unwrap_or(&self.values), shift)?;
        let state = Placed::new(device, &[0, k], 0)?;
        let histogram = Placed::new(device, &[0_u64; BINS], 0)?;
        let count_parts = elems.div_ceil(PART_ELEMS);
        let counts = Placed::new(device, &vec![7_u64; 2 * count_parts], 0)?;
        // Parts are counted from the first element.
        let counts_base = counts.address().less(2 * far / PART_ELEMS as u64);
        let shards = aligned_shards(elems, parts, PART_ELEMS);
        let range = |shard: &Range<usize>| match from_zero {
            true => (far + shard.len() as u64, 0),
            false => (shard.len() as u64, far + shard.start as u64),
        };
        for digit in 0..3 {
            for (n, begin) in shards.iter().map(range) {
                let more = digit == 0 && self.unsent.is_some();
                launch::TopKHistogram {
                    n,
                    begin,
                    digit,
                    state: state.address(),
                    values: if more { values.address().less(far) } else { Address::NULL },
                    wanted: wanted.address().less(far),
                    histogram: histogram.address(),
                }
                .launch(device)?;
            }
            let n = if digit == 0 { 2048 } else { 1024 };
            launch::TopKDigit { n, digit, state: state.address(), histogram: histogram.address() }
                .launch(device)?;
        }
        for (n, begin) in shards.iter().map(range) {
            let (state, wanted) = (state.address(), wanted.address().less(far));
            launch::TopKCount { n, begin, state, wanted, counts: counts_base }.launch(device)?;
        }
        launch::TopKOffsets { n: count_parts as u64, counts: counts.address() }.launch(device)?;
        let places = usize::try_from(k).expect("less than the elements");
        let indices = Placed::new(device, &vec![u64::MAX; places], 0)?;
        let chosen = Placed::new(device, &vec![7.0_f32; places], 0)?;
        for (n, begin) in shards.iter().map(range) {
            launch::TopKWrite {
                n,
                begin,
                state: state.address(),
                counts: counts_base,
                wanted: wanted.address().less(far),
                indices: indices.address(),
                chosen: chosen.address(),
                residual: wanted.address().less(far),
            }
            .launch(device)?;
        }
        device.synchronize()?;
        values.expect_unchanged(device, "the values read")?;
        histogram.expect_unchanged(device, "the histogram, zeros again")?;
        let indices_read = indices.read(device, "indices")?;
        let chosen_read = chosen.read(device, "chosen values")?;
        scatter(device, (&indices, &chosen), far, &self.values)?;
        Ok(Chosen {
            indices: indices_read,
            values: chosen_read,
            unsent: wanted.read(device, "what was not sent")?,
        })
    }

    fn compare(&self, device: &dyn Device, how: How) -> Result<(), Failure> {
        let what = format!("{} of {}, {how:?}", self.k, self.values.len());
        let (device, cpu) = (self.on_device(device, how)?, self.on_cpu(how.far));
        same(&format!("{what}: indices"), &device.indices, &cpu.indices)?;
        same(&format!("{what}: values"), &bits(&device.values), &bits(&cpu.values))?;
        same(&format!("{what}: unsent"), &bits(&device.unsent), &bits(&cpu.unsent))
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// What a receiver does with it.
fn scatter(
    device: &dyn Device,
    (indices, chosen): (&Placed<u64>, &Placed<f32>),
    far: u64,
    values: &[f32],
) -> Result<(), Failure> {
    let into = Placed::new(device, values, 0)?;
    let (sent, sent_values) = (indices.read(device, "indices")?, chosen.read(device, "chosen values")?);
    // A device would write there.
    let end = far + values.len() as u64;
    if let Some(index) = sent.iter().find(|index| !(far..end).contains(index)) {
        return Err(Failure::Other(format!("chosen index {index} is outside of {far}..{end}")));
    }
    launch::TopKAdd {
        n: sent.len() as u64,
        indices: indices.address(),
        chosen: chosen.address(),
        values: into.address().less(far),
    }
    .launch(device)?;
    let mut cpu = values.to_vec();
    top_k::scatter_add(far, &sent, &sent_values, &mut cpu);
    into.expect(device, "sums of chosen values", &cpu)
}

fn jobs(elems: usize) -> impl Iterator<Item = Job> {
    let counts = [0, 1, 7, elems / 100, elems / 2, elems.saturating_sub(1), elems, elems + 3];
    counts.into_iter().flat_map(move |k| {
        [None, Some(any(8, elems))].map(|unsent| Job { values: any(1, elems), unsent, k: k as u64 })
    })
}

fn chosen(device: &dyn Device) -> Result<(), Failure> {
    for elems in [0, 1, 5, 255, 2047, 2049, 8195] {
        jobs(elems).try_for_each(|job| job.compare(device, WHOLE))?;
    }
    Job { values: finite(3, 4099), unsent: None, k: 400 }.compare(device, WHOLE)
}

fn ties(device: &dyn Device) -> Result<(), Failure> {
    let value = |index: usize| match index % 7 {
        0 => -3.0,
        1 => 3.0,
        2 => f32::NAN,
        _ => 1.0,
    };
    for k in [1, 500, 700, 701, 1500, 2600, 5000] {
        Job { values: (0..5000).map(value).collect(), unsent: None, k }.compare(device, WHOLE)?;
        Job { values: vec![-0.5; 5000], unsent: Some(vec![0.5; 5000]), k }.compare(device, WHOLE)?;
    }
    Ok(())
}

fn sharded(device: &dyn Device) -> Result<(), Failure> {
    for parts in SHARDS {
        let elems = 7 * PART_ELEMS - 1000;
        for k in [100, 5000] {
            let unsent = Some(finite(9, elems));
            Job { values: any(2, elems), unsent, k }.compare(device, How { parts, ..WHOLE })?;
        }
    }
    Ok(())
}

fn placed(device: &dyn Device) -> Result<(), Failure> {
    for (far, shift) in [(0, 1), (0, 3), ((1 << 32) - 2048, 0), ((1 << 40) + 4096, 2)] {
        let job = Job { values: any(2, 4100), unsent: Some(finite(9, 4100)), k: 999 };
        job.compare(device, How { parts: 2, far, shift, ..WHOLE })?;
    }
    Ok(())
}

fn last_block(device: &dyn Device) -> Result<(), Failure> {
    let job = Job { values: any(2, 77), unsent: Some(finite(9, 77)), k: 20 };
    job.compare(device, How { far: 1 << 33, from_zero: true, ..WHOLE })
}

fn offsets(device: &dyn Device) -> Result<(), Failure> {
    for parts in [0, 1, 255, 256, 257, 600] {
        // Sums of more than 32 bits.
        let counts: Vec<u64> = (0..2 * parts).map(|index| (index * index % 97) << 26).collect();
        let mut sums = [0, 0];
        let mut cpu = Vec::new();
        for pair in counts.chunks(2) {
            cpu.extend(sums);
            sums = [sums[0] + pair[0], sums[1] + pair[1]];
        }
        let placed = Placed::new(device, &counts, 0)?;
        launch::TopKOffsets { n: parts, counts: placed.address() }.launch(device)?;
        placed.expect(device, "offsets", &cpu)?;
    }
    Ok(())
}
