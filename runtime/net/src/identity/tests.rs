//! Who gets in: every way in which a certificate can be wrong, over real handshakes.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use hcrun_protocol::JobId;
use quinn::crypto::rustls::QuicClientConfig;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, SanType};
use time::OffsetDateTime;

use super::{Authority, Identity, Peer, PeerName, RootsError, ThrowAwayAuthority, ZoneRoots};
use crate::control::{ControlLink, ControlListener, Frame};
use crate::endpoint::{self, LinkKind};
use crate::testing::{ANY_PORT, Fixture, JOB, slot, zone};

const WITHIN: Duration = Duration::from_secs(5);

fn chain(error: &dyn Error) -> String {
    let sources = std::iter::successors(error.source(), |error| (*error).source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

/// `listener` welcomes whom it accepts; says how that ended at both ends.
async fn meet(listener: &Identity, caller: &Identity) -> (Result<Peer, String>, Result<(), String>) {
    let mut listening = ControlListener::bind(listener, ANY_PORT).unwrap();
    let address = listening.local_addr();
    let accept = async {
        let mut link = listening.accept().await.map_err(|error| chain(&error))?;
        let peer = link.peer().clone();
        link.send_message(b"welcome").await.unwrap();
        Ok((peer, link))
    };
    let dial = async {
        let dialled = ControlLink::connect(caller, address, &zone("private"), WITHIN).await;
        let mut link = dialled.map_err(|error| chain(&error))?;
        link.send_message(b"hello").await.map_err(|error| chain(&error))?;
        let welcome = link.recv().await.map_err(|error| chain(&error))?;
        assert_eq!(welcome, Frame::Message("welcome".into()));
        Ok(())
    };
    let (accepted, dialled) = tokio::join!(accept, dial);
    (accepted.map(|(peer, _link)| peer), dialled)
}

fn san(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn name(slot_name: &str) -> PeerName {
    PeerName::Slot(slot(slot_name))
}

#[tokio::test]
async fn the_zone_is_the_authority_that_signed() {
    let fixture = Fixture::new();
    for worker in ["private-0", "public-3"] {
        let (accepted, dialled) = meet(&fixture.coordinator(), &fixture.worker(worker)).await;
        let slot = slot(worker);
        assert_eq!(accepted, Ok(Peer::slot(slot.clone(), zone(slot.pool.as_str()))));
        assert_eq!(dialled, Ok(()));
    }
}

type Adjust = fn(&mut CertificateParams);

#[tokio::test]
async fn callers_with_a_wrong_certificate_are_refused_and_never_welcomed() {
    let fixture = Fixture::new();
    let stranger = ThrowAwayAuthority::new(zone("private"), JOB).unwrap();
    let wrong: [(&str, &ThrowAwayAuthority, Adjust, &str); 12] = [
        ("unknown authority", &stranger, |_| {}, "unknown authority"),
        (
            "expired",
            &fixture.private,
            |p| p.not_after = OffsetDateTime::now_utc() - time::Duration::MINUTE,
            "CertExpired",
        ),
        (
            "not yet valid",
            &fixture.private,
            |p| p.not_before = OffsetDateTime::now_utc() + time::Duration::HOUR,
            "CertNotValidYet",
        ),
        ("no key usage", &fixture.private, |p| p.extended_key_usages.clear(), "RequiredEkuNotFound"),
        (
            "server only",
            &fixture.private,
            |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            "RequiredEkuNotFound",
        ),
        (
            "names the other zone",
            &fixture.private,
            |p| p.subject_alt_names = vec![san("private-0.public.000000000000bead.hcrun.internal")],
            "zone mismatch",
        ),
        (
            "public authority names private",
            &fixture.public,
            |p| p.subject_alt_names = vec![san("private-0.private.000000000000bead.hcrun.internal")],
            "zone mismatch",
        ),
        (
            "other job",
            &fixture.private,
            |p| p.subject_alt_names = vec![san("private-0.private.000000000000beae.hcrun.internal")],
            "is of job 000000000000beae",
        ),
        (
            "two names",
            &fixture.private,
            |p| p.subject_alt_names.push(san("private-1.private.000000000000bead.hcrun.internal")),
            "must hold one DNS name",
        ),
        ("no name", &fixture.private, |p| p.subject_alt_names.clear(), "must hold one DNS name"),
        (
            "wildcard",
            &fixture.private,
            |p| p.subject_alt_names = vec![san("*.private.000000000000bead.hcrun.internal")],
            "must hold one DNS name",
        ),
        (
            "an authority itself",
            &fixture.private,
            |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            "CaUsedAsEndEntity",
        ),
    ];
    for (case, authority, adjust, reason) in wrong {
        let caller = fixture.forged(authority, name("private-0"), adjust);
        let (accepted, dialled) = meet(&fixture.coordinator(), &caller).await;
        let refusal = accepted.expect_err(case);
        assert!(refusal.contains(reason), "{case}: {refusal}");
        assert!(dialled.is_err(), "{case} was welcomed");
    }
}

#[tokio::test]
async fn servers_with_a_wrong_certificate_are_not_spoken_to() {
    let fixture = Fixture::new();
    let stranger = ThrowAwayAuthority::new(zone("private"), JOB).unwrap();
    let wrong: [(&str, &ThrowAwayAuthority, PeerName, Adjust, &str); 5] = [
        ("unknown authority", &stranger, PeerName::Coordinator, |_| {}, "unknown authority"),
        ("right zone, wrong slot", &fixture.private, name("private-1"), |_| {}, "expected `coordinator`"),
        ("right name, wrong zone", &fixture.public, PeerName::Coordinator, |_| {}, "in zone `public`"),
        (
            "other job",
            &fixture.private,
            PeerName::Coordinator,
            |p| p.subject_alt_names = vec![san("coordinator.private.000000000000beae.hcrun.internal")],
            "is of job 000000000000beae",
        ),
        (
            "client only",
            &fixture.private,
            PeerName::Coordinator,
            |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            "RequiredEkuNotFound",
        ),
    ];
    for (case, authority, server, adjust, reason) in wrong {
        let listener = fixture.forged(authority, server, adjust);
        let (accepted, dialled) = meet(&listener, &fixture.worker("private-0")).await;
        let refusal = dialled.expect_err(case);
        assert!(refusal.contains(reason), "{case}: {refusal}");
        assert!(accepted.is_err(), "{case}");
    }
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_refused() {
    let fixture = Fixture::new();
    let mut listening = ControlListener::bind(&fixture.coordinator(), ANY_PORT).unwrap();
    let address = listening.local_addr();
    let mut trusted = rustls::RootCertStore::empty();
    let pem = fixture.private.root_pem();
    let root = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
        pem.as_bytes(),
    );
    trusted.add(root.unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"hcrun-control/1".to_vec()];
    let crypto = std::sync::Arc::new(QuicClientConfig::try_from(tls).unwrap());
    let endpoint = endpoint::endpoint(endpoint::bind_towards(address).unwrap(), None, None, None).unwrap();
    let config = endpoint::client_with(crypto, LinkKind::Control, address.ip());
    let name = "coordinator.private.000000000000bead.hcrun.internal";
    let dial = async {
        let connection = endpoint.connect_with(config, address, name).unwrap().await?;
        connection.accept_uni().await.map(drop)
    };
    let (accepted, dialled) = tokio::join!(listening.accept(), dial);
    let refusal = chain(&accepted.err().expect("refused"));
    assert!(refusal.contains("no certificates"), "{refusal}");
    assert!(dialled.is_err());
}

#[test]
fn roots_that_cannot_tell_zones_apart_are_refused() {
    let pem = ThrowAwayAuthority::new(zone("a"), JobId(1)).unwrap().root_pem();
    let twice = BTreeMap::from([(zone("a"), pem.clone()), (zone("b"), pem)]);
    assert!(matches!(ZoneRoots::from_pem(twice), Err(RootsError::Ambiguous { .. })));
    assert!(matches!(ZoneRoots::from_pem(BTreeMap::new()), Err(RootsError::Empty)));
    let garbage = BTreeMap::from([(zone("a"), "-----BEGIN CERTIFICATE-----".to_owned())]);
    assert!(matches!(ZoneRoots::from_pem(garbage), Err(RootsError::Pem { .. })));
}

#[test]
fn an_authority_signs_p256_keys_only() {
    let authority = ThrowAwayAuthority::new(zone("a"), JOB).unwrap();
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let key = rcgen::PublicKeyData::subject_public_key_info(&ed25519);
    assert!(authority.issue(&PeerName::Coordinator, &key).is_err());
    assert!(authority.issue(&PeerName::Coordinator, b"").is_err());
}
