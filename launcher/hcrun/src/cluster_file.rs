//! Reads `cluster.toml` into a checked [`Cluster`], or gives this machine's.

use std::collections::BTreeSet;
use std::path::Path;

use hcrun_protocol::cluster::Cluster;

use crate::codes;
use crate::failure::{Failure, Result};
use crate::settings::tree::Document;
use crate::settings::{self, cluster_keys};

/// The cluster named on the command line, else `cluster.toml` beside the job file, else this machine.
pub fn load(named: Option<&Path>, job_directory: &Path) -> Result<Cluster> {
    if let Some(path) = named {
        return read(path);
    }
    let beside = job_directory.join("cluster.toml");
    if beside.exists() { read(&beside) } else { Ok(Cluster::local()) }
}

pub fn read(path: &Path) -> Result<Cluster> {
    parse(settings::read_text(path, "cluster file")?, path)
}

pub fn parse(text: String, path: &Path) -> Result<Cluster> {
    let document = Document::parse(text, path.display().to_string(), "cluster file")?;
    let cluster: Cluster = settings::parse(&document, cluster_keys::CLUSTER)?;
    check(&cluster, &document)?;
    Ok(cluster)
}

fn check(cluster: &Cluster, document: &Document) -> Result<()> {
    let refuse = |key: String, cause: String| {
        Failure::new(&codes::CLUSTER_INVALID, "cannot use the cluster file")
            .at(document.find(&key))
            .because(cause)
    };
    let zone_names: Vec<&str> = cluster.zones.iter().map(|zone| zone.name.as_str()).collect();
    let known_zone = |zone: &str, key: String| {
        if zone_names.contains(&zone) {
            return Ok(());
        }
        let failure = refuse(key, format!("there is no zone `{zone}`"));
        Err(match settings::schema::nearest(zone, zone_names.iter().copied()) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint(format!("the zones of the file are {}", zone_names.join(", "))),
        })
    };
    let mut seen = BTreeSet::new();
    for (index, zone) in cluster.zones.iter().enumerate() {
        if !seen.insert(zone.name.as_str()) {
            let cause = format!("zone `{}` is declared twice", zone.name);
            return Err(refuse(format!("zone[{index}].name"), cause).hint("give each zone a name of its own"));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, pool) in cluster.pools.iter().enumerate() {
        let key = |name: &str| format!("pool[{index}].{name}");
        if !seen.insert(pool.name.as_str()) {
            let cause = format!("pool `{}` is declared twice", pool.name);
            return Err(refuse(key("name"), cause).hint("give each pool a name of its own"));
        }
        known_zone(pool.zone.as_str(), key("zone"))?;
        if let Some([first, last]) = pool.listen_ports {
            let ports = usize::from(last.saturating_sub(first)) + 1;
            if first > last {
                let cause = format!("the port range {first} to {last} is reversed");
                return Err(refuse(key("listen_ports"), cause).hint("write the lower port first"));
            }
            if ports < usize::from(pool.slots) && pool.backend == hcrun_protocol::cluster::Backend::Local {
                let cause = format!("{} slots need as many ports, {first} to {last} are {ports}", pool.slots);
                return Err(refuse(key("listen_ports"), cause).hint("widen the range or lower `slots`"));
            }
        }
        match (pool.usd_per_hour, &pool.price_source) {
            (Some(price), _) if price < 0.0 => {
                let cause = format!("a price of {price} is negative");
                return Err(refuse(key("usd_per_hour"), cause).hint("leave it out if it is unknown"));
            }
            (Some(_), None) => {
                let cause = format!("pool `{}` has a price without a source", pool.name);
                return Err(refuse(key("usd_per_hour"), cause)
                    .hint("add `price_source` with where the price comes from and when it was read"));
            }
            _ => {}
        }
    }
    match &cluster.launcher_zone {
        Some(zone) => known_zone(zone.as_str(), "launcher_zone".to_owned()),
        None => Ok(()),
    }
}
