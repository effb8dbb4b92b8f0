//! Clipping per example, and the sum with noise.

use hcrun_kernels::device::Address;
use hcrun_kernels::launch;
use hcrun_kernels::privacy::PART_ELEMS;

use super::{Memory, Setup};

/// Examples of a batch; each has a part of the arena as its gradient.
const ROWS: usize = 256;

pub(super) fn setup(mut memory: Memory<'_>, kernel: &str, elems: usize) -> anyhow::Result<Option<Setup>> {
    let columns = elems / ROWS;
    let job = Job {
        columns,
        parts: columns.div_ceil(PART_ELEMS),
        values: memory.varied(ROWS * columns)?,
        partials: memory.filled(ROWS * columns.div_ceil(PART_ELEMS))?,
        factors: memory.filled(ROWS)?,
        out: memory.filled(columns)?,
    };
    let device = memory.device;
    let (of_values, of_partials) = (4 * (ROWS * columns) as u64, 8 * (ROWS * job.parts) as u64);
    let of_factors = 4 * ROWS as u64;
    Ok(Some(match kernel {
        "clip_partials" => {
            let launch = job.clip_partials();
            let counted = format!("4 a value of {ROWS} rows read, 8 a part of {PART_ELEMS} written");
            let size = (launch.n, of_values + of_partials);
            Setup::new(memory, size, counted, move |device| launch.launch(device))
        }
        "clip_factors" => {
            job.clip_partials().launch(device)?;
            let launch = job.clip_factors();
            let counted = format!("8 a part of {ROWS} rows read, 4 a row written");
            let size = (launch.n, of_partials + of_factors);
            Setup::new(memory, size, counted, move |device| launch.launch(device))
        }
        "clipped_sum" => {
            job.clip_partials().launch(device)?;
            job.clip_factors().launch(device)?;
            let launch = job.clipped_sum();
            let counted = format!("4 a value of {ROWS} rows and 4 a row read, 4 a column written");
            let size = (launch.n, of_values + of_factors + 4 * columns as u64);
            Setup::new(memory, size, counted, move |device| launch.launch(device))
        }
        _ => return Ok(None),
    }))
}

struct Job {
    columns: usize,
    parts: usize,
    values: Address<f32>,
    partials: Address<f64>,
    factors: Address<f32>,
    out: Address<f32>,
}

impl Job {
    fn clip_partials(&self) -> launch::ClipPartials {
        launch::ClipPartials {
            n: (ROWS * self.parts) as u64,
            begin: 0,
            columns: self.columns as u64,
            pitch: self.columns as u64,
            partials_pitch: self.parts as u64,
            rows: self.values,
            partials: self.partials,
        }
    }

    fn clip_factors(&self) -> launch::ClipFactors {
        launch::ClipFactors {
            n: ROWS as u64,
            parts: self.parts as u64,
            bound: 1e-3,
            partials: self.partials,
            factors: self.factors,
        }
    }

    fn clipped_sum(&self) -> launch::ClippedSum {
        launch::ClippedSum {
            n: self.columns as u64,
            begin: 0,
            rows: ROWS as u64,
            pitch: self.columns as u64,
            values: self.values,
            factors: self.factors,
            seed: 4,
            step: 1,
            sigma: 0.75,
            out: self.out,
        }
    }
}
