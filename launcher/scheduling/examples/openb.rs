//! How much of a fleet each packing policy leaves unusable: the allocation experiment of FGD (ATC 2023).
//!
//! `cargo run --release -p hcrun-scheduling --example openb -- FOLDER [SEEDS]`, with the node and pod lists of
//! Alibaba's openb fleet in FOLDER.
#![expect(clippy::print_stdout, reason = "an example prints its table")]

use std::error::Error;
use std::path::PathBuf;

use hcrun_protocol::prng::Prng;
use hcrun_scheduling::packing::{
    BestFit, Demand, DotProduct, Fgd, GpuPacking, Models, Policy, Random, Request, saturate,
};
use hcrun_scheduling::traces::openb;

type Make = fn(&Demand, u64) -> Box<dyn Policy>;

/// Names, published means in percent, and policies.
const POLICIES: [(&str, f64, Make); 5] = [
    ("random", 87.5, |_, seed| Box::new(Random(Prng::keyed(&[seed, 1])))),
    ("dot product", 90.9, |_, _| Box::new(DotProduct)),
    ("packing", 92.0, |_, _| Box::new(GpuPacking)),
    ("best fit", 93.1, |_, _| Box::new(BestFit)),
    ("FGD", 95.4, |demand, _| Box::new(Fgd::new(demand.clone()))),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("usage: openb FOLDER [SEEDS]")?);
    let seeds: u64 = arguments.next().map_or(Ok(10), |seeds| seeds.parse())?;
    let mut models = Models::default();
    let read = |name: &str| std::fs::read_to_string(folder.join(name));
    let nodes = openb::nodes(&read("openb_node_list_gpu_node.csv")?, &mut models)?;
    let requests: Vec<Request> = openb::requests(&read("openb_pod_list_default.csv")?, &mut models)?;
    let demand = Demand::of(&requests);
    println!(
        "policy        allocated, % of devices at 130 % demand: mean, least, most   at 100 %   published"
    );
    for (name, published, make) in POLICIES {
        let curves: Vec<_> = (0..seeds)
            .map(|seed| saturate(&nodes, &requests, 130, seed, &mut *make(&demand, seed)))
            .collect();
        let at = |percent| -> Vec<f64> {
            curves.iter().filter_map(|curve| curve.allocated(percent)).map(|share| share * 100.0).collect()
        };
        let mean = |shares: &[f64]| shares.iter().sum::<f64>() / shares.len() as f64;
        let full = at(130);
        let (least, most) =
            (full.iter().copied().fold(100.0, f64::min), full.iter().copied().fold(0.0, f64::max));
        let (full, even) = (mean(&full), mean(&at(100)));
        println!("{name:<12}  {full:40.2} {least:8.2} {most:7.2} {even:10.2} {published:11.1}");
    }
    Ok(())
}
