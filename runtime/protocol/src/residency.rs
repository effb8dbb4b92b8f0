//! Where a shard may be: the rules of residency, decided from a shard's own words and the cluster's zones.
//!
//! The launcher plans with these functions and a worker asks them again about what it is assigned, so a
//! forged or mistaken assignment is refused by the one who would have to open the file. Shards that may be
//! in exactly the same zones form a *residency class*: within one, samples are shuffled and dealt freely.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Trust, Zone};
use crate::ids::{ShardId, ZoneId};
use crate::job::Shard;
use crate::manifest::{Sensitivity, ShardManifest};

/// What a shard says about its residency; borrowed from a manifest or from the job file.
#[derive(Debug, Clone, Copy)]
pub struct Rule<'a> {
    pub shard: &'a ShardId,
    pub sensitivity: Sensitivity,
    pub home: Option<&'a ZoneId>,
    pub allowed_zones: &'a [ZoneId],
}

impl<'a> From<&'a ShardManifest> for Rule<'a> {
    fn from(shard: &'a ShardManifest) -> Rule<'a> {
        Rule {
            shard: &shard.id,
            sensitivity: shard.sensitivity,
            home: shard.home.as_ref(),
            allowed_zones: &shard.allowed_zones,
        }
    }
}

impl<'a> From<&'a Shard> for Rule<'a> {
    fn from(shard: &'a Shard) -> Rule<'a> {
        Rule {
            shard: &shard.id,
            sensitivity: shard.sensitivity,
            home: shard.home.as_ref(),
            allowed_zones: &shard.allowed_zones,
        }
    }
}

/// Why a shard's rule makes no sense in a cluster, or why a zone may not hold it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResidencyError {
    #[error("shard `{shard}` is {sensitivity} and names no home zone: set `home` to the zone that owns it")]
    NoHome { shard: ShardId, sensitivity: Sensitivity },
    #[error("shard `{shard}` names zone `{zone}`, which the cluster does not have: its zones are {zones}")]
    UnknownZone { shard: ShardId, zone: ZoneId, zones: String },
    #[error(
        "shard `{shard}` is restricted and its home `{zone}` is a public zone: move the shard to a private \
         zone, or let its owner declare it `public`"
    )]
    PublicHome { shard: ShardId, zone: ZoneId },
    #[error(
        "shard `{shard}` is restricted and allows `{zone}`, a public zone: only private zones may hold it"
    )]
    PublicAllowed { shard: ShardId, zone: ZoneId },
    #[error("shard `{shard}` is {sensitivity} and lists `allowed_zones`: only a restricted shard may")]
    AllowedZonesUnused { shard: ShardId, sensitivity: Sensitivity },
    #[error("zone `{zone}` may not hold shard `{shard}` ({rule})")]
    NotAllowed { shard: ShardId, zone: ZoneId, rule: String },
}

/// Those of `zones` that may hold a shard, in name order; never empty.
///
/// # Errors
/// A rule that contradicts itself or the zones; the text says what to change.
pub fn allowed_zones<'a>(
    rule: impl Into<Rule<'a>>,
    zones: &[Zone],
) -> Result<BTreeSet<ZoneId>, ResidencyError> {
    let rule: Rule<'a> = rule.into();
    let names = |zones: &mut dyn Iterator<Item = &Zone>| zones.map(|zone| zone.name.clone()).collect();
    if rule.sensitivity != Sensitivity::Restricted && !rule.allowed_zones.is_empty() {
        let (shard, sensitivity) = (rule.shard.clone(), rule.sensitivity);
        return Err(ResidencyError::AllowedZonesUnused { shard, sensitivity });
    }
    match rule.sensitivity {
        Sensitivity::Public => {
            rule.home.map(|home| rule.zone(home, zones)).transpose()?;
            Ok(names(&mut zones.iter()))
        }
        Sensitivity::Internal => {
            let home = rule.home_zone(zones)?;
            Ok(names(&mut zones.iter().filter(|zone| zone.owner == home.owner)))
        }
        Sensitivity::Restricted => rule.restricted_zones(zones),
    }
}

/// Whether `zone` may hold the shard. A worker asks this about every manifest it is assigned, with the
/// zone that its own certificate proves.
///
/// # Errors
/// [`ResidencyError::NotAllowed`], or a rule that makes no sense: both mean *do not open it*.
pub fn may_hold<'a>(
    rule: impl Into<Rule<'a>>,
    zone: &ZoneId,
    cluster: &Cluster,
) -> Result<(), ResidencyError> {
    let rule: Rule<'a> = rule.into();
    if allowed_zones(rule, &cluster.zones)?.contains(zone) {
        return Ok(());
    }
    Err(ResidencyError::NotAllowed { shard: rule.shard.clone(), zone: zone.clone(), rule: rule.text() })
}

impl Rule<'_> {
    /// The rule in words, as the plan prints it: ``restricted: home `private` alone``.
    pub fn text(&self) -> String {
        let home = self.home.map_or("nobody", ZoneId::as_str);
        match self.sensitivity {
            Sensitivity::Public => "public: any zone".to_owned(),
            Sensitivity::Internal => format!("internal: zones of the owner of `{home}`"),
            Sensitivity::Restricted if self.allowed_zones.is_empty() => {
                format!("restricted: home `{home}` alone")
            }
            Sensitivity::Restricted => {
                let others: Vec<String> = self.allowed_zones.iter().map(|zone| format!("`{zone}`")).collect();
                format!("restricted: home `{home}` and {}", others.join(", "))
            }
        }
    }

    fn restricted_zones(&self, all: &[Zone]) -> Result<BTreeSet<ZoneId>, ResidencyError> {
        let home = self.home_zone(all)?;
        if home.trust != Trust::Private {
            return Err(ResidencyError::PublicHome { shard: self.shard.clone(), zone: home.name.clone() });
        }
        let mut zones = BTreeSet::from([home.name.clone()]);
        for name in self.allowed_zones {
            if self.zone(name, all)?.trust != Trust::Private {
                return Err(ResidencyError::PublicAllowed { shard: self.shard.clone(), zone: name.clone() });
            }
            zones.insert(name.clone());
        }
        Ok(zones)
    }

    fn home_zone<'c>(&self, all: &'c [Zone]) -> Result<&'c Zone, ResidencyError> {
        let (shard, sensitivity) = (self.shard, self.sensitivity);
        let home = self.home.ok_or_else(|| ResidencyError::NoHome { shard: shard.clone(), sensitivity })?;
        self.zone(home, all)
    }

    fn zone<'c>(&self, name: &ZoneId, all: &'c [Zone]) -> Result<&'c Zone, ResidencyError> {
        all.iter().find(|zone| zone.name == *name).ok_or_else(|| {
            let zones: Vec<String> = all.iter().map(|zone| format!("`{}`", zone.name)).collect();
            let (shard, zone) = (self.shard.clone(), name.clone());
            ResidencyError::UnknownZone { shard, zone, zones: zones.join(", ") }
        })
    }
}

/// Shards that may be in exactly the same zones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidencyClass {
    pub zones: BTreeSet<ZoneId>,
    /// In the order of the job file. The samples of the class are those of its shards, in this order.
    pub shards: Vec<ShardId>,
}

/// Groups shards into residency classes, the one with the fewest zones first, then by zone names.
///
/// # Errors
/// The first shard whose rule makes no sense in this cluster.
pub fn classes<'a, R>(
    shards: impl IntoIterator<Item = R>,
    cluster: &Cluster,
) -> Result<Vec<ResidencyClass>, ResidencyError>
where
    R: Into<Rule<'a>>,
{
    let mut by_zones: BTreeMap<(usize, BTreeSet<ZoneId>), Vec<ShardId>> = BTreeMap::new();
    for shard in shards {
        let rule: Rule<'a> = shard.into();
        let zones = allowed_zones(rule, &cluster.zones)?;
        by_zones.entry((zones.len(), zones)).or_default().push(rule.shard.clone());
    }
    Ok(by_zones.into_iter().map(|((_, zones), shards)| ResidencyClass { zones, shards }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone_id(name: &str) -> ZoneId {
        ZoneId::new(name).unwrap()
    }

    /// Two private zones of one owner, a private one of another, a public one.
    fn cluster() -> Cluster {
        let zone = |name: &str, trust, owner: &str| Zone::new(zone_id(name), trust, owner);
        let zones = vec![
            zone("cellar", Trust::Private, "us"),
            zone("attic", Trust::Private, "us"),
            zone("partner", Trust::Private, "them"),
            zone("cloud", Trust::Public, "cloud"),
        ];
        Cluster {
            zones,
            pools: Vec::new(),
            launcher_zone: None,
            network: crate::cluster::Network::default(),
            prices: None,
        }
    }

    fn shard(id: &str, sensitivity: Sensitivity, home: Option<&str>, allowed: &[&str]) -> Shard {
        Shard {
            id: ShardId::new(id).unwrap(),
            path: None,
            sensitivity,
            home: home.map(zone_id),
            allowed_zones: allowed.iter().map(|name| zone_id(name)).collect(),
        }
    }

    fn zones(names: &[&str]) -> BTreeSet<ZoneId> {
        names.iter().map(|name| zone_id(name)).collect()
    }

    #[test]
    fn each_sensitivity_has_its_zones() {
        use Sensitivity::{Internal, Public, Restricted};
        let cluster = cluster();
        for (shard, expected) in [
            (shard("a", Public, None, &[]), vec!["attic", "cellar", "cloud", "partner"]),
            (shard("a", Internal, Some("cellar"), &[]), vec!["attic", "cellar"]),
            (shard("a", Internal, Some("cloud"), &[]), vec!["cloud"]),
            (shard("a", Restricted, Some("cellar"), &[]), vec!["cellar"]),
            (shard("a", Restricted, Some("cellar"), &["partner"]), vec!["cellar", "partner"]),
        ] {
            assert_eq!(allowed_zones(&shard, &cluster.zones).unwrap(), zones(&expected), "{shard:?}");
        }
    }

    #[test]
    fn a_rule_without_sense_is_refused() {
        use Sensitivity::{Internal, Public, Restricted};
        for (shard, expected) in [
            (shard("a", Restricted, None, &[]), "names no home zone"),
            (shard("a", Internal, None, &[]), "names no home zone"),
            (shard("a", Restricted, Some("cloud"), &[]), "its home `cloud` is a public zone"),
            (shard("a", Restricted, Some("cellar"), &["cloud"]), "allows `cloud`, a public zone"),
            (shard("a", Restricted, Some("moon"), &[]), "names zone `moon`"),
            (shard("a", Restricted, Some("cellar"), &["moon"]), "names zone `moon`"),
            (shard("a", Public, Some("moon"), &[]), "names zone `moon`"),
            (shard("a", Internal, Some("cellar"), &["attic"]), "only a restricted shard may"),
        ] {
            let error = allowed_zones(&shard, &cluster().zones).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_worker_refuses_what_its_zone_may_not_hold() {
        let cluster = cluster();
        let secret = shard("a", Sensitivity::Restricted, Some("cellar"), &[]);
        assert_eq!(may_hold(&secret, &zone_id("cellar"), &cluster), Ok(()));
        for zone in ["attic", "partner", "cloud"] {
            let error = may_hold(&secret, &zone_id(zone), &cluster).unwrap_err();
            assert!(matches!(error, ResidencyError::NotAllowed { .. }), "{zone} was let in: {error}");
        }
        // A zone that the cluster does not know holds nothing, not even public data.
        let open = shard("b", Sensitivity::Public, None, &[]);
        assert!(may_hold(&open, &zone_id("moon"), &cluster).is_err());
    }

    #[test]
    fn classes_are_grouped_and_the_most_constrained_comes_first() {
        use Sensitivity::{Internal, Public, Restricted};
        let shards = [
            shard("open", Public, None, &[]),
            shard("ours", Internal, Some("attic"), &[]),
            shard("partner", Restricted, Some("partner"), &[]),
            shard("secret-2", Restricted, Some("cellar"), &[]),
            shard("secret-1", Restricted, Some("cellar"), &[]),
            shard("both", Restricted, Some("cellar"), &["attic"]),
        ];
        let classes = classes(&shards, &cluster()).unwrap();
        let ids: Vec<Vec<&str>> =
            classes.iter().map(|class| class.shards.iter().map(ShardId::as_str).collect()).collect();
        // `ours` (by owner) and `both` (by name) have equal zones, so they are one class.
        assert_eq!(ids, [vec!["secret-2", "secret-1"], vec!["partner"], vec!["ours", "both"], vec!["open"]]);
    }

    #[test]
    fn rules_are_put_in_words() {
        let text = |shard: &Shard| Rule::from(shard).text();
        let restricted = shard("a", Sensitivity::Restricted, Some("cellar"), &[]);
        assert_eq!(text(&restricted), "restricted: home `cellar` alone");
        let shared = shard("a", Sensitivity::Restricted, Some("cellar"), &["attic", "partner"]);
        assert_eq!(text(&shared), "restricted: home `cellar` and `attic`, `partner`");
    }
}
