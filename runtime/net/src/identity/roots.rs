//! The roots by which peers are known, one per zone, and the check of a chain against them.

use std::collections::BTreeMap;

use hcrun_protocol::{JobId, ZoneId};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::{Authority, Peer};

/// One root certificate per zone.
#[derive(Debug)]
pub struct ZoneRoots {
    pem: BTreeMap<ZoneId, String>,
    anchors: BTreeMap<ZoneId, TrustAnchor<'static>>,
}

/// Why a set of roots cannot tell zones apart.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    #[error("no zone has a root certificate")]
    Empty,
    #[error("the root of zone `{zone}` is not one certificate in PEM")]
    Pem { zone: ZoneId },
    #[error("the root of zone `{zone}` is not a usable certificate")]
    Anchor {
        zone: ZoneId,
        #[source]
        source: webpki::Error,
    },
    /// Whoever signs for one signs for both, so a certificate would prove neither.
    #[error("zones `{first}` and `{second}` have the same root key: a zone could not be told by it")]
    Ambiguous { first: ZoneId, second: ZoneId },
}

/// Which end of the handshake a certificate was shown at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// Why a peer's certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("the peer showed no certificate")]
    NoCertificate,
    #[error("the peer's chain has {got} certificates, more than {limit}")]
    ChainTooLong { got: usize, limit: usize },
    #[error("the peer's certificate is malformed")]
    Malformed(#[source] webpki::Error),
    #[error("unknown authority: no zone's root signed the peer's certificate")]
    UnknownAuthority,
    /// Also what a clock that is hours off looks like.
    #[error(
        "zone `{zone}` signed the peer's certificate, but it is not valid here and now (compare the clocks of both hosts)"
    )]
    Invalid {
        zone: ZoneId,
        #[source]
        source: webpki::Error,
    },
    #[error("zones `{first}` and `{second}` both signed the peer's certificate")]
    Ambiguous { first: ZoneId, second: ZoneId },
    #[error("the peer's certificate must hold one DNS name of a slot or coordinator, it holds {names:?}")]
    Name { names: Vec<String> },
    #[error("zone mismatch: the peer's certificate names {named}, but zone `{signed_by}` signed it")]
    Zone { named: Peer, signed_by: ZoneId },
    #[error("the peer's certificate is of job {got}, this is job {expected}")]
    Job { got: JobId, expected: JobId },
    #[error("expected {expected}, found {got}")]
    Other { got: Peer, expected: Peer },
}

/// Leaf and intermediates; more would only cost time.
const CHAIN_LIMIT: usize = 4;

/// What authorities may sign with. Without RSA, whose cost an attacker chooses by the length of the key.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] =
    &[webpki::aws_lc_rs::ECDSA_P256_SHA256, webpki::aws_lc_rs::ECDSA_P384_SHA384, webpki::aws_lc_rs::ED25519];

// id-kp-serverAuth and id-kp-clientAuth, RFC 5280 section 4.2.1.12.
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

impl ZoneRoots {
    /// From each zone's root in PEM.
    pub fn from_pem(pem: BTreeMap<ZoneId, String>) -> Result<ZoneRoots, RootsError> {
        let mut anchors: BTreeMap<ZoneId, TrustAnchor<'static>> = BTreeMap::new();
        for (zone, text) in &pem {
            let der = CertificateDer::from_pem_slice(text.as_bytes())
                .map_err(|_| RootsError::Pem { zone: zone.clone() })?;
            let anchor = anchor_from_trusted_cert(&der)
                .map_err(|source| RootsError::Anchor { zone: zone.clone(), source })?
                .to_owned();
            let twin = |(_, other): &(&ZoneId, &TrustAnchor<'_>)| {
                other.subject_public_key_info == anchor.subject_public_key_info
            };
            if let Some((first, _)) = anchors.iter().find(twin) {
                return Err(RootsError::Ambiguous { first: first.clone(), second: zone.clone() });
            }
            anchors.insert(zone.clone(), anchor);
        }
        if anchors.is_empty() { Err(RootsError::Empty) } else { Ok(ZoneRoots { pem, anchors }) }
    }

    /// The roots of these authorities, one per zone.
    pub fn of<'a>(authorities: impl IntoIterator<Item = &'a dyn Authority>) -> Result<ZoneRoots, RootsError> {
        ZoneRoots::from_pem(authorities.into_iter().map(|a| (a.zone().clone(), a.root_pem())).collect())
    }

    /// As they were given: join bundles carry them.
    pub fn pem(&self) -> &BTreeMap<ZoneId, String> {
        &self.pem
    }

    pub fn zones(&self) -> impl Iterator<Item = &ZoneId> {
        self.anchors.keys()
    }

    /// Who a chain proves its holder to be: the zone by the one root that validates it, the name by the
    /// leaf, which must agree with zone and job.
    pub fn identify(
        &self,
        chain: &[CertificateDer<'_>],
        job: JobId,
        role: Role,
        now: UnixTime,
    ) -> Result<Peer, PeerError> {
        let (leaf, intermediates) = chain.split_first().ok_or(PeerError::NoCertificate)?;
        if chain.len() > CHAIN_LIMIT {
            return Err(PeerError::ChainTooLong { got: chain.len(), limit: CHAIN_LIMIT });
        }
        let leaf = EndEntityCert::try_from(leaf).map_err(PeerError::Malformed)?;
        let zone = self.zone_of(&leaf, intermediates, role, now)?;
        let names: Vec<&str> = leaf.valid_dns_names().chain(leaf.valid_uri_names()).collect();
        let (named, named_job) = match names[..] {
            [name] => Peer::parse_dns_name(name),
            _ => None,
        }
        .ok_or_else(|| PeerError::Name { names: shortened(&names) })?;
        if named.zone != zone {
            return Err(PeerError::Zone { named, signed_by: zone });
        }
        if named_job != job {
            return Err(PeerError::Job { got: named_job, expected: job });
        }
        Ok(named)
    }

    /// The one zone whose root validates the chain.
    fn zone_of(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<ZoneId, PeerError> {
        let usage = || match role {
            Role::Client => KeyUsage::required(CLIENT_AUTH),
            Role::Server => KeyUsage::required(SERVER_AUTH),
        };
        let mut found: Option<&ZoneId> = None;
        let mut refusal = PeerError::UnknownAuthority;
        for (zone, anchor) in &self.anchors {
            let anchors = std::slice::from_ref(anchor);
            let path = leaf.verify_for_usage(ALGORITHMS, anchors, intermediates, now, usage(), None, None);
            match (path.map(drop), found) {
                (Ok(()), None) => found = Some(zone),
                (Ok(()), Some(first)) => {
                    return Err(PeerError::Ambiguous { first: first.clone(), second: zone.clone() });
                }
                (Err(webpki::Error::UnknownIssuer), _) => {}
                (Err(webpki::Error::InvalidSignatureForPublicKey), _) => {}
                (Err(source), _) => refusal = PeerError::Invalid { zone: zone.clone(), source },
            }
        }
        found.cloned().ok_or(refusal)
    }
}

/// The public key in a certificate, whoever signed it.
pub(crate) fn public_key_of(
    certificate: &CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'static>, PeerError> {
    Ok(EndEntityCert::try_from(certificate).map_err(PeerError::Malformed)?.subject_public_key_info())
}

/// Names from outside, few and short enough for a log line.
fn shortened(names: &[&str]) -> Vec<String> {
    names.iter().take(3).map(|name| name.chars().take(80).collect()).collect()
}
