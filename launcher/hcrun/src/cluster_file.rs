//! Reads `cluster.toml` into a checked [`Cluster`], or gives this machine's.

use std::collections::BTreeSet;
use std::path::Path;

use hcrun_protocol::cluster::Cluster;
use hcrun_protocol::link::Congestion;
use hcrun_scheduling::Fleet;
use hcrun_scheduling::costs::{Costs, MAX_USD, PerHour, PriceTable, ZoneCosts};

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

/// The fleet of a cluster, with what it costs: a pool's own price, else what the file of prices says.
pub fn fleet(cluster: &Cluster, path: &Path) -> Result<Fleet> {
    let refuse = |error: &dyn std::error::Error| {
        Failure::new(&codes::CLUSTER_INVALID, "cannot use the cluster file")
            .at(path.display().to_string())
            .because(error.to_string())
    };
    let fleet = Fleet::of(cluster).map_err(|error| refuse(&error))?;
    let table = match &cluster.prices {
        Some(file) => prices(&path.parent().unwrap_or(Path::new(".")).join(file))?,
        None => PriceTable::default(),
    };
    let zones = cluster.zones.iter().map(|zone| ZoneCosts {
        provider: zone.provider.clone().unwrap_or_else(|| zone.owner.clone()),
        region: zone.region.clone().unwrap_or_else(|| zone.name.to_string()),
        ..ZoneCosts::default()
    });
    let mut costs = Costs::from_table(&fleet, zones.collect(), &table).map_err(|error| refuse(&error))?;
    for (index, pool) in fleet.pool_indices().zip(&cluster.pools) {
        if let Some(price) = pool.usd_per_hour.and_then(PerHour::from_usd) {
            costs.set_price(index, price);
        }
    }
    Ok(fleet.with_costs(costs))
}

/// Reads a file of prices.
pub fn prices(path: &Path) -> Result<PriceTable> {
    let text = settings::read_text(path, "file of prices")?;
    PriceTable::parse(&text).map_err(|error| {
        Failure::new(&codes::PRICES_MALFORMED, "cannot use the file of prices")
            .at(path.display().to_string())
            .because(error.to_string())
    })
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
    if cluster.network.congestion == Congestion::Provisioned && cluster.network.rate.is_none() {
        let cause = "congestion = \"provisioned\" keeps a link at its rate, and no rate is given".to_owned();
        return Err(
            refuse("network.congestion".to_owned(), cause).hint("add network.rate, such as \"200Mbit\"")
        );
    }
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
            (Some(price), _) if PerHour::from_usd(price).is_none() => {
                let cause = format!("a price of {price} is above {MAX_USD} US dollars for a worker and hour");
                return Err(
                    refuse(key("usd_per_hour"), cause).hint("correct it; leave it out if it is unknown")
                );
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

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"[[zone]]
name = "home"
trust = "private"
owner = "us"
[[pool]]
name = "home"
zone = "home"
slots = 4
"#;

    fn refusal(text: String) -> String {
        let failure = parse(text, Path::new("cluster.toml")).expect_err("the file was taken");
        let place = failure.place.as_deref().unwrap_or("-");
        format!("{} {place} | {} | {}", failure.code.id, failure.causes.join(": "), failure.hint_text())
    }

    #[test]
    fn bad_files_are_refused_with_place_cause_and_remedy() {
        let cases = [
            (
                "zone = \"home\"",
                "zone = \"hme\"",
                "HC2007 cluster.toml:7:1 | there is no zone `hme` | did you mean `home`?",
            ),
            (
                "slots = 4",
                "slots = 4\nusd_per_hour = 2.0",
                "HC2007 cluster.toml:9:1 | pool `home` has a price without a source | add `price_source` with where the \
                 price comes from and when it was read",
            ),
            (
                "slots = 4",
                "slots = 4\nusd_per_hour = 1e30\nprice_source = \"x\"",
                "HC2007 cluster.toml:9:1 | a price of 1000000000000000000000000000000 is above 1000000 US dollars for a \
                 worker and hour | correct it; leave it out if it is unknown",
            ),
            (
                "slots = 4",
                "slots = 4\nlisten_ports = [9, 5]",
                "HC2007 cluster.toml:9:1 | the port range 9 to 5 is reversed | write the lower port first",
            ),
            (
                "slots = 4",
                "slots = 4\nlisten_ports = [5000, 5002]",
                "HC2007 cluster.toml:9:1 | 4 slots need as many ports, 5000 to 5002 are 3 | widen the range or lower `slots`",
            ),
            (
                "[[zone]]",
                "launcher_zone = \"moon\"\n[[zone]]",
                "HC2007 cluster.toml:1:1 | there is no zone `moon` | the zones of the file are home",
            ),
            (
                "[[pool]]",
                "[[zone]]\nname = \"home\"\ntrust = \"public\"\nowner = \"us\"\n[[pool]]",
                "HC2007 cluster.toml:6:1 | zone `home` is declared twice | give each zone a name of its own",
            ),
            (
                "trust = \"private\"",
                "trust = \"privat\"",
                "HC2005 cluster.toml:3:9 | `zone[0].trust` must be one of \"private\", \"public\", not the text \"privat\" \
                 | did you mean \"private\"?",
            ),
            (
                "slots = 4",
                "slots = 0",
                "HC2005 cluster.toml:8:9 | `pool[0].slots` must be a whole number between 1 and 65535, not 0 | give \
                 `pool[0].slots` a whole number between 1 and 65535",
            ),
        ];
        for (from, to, expected) in cases {
            assert!(GOOD.contains(from));
            assert_eq!(refusal(GOOD.replacen(from, to, 1)), expected, "{from:?} -> {to:?}");
        }
        assert!(parse(GOOD.to_owned(), Path::new("cluster.toml")).is_ok());
    }
}
