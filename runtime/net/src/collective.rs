//! Collectives among the members of a [`Group`], for callers that have buffers and no schedules.
//!
//! A [`Communicator`] is made of a group, or of some of its ranks, in the same way on each of them. Every rank
//! calls the same collectives; calls without a tag are matched by their order, calls with a tag by the tag and
//! how often it was used, so that different tags may be called in any order and many may be in flight.
//!
//! | operation | result | bytes that a rank sends, buffer of B bytes, N ranks | hops |
//! |---|---|---|---|
//! | all-reduce, `direct` or `ring` | the whole on every rank | 2 (N − 1) / N × B | 2; 2 (N − 1) |
//! | all-reduce, `one-shot` | the whole on every rank | (N − 1) × B | 1 |
//! | reduce-scatter | on each rank its own part | (N − 1) / N × B | 1; N − 1 |
//! | all-gather | the whole on every rank | (N − 1) / N × B | 1; N − 1 |
//! | broadcast, `direct` or `ring` | the root's on every rank | the root (N − 1) × B; each but the last B | 1; N − 1 |
//! | barrier | none | (N − 1) × 8 bytes | 1 |
//!
//! and 64 bytes a segment. A group of several zones has all-reduce and reduce-scatter alone, by `zoned`: only
//! sums over whole zones cross a border. All ranks get the same bits, whatever the lanes, the segments and the
//! timing; `direct`, `ring` and `one-shot` give the same bits as each other (docs/adr/0003).
//!
//! Failures are the group's: when one collective fails on one rank, all that run fail on all ranks with the
//! first cause, and the group has to be formed anew, without whoever was lost.

mod error;
mod options;
mod pending;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hcrun_protocol::buffers::Words;
use hcrun_protocol::dtype::{Codec, DType, ReduceOp};
use hcrun_protocol::frame::FrameClass;
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::link::LinkSpec;
use hcrun_protocol::prng::hash64;
use hcrun_protocol::round::RoundId;
use hcrun_protocol::schedule::{Choice, Collective, Schedule, Shape};
use hcrun_protocol::{BitsPerSec, Rank, Span, Step};

use crate::group::{Group, RoundClasses, RoundSpec};

pub use error::{CallError, FailCause, Failed};
pub use options::Options;
pub use pending::Pending;

/// Collectives among some ranks of a group. Shared by reference; any thread may call.
pub struct Communicator<B> {
    group: Arc<Group<B>>,
    ranks: Vec<Rank>,
    zones: Vec<Vec<Rank>>,
    /// The upper bits of the tags of its rounds.
    id: u32,
    links: Links,
    state: Arc<Mutex<State>>,
    family: Arc<Mutex<BTreeMap<u32, Vec<Rank>>>>,
}

/// What the choice of an algorithm is based on; equal on all ranks.
#[derive(Debug, Clone, Copy)]
struct Links {
    round_trip: Span,
    rate: BitsPerSec,
}

#[derive(Default)]
pub(crate) struct State {
    /// How often each tag was used.
    uses: BTreeMap<u32, u64>,
    /// Tags of collectives that nobody has waited for yet.
    in_flight: BTreeSet<u32>,
    schedules: BTreeMap<Plan, Arc<Schedule>>,
}

/// What a schedule, and whether it may be used, is a function of, besides the ranks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Plan {
    collective: Collective,
    root: Option<Rank>,
    elems: usize,
    segment_elems: usize,
    algorithm: &'static str,
    codec: Codec,
    min_contributors: usize,
}

/// Bits of a round's tag that are the caller's.
const TAG_BITS: u32 = 20;
/// The tag of calls without one.
const UNTAGGED: u32 = 0;
/// Programs are kept for as many shapes; beyond that all are built anew.
const SCHEDULES_KEPT: usize = 256;
/// Assumed of links of unknown rate: a common data-centre port.
const USUAL_RATE: BitsPerSec = BitsPerSec(10_000_000_000);
/// Owners' parts begin at multiples of it, so that their bytes are aligned for every type.
const ALIGN_ELEMS: usize = 64;

impl<B: Words + Clone + Send + 'static> Communicator<B> {
    /// All ranks of a group. Every rank calls it: they agree on what the slowest link is like. Blocks for
    /// one all-reduce of 16 bytes.
    ///
    /// # Errors
    /// The group's, from that agreement; the group is closed by then and has to be formed anew.
    pub fn new(group: Group<B>, link: &LinkSpec) -> Result<Communicator<B>, Failed<B>> {
        let measured = group.link_reports().iter().map(|report| report.round_trip).max();
        let ranks = group.members().iter().map(|member| member.rank).collect();
        let links = Links {
            round_trip: link.round_trip.or(measured).unwrap_or(Span(0)),
            rate: link.rate.unwrap_or(USUAL_RATE),
        };
        let mut whole = Communicator::of(Arc::new(group), ranks, 0, links, Arc::default());
        // The longest round trip and the lowest rate.
        let own = vec![links.round_trip.0, u64::MAX - links.rate.0];
        let agreed = whole.words("agreement", own, &Options::default())?.into_words();
        if let Some([round_trip, rate]) = agreed.as_deref() {
            whole.links = Links { round_trip: Span(*round_trip), rate: BitsPerSec(u64::MAX - rate) };
        }
        Ok(whole)
    }

    fn of(
        group: Arc<Group<B>>,
        ranks: Vec<Rank>,
        id: u32,
        links: Links,
        family: Arc<Mutex<BTreeMap<u32, Vec<Rank>>>>,
    ) -> Communicator<B> {
        let mut zones: Vec<(&hcrun_protocol::ZoneId, Vec<Rank>)> = Vec::new();
        for rank in &ranks {
            let zone = &group.members()[rank.index()].zone;
            match zones.iter_mut().find(|(name, _)| *name == zone) {
                Some((_, ranks)) => ranks.push(*rank),
                None => zones.push((zone, vec![*rank])),
            }
        }
        let zones = zones.into_iter().map(|(_, ranks)| ranks).collect();
        let state = Arc::default();
        Communicator { group, ranks, zones, id, links, state, family }
    }

    /// Some of the ranks, in their order, which need not be that of the group. Each of them calls it with the
    /// same list; the others need not. Its collectives and the group's may run at once. Sends nothing.
    ///
    /// # Errors
    /// [`CallError::Subgroup`] for a list that is none, [`CallError::SubgroupTwice`] and
    /// [`CallError::SubgroupClash`] for one whose collectives could not be told from those of another.
    pub fn subgroup(&self, ranks: &[Rank]) -> Result<Communicator<B>, CallError> {
        let me = self.group.me();
        let unique: BTreeSet<Rank> = ranks.iter().copied().collect();
        if unique.len() != ranks.len()
            || !unique.contains(&me)
            || !unique.iter().all(|r| self.ranks.contains(r))
        {
            return Err(CallError::Subgroup { me, ranks: ranks.to_vec(), of: self.ranks.clone() });
        }
        let key: Vec<u64> = ranks.iter().map(|rank| u64::from(rank.0)).collect();
        let [a, b, ..] = hash64(&key).to_le_bytes();
        // 0 is the whole group.
        let id = 1 + u32::from(u16::from_le_bytes([a, b])) % ((1 << (32 - TAG_BITS)) - 1);
        let mut family = self.family.lock().unwrap_or_else(PoisonError::into_inner);
        match family.get(&id) {
            Some(other) if other == ranks => return Err(CallError::SubgroupTwice { ranks: ranks.to_vec() }),
            Some(other) => {
                return Err(CallError::SubgroupClash { ranks: ranks.to_vec(), other: other.clone() });
            }
            None => family.insert(id, ranks.to_vec()),
        };
        let family = self.family.clone();
        Ok(Communicator::of(self.group.clone(), ranks.to_vec(), id, self.links, family))
    }

    /// What it runs over; a subgroup has its communicator's.
    pub fn group(&self) -> &Group<B> {
        &self.group
    }

    /// Who takes part, by their ranks in the group.
    pub fn ranks(&self) -> &[Rank] {
        &self.ranks
    }

    /// Combines the buffers of all ranks, of one length, type and operation, element by element; every rank
    /// ends with the whole result, and all with the same bits.
    ///
    /// Begins and returns; the bytes and hops are in the table of this module. [`Algorithm::Direct`] and
    /// [`Algorithm::Ring`] send each byte twice in all but a rank's own part, [`Algorithm::OneShot`] sends
    /// the whole to everybody, in one hop.
    ///
    /// # Errors
    /// Of the call itself, before anything is sent: an operation or codec that the type has not, a tag that
    /// is in use, an algorithm that does not fit. Those of the collective come from [`Pending::wait`]; a rank
    /// that calls with another length, type or operation fails it on all of them.
    ///
    /// # Cancel safety
    /// A [`Pending`] that is dropped leaves the collective running: the other ranks need this one's part.
    pub fn all_reduce(&self, buffers: B, options: &Options) -> Result<Pending<B>, CallError> {
        self.start("all-reduce", Collective::AllReduce, None, buffers, options)
    }

    /// Combines the buffers of all ranks, of one length; this rank ends with [`Self::part`] of the result,
    /// at its place in the buffer, and the rest of its buffer is undefined.
    ///
    /// Half of an all-reduce: the same errors and cancel safety as [`Self::all_reduce`], and half its bytes.
    pub fn reduce_scatter(&self, buffers: B, options: &Options) -> Result<Pending<B>, CallError> {
        self.start("reduce-scatter", Collective::ReduceScatter, None, buffers, options)
    }

    /// Every rank provides [`Self::part`] of a buffer that is as long on all of them, and ends with the
    /// whole. What the rest of its buffer holds before does not matter.
    ///
    /// # Errors
    /// As [`Self::all_reduce`]; also [`CallError::Border`] where the ranks are in several zones.
    ///
    /// # Cancel safety
    /// As [`Self::all_reduce`].
    pub fn all_gather(&self, buffers: B, options: &Options) -> Result<Pending<B>, CallError> {
        self.start("all-gather", Collective::Gather, None, buffers, options)
    }

    /// Every rank ends with the root's buffer; all give one of its length and type.
    ///
    /// # Errors
    /// As [`Self::all_gather`]; also [`CallError::Root`] for a root that takes no part.
    ///
    /// # Cancel safety
    /// As [`Self::all_reduce`].
    pub fn broadcast(&self, root: Rank, buffers: B, options: &Options) -> Result<Pending<B>, CallError> {
        if !self.ranks.contains(&root) {
            return Err(CallError::Root { root, ranks: self.ranks.clone() });
        }
        self.start("broadcast", Collective::Gather, Some(root), buffers, options)
    }

    /// Blocks until every rank has called it. Of the options it takes tag and deadline. Costs an all-reduce
    /// of 8 bytes, which go as control.
    ///
    /// # Errors
    /// Those of an all-reduce, both of the call and of the collective.
    pub fn barrier(&self, options: &Options) -> Result<(), Failed<B>> {
        self.words("barrier", vec![0], options).map(drop)
    }

    /// The largest of each word over all ranks: control, which says nothing of what anybody computed. The
    /// algorithm is fixed: what it would be chosen by is agreed on in this way.
    fn words(&self, operation: &'static str, own: Vec<u64>, options: &Options) -> Result<B, Failed<B>> {
        let one_zone = self.zones.len() == 1;
        let options = Options {
            tag: options.tag,
            deadline: options.deadline,
            algorithm: Some(if one_zone { Algorithm::OneShot } else { Algorithm::Zoned }),
            min_contributors: 1,
            ..Options::default()
        };
        let own = B::from_words(own, ReduceOp::Max);
        let classes = RoundClasses::both(FrameClass::Control);
        let started = self.schedule(Collective::AllReduce, None, own.elems(), own.dtype(), &options);
        let started = started.and_then(|schedule| self.submit(operation, &schedule, classes, own, &options));
        started.map_err(|error| error.failed(operation))?.wait()
    }

    /// The part of a buffer of `elems` elements that this rank owns in a reduce-scatter and provides to an
    /// all-gather, with these options; in a group of several zones there may be several ranges. They are in
    /// order, those of a zone's ranks cover `0..elems` once, and their bounds but the last are multiples of 64
    /// elements. Sends nothing.
    ///
    /// # Errors
    /// As a reduce-scatter of that length would be refused.
    pub fn part(
        &self,
        elems: usize,
        dtype: DType,
        options: &Options,
    ) -> Result<Vec<std::ops::Range<usize>>, CallError> {
        // Inside one zone both have the same owners, and rings of types that they cannot sum gather all the same.
        let one_zone = self.zones.len() == 1;
        let collective = if one_zone { Collective::Gather } else { Collective::ReduceScatter };
        let schedule = self.schedule(collective, None, elems, dtype, options)?;
        Ok(schedule.owned(self.group.me()).to_vec())
    }

    fn start(
        &self,
        operation: &'static str,
        collective: Collective,
        root: Option<Rank>,
        buffers: B,
        options: &Options,
    ) -> Result<Pending<B>, CallError> {
        let (dtype, op) = (buffers.dtype(), buffers.op());
        if collective != Collective::Gather && !op.takes(dtype) {
            return Err(CallError::Operation { op, dtype });
        }
        let schedule = self.schedule(collective, root, buffers.elems(), dtype, options)?;
        self.submit(operation, &schedule, classes(collective), buffers, options)
    }

    fn submit(
        &self,
        operation: &'static str,
        schedule: &Schedule,
        classes: RoundClasses,
        buffers: B,
        options: &Options,
    ) -> Result<Pending<B>, CallError> {
        let program = schedule.program(self.group.me()).ok_or(CallError::NotAMember)?.clone();
        let (tag, step) = self.claim(options.tag)?;
        let preserved = options.preserve.then(|| {
            self.group.counters().on_preserved(buffers.elems() * buffers.dtype().bytes());
            buffers.clone()
        });
        let id = RoundId { generation: self.group.generation(), attempt: 0, step, tag };
        let handle =
            self.group.submit(RoundSpec { id, classes, program, buffers, deadline: options.deadline });
        let state = self.state.clone();
        Ok(Pending::new(operation, options.tag, tag, handle, preserved, state))
    }

    /// The round's tag, and which use of it this is.
    fn claim(&self, tag: Option<u32>) -> Result<(u32, Step), CallError> {
        let own = match tag {
            None => UNTAGGED,
            Some(tag) if tag > UNTAGGED && tag < 1 << TAG_BITS => tag,
            Some(tag) => return Err(CallError::Tag { tag, limit: 1 << TAG_BITS }),
        };
        let mut state = self.state();
        if own != UNTAGGED && !state.in_flight.insert(own) {
            return Err(CallError::TagInUse { tag: own });
        }
        let uses = state.uses.entry(own).or_default();
        *uses += 1;
        Ok((self.id << TAG_BITS | own, Step(*uses)))
    }

    fn schedule(
        &self,
        collective: Collective,
        root: Option<Rank>,
        elems: usize,
        dtype: DType,
        options: &Options,
    ) -> Result<Arc<Schedule>, CallError> {
        let codec = options.codec;
        if codec.is_lossy() && dtype != DType::F32 {
            return Err(CallError::Codec { codec, dtype });
        }
        if collective == Collective::Gather && self.zones.len() > 1 {
            return Err(CallError::Border { zones: self.zones.len() });
        }
        let algorithm = self.algorithm(collective, elems, dtype, options);
        if algorithm == Algorithm::Ring && dtype.is_half() && collective != Collective::Gather {
            return Err(CallError::RingRounds { dtype });
        }
        let limit = self.group.segment_bytes();
        let segment_bytes = options.segment_bytes.unwrap_or(limit).min(limit);
        let block = codec.block_elems().max(1);
        let segment_elems = (segment_bytes / dtype.bytes() / block).max(1) * block;
        let plan = Plan {
            collective,
            root,
            elems,
            segment_elems,
            algorithm: algorithm.name(),
            codec,
            min_contributors: options.min_contributors,
        };
        let mut state = self.state();
        if let Some(schedule) = state.schedules.get(&plan) {
            return Ok(schedule.clone());
        }
        let shape = Shape {
            zones: self.zones.clone(),
            elems,
            align: ALIGN_ELEMS.next_multiple_of(block),
            segment_elems,
            algorithm,
            codec,
            nodes: Vec::new(),
        };
        let schedule = match root {
            None => Schedule::build(collective, &shape),
            Some(root) => {
                let whole = Vec::from_iter((elems > 0).then_some(0..elems));
                Schedule::gather(&shape, &BTreeMap::from([(root, whole)]))
            }
        }?;
        // Inside one zone nothing can leak, and tests prove the sums of every shape.
        if self.zones.len() > 1 {
            schedule.verify(options.min_contributors)?;
        }
        let schedule = Arc::new(schedule);
        if state.schedules.len() >= SCHEDULES_KEPT {
            state.schedules.clear();
        }
        state.schedules.insert(plan, schedule.clone());
        Ok(schedule)
    }

    fn algorithm(&self, collective: Collective, elems: usize, dtype: DType, options: &Options) -> Algorithm {
        if let Some(algorithm) = options.algorithm {
            return algorithm;
        }
        if self.zones.len() > 1 {
            return Algorithm::Zoned;
        }
        let bytes = options.codec.payload_bytes(dtype, elems) as u64;
        let Links { round_trip, rate } = self.links;
        let choice = Choice { ranks: self.ranks.len(), bytes, round_trip, rate };
        let chosen = choice.algorithm(collective);
        let rounds = options.codec.is_lossy() || dtype.is_half();
        if rounds && chosen == Algorithm::Ring { Algorithm::Direct } else { chosen }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sums travel as gradients do; what is handed out whole, as parameters do, inside its zone.
fn classes(collective: Collective) -> RoundClasses {
    match collective {
        Collective::Gather => RoundClasses::both(FrameClass::Parameters),
        Collective::AllReduce | Collective::ReduceScatter => RoundClasses::GRADIENTS,
    }
}
