//! Who a process is, and who its peers are.
//!
//! A zone is the certificate authority that validated the peer's chain, never a claim: [`ZoneRoots`] holds
//! one root per zone and exactly one of them must validate. The leaf's only DNS name says slot, zone and
//! job and must agree with that zone. rustls-webpki alone checks neither who a client is nor that a key
//! usage is present at all, so both are checked here, once, for handshakes and for [`Peer`]s alike.

mod authority;
mod name;
mod pem;
mod roots;
mod tls;

use std::fmt;
use std::sync::Arc;

use hcrun_protocol::JobId;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};

pub use authority::{Authority, CertificateChain, IssueError, ThrowAwayAuthority};
pub use name::{Peer, PeerName};
pub use pem::{IdentityPem, PemError};
pub(crate) use roots::public_key_of;
pub use roots::{PeerError, Role, RootsError, ZoneRoots};
pub(crate) use tls::{Alpn, client_config, join_client_config, join_server_config, random, server_config};

/// A process's own certificate chain and key, and the roots by which it knows others.
#[derive(Clone)]
pub struct Identity {
    pub job: JobId,
    /// The name and zone in the own leaf.
    pub me: Peer,
    pub roots: Arc<ZoneRoots>,
    chain: CertificateChain,
    /// PKCS #8; never printed and never written to disk.
    key: Arc<PrivatePkcs8KeyDer<'static>>,
}

/// Why an identity could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot make a key")]
    Key(#[source] rcgen::Error),
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The authority's root is not among the roots, or clock or names disagree.
    #[error("the certificate issued to this process would be refused by its peers")]
    Unusable(#[source] PeerError),
}

impl Identity {
    /// Makes a key and has `authority` issue its certificate: for the process that owns the authority.
    pub fn issue(
        authority: &dyn Authority,
        name: PeerName,
        roots: Arc<ZoneRoots>,
    ) -> Result<Identity, IdentityError> {
        let key = new_key()?;
        let chain = authority.issue(&name, &key.subject_public_key_info())?;
        Identity::new(authority.job(), &key, chain, roots)
    }

    /// Takes a chain that was issued for `key`, after the checks that any peer will make.
    pub(crate) fn new(
        job: JobId,
        key: &KeyPair,
        chain: CertificateChain,
        roots: Arc<ZoneRoots>,
    ) -> Result<Identity, IdentityError> {
        let me =
            roots.identify(&chain.0, job, Role::Client, UnixTime::now()).map_err(IdentityError::Unusable)?;
        let key = Arc::new(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Identity { job, me, roots, chain, key })
    }

    #[cfg(test)]
    pub(crate) fn unchecked(
        job: JobId,
        me: Peer,
        key: &KeyPair,
        chain: CertificateChain,
        roots: Arc<ZoneRoots>,
    ) -> Identity {
        Identity { job, me, roots, chain, key: Arc::new(PrivatePkcs8KeyDer::from(key.serialize_der())) }
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.0.clone()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }

    /// Who is at the other end of a connection whose handshake has finished.
    pub(crate) fn peer_of(&self, connection: &quinn::Connection) -> Result<Peer, PeerError> {
        let role = match connection.side() {
            quinn::Side::Client => Role::Server,
            quinn::Side::Server => Role::Client,
        };
        let chain = connection
            .peer_identity()
            .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
            .ok_or(PeerError::NoCertificate)?;
        self.roots.identify(&chain, self.job, role, UnixTime::now())
    }
}

impl fmt::Debug for Identity {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} of job {})", self.me, self.job)
    }
}

/// ECDSA P-256: fast on every CPU, and the one kind of key that authorities here issue for.
pub(crate) fn new_key() -> Result<KeyPair, IdentityError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IdentityError::Key)
}

#[cfg(test)]
mod tests;
