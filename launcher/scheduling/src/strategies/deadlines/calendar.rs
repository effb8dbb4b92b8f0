//! What is reserved of one pool from now on.

use std::collections::BTreeMap;

use hcrun_protocol::time::Time;

use super::share::{Segment, Stretch};

/// Devices reserved, as steps over time. What lies before [`Self::advance`] is forgotten.
#[derive(Debug, Clone, Default)]
pub(super) struct Calendar {
    pub(super) capacity: u64,
    at: Time,
    reserved: i64,
    steps: BTreeMap<Time, i64>,
}

impl Calendar {
    pub(super) fn advance(&mut self, now: Time) {
        while let Some(step) = self.steps.first_entry().filter(|step| *step.key() <= now) {
            self.reserved += step.remove();
        }
        self.at = self.at.max(now);
    }

    pub(super) fn reserve(&mut self, segment: &Segment) {
        self.change(segment, i64::from(segment.gang.devices));
    }

    /// Takes back what [`Self::reserve`] was given.
    pub(super) fn release(&mut self, segment: &Segment) {
        self.change(segment, -i64::from(segment.gang.devices));
    }

    fn change(&mut self, segment: &Segment, devices: i64) {
        if segment.to <= self.at || segment.to <= segment.from {
            return;
        }
        if segment.from <= self.at {
            self.reserved += devices;
        } else {
            self.step(segment.from, devices);
        }
        self.step(segment.to, -devices);
    }

    fn step(&mut self, at: Time, devices: i64) {
        let step = self.steps.entry(at).or_insert(0);
        *step += devices;
        if *step == 0 {
            self.steps.remove(&at);
        }
    }

    /// From now until `until`.
    pub(super) fn stretches(&self, until: Time) -> Vec<Stretch> {
        let (mut from, mut reserved, mut stretches) = (self.at, self.reserved, Vec::new());
        for (to, devices) in self.steps.iter().map(|(at, devices)| (*at, *devices)).chain([(until, 0)]) {
            let to = to.min(until);
            if to > from {
                stretches.push(Stretch { from, to, free: self.free(reserved) });
                from = to;
            }
            if to == until {
                break;
            }
            reserved += devices;
        }
        stretches
    }

    /// Until when `devices` more than those reserved are there; none: always.
    pub(super) fn there_until(&self, devices: u64) -> Option<Time> {
        if self.free(self.reserved) < devices {
            return Some(self.at);
        }
        let mut reserved = self.reserved;
        let short = self.steps.iter().find(|(_, step)| {
            reserved += **step;
            self.free(reserved) < devices
        });
        short.map(|(at, _)| *at)
    }

    fn free(&self, reserved: i64) -> u64 {
        self.capacity.saturating_sub(u64::try_from(reserved).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use hcrun_protocol::time::Span;

    use super::*;
    use crate::fleet::PoolIndex;
    use crate::strategies::deadlines::share::Gang;
    use crate::work::Rate;

    fn segment(from: u64, to: u64, devices: u32) -> Segment {
        let gang = Gang { devices, rate: Rate::ONE };
        Segment { pool: PoolIndex(0), gang, from: Time(from), to: Time(to), over: Span(0) }
    }

    fn free(calendar: &Calendar, until: u64) -> Vec<(u64, u64, u64)> {
        let stretches = calendar.stretches(Time(until));
        stretches.iter().map(|stretch| (stretch.from.0, stretch.to.0, stretch.free)).collect()
    }

    #[test]
    fn what_is_reserved_is_not_free_until_it_is_released() {
        let mut calendar = Calendar { capacity: 4, ..Calendar::default() };
        let (a, b) = (segment(10, 30, 3), segment(20, 40, 1));
        calendar.reserve(&a);
        calendar.reserve(&b);
        assert_eq!(free(&calendar, 50), [(0, 10, 4), (10, 20, 1), (20, 30, 0), (30, 40, 3), (40, 50, 4)]);
        assert_eq!(free(&calendar, 15), [(0, 10, 4), (10, 15, 1)]);
        let there = |devices| calendar.there_until(devices).map(|time| time.0);
        assert_eq!((there(1), there(2), there(5)), (Some(20), Some(10), Some(0)));
        calendar.advance(Time(25));
        assert_eq!(free(&calendar, 50), [(25, 30, 0), (30, 40, 3), (40, 50, 4)]);
        calendar.release(&a);
        calendar.release(&b);
        assert_eq!(free(&calendar, 50), [(25, 50, 4)]);
        assert_eq!(calendar.there_until(4), None);
    }
}
