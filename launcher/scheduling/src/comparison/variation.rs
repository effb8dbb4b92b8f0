//! What a seed changes about a workload, so that several runs say how sure a difference is.

use hcrun_protocol::prng::Prng;

use crate::job::{JobSpec, Workload, WorkloadError};

/// What strategies know of how long jobs take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Estimates {
    /// The truth.
    Oracle,
    /// The truth times exp(N(0, sigma)).
    Noisy { sigma: f64 },
    /// The mean of all jobs, for each.
    None,
}

/// The workload of one seed. Seed 0 is the trace as it is. Any other seed moves what is asked for around the circle of
/// submissions by a random step: arrivals keep their times and jobs their neighbours, but they meet anew.
///
/// # Errors
/// Never for a workload that was valid.
pub fn vary(workload: &Workload, seed: u64, estimates: Estimates) -> Result<Workload, WorkloadError> {
    let jobs = workload.jobs();
    let mut random = Prng::keyed(&[seed, 0x7661_7279]);
    let shift = match seed {
        0 => 0,
        _ => usize::try_from(random.below(jobs.len() as u64)).unwrap_or(0),
    };
    let moved = jobs.iter().zip(jobs.iter().cycle().skip(shift));
    let mut moved: Vec<JobSpec> = moved.map(|(arrival, asked)| asked.arriving(arrival.submit)).collect();
    estimate(&mut moved, estimates, &mut random);
    Workload::new(moved)
}

fn estimate(jobs: &mut [JobSpec], estimates: Estimates, random: &mut Prng) {
    match estimates {
        Estimates::Oracle => {}
        Estimates::Noisy { sigma } => {
            for job in jobs {
                job.estimate = job.work.scaled(libm::exp(sigma * normal(random)));
            }
        }
        Estimates::None => {
            let sum: u128 = jobs.iter().map(|job| job.work.0).sum();
            let mean = crate::Work(sum / jobs.len().max(1) as u128);
            jobs.iter_mut().for_each(|job| job.estimate = mean);
        }
    }
}

/// Standard normal, after Box and Muller.
fn normal(random: &mut Prng) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - random.uniform()));
    radius * libm::cos(std::f64::consts::TAU * random.uniform())
}

#[cfg(test)]
mod tests {
    use hcrun_protocol::time::{Span, Time};

    use super::*;

    fn workload() -> Workload {
        let job = |n: u64| JobSpec::rigid(format!("j{n}"), Time(n * 10), 1, Span::from_secs(n + 1));
        Workload::new((0..50).map(job).collect()).unwrap()
    }

    #[test]
    fn a_seed_keeps_arrivals_and_jobs_and_moves_them_against_each_other() {
        let workload = workload();
        let same = vary(&workload, 0, Estimates::Oracle).unwrap();
        let moved = vary(&workload, 3, Estimates::Oracle).unwrap();
        let ids = |workload: &Workload| workload.jobs().iter().map(|job| job.id.clone()).collect::<Vec<_>>();
        let submits = |workload: &Workload| workload.jobs().iter().map(|job| job.submit).collect::<Vec<_>>();
        assert_eq!(ids(&same), ids(&workload));
        assert_ne!(ids(&moved), ids(&workload));
        assert_eq!(submits(&moved), submits(&workload));
        assert_eq!(ids(&moved), ids(&vary(&workload, 3, Estimates::Oracle).unwrap()));
    }

    #[test]
    fn estimates_are_told_from_the_truth() {
        let truth = workload();
        let noisy = vary(&truth, 0, Estimates::Noisy { sigma: 0.5 }).unwrap();
        assert!(noisy.jobs().iter().zip(truth.jobs()).all(|(a, b)| a.work == b.work && a.estimate != b.work));
        let none = vary(&truth, 0, Estimates::None).unwrap();
        assert!(none.jobs().windows(2).all(|pair| pair[0].estimate == pair[1].estimate));
    }
}
