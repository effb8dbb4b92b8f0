//! What a job sends between zones, and how fast it can.

use hcrun_protocol::dtype::{Codec, DType};
use hcrun_protocol::time::Span;
use hcrun_protocol::units::BitsPerSec;

use crate::work::Work;

/// How often workers exchange what they computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    Step,
    /// After this many local steps.
    Steps(u32),
}

/// The exchange plan of a job, as far as its costs depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// Elements of the gradient arena.
    pub elems: usize,
    pub codec: Codec,
    pub every: Every,
    /// Of one step on the devices it asks for.
    pub step: Span,
}

/// Out of one zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bandwidth {
    pub per_machine: BitsPerSec,
    /// All machines of a region together.
    pub region: BitsPerSec,
}

impl Bandwidth {
    /// Of so many machines that send at once.
    pub fn of(self, machines: u32) -> BitsPerSec {
        BitsPerSec(self.per_machine.0.saturating_mul(machines.into()).min(self.region.0))
    }
}

impl Exchange {
    /// That cross one border, in one direction, at one exchange: zones reduce inside first, so each sends its sum once.
    pub fn bytes_per_sync(&self) -> u64 {
        self.codec.payload_bytes(DType::F32, self.elems) as u64
    }

    /// Exchanges while `work` is done.
    pub fn syncs(&self, work: Work) -> u64 {
        let steps = u64::try_from(work.0 / Work::taking(Span(self.step.0.max(1))).0).unwrap_or(u64::MAX);
        match self.every {
            Every::Step => steps,
            Every::Steps(interval) => steps / u64::from(interval.max(1)),
        }
    }

    /// That leave one of `zones` zones while `work` is done: a sum to each of the others at each exchange.
    pub fn sent(&self, zones: usize, work: Work) -> u64 {
        let others = zones.saturating_sub(1) as u64;
        self.syncs(work).saturating_mul(self.bytes_per_sync()).saturating_mul(others)
    }

    /// Of one exchange over a border, as long as nothing else is sent.
    pub fn time(&self, bandwidth: Bandwidth, machines: u32) -> Span {
        bandwidth.of(machines.max(1)).time_of(self.bytes_per_sync())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_follow_mode_codec_and_interval() {
        let plan = |codec, every| Exchange { elems: 1_000, codec, every, step: Span::from_secs(1) };
        let hour = Work::taking(Span::from_secs(3_600));
        let full = plan(Codec::None, Every::Step);
        assert_eq!((full.bytes_per_sync(), full.syncs(hour)), (4_000, 3_600));
        assert_eq!([1, 2, 3].map(|zones| full.sent(zones, hour)), [0, 14_400_000, 28_800_000]);
        assert_eq!(plan(Codec::Bf16, Every::Steps(100)).sent(2, hour), 36 * 2_000);
    }

    #[test]
    fn machines_share_what_a_region_lets_out() {
        let bandwidth = Bandwidth { per_machine: BitsPerSec(5), region: BitsPerSec(12) };
        assert_eq!([1, 2, 3].map(|machines| bandwidth.of(machines).0), [5, 10, 12]);
    }
}
