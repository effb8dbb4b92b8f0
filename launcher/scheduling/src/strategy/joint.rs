//! A decision over all jobs at once: running jobs are resized, paused or left alone, waiting ones started.

use super::{Action, Decision, Reason, Strategy, Want, parts};
use crate::fleet::PoolSet;
use crate::free::Free;
use crate::job::JobIndex;
use crate::state::{Job, Phase, State};

/// A job that gets devices anew.
struct Placing {
    index: JobIndex,
    want: Want,
    /// The job that it makes room for, if that is why.
    room_for: Option<JobIndex>,
}

impl Strategy {
    pub(super) fn decide_jointly(&mut self, state: &State, decisions: &mut Vec<Decision>) {
        let active = self.active(state);
        self.size.prepare(state, &active);
        let mut free = state.free().clone();
        let (mut keep, mut placing) = (Vec::new(), Vec::new());
        for (index, pools) in active {
            let job = state.job(index);
            let want = self.want(state, index, job, pools);
            match (job.phase == Phase::Running, want) {
                (true, Ok(want)) if holds(state, job, want) => keep.push((index, want)),
                (true, Err(why)) => {
                    free.give_back(&state.fleet, &job.allocation);
                    let reason = Reason::Paused(why);
                    decisions.push(Decision { job: index, action: Action::Stop, reason });
                }
                (is_running, Ok(want)) => {
                    if is_running {
                        free.give_back(&state.fleet, &job.allocation);
                    }
                    placing.push(Placing { index, want, room_for: None });
                }
                (false, Err(_)) => {}
            }
        }
        self.place_jointly(state, free, keep, placing, decisions);
    }

    fn place_jointly(
        &mut self,
        state: &State,
        mut free: Free,
        mut keep: Vec<(JobIndex, Want)>,
        mut placing: Vec<Placing>,
        decisions: &mut Vec<Decision>,
    ) {
        // Large gangs last, as they are taken from the end: small ones fit into what they leave.
        placing.sort_by_key(|job| job.want.devices);
        let (mut moves, mut starts) = (Vec::new(), Vec::new());
        while let Some(Placing { index, want, room_for }) = placing.pop() {
            let job = state.job(index);
            let kept: Vec<JobIndex> = keep.iter().map(|(index, _)| *index).collect();
            for moved in self.place.make_room(state, &free, &kept, &want) {
                let Some(position) = keep.iter().position(|(index, _)| *index == moved) else { continue };
                let (_, want) = keep.remove(position);
                free.give_back(&state.fleet, &state.job(moved).allocation);
                let at = placing.partition_point(|job| job.want.devices <= want.devices);
                placing.insert(at, Placing { index: moved, want, room_for: Some(index) });
            }
            let placed = parts::place(&mut *self.place, state, &free, job, &want);
            if let Some(allocation) = &placed {
                free.take(&state.fleet, allocation);
            }
            match (job.phase == Phase::Running, placed) {
                (true, Some(allocation)) if allocation == job.allocation => {}
                (true, Some(allocation)) => {
                    let (from, to) = (job.allocation.devices(), allocation.devices());
                    let reason = room_for.map_or(Reason::Resized { from, to }, |to| Reason::MakesRoom { to });
                    moves.push(Decision { job: index, action: Action::Move(allocation), reason });
                }
                (true, None) if free.has(&job.allocation) => free.take(&state.fleet, &job.allocation),
                (true, None) => {
                    decisions.push(Decision { job: index, action: Action::Stop, reason: Reason::Overtaken });
                }
                (false, Some(allocation)) => {
                    let action = Action::Start(allocation);
                    starts.push(Decision { job: index, action, reason: Reason::Next });
                }
                (false, None) => {}
            }
        }
        decisions.append(&mut moves);
        decisions.append(&mut starts);
    }

    fn active(&self, state: &State) -> Vec<(JobIndex, PoolSet)> {
        let all = self.queue.jobs().chain(state.running());
        let mut active: Vec<_> = all.map(|index| (self.order.key(state, state.job(index)), index)).collect();
        active.sort_unstable();
        let pools = |index| {
            let job = state.job(index);
            self.mode.pools(state, index, job).and(job.pools)
        };
        active.into_iter().map(|(_, index)| (index, pools(index))).collect()
    }

    fn want(
        &self,
        state: &State,
        index: JobIndex,
        job: &Job,
        allowed: PoolSet,
    ) -> Result<Want, &'static str> {
        let want = self.size.size(state, index, job)?;
        let pools = want.pools.and(allowed);
        if pools.is_empty() { Err("none of its pools may be used now") } else { Ok(Want { pools, ..want }) }
    }
}

fn holds(state: &State, job: &Job, want: Want) -> bool {
    let mut pools = job.allocation.parts().iter().map(|(node, _)| state.fleet.node(*node).pool);
    job.allocation.devices() == want.devices && pools.all(|pool| want.pools.contains(pool))
}
