//! The worker's side of joining.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hcrun_protocol::control::PROTOCOL_VERSION;
use quinn::Connection;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{ANSWER_BYTES, Answer, JoinBundle, JoinRefusal, Request, from_hex};
use crate::endpoint::{self, BindError, LinkKind};
use crate::identity::{
    CertificateChain, Identity, IdentityError, Peer, RootsError, ZoneRoots, join_client_config, new_key,
};
use crate::loss::{self, CloseCode, LinkLoss};

/// What a redeemed bundle gives.
#[derive(Debug)]
pub struct Joined {
    pub identity: Identity,
    pub coordinator_zone: hcrun_protocol::ZoneId,
    pub control: SocketAddr,
}

/// Why a worker could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("the join bundle's zone roots cannot be used")]
    Roots(#[from] RootsError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the join address {address} cannot be dialled")]
    Address {
        address: SocketAddr,
        #[source]
        source: quinn::ConnectError,
    },
    #[error("no answer from the launcher at UDP {address} within {} s: check that the run still waits and that UDP passes", .within.as_secs_f64())]
    NoAnswer { address: SocketAddr, within: Duration },
    #[error("no answer from the launcher at UDP {address}, and by this host's clock the join bundle expired {} min ago: start the run again and use its new bundles", .ago.as_secs() / 60)]
    Expired { address: SocketAddr, ago: Duration },
    #[error("the link to the launcher at {address} failed")]
    Link {
        address: SocketAddr,
        #[source]
        source: LinkLoss,
    },
    #[error("the launcher at {address} refused slot `{slot}`")]
    Refused {
        address: SocketAddr,
        slot: hcrun_protocol::SlotId,
        #[source]
        source: JoinRefusal,
    },
    #[error("the launcher at {address} sent an answer that cannot be read")]
    Answer { address: SocketAddr },
    #[error("the launcher issued a certificate for {got}, the bundle is for {expected}")]
    OtherSlot { got: Peer, expected: Peer },
}

/// Makes a key and trades the bundle's token for a certificate. The token is spent also when the answer
/// gets lost on its way.
pub async fn redeem(bundle: &JoinBundle, within: Duration) -> Result<Joined, JoinError> {
    match tokio::time::timeout(within, ask(bundle)).await {
        Err(_) | Ok(Err(JoinError::Link { source: LinkLoss::Silent, .. })) => Err(no_answer(bundle, within)),
        Ok(result) => result,
    }
}

/// The launcher judges by its own clock; where it is gone this host's has to do.
fn no_answer(bundle: &JoinBundle, within: Duration) -> JoinError {
    let address = bundle.join_address;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match now.checked_sub(Duration::from_secs(bundle.expires)) {
        Some(ago) => JoinError::Expired { address, ago },
        None => JoinError::NoAnswer { address, within },
    }
}

async fn ask(bundle: &JoinBundle) -> Result<Joined, JoinError> {
    if bundle.protocol != PROTOCOL_VERSION {
        let source = JoinRefusal::Protocol { launcher: bundle.protocol, worker: PROTOCOL_VERSION };
        return Err(refused(bundle, source));
    }
    let roots = Arc::new(ZoneRoots::from_pem(bundle.roots.clone())?);
    let key = new_key()?;
    let answer = exchange(bundle, &roots, &key).await?;
    let (chain, control) = match answer {
        Answer::Issued { chain, control } => (chain, control),
        Answer::Refused(source) => {
            return Err(JoinError::Refused {
                address: bundle.join_address,
                slot: bundle.slot.clone(),
                source,
            });
        }
    };
    let chain = chain.iter().map(|hex| from_hex(hex).map(CertificateDer::from)).collect::<Option<Vec<_>>>();
    let chain = CertificateChain(chain.ok_or(JoinError::Answer { address: bundle.join_address })?);
    let identity = Identity::new(bundle.job, &key, chain, roots)?;
    let expected = Peer::slot(bundle.slot.clone(), bundle.zone.clone());
    if identity.me != expected {
        return Err(JoinError::OtherSlot { got: identity.me, expected });
    }
    Ok(Joined { identity, coordinator_zone: bundle.coordinator_zone.clone(), control })
}

fn refused(bundle: &JoinBundle, source: JoinRefusal) -> JoinError {
    JoinError::Refused { address: bundle.join_address, slot: bundle.slot.clone(), source }
}

async fn exchange(bundle: &JoinBundle, roots: &Arc<ZoneRoots>, key: &KeyPair) -> Result<Answer, JoinError> {
    let address = bundle.join_address;
    let endpoint = endpoint::endpoint(endpoint::bind_towards(address)?, None, None, None)?;
    let certificate = CertificateParams::default().self_signed(key).map_err(IdentityError::Key)?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let tls = join_client_config(roots.clone(), bundle.job, certificate.der().clone(), private)
        .map_err(BindError::Tls)?;
    let config = endpoint::client_with(tls, LinkKind::Control, address.ip());
    let name = Peer::coordinator(bundle.coordinator_zone.clone()).dns_name(bundle.job);
    let connecting = endpoint
        .connect_with(config, address, &name)
        .map_err(|source| JoinError::Address { address, source })?;
    let connection = connecting.await.map_err(|error| JoinError::Link { address, source: error.into() })?;
    let answer = trade(bundle, &connection).await;
    loss::close(&connection, CloseCode::Done, "");
    endpoint.wait_idle().await;
    let answer = answer.map_err(|source| JoinError::Link { address, source })?;
    serde_json::from_slice(&answer).map_err(|_| JoinError::Answer { address })
}

async fn trade(bundle: &JoinBundle, connection: &Connection) -> Result<Vec<u8>, LinkLoss> {
    let request = Request {
        protocol: PROTOCOL_VERSION,
        slot: bundle.slot.clone(),
        zone: bundle.zone.clone(),
        token: bundle.token.clone(),
    };
    let request = serde_json::to_vec(&request).map_err(|error| LinkLoss::Transport(error.to_string()))?;
    let (mut sending, mut receiving) = connection.open_bi().await?;
    sending.write_all(&request).await?;
    sending.finish().map_err(|_| LinkLoss::ClosedHere)?;
    receiving.read_to_end(ANSWER_BYTES).await.map_err(|error| match error {
        quinn::ReadToEndError::Read(error) => error.into(),
        quinn::ReadToEndError::TooLong => LinkLoss::Transport("its answer is too long".to_owned()),
    })
}
