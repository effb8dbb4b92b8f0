//! What leaves zones is in the bill where the trace says what jobs send, and nowhere else.

use std::fs;

use hcrun_tests::{Lab, lab};

const CLUSTER: &str = r#"
prices = "prices.toml"
[[zone]]
name = "lab"
trust = "private"
owner = "us"
[[zone]]
name = "cloud"
trust = "public"
owner = "them"
[[pool]]
name = "rented"
zone = "cloud"
slots = 8
terms = "on-demand"
usd_per_hour = 1.0
price_source = "this test"
"#;
const PRICES: &str = r#"
[[egress]]
provider = "them"
region = "any"
tiers = [{ usd_per_gb = 0.1 }]
date = "2026-01-31"
source = "this test"
"#;

fn scene(prices: &str) -> Lab {
    let lab = lab!();
    lab.write("cluster.toml", CLUSTER);
    lab.write("prices.toml", prices);
    lab
}

/// Ten jobs of half an hour, each with one checkpoint.
const JOBS: &str = "synthetic:jobs=10,sigma=0,median=30,elastic=0,devices=1:1,checkpoint=3600,home=lab";

fn row(lab: &Lab, more: &str) -> serde_json::Value {
    let trace = format!("{JOBS}{more}");
    let args =
        ["simulate", "--trace", &trace, "--cluster", "cluster.toml", "--strategy", "fifo-skip", "--json"];
    lab.hcrun(args).succeed().json()["results"][0].clone()
}

#[test]
fn egress_is_part_of_the_cost() {
    let lab = scene(PRICES);
    let (without, with) = (row(&lab, ""), row(&lab, ",checkpoint_gb=2"));
    assert!(without.get("usd_egress").is_none() && without.get("sent_gb").is_none(), "{without}");
    let usd = |row: &serde_json::Value, key: &str| row[key].as_f64().unwrap();
    assert!((usd(&with, "sent_gb") - 20.0).abs() < 1e-9, "{with}");
    assert!((usd(&with, "usd_egress") - 2.0).abs() < 1e-9, "{with}");
    assert!((usd(&with, "usd") - usd(&without, "usd") - 2.0).abs() < 1e-6, "{with}");
    let trace = format!("{JOBS},checkpoint_gb=2");
    let args = ["compare", "--trace", &trace, "--cluster", "cluster.toml", "--strategy", "fifo-skip"];
    let text = lab.hcrun(args).succeed().stdout;
    assert!(text.contains("egress") && text.contains("2.00 USD"), "{text}");
    let html = fs::read_to_string(lab.path().join("comparison.html")).unwrap();
    assert!(html.contains("egress by the month&#39;s tiers"), "the bar says what it holds");
}

#[test]
fn egress_without_a_price_is_not_nothing() {
    let lab = scene("# No egress.\n");
    let row = row(&lab, ",checkpoint_gb=2");
    assert!(row.get("usd").is_none() && row.get("usd_egress").is_none(), "{row}");
    assert_eq!(row["usd_on_demand"].as_f64().map(|usd| usd > 0.0), Some(true), "{row}");
    let trace = format!("{JOBS},checkpoint_gb=2");
    let args = ["simulate", "--trace", &trace, "--cluster", "cluster.toml", "--strategy", "fifo-skip"];
    let text = lab.hcrun(args).succeed().stdout;
    assert!(text.contains("the file of prices has no egress of zone cloud"), "{text}");
}
