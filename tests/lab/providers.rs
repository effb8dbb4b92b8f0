//! `hcrun prices choose`: requirements first, then dollars with their terms.

use hcrun_tests::{Lab, lab};

fn scene() -> Lab {
    let lab = lab!();
    lab.write("providers.toml", include_str!("../../examples/scheduling/providers.toml"));
    lab.write("prices.toml", include_str!("../../examples/scheduling/prices.toml"));
    lab
}

fn choose(lab: &Lab, more: &[&str]) -> hcrun_tests::Command {
    lab.hcrun(["prices", "choose", "--cluster", "providers.toml"]).args(more)
}

#[test]
fn the_cheapest_of_those_that_may_is_chosen() {
    let lab = scene();
    let chosen = |more: &[&str]| {
        let json = choose(&lab, more).args(["--json"]).succeed().json();
        json["data"]["choice"].as_str().unwrap().to_owned()
    };
    assert_eq!(chosen(&[]), "own");
    assert_eq!(chosen(&["--workers", "9"]), "aws-spot", "the laboratory has eight");
    assert_eq!(chosen(&["--require", "ISO 27001"]), "aws-spot");
    assert_eq!(chosen(&["--require", "C5", "--support", "3"]), "gcp");
    // 0.92 x (1 + 16 nodes x 1 loss an hour x 1/6 h) is above 2.95.
    let unstable = ["--require", "ISO 27001", "--workers", "16", "--spot", "aws-spot=hazard:0.5,1"];
    assert_eq!(chosen(&unstable), "gcp");
    let json = choose(&lab, &unstable).args(["--json"]).succeed().json();
    let spot =
        json["data"]["pools"].as_array().unwrap().iter().find(|pool| pool["pool"] == "aws-spot").unwrap();
    let terms: Vec<f64> =
        spot["score"].as_array().unwrap().iter().map(|term| term["usd_per_hour"].as_f64().unwrap()).collect();
    assert!((terms[0] - 0.92).abs() < 1e-9 && (terms[1] - 0.92 * 16.0 / 6.0).abs() < 1e-9, "{spot}");
}

#[test]
fn reasons_are_named() {
    let lab = scene();
    let text = choose(&lab, &["--require", "C5"]).succeed().stdout;
    assert!(text.contains("refused: zone `aws` is not certified for C5"), "{text}");
    assert!(text.contains("refused: zone `lab` is not certified for C5"), "{text}");
    let text = choose(&lab, &["--require", "ISO 27001"]).succeed().stdout;
    assert!(text.contains("nothing is known of the stability of pool `aws-spot`"), "{text}");
    let ended = choose(&lab, &["--require", "HIPAA"]).fail(5);
    assert!(ended.stderr.contains("pool `gcp`: zone `gcp` is not certified for HIPAA"), "{ended}");
    let ended = choose(&lab, &["--device", "H900"]).fail(2);
    assert!(ended.stderr.contains("its pools have V100-16GB"), "{ended}");
    lab.write("prices.toml", "[[provider]]\nprovider = \"a\"\nregion = \"any\"\ndate = \"2026-01-31\"\n");
    let ended = choose(&lab, &[]).fail(2);
    assert!(ended.stderr.contains("line 2, key `provider`: it has neither"), "{ended}");
}
