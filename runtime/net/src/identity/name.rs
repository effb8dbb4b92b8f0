//! The one DNS name of a leaf: `<slot>.<zone>.<job>.hcrun.internal`.

use std::fmt;

use hcrun_protocol::{JobId, SlotId, ZoneId};
use serde::{Deserialize, Serialize};

/// Who a process is within its zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PeerName {
    Coordinator,
    Slot(SlotId),
}

/// Who a process is: proven by its certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peer {
    pub zone: ZoneId,
    pub name: PeerName,
}

const DOMAIN: &str = "hcrun.internal";
/// Not a slot's name: those end in an index.
const COORDINATOR: &str = "coordinator";

impl Peer {
    pub fn slot(slot: SlotId, zone: ZoneId) -> Peer {
        Peer { zone, name: PeerName::Slot(slot) }
    }

    pub fn coordinator(zone: ZoneId) -> Peer {
        Peer { zone, name: PeerName::Coordinator }
    }

    /// The DNS name in the leaf, and the server name by which it is dialled.
    pub(crate) fn dns_name(&self, job: JobId) -> String {
        format!("{}.{}.{job}.{DOMAIN}", self.name, self.zone)
    }

    /// Reads [`Self::dns_name`]; any other spelling is none.
    pub(crate) fn parse_dns_name(text: &str) -> Option<(Peer, JobId)> {
        let mut labels = text.splitn(4, '.');
        let name = match labels.next()? {
            COORDINATOR => PeerName::Coordinator,
            slot => PeerName::Slot(SlotId::parse(slot).ok()?),
        };
        let zone = ZoneId::new(labels.next()?).ok()?;
        let job = JobId(u64::from_str_radix(labels.next()?, 16).ok()?);
        let peer = Peer { zone, name };
        // Also refuses another domain, upper case, signs and short job numbers.
        (peer.dns_name(job) == text).then_some((peer, job))
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerName::Coordinator => f.write_str(COORDINATOR),
            PeerName::Slot(slot) => slot.fmt(f),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` in zone `{}`", self.name, self.zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_have_one_spelling() {
        let zone = ZoneId::new("private").unwrap();
        for peer in
            [Peer::slot(SlotId::parse("gpu-a-3").unwrap(), zone.clone()), Peer::coordinator(zone.clone())]
        {
            let name = peer.dns_name(JobId(0xfe));
            assert_eq!(Peer::parse_dns_name(&name), Some((peer, JobId(0xfe))));
        }
        for bad in [
            "*.private.00000000000000fe.hcrun.internal",
            "w-0.private.fe.hcrun.internal",
            "w-0.private.+0000000000000fe.hcrun.internal",
            "w-0.private.00000000000000FE.hcrun.internal",
            "w-0.private.00000000000000fe.hcrun.internal.evil.org",
            "w-0.private.00000000000000fe",
            "w.private.00000000000000fe.hcrun.internal",
            "w-0..00000000000000fe.hcrun.internal",
            "",
        ] {
            assert_eq!(Peer::parse_dns_name(bad), None, "{bad}");
        }
    }
}
