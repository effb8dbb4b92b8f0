//! Virtual time: an event queue, nodes, and the network between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use hcrun_protocol::{Prng, Span, Time};

use crate::network::{Fault, Link};

/// A machine with its driver. It is told what happens and says what it sends; it never waits.
pub trait Node {
    /// `Debug` is what the trace shows: keep it short and complete.
    type Message: Clone + fmt::Debug;

    fn start(&mut self, now: Time, out: &mut Outbox<Self::Message>);
    fn on_message(&mut self, now: Time, from: usize, message: Self::Message, out: &mut Outbox<Self::Message>);
    /// The link to a peer is known to be lost.
    fn on_lost(&mut self, now: Time, peer: usize, out: &mut Outbox<Self::Message>);
    /// [`Self::next_deadline`] has come.
    fn on_tick(&mut self, now: Time, out: &mut Outbox<Self::Message>);
    fn next_deadline(&self) -> Option<Time>;
    /// The process has ended by itself, which its peers notice behind its last message.
    fn has_left(&self) -> bool {
        false
    }
}

/// What a node sends, in order.
#[derive(Debug)]
pub struct Outbox<M> {
    messages: Vec<(usize, M)>,
}

impl<M> Outbox<M> {
    pub fn send(&mut self, to: usize, message: M) {
        self.messages.push((to, message));
    }
}

#[derive(Debug, Clone)]
enum Event<M> {
    Start { node: usize },
    Message { from: usize, to: usize, number: u64, message: M },
    Tick { node: usize },
    Fault(Fault),
    Lost { node: usize, peer: usize },
    Closed { node: usize, peer: usize },
}

pub struct World<N: Node> {
    now: Time,
    nodes: Vec<N>,
    crashed: BTreeSet<usize>,
    left: BTreeSet<usize>,
    cut: BTreeSet<(usize, usize)>,
    last_arrivals: BTreeMap<(usize, usize), Time>,
    links: BTreeMap<(usize, usize), Link>,
    /// By time, then in the order in which they were queued.
    queue: BTreeMap<(Time, u64), Event<N::Message>>,
    queued: u64,
    ticks: Vec<Option<Time>>,
    delivered: BTreeSet<u64>,
    prng: Prng,
    trace: String,
}

impl<N: Node> World<N> {
    /// Nodes know each other by their index; `link` gives the link from one to another.
    pub fn new(seed: u64, nodes: Vec<N>, link: impl Fn(usize, usize) -> Link) -> World<N> {
        let count = nodes.len();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        World {
            now: Time::ZERO,
            crashed: BTreeSet::new(),
            left: BTreeSet::new(),
            cut: BTreeSet::new(),
            last_arrivals: BTreeMap::new(),
            links: pairs.map(|(from, to)| ((from, to), link(from, to))).collect(),
            queue: BTreeMap::new(),
            queued: 0,
            ticks: vec![None; count],
            delivered: BTreeSet::new(),
            prng: Prng::keyed(&[seed, 0]),
            trace: String::new(),
            nodes,
        }
    }

    pub fn start(&mut self, node: usize, at: Time) {
        self.enqueue(at, Event::Start { node });
    }

    pub fn break_at(&mut self, at: Time, fault: Fault) {
        self.enqueue(at, Event::Fault(fault));
    }

    /// Lets everything happen up to `end`; returns whether it ran dry before.
    pub fn run_until(&mut self, end: Time) -> bool {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                return false;
            }
            let ((now, _), event) = entry.remove_entry();
            self.now = now;
            self.happen(event);
        }
        true
    }

    pub fn now(&self) -> Time {
        self.now
    }

    pub fn nodes(&self) -> &[N] {
        &self.nodes
    }

    pub fn has_crashed(&self, node: usize) -> bool {
        self.crashed.contains(&node)
    }

    /// Every event in order; equal seeds give equal bytes.
    pub fn trace(&self) -> &str {
        &self.trace
    }

    fn happen(&mut self, event: Event<N::Message>) {
        if !self.is_possible(&event) {
            return;
        }
        // Writing to a string does not fail.
        let _ = writeln!(self.trace, "{} {event:?}", self.now.0);
        let now = self.now;
        let mut out = Outbox { messages: Vec::new() };
        let node = match event {
            Event::Start { node } => {
                self.nodes[node].start(now, &mut out);
                node
            }
            Event::Message { from, to, message, .. } => {
                self.nodes[to].on_message(now, from, message, &mut out);
                to
            }
            Event::Tick { node } => {
                self.ticks[node] = None;
                self.nodes[node].on_tick(now, &mut out);
                node
            }
            Event::Lost { node, peer } | Event::Closed { node, peer } => {
                self.nodes[node].on_lost(now, peer, &mut out);
                node
            }
            Event::Fault(fault) => return self.strike(fault),
        };
        for (to, message) in out.messages {
            self.send(node, to, message);
        }
        self.plan_tick(node);
        if self.nodes[node].has_left() {
            self.leave(node);
        }
    }

    /// Crashed nodes and those that left notice nothing, cut links carry nothing, repeated messages are dropped.
    fn is_possible(&mut self, event: &Event<N::Message>) -> bool {
        match event {
            Event::Start { node } | Event::Lost { node, .. } => self.is_up(*node),
            Event::Closed { node, peer } => self.is_up(*node) && !self.cut.contains(&(*peer, *node)),
            Event::Tick { node } => self.ticks[*node] == Some(self.now) && self.is_up(*node),
            Event::Message { from, to, number, .. } => {
                let passes = self.is_up(*to) && !self.cut.contains(&(*from, *to));
                passes && self.delivered.insert(*number)
            }
            Event::Fault(_) => true,
        }
    }

    fn is_up(&self, node: usize) -> bool {
        !self.crashed.contains(&node) && !self.left.contains(&node)
    }

    fn leave(&mut self, node: usize) {
        self.left.insert(node);
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            let at = self.arrivals(node, peer)[0];
            self.enqueue(at, Event::Closed { node: peer, peer: node });
        }
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Crash { node, noticed_after } => {
                self.crashed.insert(node);
                let peers = (0..self.nodes.len()).filter(|peer| *peer != node);
                peers.for_each(|peer| self.notice(peer, node, noticed_after));
            }
            Fault::Cut { between: (a, b), noticed_after } => {
                self.cut.extend([(a, b), (b, a)]);
                self.notice(a, b, noticed_after);
                self.notice(b, a, noticed_after);
            }
        }
    }

    fn notice(&mut self, node: usize, peer: usize, after: Option<Span>) {
        if let Some(after) = after {
            self.enqueue(self.now + after, Event::Lost { node, peer });
        }
    }

    fn send(&mut self, from: usize, to: usize, message: N::Message) {
        let number = self.queued;
        for at in self.arrivals(from, to) {
            self.enqueue(at, Event::Message { from, to, number, message: message.clone() });
        }
    }

    fn arrivals(&mut self, from: usize, to: usize) -> Vec<Time> {
        let link = &self.links[&(from, to)];
        let mut arrivals: Vec<Time> =
            link.arrivals(&mut self.prng).into_iter().map(|after| self.now + after).collect();
        if link.in_order {
            let last = self.last_arrivals.entry((from, to)).or_default();
            arrivals.iter_mut().for_each(|at| *at = (*at).max(*last));
            *last = arrivals[0];
        }
        arrivals
    }

    fn plan_tick(&mut self, node: usize) {
        let deadline = self.nodes[node].next_deadline().map(|deadline| deadline.max(self.now));
        if deadline != self.ticks[node] {
            self.ticks[node] = deadline;
            if let Some(at) = deadline {
                self.enqueue(at, Event::Tick { node });
            }
        }
    }

    fn enqueue(&mut self, at: Time, event: Event<N::Message>) {
        self.queue.insert((at, self.queued), event);
        self.queued += 1;
    }
}
