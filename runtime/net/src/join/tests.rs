//! Joining over real QUIC.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::{BundleError, JoinBundle, JoinError, JoinEvent, JoinRefusal, JoinServer, redeem};
use crate::identity::Peer;
use crate::testing::{ANY_PORT, Fixture, slot, zone};

const WITHIN: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);

fn server(fixture: &Fixture) -> JoinServer {
    let control = "127.0.0.1:4321".parse().unwrap();
    let authorities: Vec<std::sync::Arc<dyn crate::identity::Authority>> =
        vec![fixture.private.clone(), fixture.public.clone()];
    JoinServer::bind(&fixture.coordinator(), ANY_PORT, authorities, control).unwrap()
}

fn peer(name: &str) -> Peer {
    let slot = slot(name);
    let zone = zone(slot.pool.as_str());
    Peer::slot(slot, zone)
}

async fn refusal(bundle: &JoinBundle) -> JoinRefusal {
    match redeem(bundle, WITHIN).await {
        Err(JoinError::Refused { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bundle_joins_one_worker_once() {
    let fixture = Fixture::new();
    let mut server = server(&fixture);
    let bundle = server.ticket(peer("public-2"), MINUTE).unwrap();
    let joined = redeem(&bundle, WITHIN).await.unwrap();
    assert_eq!(joined.identity.me, peer("public-2"));
    assert_eq!(joined.control, "127.0.0.1:4321".parse().unwrap());
    assert_eq!(joined.coordinator_zone, zone("private"));
    assert!(matches!(server.event().await, Some(JoinEvent::Issued { peer: p, .. }) if p == peer("public-2")));

    assert_eq!(refusal(&bundle).await, JoinRefusal::Used);
    let event = server.event().await.unwrap();
    assert!(
        matches!(&event, JoinEvent::Refused { claimed, reason: JoinRefusal::Used, .. } if *claimed == peer("public-2")),
        "{event:?}"
    );
    server.close().await;
}

#[tokio::test]
async fn tokens_are_bound_to_slot_time_and_protocol() {
    let fixture = Fixture::new();
    let server = server(&fixture);
    let expired = server.ticket(peer("private-0"), Duration::ZERO).unwrap();
    assert_eq!(refusal(&expired).await, JoinRefusal::Expired);

    let good = server.ticket(peer("private-1"), MINUTE).unwrap();
    for wrong in [
        JoinBundle { slot: slot("private-0"), ..good.clone() },
        JoinBundle { zone: zone("public"), ..good.clone() },
        JoinBundle { zone: zone("elsewhere"), ..good.clone() },
        JoinBundle { token: "00".repeat(32), ..good.clone() },
        JoinBundle { token: String::new(), ..good.clone() },
    ] {
        assert_eq!(refusal(&wrong).await, JoinRefusal::UnknownToken, "{wrong:?}");
    }
    let older = JoinBundle { protocol: 0, ..good.clone() };
    assert!(matches!(refusal(&older).await, JoinRefusal::Protocol { launcher: 0, .. }));
    redeem(&good, WITHIN).await.unwrap();
    assert!(server.ticket(peer("elsewhere-0"), MINUTE).is_err());
}

#[tokio::test]
async fn a_launcher_that_is_gone_may_have_let_the_bundle_expire() {
    let fixture = Fixture::new();
    let server = server(&fixture);
    let bundle = server.ticket(peer("private-0"), MINUTE).unwrap();
    server.close().await;
    let within = Duration::from_millis(200);
    assert!(matches!(redeem(&bundle, within).await, Err(JoinError::NoAnswer { .. })));
    let old = JoinBundle { expires: bundle.expires - 3_600, ..bundle };
    let error = redeem(&old, within).await.unwrap_err();
    assert!(error.to_string().contains("expired 59 min ago"), "{error}");
}

#[tokio::test]
async fn a_false_launcher_gets_no_token() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let (real, mut false_one) = (server(&fixture), server(&other));
    let bundle = real.ticket(peer("private-0"), MINUTE).unwrap();
    let lured = JoinBundle { join_address: false_one.local_addr(), ..bundle.clone() };
    assert!(matches!(redeem(&lured, WITHIN).await, Err(JoinError::Link { .. })));
    redeem(&bundle, WITHIN).await.unwrap();
    assert!(false_one.events.try_recv().is_err(), "a request reached the false launcher");
}

#[tokio::test]
async fn a_bundle_file_is_private_or_not_read() {
    let fixture = Fixture::new();
    let bundle = server(&fixture).ticket(peer("private-0"), MINUTE).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("private-0.join");
    bundle.write(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(JoinBundle::read(&path).unwrap(), bundle);
    assert!(bundle.write(&path).is_err(), "an existing file was overwritten");
    assert!(!format!("{bundle:?}").contains(&bundle.token));

    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(JoinBundle::read(&link), Err(BundleError::NotAFile { .. })));
    assert!(matches!(JoinBundle::read(folder.path()), Err(BundleError::NotAFile { .. })));
    assert!(matches!(JoinBundle::read(&folder.path().join("none")), Err(BundleError::Read { .. })));

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = JoinBundle::read(&path).unwrap_err();
    assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");

    std::fs::write(&path, "{}").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(JoinBundle::read(&path), Err(BundleError::Format { .. })));
}
