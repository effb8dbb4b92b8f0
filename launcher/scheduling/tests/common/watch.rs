//! Looks on while a simulation runs and holds every placement against the rules of residency (design, section 2), which are
//! written here anew: public data may be anywhere, internal data in zones of its home's owner, restricted data in the
//! private zones that its manifest names, by default its home alone.

use hcrun_protocol::cluster::{Trust, Zone};
use hcrun_protocol::job::Shard;
use hcrun_protocol::manifest::Sensitivity;
use hcrun_scheduling::State;
use hcrun_scheduling::job::JobSpec;
use hcrun_scheduling::simulator::Observer;

pub(crate) struct Watch {
    shards: Vec<(String, Vec<Shard>)>,
    pub(crate) violations: Vec<String>,
    /// Moments at which a job with data that is not public held devices.
    pub(crate) guarded_placements: u64,
    pub(crate) losses: u64,
}

impl Watch {
    /// What jobs read, whatever the strategy is told.
    pub(crate) fn new(jobs: &[JobSpec]) -> Watch {
        let shards = jobs.iter().map(|job| (job.id.clone(), job.shards.clone())).collect();
        Watch { shards, violations: Vec::new(), guarded_placements: 0, losses: 0 }
    }
}

impl Observer for Watch {
    fn settled(&mut self, state: &State) {
        self.losses = state.jobs().iter().map(|job| u64::from(job.losses)).sum();
        for index in state.running() {
            let job = state.job(index);
            let (_, shards) = self.shards.iter().find(|(id, _)| *id == job.spec.id).expect("a known job");
            let guarded = shards.iter().any(|shard| shard.sensitivity != Sensitivity::Public);
            self.guarded_placements += u64::from(guarded);
            for (node, _) in job.allocation.parts() {
                let zone = &state.fleet.zones[usize::from(state.fleet.nodes[node.0 as usize].zone.0)];
                let wrong = shards.iter().filter(|shard| !may_be_in(shard, zone, &state.fleet.zones));
                let texts = wrong.map(|shard| format!("{} reads {shard:?} in {zone:?}", job.spec.id));
                self.violations.extend(texts);
            }
        }
    }
}

fn may_be_in(shard: &Shard, zone: &Zone, zones: &[Zone]) -> bool {
    match shard.sensitivity {
        Sensitivity::Public => true,
        Sensitivity::Internal => {
            let home = zones.iter().find(|zone| Some(&zone.name) == shard.home.as_ref());
            home.is_some_and(|home| home.owner == zone.owner)
        }
        Sensitivity::Restricted if zone.trust != Trust::Private => false,
        Sensitivity::Restricted if shard.allowed_zones.is_empty() => shard.home.as_ref() == Some(&zone.name),
        Sensitivity::Restricted => shard.allowed_zones.contains(&zone.name),
    }
}
