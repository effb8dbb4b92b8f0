//! A decision over all jobs at once: running jobs are resized, paused or left alone, waiting ones started.

use super::{Action, Decision, Reason, Strategy, Want, parts};
use crate::job::JobIndex;
use crate::state::{Job, Phase, State};

impl Strategy {
    pub(super) fn decide_jointly(&mut self, state: &State, decisions: &mut Vec<Decision>) {
        let active = self.active(state);
        self.size.prepare(state, &active);
        let (mut free, mut placing) = (state.free().clone(), Vec::new());
        for index in active {
            let job = state.job(index);
            let want = self.want(state, index, job);
            match (job.phase == Phase::Running, want) {
                (true, Ok(want)) if !holds(state, job, want) => {
                    free.give_back(&state.fleet, &job.allocation);
                    placing.push((index, want));
                }
                (true, Err(why)) => {
                    free.give_back(&state.fleet, &job.allocation);
                    decisions.push(Decision {
                        job: index,
                        action: Action::Stop,
                        reason: Reason::Paused(why),
                    });
                }
                (false, Ok(want)) => placing.push((index, want)),
                _ => {}
            }
        }
        // Large gangs first: small ones fit into what they leave.
        placing.sort_by_key(|(_, want)| std::cmp::Reverse(want.devices));
        let (mut moves, mut starts) = (Vec::new(), Vec::new());
        for (index, want) in placing {
            let job = state.job(index);
            let placed = parts::place(&mut *self.place, state, &free, job, &want);
            if let Some(allocation) = &placed {
                free.take(&state.fleet, allocation);
            }
            match (job.phase == Phase::Running, placed) {
                (true, Some(allocation)) if allocation == job.allocation => {}
                (true, Some(allocation)) => {
                    let reason = Reason::Resized { from: job.allocation.devices(), to: allocation.devices() };
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

    fn active(&self, state: &State) -> Vec<JobIndex> {
        let all = self.queue.jobs().chain(state.running());
        let mut active: Vec<_> = all.map(|index| (self.order.key(state, state.job(index)), index)).collect();
        active.sort_unstable();
        active.into_iter().map(|(_, index)| index).collect()
    }

    fn want(&self, state: &State, index: JobIndex, job: &Job) -> Result<Want, &'static str> {
        let want = self.size.size(state, index, job)?;
        let pools = want.pools.and(self.mode.pools(state, index, job)).and(job.pools);
        if pools.is_empty() { Err("none of its pools may be used now") } else { Ok(Want { pools, ..want }) }
    }
}

fn holds(state: &State, job: &Job, want: Want) -> bool {
    let mut pools = job.allocation.parts().iter().map(|(node, _)| state.fleet.node(*node).pool);
    job.allocation.devices() == want.devices && pools.all(|pool| want.pools.contains(pool))
}
