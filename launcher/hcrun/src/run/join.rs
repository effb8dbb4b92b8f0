//! How workers come in: identities of the run, one join bundle per slot, and who starts what.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use hcrun_net::identity::{Authority, Identity, Peer, PeerName, ThrowAwayAuthority, ZoneRoots};
use hcrun_net::join::JoinServer;
use hcrun_protocol::cluster::Pool;
use hcrun_protocol::job::Data;
use hcrun_protocol::{JobId, SlotId, ZoneId};

use super::assign::TICKET_LIFETIME;
use super::local::Start;
use crate::codes;
use crate::failure::{Failure, Result};
use crate::manifests;
use crate::prepare::Prepared;
use crate::run_dir::{RunDir, unwritable};

/// The authorities of a run, one per zone, and the coordinator's own certificate.
pub(super) struct Identities {
    pub(super) authorities: Vec<Arc<dyn Authority>>,
    pub(super) coordinator: Identity,
}

impl Identities {
    /// Made for this run and gone with it.
    pub(super) fn make(prepared: &Prepared, job: JobId) -> Result<Identities> {
        let failed = |error: &dyn std::error::Error| {
            Failure::new(&codes::INTERNAL, "the run's certificates cannot be made").caused_by(error)
        };
        let mut zones: BTreeSet<ZoneId> =
            prepared.plan.placement.workers.iter().map(|worker| worker.zone.clone()).collect();
        let home = prepared.plan.launcher_zone.clone();
        zones.insert(home.clone());
        let mut authorities: BTreeMap<ZoneId, ThrowAwayAuthority> = BTreeMap::new();
        for zone in zones {
            let authority = ThrowAwayAuthority::new(zone.clone(), job).map_err(|error| failed(&error))?;
            authorities.insert(zone, authority);
        }
        let roots =
            authorities.iter().map(|(zone, authority)| (zone.clone(), authority.root_pem())).collect();
        let roots = Arc::new(ZoneRoots::from_pem(roots).map_err(|error| failed(&error))?);
        let authority = &authorities[&home];
        let coordinator =
            Identity::issue(authority, PeerName::Coordinator, roots).map_err(|error| failed(&error))?;
        let shared = |authority: ThrowAwayAuthority| -> Arc<dyn Authority> { Arc::new(authority) };
        Ok(Identities { authorities: authorities.into_values().map(shared).collect(), coordinator })
    }
}

const BUNDLES: &str = "bundles";

/// One file per slot, readable by this user alone.
pub(super) fn write_bundles(
    prepared: &Prepared,
    join: &JoinServer,
    dir: &RunDir,
) -> Result<BTreeMap<SlotId, PathBuf>> {
    let folder = dir.file(BUNDLES);
    remove_bundles(dir);
    std::fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
    let mut bundles = BTreeMap::new();
    for worker in &prepared.plan.placement.workers {
        let peer = Peer::slot(worker.slot.clone(), worker.zone.clone());
        let failed = |error: &dyn std::error::Error| {
            Failure::new(&codes::INTERNAL, "a join bundle cannot be made")
                .at(worker.slot.to_string())
                .caused_by(error)
        };
        let bundle = join.ticket(peer, TICKET_LIFETIME).map_err(|error| failed(&error))?;
        let path = folder.join(format!("{}.json", worker.slot));
        bundle.write(&path).map_err(|error| {
            Failure::new(&codes::RUN_DIRECTORY, "a join bundle cannot be written").caused_by(&error)
        })?;
        bundles.insert(worker.slot.clone(), path);
    }
    Ok(bundles)
}

/// Spent or void by now.
pub(super) fn remove_bundles(dir: &RunDir) {
    let _ = std::fs::remove_dir_all(dir.file(BUNDLES));
}

/// The slots whose workers somebody starts by hand: those of manual pools, and where there is none all.
pub(super) fn by_hand(prepared: &Prepared, waits: bool) -> BTreeSet<SlotId> {
    let slots = || prepared.plan.placement.workers.iter().map(|worker| &worker.slot);
    let manual: BTreeSet<SlotId> = slots().filter(|slot| !super::is_local(prepared, slot)).cloned().collect();
    if waits && manual.is_empty() { slots().cloned().collect() } else { manual }
}

/// What the local backend is to start: each worker with the files that its zone may hold, and no other.
pub(super) fn starts(
    prepared: &Prepared,
    dir: &RunDir,
    bundles: &BTreeMap<SlotId, PathBuf>,
    by_hand: &BTreeSet<SlotId>,
) -> Result<Vec<Start>> {
    let mut starts = Vec::new();
    let workers = prepared.plan.placement.workers.iter();
    for worker in workers.filter(|worker| !by_hand.contains(&worker.slot)) {
        let mut held = Vec::new();
        for id in &worker.shards {
            let shard = prepared.file.job.shards.iter().find(|shard| shard.id == *id);
            if let Some(shard) = shard {
                held.push((id.clone(), absolute(manifests::data_path(&prepared.file, shard)?)));
            }
        }
        starts.push(Start {
            slot: worker.slot.clone(),
            bundle: absolute(bundles[&worker.slot].clone()),
            files: held,
            log: dir.log(&worker.slot.to_string()),
            gpu: prepared.cluster.pool(&worker.slot.pool).is_some_and(Pool::has_gpus),
        });
    }
    Ok(starts)
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// For the people who start workers by hand: what to copy and what to run, per slot.
pub(super) fn instructions(
    prepared: &Prepared,
    bundles: &BTreeMap<SlotId, PathBuf>,
    by_hand: &BTreeSet<SlotId>,
) -> String {
    let mut text = format!(
        "waiting for {} workers; join bundles are secret, work once and for {} minutes",
        by_hand.len(),
        TICKET_LIFETIME.as_secs() / 60
    );
    let ending = match prepared.file.job.data {
        Data::Csv { .. } => "csv",
        Data::Text { .. } => "txt",
    };
    let workers = prepared.plan.placement.workers.iter();
    for worker in workers.filter(|worker| by_hand.contains(&worker.slot)) {
        let (slot, zone) = (&worker.slot, &worker.zone);
        let bundle = shell_quoted(&absolute(bundles[slot].clone()).to_string_lossy());
        // `-p` keeps the mode: a bundle that others can read is refused.
        let mut line = format!("\n{slot}, on a host of zone {zone}:\n  scp -p {bundle} HOST:\n");
        line.push_str(&format!("  hcrun worker --bundle {slot}.json"));
        if !worker.shards.is_empty() {
            let files: Vec<String> = worker.shards.iter().map(|id| format!("{id}.{ending}")).collect();
            line.push_str(&format!(" --data-root DIR    # DIR holds {}", files.join(", ")));
        }
        text.push_str(&line);
    }
    text
}

fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn paths_survive_the_shell() {
        assert_eq!(super::shell_quoted("/home/a-b/x_1.json"), "/home/a-b/x_1.json");
        assert_eq!(super::shell_quoted("/my runs/it's.json"), r"'/my runs/it'\''s.json'");
    }
}
