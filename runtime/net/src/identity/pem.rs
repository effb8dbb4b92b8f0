//! Identities as text, for members whose certificates come from somewhere else than a join.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hcrun_protocol::{JobId, ZoneId};
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use super::{Authority, CertificateChain, Identity, IdentityError, PeerName, RootsError, ZoneRoots, new_key};

/// All of an identity. The key is a secret: whoever has it is this member.
#[derive(Clone, Serialize, Deserialize)]
pub struct IdentityPem {
    pub job: JobId,
    /// The leaf, then the intermediates up to, without, the root.
    pub chain: String,
    /// ECDSA P-256, PKCS #8.
    pub key: String,
    /// The root by which each zone is known.
    pub roots: BTreeMap<ZoneId, String>,
}

/// Why texts are no identity.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("the certificate chain cannot be read")]
    Chain(#[source] rustls::pki_types::pem::Error),
    #[error("the key cannot be read: it has to be ECDSA P-256 in PKCS #8")]
    Key(#[source] rcgen::Error),
    #[error("the certificate is for another key")]
    OtherKey,
    #[error(transparent)]
    Roots(#[from] RootsError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl IdentityPem {
    /// Makes a key and has `authority` issue its certificate, for another process.
    pub fn issue(
        authority: &dyn Authority,
        name: &PeerName,
        roots: &ZoneRoots,
    ) -> Result<IdentityPem, IdentityError> {
        let key = new_key()?;
        let chain = authority.issue(name, &key.subject_public_key_info())?;
        let certificate = |der: &CertificateDer<'_>| pem::encode(&pem::Pem::new("CERTIFICATE", der.to_vec()));
        Ok(IdentityPem {
            job: authority.job(),
            chain: chain.0.iter().map(certificate).collect(),
            key: key.serialize_pem(),
            roots: roots.pem().clone(),
        })
    }

    /// The identity, after the checks that any peer will make.
    pub fn read(&self) -> Result<Identity, PemError> {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(PemError::Chain)?;
        let key = KeyPair::from_pem(&self.key).map_err(PemError::Key)?;
        let roots = Arc::new(ZoneRoots::from_pem(self.roots.clone())?);
        let leaf = chain.first().map(super::public_key_of).transpose();
        if let Some(leaf) = leaf.map_err(IdentityError::Unusable)?
            && leaf.as_ref() != key.subject_public_key_info()
        {
            return Err(PemError::OtherKey);
        }
        Ok(Identity::new(self.job, &key, CertificateChain(chain), roots)?)
    }
}

impl fmt::Debug for IdentityPem {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityPem(of job {})", self.job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixture, slot};

    #[test]
    fn an_identity_reads_back_and_another_key_is_refused() {
        let fixture = Fixture::new();
        let name = PeerName::Slot(slot("private-0"));
        let issue = || IdentityPem::issue(&*fixture.private, &name, &fixture.roots).unwrap();
        let (one, other) = (issue(), issue());
        let json = serde_json::to_string(&one).unwrap();
        let read: IdentityPem = serde_json::from_str(&json).unwrap();
        let identity = read.read().unwrap();
        assert_eq!((identity.me.name, identity.job), (name, fixture.private.job()));
        assert!(!format!("{one:?}").contains("PRIVATE"));
        let mixed = IdentityPem { key: other.key, ..one };
        assert!(matches!(mixed.read(), Err(PemError::OtherKey)));
        let noise = IdentityPem { key: "noise".to_owned(), ..mixed };
        assert!(matches!(noise.read(), Err(PemError::Key(_))));
    }
}
