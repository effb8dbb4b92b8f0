//! TLS settings, built by hand: 1.3 only, AES-128-GCM first, one ALPN per purpose, and nothing that can be
//! replayed or resumed. quinn's convenience settings would allow 0-RTT.

use std::error::Error as _;
use std::fmt;
use std::sync::{Arc, LazyLock};

use hcrun_protocol::JobId;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use super::{Identity, Peer, PeerError, Role, ZoneRoots};

/// What a connection is for. A connection of one kind cannot be taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alpn {
    Join,
    Control,
    Data,
}

impl Alpn {
    fn protocols(self) -> Vec<Vec<u8>> {
        let name: &[u8] = match self {
            Alpn::Join => b"hcrun-join/1",
            Alpn::Control => b"hcrun-control/1",
            Alpn::Data => b"hcrun/1",
        };
        vec![name.to_vec()]
    }
}

/// AES-128-GCM first: QUIC's Initial packets need it anyway, and it is the fastest with AES instructions.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(provider)
});

/// Random bytes for tokens.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], rustls::crypto::GetRandomFailed> {
    let mut bytes = [0; N];
    PROVIDER.secure_random.fill(&mut bytes)?;
    Ok(bytes)
}

/// For the end that is dialled: every client must prove a zone, a name and this job.
pub(crate) fn server_config(identity: &Identity, alpn: Alpn) -> Result<Arc<QuicServerConfig>, Error> {
    let verifier = Verifier { roots: identity.roots.clone(), job: identity.job };
    server(identity.chain(), identity.key(), Arc::new(verifier), alpn)
}

/// For the end that dials. The peer it expects is the server name it dials by.
pub(crate) fn client_config(identity: &Identity, alpn: Alpn) -> Result<Arc<QuicClientConfig>, Error> {
    let verifier = Verifier { roots: identity.roots.clone(), job: identity.job };
    client(identity.chain(), identity.key(), Arc::new(verifier), alpn)
}

/// For the join endpoint: any client that proves it holds the key of the certificate it shows.
pub(crate) fn join_server_config(identity: &Identity) -> Result<Arc<QuicServerConfig>, Error> {
    server(identity.chain(), identity.key(), Arc::new(AnyKey), Alpn::Join)
}

/// For a joining worker: its own self-signed certificate, the coordinator by its zone's root.
pub(crate) fn join_client_config(
    roots: Arc<ZoneRoots>,
    job: JobId,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<QuicClientConfig>, Error> {
    client(vec![certificate], key, Arc::new(Verifier { roots, job }), Alpn::Join)
}

fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    verifier: Arc<dyn ClientCertVerifier>,
    alpn: Alpn,
) -> Result<Arc<QuicServerConfig>, Error> {
    let mut config = rustls::ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = alpn.protocols();
    config.max_early_data_size = 0;
    // A ticket would outlive the certificate it was given for.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    QuicServerConfig::try_from(config).map(Arc::new).map_err(no_initial_suite)
}

fn client(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    verifier: Arc<dyn ServerCertVerifier>,
    alpn: Alpn,
) -> Result<Arc<QuicClientConfig>, Error> {
    let mut config = rustls::ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = alpn.protocols();
    config.enable_early_data = false;
    config.resumption = rustls::client::Resumption::disabled();
    QuicClientConfig::try_from(config).map(Arc::new).map_err(no_initial_suite)
}

fn no_initial_suite(_: quinn::crypto::rustls::NoInitialCipherSuite) -> Error {
    Error::General("no cipher suite for QUIC's Initial packets".to_owned())
}

/// Knows peers by [`ZoneRoots`].
#[derive(Debug)]
struct Verifier {
    roots: Arc<ZoneRoots>,
    job: JobId,
}

impl Verifier {
    fn identify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<Peer, Error> {
        let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).cloned().collect();
        self.roots.identify(&chain, self.job, role, now).map_err(refused)
    }
}

/// Carries the reason through rustls and quinn, which print errors of others by their `Debug` form.
struct Refused(PeerError);

/// The alert that the peer sees says only that its certificate is refused; the reason stays here.
fn refused(error: PeerError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refused(error)))))
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)?;
        self.0.source().map_or(Ok(()), |source| write!(f, ": {source}"))
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let got = self.identify(leaf, intermediates, Role::Server, now)?;
        let (expected, _) = match server_name {
            ServerName::DnsName(name) => Peer::parse_dns_name(name.as_ref()),
            _ => None,
        }
        .ok_or_else(|| Error::General("dialled by a name that is no peer's".to_owned()))?;
        if got == expected {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(refused(PeerError::Other { got, expected }))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.identify(leaf, intermediates, Role::Client, now).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Takes any certificate: its signature shows that the client holds the key, the token says who it is.
#[derive(Debug)]
struct AnyKey;

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if !intermediates.is_empty() {
            return Err(refused(PeerError::ChainTooLong { got: 1 + intermediates.len(), limit: 1 }));
        }
        super::roots::public_key_of(leaf).map_err(refused)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

fn algorithms() -> &'static WebPkiSupportedAlgorithms {
    &PROVIDER.signature_verification_algorithms
}

fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken here".to_owned())
}
