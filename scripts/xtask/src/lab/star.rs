//! The emulated network: every host has an access link to one point, where all of them meet.
//!
//! A packet waits in its sender's uplink, is lost or delayed on the way, and waits again in its receiver's downlink. A
//! function of its inputs and the seed: time comes as `now`, since some start, and must not go back.

use std::collections::BTreeMap;
use std::time::Duration;

use hcrun_protocol::{Bytes, Prng};
use serde::Serialize;

use super::limiter::Limiter;
use super::path::{Link, Path};
use super::units::BitsPerSec;

/// Index of a host, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Host(pub(super) usize);

pub(super) struct Star<P> {
    hosts: Vec<AccessLink>,
    /// From the host to the host, row by row.
    paths: Vec<Path>,
    /// By time; what is of the same time stays in order of its number.
    events: BTreeMap<(Duration, u64), Event<P>>,
    event_count: u64,
}

struct AccessLink {
    up: Limiter,
    down: Limiter,
    counters: Counters,
}

struct Event<P> {
    to: Host,
    packet: P,
    stage: Stage,
}

enum Stage {
    ReachesDownlink,
    ReachesHost,
}

/// What one host sent, got and lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counters {
    pub(super) sent_packets: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_packets: u64,
    pub(super) received_bytes: u64,
    /// Of what it sent: dropped by its own full queue.
    pub(super) uplink_drops: u64,
    /// Of what it sent: lost on the way.
    pub(super) lost: u64,
    /// Of what was sent to it: dropped by the full queue towards it.
    pub(super) downlink_drops: u64,
    /// Of what it sent: to nobody in this network.
    pub(super) unroutable: u64,
}

impl<P: AsRef<[u8]>> Star<P> {
    pub(super) fn new(hosts: usize, rate: BitsPerSec, queue: Bytes, link: Link, seed: u64) -> Star<P> {
        let access = || AccessLink {
            up: Limiter::new(rate, queue),
            down: Limiter::new(rate, queue),
            counters: Counters::default(),
        };
        let paths = (0..hosts * hosts).map(|index| Path::new(link, Prng::keyed(&[seed, index as u64])));
        Star {
            hosts: (0..hosts).map(|_| access()).collect(),
            paths: paths.collect(),
            events: BTreeMap::new(),
            event_count: 0,
        }
    }

    /// Takes a packet of `from`. `to` is none where the packet is for nobody in this network.
    pub(super) fn send(&mut self, now: Duration, from: Host, to: Option<Host>, packet: P) {
        let path = to.map_or(0, |to| from.0 * self.hosts.len() + to.0);
        let AccessLink { up, counters, .. } = &mut self.hosts[from.0];
        let bytes = packet.as_ref().len();
        counters.sent_packets += 1;
        counters.sent_bytes += bytes as u64;
        let Some(to) = to else {
            counters.unroutable += 1;
            return;
        };
        let Some(departure) = up.send(now, bytes) else {
            counters.uplink_drops += 1;
            return;
        };
        match self.paths[path].travel(departure) {
            Some(arrival) => self.schedule(arrival, Event { to, packet, stage: Stage::ReachesDownlink }),
            None => counters.lost += 1,
        }
    }

    /// When to call [`Self::poll`] even if no host sends.
    pub(super) fn next_event(&self) -> Option<Duration> {
        self.events.first_key_value().map(|((time, _), _)| *time)
    }

    /// The next packet that has reached its host by `now`.
    pub(super) fn poll(&mut self, now: Duration) -> Option<(Host, P)> {
        while let Some(first) = self.events.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((time, _), event) = first.remove_entry();
            let AccessLink { down, counters, .. } = &mut self.hosts[event.to.0];
            let bytes = event.packet.as_ref().len();
            match event.stage {
                // At the time at which it is due: a caller that comes late must not change the rate.
                Stage::ReachesDownlink => match down.send(time, bytes) {
                    Some(at) => self.schedule(at, Event { stage: Stage::ReachesHost, ..event }),
                    None => counters.downlink_drops += 1,
                },
                Stage::ReachesHost => {
                    counters.received_packets += 1;
                    counters.received_bytes += bytes as u64;
                    return Some((event.to, event.packet));
                }
            }
        }
        None
    }

    pub(super) fn counters(&self) -> Vec<Counters> {
        self.hosts.iter().map(|host| host.counters).collect()
    }

    fn schedule(&mut self, time: Duration, event: Event<P>) {
        self.events.insert((time, self.event_count), event);
        self.event_count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link =
        Link { delay: Duration::from_millis(10), jitter: Duration::ZERO, loss: 0.0, reorder: false };
    /// A packet of 1000 bytes takes one millisecond.
    const RATE: BitsPerSec = BitsPerSec(8_000_000);
    const QUEUE: Bytes = Bytes(10_000);

    fn star(hosts: usize, link: Link) -> Star<Vec<u8>> {
        Star::new(hosts, RATE, QUEUE, link, 1)
    }

    fn packet(number: u8) -> Vec<u8> {
        vec![number; 1000]
    }

    /// All that arrives: time in milliseconds, host, number.
    fn drain(star: &mut Star<Vec<u8>>) -> Vec<(u128, usize, u8)> {
        let mut arrivals = Vec::new();
        while let Some(now) = star.next_event() {
            while let Some((host, packet)) = star.poll(now) {
                arrivals.push((now.as_millis(), host.0, packet[0]));
            }
        }
        arrivals
    }

    #[test]
    fn one_way_is_delay_and_two_access_links() {
        let mut star = star(2, LINK);
        star.send(Duration::ZERO, Host(0), Some(Host(1)), packet(7));
        let nearly = Duration::from_nanos(11_999_999);
        assert!(star.poll(nearly).is_none());
        assert_eq!(drain(&mut star), [(12, 1, 7)]);
    }

    #[test]
    fn many_to_one_shares_the_downlink() {
        let mut star = star(4, LINK);
        for number in 0..3 {
            for from in 1..4 {
                star.send(Duration::ZERO, Host(from), Some(Host(0)), packet(number));
            }
        }
        let arrivals = drain(&mut star);
        let times: Vec<u128> = arrivals.iter().map(|arrival| arrival.0).collect();
        assert_eq!(times, (12..21).collect::<Vec<_>>());
        assert!(arrivals.iter().map(|arrival| arrival.2).is_sorted());
    }

    #[test]
    fn one_to_many_shares_the_uplink() {
        let mut star = star(3, LINK);
        for number in 0..4 {
            star.send(Duration::ZERO, Host(0), Some(Host(1 + usize::from(number % 2))), packet(number));
        }
        assert_eq!(drain(&mut star), [(12, 1, 0), (13, 2, 1), (14, 1, 2), (15, 2, 3)]);
    }

    #[test]
    fn directions_do_not_share() {
        let mut star = star(2, LINK);
        for (from, to) in [(0, 1), (1, 0)] {
            star.send(Duration::ZERO, Host(from), Some(Host(to)), packet(0));
        }
        assert_eq!(drain(&mut star), [(12, 1, 0), (12, 0, 0)]);
    }

    #[test]
    fn every_packet_is_counted_once() {
        let mut star = star(3, Link { loss: 0.2, ..LINK });
        for i in 0..3000u64 {
            let now = Duration::from_micros(700 * i);
            let (from, to) = if i % 2 == 0 { (0, 2) } else { (1, 2) };
            star.send(now, Host(from), Some(Host(to)), packet(0));
            while star.poll(now).is_some() {}
        }
        star.send(Duration::from_secs(3), Host(0), None, packet(0));
        drain(&mut star);
        let counters = star.counters();
        let all = |what: fn(&Counters) -> u64| counters.iter().map(what).sum::<u64>();
        assert_eq!(all(|c| c.sent_packets), 3001);
        assert_eq!(all(|c| c.unroutable), 1);
        assert!(all(|c| c.lost) > 0 && all(|c| c.downlink_drops) > 0);
        let missing = all(|c| c.uplink_drops + c.lost + c.downlink_drops + c.unroutable);
        assert_eq!(all(|c| c.received_packets), 3001 - missing);
        assert_eq!(all(|c| c.received_bytes), 1000 * (3001 - missing));
    }

    #[test]
    fn a_late_caller_gets_the_same_rate() {
        let mut star = star(2, LINK);
        for number in 0..10 {
            star.send(Duration::ZERO, Host(0), Some(Host(1)), packet(number));
        }
        let late = Duration::from_millis(17);
        let due: Vec<u8> = std::iter::from_fn(|| star.poll(late)).map(|(_, packet)| packet[0]).collect();
        assert_eq!(due, [0, 1, 2, 3, 4, 5]);
        assert_eq!(star.next_event(), Some(Duration::from_millis(18)));
    }
}
