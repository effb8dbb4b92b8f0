//! A job with authorities for its zones, for tests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hcrun_protocol::{JobId, SlotId, ZoneId};
use rcgen::{CertificateParams, PublicKeyData};

use crate::identity::{Authority, Identity, Peer, PeerName, ThrowAwayAuthority, ZoneRoots, new_key};

pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) const ANY_PORT: SocketAddr = SocketAddr::new(LOOPBACK, 0);
pub(crate) const JOB: JobId = JobId(0xbead);

pub(crate) fn zone(name: &str) -> ZoneId {
    ZoneId::new(name).expect("a zone's name")
}

pub(crate) fn slot(name: &str) -> SlotId {
    SlotId::parse(name).expect("a slot's name")
}

/// Two zones, `private` with the coordinator, and `public`.
pub(crate) struct Fixture {
    pub(crate) private: Arc<ThrowAwayAuthority>,
    pub(crate) public: Arc<ThrowAwayAuthority>,
    pub(crate) roots: Arc<ZoneRoots>,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        Fixture::of_job(JOB)
    }

    pub(crate) fn of_job(job: JobId) -> Fixture {
        let authority = |name| Arc::new(ThrowAwayAuthority::new(zone(name), job).expect("an authority"));
        let (private, public) = (authority("private"), authority("public"));
        let roots = ZoneRoots::of([&*private as &dyn Authority, &*public]).expect("two roots");
        Fixture { private, public, roots: Arc::new(roots) }
    }

    pub(crate) fn authority(&self, zone: &ZoneId) -> &ThrowAwayAuthority {
        if zone.as_str() == "private" { &self.private } else { &self.public }
    }

    pub(crate) fn coordinator(&self) -> Identity {
        Identity::issue(&*self.private, PeerName::Coordinator, self.roots.clone()).expect("an identity")
    }

    /// An identity for `name` of the pool and zone before the last dash.
    pub(crate) fn worker(&self, name: &str) -> Identity {
        let slot = slot(name);
        let zone = zone(slot.pool.as_str());
        let authority = self.authority(&zone);
        Identity::issue(authority, PeerName::Slot(slot), self.roots.clone()).expect("an identity")
    }

    /// An identity for `name` of `authority` with whatever `adjust` does to its certificate.
    pub(crate) fn forged(
        &self,
        authority: &ThrowAwayAuthority,
        name: PeerName,
        adjust: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let key = new_key().expect("a key");
        let chain = authority.issue_with(&name, &key.subject_public_key_info(), adjust);
        let me = Peer { zone: authority.zone().clone(), name };
        Identity::unchecked(JOB, me, &key, chain, self.roots.clone())
    }
}
