//! Bytes of state that cross a border: checkpoints on their way to the launcher, and back on a resume.

use hcrun_protocol::ZoneId;
use hcrun_protocol::exchange::ExchangePlan;
use hcrun_protocol::frame::FrameClass;
use hcrun_protocol::placement::Placement;
use hcrun_protocol::plan::{Traffic, border};
use hcrun_protocol::state_transfer::frame_bytes;

use super::Inputs;

pub(crate) struct StateTraffic {
    pub(crate) checkpoint: Traffic,
    pub(crate) resume: Traffic,
}

pub(crate) fn state(
    inputs: &Inputs<'_>,
    placement: &Placement,
    launcher: &ZoneId,
    checkpoint: &ZoneId,
    exchange: &ExchangePlan,
) -> StateTraffic {
    let arenas = inputs.state_arenas as u64;
    let mut traffic = StateTraffic { checkpoint: Traffic::new(), resume: Traffic::new() };
    for worker in placement.workers.iter().filter(|worker| worker.zone != *launcher) {
        let whole = frame_bytes(inputs.profile.arena_elems);
        add(&mut traffic.resume, border(launcher, &worker.zone), arenas * whole);
        if worker.zone == *checkpoint {
            let owned = exchange.gradients().iter().flat_map(|round| round.schedule.owned(worker.rank));
            let owned: u64 = owned.map(|range| frame_bytes(range.len())).sum();
            add(&mut traffic.checkpoint, border(checkpoint, launcher), arenas * owned);
        }
    }
    traffic
}

fn add(traffic: &mut Traffic, border: String, bytes: u64) {
    let classes = traffic.entry(border).or_default();
    *classes.entry(FrameClass::Parameters.name().to_owned()).or_default() += bytes;
}
