//! Packing of Alibaba's openb fleet: a sample of the experiment that `examples/openb.rs` runs in full.

mod common;

use hcrun_protocol::prng::Prng;
use hcrun_scheduling::packing::{BestFit, Demand, Fgd, Models, Policy, Random, saturate};
use hcrun_scheduling::traces::openb;

#[test]
fn policies_allocate_as_much_of_openb_as_published() {
    let Some(folder) = common::traces_folder() else { return };
    let read = |name: &str| std::fs::read_to_string(folder.join("openb").join(name)).unwrap();
    let mut models = Models::default();
    let nodes = openb::nodes(&read("openb_node_list_gpu_node.csv"), &mut models).unwrap();
    let requests = openb::requests(&read("openb_pod_list_default.csv"), &mut models).unwrap();
    let devices: u64 = nodes.iter().map(|node| node.devices().len() as u64).sum();
    assert_eq!((nodes.len(), devices, requests.len(), models.names().len()), (1_213, 6_212, 8_152, 7));
    let allocated = |policy: &mut dyn Policy| {
        let curve = saturate(&nodes, &requests, 130, 0, policy);
        curve.allocated(130).unwrap() * 100.0
    };
    let fgd = allocated(&mut Fgd::new(Demand::of(&requests)));
    assert!(fgd >= 95.4, "FGD allocates {fgd} %");
    let best_fit = allocated(&mut BestFit);
    assert!((best_fit - 93.1).abs() <= 0.5, "best fit allocates {best_fit} %");
    let random = allocated(&mut Random(Prng::keyed(&[0, 1])));
    assert!((random - 87.5).abs() <= 0.7, "random allocates {random} %");
}
