//! Histories of spot capacity: which of some slots were held, and when they were lost and won back.

mod bamboo;
mod hazard;
mod skypilot;

use hcrun_protocol::time::{Span, Time};

use crate::fleet::{Fleet, NodeIndex, PoolIndex};
use crate::simulator::NodeChange;

pub use bamboo::{counts, fleet};
pub use hazard::Hazard;
pub use skypilot::skypilot;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpotError {
    #[error("line {line}: {why}")]
    Line { line: usize, why: String },
    #[error("the history is empty: nothing is ever there")]
    Empty,
    #[error("the history has {got} slots, {MAX_SLOTS} is the most")]
    TooManySlots { got: u64 },
}

/// Most slots of one history.
pub const MAX_SLOTS: u32 = 4_096;

/// One slot is won or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flip {
    pub at: Time,
    pub slot: u32,
    pub up: bool,
}

/// Slots of one zone over some time. It goes round: after its end comes its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    pub slots: u32,
    pub length: Span,
    /// At time zero, by slot.
    first: Vec<bool>,
    /// By time, within the length.
    flips: Vec<Flip>,
}

impl History {
    /// From flips in order of time; those that change nothing are left out.
    pub(crate) fn new(length: Span, first: Vec<bool>, flips: Vec<Flip>) -> Result<History, SpotError> {
        let got = first.len() as u64;
        let slots = u32::try_from(got).ok().filter(|slots| *slots <= MAX_SLOTS);
        let slots = slots.ok_or(SpotError::TooManySlots { got })?;
        if length == Span(0) || (flips.iter().all(|flip| !flip.up) && first.iter().all(|up| !up)) {
            return Err(SpotError::Empty);
        }
        let mut now = first.clone();
        let mut flips = flips;
        flips.retain(|flip| {
            let was = std::mem::replace(&mut now[flip.slot as usize], flip.up);
            was != flip.up && flip.at.0 < length.0
        });
        Ok(History { slots, length, first, flips })
    }

    /// Which slots are up at `at`, counted round.
    fn state(&self, at: Span) -> Vec<bool> {
        let at = at.0 % self.length.0;
        let mut up = self.first.clone();
        for flip in self.flips.iter().take_while(|flip| flip.at.0 <= at) {
            up[flip.slot as usize] = flip.up;
        }
        up
    }

    /// The changes of a pool whose node `i` is slot `i`, from `offset` of this history on, until `until` of the simulation.
    /// Nodes beyond the slots are never there; slots beyond the nodes do not matter.
    pub fn changes(
        &self,
        fleet: &Fleet,
        pool: PoolIndex,
        offset: Span,
        until: Time,
        notice: Span,
    ) -> Vec<NodeChange> {
        let nodes: Vec<NodeIndex> = fleet.nodes_of(pool).collect();
        let change = |at, slot: usize, up| {
            let node = *nodes.get(slot)?;
            let devices = if up { fleet.node(node).devices } else { 0 };
            Some(NodeChange { at, node, devices, notice })
        };
        let mut now = self.state(offset);
        now.resize(nodes.len().max(now.len()), false);
        let mut changes: Vec<NodeChange> = now
            .iter()
            .enumerate()
            .filter(|(_, up)| !**up)
            .filter_map(|(slot, up)| change(Time(0), slot, *up))
            .collect();
        let begin = offset.0 % self.length.0;
        let mut round_start = 0u64;
        loop {
            // Simulation time of this round's beginning is `round_start - begin`; it may lie before zero.
            let moment = |at: u64| (round_start + at).checked_sub(begin).map(Time);
            let mut set = |at: u64, slot: usize, up: bool, changes: &mut Vec<NodeChange>| {
                let Some(moment) = moment(at).filter(|moment| moment.0 > 0 && *moment <= until) else {
                    return;
                };
                if std::mem::replace(&mut now[slot], up) != up {
                    changes.extend(change(moment, slot, up));
                }
            };
            if round_start > 0 {
                for (slot, up) in self.first.iter().enumerate() {
                    set(0, slot, *up, &mut changes);
                }
            }
            for flip in &self.flips {
                set(flip.at.0, flip.slot as usize, flip.up, &mut changes);
            }
            round_start += self.length.0;
            if round_start - begin > until.0 {
                return changes;
            }
        }
    }

    /// How often a slot is lost, in the mean, for an hour that it is up.
    pub fn losses_per_hour(&self) -> f64 {
        let (mut up, mut at, mut held, mut lost) = (self.first.clone(), 0, 0u128, 0u64);
        let count = |up: &[bool]| up.iter().filter(|up| **up).count() as u128;
        for flip in &self.flips {
            held += count(&up) * u128::from(flip.at.0 - at);
            at = flip.at.0;
            lost += u64::from(!flip.up);
            up[flip.slot as usize] = flip.up;
        }
        held += count(&up) * u128::from(self.length.0 - at);
        if held == 0 { 0.0 } else { lost as f64 * 3_600e6 / held as f64 }
    }

    /// Share of the time during which at least `slots` are up.
    pub fn availability(&self, slots: u32) -> f64 {
        let (mut up, mut at, mut held) = (self.first.clone(), 0, 0u64);
        let enough = |up: &[bool]| up.iter().filter(|up| **up).count() >= slots as usize;
        for flip in &self.flips {
            held += if enough(&up) { flip.at.0 - at } else { 0 };
            at = flip.at.0;
            up[flip.slot as usize] = flip.up;
        }
        held += if enough(&up) { self.length.0 - at } else { 0 };
        held as f64 / self.length.0 as f64
    }
}

/// Brings a count of slots up to or down to `wanted`: the lowest free slot is won, the one won last is lost.
struct Slots {
    up: Vec<bool>,
    order: Vec<u32>,
}

impl Slots {
    fn new(count: u32) -> Slots {
        Slots { up: vec![false; count as usize], order: Vec::new() }
    }

    fn win(&mut self) -> Option<u32> {
        let slot = u32::try_from(self.up.iter().position(|up| !up)?).ok()?;
        self.up[slot as usize] = true;
        self.order.push(slot);
        Some(slot)
    }

    fn lose(&mut self, slot: u32) {
        self.up[slot as usize] = false;
        self.order.retain(|held| *held != slot);
    }

    fn set_count(&mut self, at: Time, wanted: u32, flips: &mut Vec<Flip>) {
        while self.order.len() > wanted as usize {
            let Some(slot) = self.order.last().copied() else { return };
            self.lose(slot);
            flips.push(Flip { at, slot, up: false });
        }
        while self.order.len() < wanted as usize {
            let Some(slot) = self.win() else { return };
            flips.push(Flip { at, slot, up: true });
        }
    }
}

/// Flips at time zero are the state that a history begins with.
fn split_first(slots: u32, flips: Vec<Flip>) -> (Vec<bool>, Vec<Flip>) {
    let mut first = vec![false; slots as usize];
    let (begin, rest): (Vec<Flip>, Vec<Flip>) = flips.into_iter().partition(|flip| flip.at == Time::ZERO);
    begin.iter().for_each(|flip| first[flip.slot as usize] = flip.up);
    (first, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        let flip = |at, slot, up| Flip { at: Time(at), slot, up };
        History::new(Span(100), vec![true, false], vec![flip(30, 0, false), flip(60, 1, true)]).unwrap()
    }

    #[test]
    fn a_history_goes_round_from_any_offset() {
        let fleet = Fleet::uniform(2, 1).unwrap();
        let from = |offset, until| {
            let changes = history().changes(&fleet, PoolIndex(0), Span(offset), Time(until), Span(0));
            changes.iter().map(|change| (change.at.0, change.node.0, change.devices)).collect::<Vec<_>>()
        };
        assert_eq!(from(0, 100), [(0, 1, 0), (30, 0, 0), (60, 1, 1), (100, 0, 1), (100, 1, 0)]);
        assert_eq!(from(50, 90), [(0, 0, 0), (0, 1, 0), (10, 1, 1), (50, 0, 1), (50, 1, 0), (80, 0, 0)]);
        assert_eq!(from(250, 90), from(50, 90));
    }

    #[test]
    fn losses_are_counted_by_the_hour_that_a_slot_is_up() {
        // One loss in 30 + 40 microseconds of the two slots.
        assert!((history().losses_per_hour() - 3_600e6 / 70.0).abs() < 1e-6);
    }

    #[test]
    fn availability_counts_slots_at_once() {
        assert!((history().availability(1) - 0.7).abs() < 1e-12);
        assert!(history().availability(2).abs() < 1e-12);
    }
}
