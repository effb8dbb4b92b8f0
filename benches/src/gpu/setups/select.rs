//! The largest hundredth of an arena, with error feedback: each kernel after those that it follows.

use hcrun_kernels::device::{Address, Device, DeviceError};
use hcrun_kernels::launch;

use super::{Memory, Setup};

const BINS: usize = 2048;
const PART_ELEMS: usize = 2048;
/// One of so many is chosen.
const CHOSEN_OF: usize = 100;

pub(super) fn setup(mut memory: Memory<'_>, kernel: &str, elems: usize) -> anyhow::Result<Option<Setup>> {
    let device = memory.device;
    let job = Job::new(&mut memory, elems)?;
    let (arena, parts, chosen) = (elems as u64, job.parts as u64, job.chosen as u64);
    Ok(Some(match kernel {
        "top_k_histogram" => {
            // Of the first digit, which also adds what was not sent; the others read 4 an element.
            let launch = job.histogram(0);
            let size = (launch.n, 12 * arena + 16 * BINS as u64);
            let counted = "8 an element read, 4 written; 16 a bin";
            Setup::new(memory, size, counted, move |device| launch.launch(device))
        }
        "top_k_digit" => {
            job.histogram(0).launch(device)?;
            memory.keep(job.histogram)?;
            memory.keep(job.state)?;
            let launch = job.digit(0);
            let size = (launch.n, 16 * BINS as u64 + 32);
            let counted = "16 a bin, 32 of state, by one block";
            Setup::new(memory, size, counted, move |device| launch.launch(device))
        }
        "top_k_count" => {
            job.find_threshold(device)?;
            let launch = job.count();
            let counted = format!("4 an element read, 16 a part of {PART_ELEMS} written");
            let size = (launch.n, 4 * arena + 16 * parts);
            Setup::new(memory, size, counted, move |device| launch.launch(device))
        }
        "top_k_offsets" => {
            job.find_threshold(device)?;
            job.count().launch(device)?;
            memory.keep(job.counts)?;
            let launch = job.offsets();
            let counted = format!("32 a part of {PART_ELEMS}, by one block");
            Setup::new(memory, (launch.n, 32 * parts), counted, move |device| launch.launch(device))
        }
        "top_k_write" => {
            job.find_places(device)?;
            let launch = job.write();
            let counted = format!("8 an element, 12 a chosen one of {CHOSEN_OF}, 16 a part of {PART_ELEMS}");
            let size = (launch.n, 8 * arena + 12 * chosen + 16 * parts);
            Setup::new(memory, size, counted, move |device| launch.launch(device))
        }
        "top_k_add" => {
            job.find_places(device)?;
            job.write().launch(device)?;
            let launch = job.add(memory.varied(elems)?);
            // Scattered: what the card moves is the sectors around them.
            let counted = format!("20 a chosen one of {CHOSEN_OF} elements");
            Setup::new(memory, (launch.n, 20 * chosen), counted, move |device| launch.launch(device))
        }
        _ => return Ok(None),
    }))
}

struct Job {
    elems: usize,
    parts: usize,
    chosen: usize,
    state: Address<u64>,
    histogram: Address<u64>,
    counts: Address<u64>,
    values: Address<f32>,
    wanted: Address<f32>,
    /// Apart from what is wanted, so that a launch finds what the one before found.
    residual: Address<f32>,
    indices: Address<u64>,
    chosen_values: Address<f32>,
}

impl Job {
    fn new(memory: &mut Memory<'_>, elems: usize) -> Result<Job, DeviceError> {
        let (parts, chosen) = (elems.div_ceil(PART_ELEMS), elems.div_ceil(CHOSEN_OF));
        Ok(Job {
            elems,
            parts,
            chosen,
            state: memory.written(&[0, chosen as u64])?,
            histogram: memory.written(&[0; BINS])?,
            counts: memory.filled(2 * parts)?,
            values: memory.varied(elems)?,
            wanted: memory.varied(elems)?,
            residual: memory.filled(elems)?,
            indices: memory.filled(chosen)?,
            chosen_values: memory.filled(chosen)?,
        })
    }

    fn find_threshold(&self, device: &dyn Device) -> Result<(), DeviceError> {
        for digit in 0..3 {
            self.histogram(digit).launch(device)?;
            self.digit(digit).launch(device)?;
        }
        Ok(())
    }

    fn find_places(&self, device: &dyn Device) -> Result<(), DeviceError> {
        self.find_threshold(device)?;
        self.count().launch(device)?;
        self.offsets().launch(device)
    }

    fn histogram(&self, digit: u32) -> launch::TopKHistogram {
        launch::TopKHistogram {
            n: self.elems as u64,
            begin: 0,
            digit,
            state: self.state,
            values: if digit == 0 { self.values } else { Address::NULL },
            wanted: self.wanted,
            histogram: self.histogram,
        }
    }

    fn digit(&self, digit: u32) -> launch::TopKDigit {
        let n = if digit == 0 { 2048 } else { 1024 };
        launch::TopKDigit { n, digit, state: self.state, histogram: self.histogram }
    }

    fn count(&self) -> launch::TopKCount {
        launch::TopKCount {
            n: self.elems as u64,
            begin: 0,
            state: self.state,
            wanted: self.wanted,
            counts: self.counts,
        }
    }

    fn offsets(&self) -> launch::TopKOffsets {
        launch::TopKOffsets { n: self.parts as u64, counts: self.counts }
    }

    fn write(&self) -> launch::TopKWrite {
        launch::TopKWrite {
            n: self.elems as u64,
            begin: 0,
            state: self.state,
            counts: self.counts,
            wanted: self.wanted,
            indices: self.indices,
            chosen: self.chosen_values,
            residual: self.residual,
        }
    }

    fn add(&self, values: Address<f32>) -> launch::TopKAdd {
        launch::TopKAdd { n: self.chosen as u64, indices: self.indices, chosen: self.chosen_values, values }
    }
}
