//! A decision that places every job anew, as if nothing ran: what simulators do that restart all jobs at each event.

use super::queue::Walk;
use super::walk::{Placed, place_waiting, same};
use super::{Action, Decision, Reason, Strategy};
use crate::state::State;

impl Strategy {
    /// Walks waiting and running jobs in one line over an empty fleet. Running jobs that find a place start again
    /// there, even where they were.
    pub(super) fn place_afresh(&mut self, state: &State, decisions: &mut Vec<Decision>) {
        for (key, index) in &mut self.running {
            *key = self.order.key(state, state.job(*index));
        }
        self.running.sort();
        let mut open = state.capacity().clone();
        let (size, mode, place) = (&*self.size, &*self.mode, &mut *self.place);
        let (mut starts, mut moves) = (Vec::new(), Vec::new());
        let mut running = self.running.as_slice();
        let mut walk: Walk<'_> = self.queue.walk();
        loop {
            walk.skip_larger(open.total());
            let waiting = walk.peek();
            if let Some(((key, index), rest)) = running.split_first()
                && waiting.is_none_or(|(first, job, _)| (*key, *index) < (first, job))
            {
                running = rest;
                match place_waiting(size, mode, place, state, &open, *index) {
                    Placed::At(allocation) => {
                        open.take(&state.fleet, &allocation);
                        let (action, reason) = (Action::Move(allocation), Reason::Next);
                        moves.push(Decision { job: *index, action, reason });
                    }
                    _ => decisions.push(Decision {
                        job: *index,
                        action: Action::Stop,
                        reason: Reason::Overtaken,
                    }),
                }
                continue;
            }
            let Some((key, index, request)) = waiting else { break };
            match place_waiting(size, mode, place, state, &open, index) {
                Placed::At(allocation) => {
                    open.take(&state.fleet, &allocation);
                    let reason =
                        walk.passed_before(key, index).map_or(Reason::Next, |of| Reason::Ahead { of });
                    starts.push(Decision { job: index, action: Action::Start(allocation), reason });
                    walk.next();
                }
                Placed::Nowhere(want) if same(want, request) => walk.skip_lines(|other| *other == request),
                Placed::Nowhere(_) | Placed::Paused => walk.pass(),
            }
        }
        decisions.append(&mut moves);
        decisions.append(&mut starts);
    }
}
