//! Certificate authorities: one per zone.

use std::time::Duration;

use hcrun_protocol::{JobId, ZoneId};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;

use super::{Peer, PeerName};

/// A leaf, then the intermediates up to, without, the root.
#[derive(Debug, Clone)]
pub struct CertificateChain(pub Vec<CertificateDer<'static>>);

/// Issues the certificates of one zone for one job.
pub trait Authority: Send + Sync {
    fn job(&self) -> JobId;
    fn zone(&self) -> &ZoneId;
    /// A chain for `name`, whose key is `public_key` (DER of a SubjectPublicKeyInfo, ECDSA P-256).
    ///
    /// The caller has checked that whoever sent the key holds its private half and may have the name.
    fn issue(&self, name: &PeerName, public_key: &[u8]) -> Result<CertificateChain, IssueError>;
    /// The root by which others know this zone.
    fn root_pem(&self) -> String;
}

#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("the key to certify is not an ECDSA P-256 public key")]
    Key,
    #[error("cannot make the authority of zone `{zone}`")]
    Authority {
        zone: ZoneId,
        #[source]
        source: rcgen::Error,
    },
    #[error("cannot sign a certificate for `{name}` of zone `{zone}`")]
    Sign {
        name: PeerName,
        zone: ZoneId,
        #[source]
        source: rcgen::Error,
    },
}

/// An authority that lives as long as one run: its key is made at start and is gone with the process.
pub struct ThrowAwayAuthority {
    job: JobId,
    zone: ZoneId,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Clocks of hosts that never met NTP are off by minutes; an hour is forgiven.
const BACKDATED: Duration = Duration::from_secs(3_600);
/// Longer than any run of today. A throw-away authority cannot renew: connections that live outlive their
/// certificates, but a link made later than this is refused, and so is a stolen key.
const LIFETIME: Duration = Duration::from_secs(24 * 3_600);

impl ThrowAwayAuthority {
    pub fn new(zone: ZoneId, job: JobId) -> Result<ThrowAwayAuthority, IssueError> {
        let authority = |source| IssueError::Authority { zone: zone.clone(), source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(authority)?;
        let mut params = params(&format!("hcrun zone {zone} job {job}"));
        // Leaves only, and they cannot sign.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(authority)?;
        Ok(ThrowAwayAuthority { job, zone, issuer })
    }

    /// Signs whatever `adjust` makes of a leaf for `name`: tests issue what no authority should.
    fn sign(
        &self,
        name: &PeerName,
        public_key: &[u8],
        adjust: impl FnOnce(&mut CertificateParams),
    ) -> Result<CertificateChain, IssueError> {
        let sign = |source| IssueError::Sign { name: name.clone(), zone: self.zone.clone(), source };
        let key = P256Key::parse(public_key)?;
        let peer = Peer { zone: self.zone.clone(), name: name.clone() };
        let mut params = params(&format!("hcrun {name}"));
        params.subject_alt_names =
            CertificateParams::new(vec![peer.dns_name(self.job)]).map_err(sign)?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Workers dial and are dialled.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        adjust(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).map_err(sign)?;
        Ok(CertificateChain(vec![leaf.der().clone()]))
    }

    #[cfg(test)]
    pub(crate) fn issue_with(
        &self,
        name: &PeerName,
        public_key: &[u8],
        adjust: impl FnOnce(&mut CertificateParams),
    ) -> CertificateChain {
        self.sign(name, public_key, adjust).expect("a certificate for a test")
    }
}

impl Authority for ThrowAwayAuthority {
    fn job(&self) -> JobId {
        self.job
    }

    fn zone(&self) -> &ZoneId {
        &self.zone
    }

    fn issue(&self, name: &PeerName, public_key: &[u8]) -> Result<CertificateChain, IssueError> {
        self.sign(name, public_key, |_| {})
    }

    fn root_pem(&self) -> String {
        self.issuer.pem()
    }
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + LIFETIME;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// A public key from outside, of the one kind that is issued for.
struct P256Key([u8; 65]);

/// SubjectPublicKeyInfo of ecPublicKey on prime256v1, up to the uncompressed point (RFC 5480, section 2).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

impl P256Key {
    fn parse(public_key: &[u8]) -> Result<P256Key, IssueError> {
        let point = public_key.strip_prefix(&P256_PREFIX).ok_or(IssueError::Key)?;
        let point: [u8; 65] = point.try_into().map_err(|_| IssueError::Key)?;
        if point[0] == 4 { Ok(P256Key(point)) } else { Err(IssueError::Key) }
    }
}

impl PublicKeyData for P256Key {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}
