//! Control links over real QUIC.

use std::time::Duration;

use bytes::Bytes;

use super::{AcceptError, ControlLink, ControlListener, Frame, FrameError, LinkError, MESSAGE_LIMIT};
use crate::identity::Identity;
use crate::loss::{CloseCode, LinkLoss};
use crate::testing::{ANY_PORT, Fixture, zone};

const WITHIN: Duration = Duration::from_secs(5);

async fn connect(listener: &ControlListener, identity: &Identity) -> ControlLink {
    ControlLink::connect(identity, listener.local_addr(), &zone("private"), WITHIN).await.unwrap()
}

/// Both ends of a link that has said hello.
async fn pair(listener: &mut ControlListener, identity: &Identity) -> (ControlLink, ControlLink) {
    let mut worker = connect(listener, identity).await;
    worker.send_message(b"hello").await.unwrap();
    let mut coordinator = listener.accept().await.unwrap();
    assert_eq!(coordinator.recv().await.unwrap(), Frame::Message("hello".into()));
    (worker, coordinator)
}

#[tokio::test]
async fn messages_and_segments_arrive_whole_in_order_and_counted() {
    let fixture = Fixture::new();
    let mut listener = ControlListener::bind(&fixture.coordinator(), ANY_PORT).unwrap();
    let (worker, mut coordinator) = pair(&mut listener, &fixture.worker("private-0")).await;
    let payload = Bytes::from(vec![5u8; 3 << 20]);
    let (mut sender, _receiver) = worker.split();
    let sent = payload.clone();
    let sending = tokio::spawn(async move {
        sender.send_segment(&[9; 64], sent).await.unwrap();
        sender.send_message(&vec![1; MESSAGE_LIMIT]).await.unwrap();
        let counters = sender.counters();
        sender.close(CloseCode::Done, "bye").await;
        counters.sent_bytes()
    });
    assert_eq!(coordinator.recv().await.unwrap(), Frame::Segment { header: [9; 64], payload });
    assert_eq!(coordinator.recv().await.unwrap(), Frame::Message(vec![1; MESSAGE_LIMIT].into()));
    let error = coordinator.recv().await.unwrap_err();
    assert!(matches!(error, LinkError::Lost { .. }), "{error}");
    let sent_bytes = sending.await.unwrap();
    assert_eq!(sent_bytes, (5 + 5) + (5 + 64 + (3 << 20)) + (5 + MESSAGE_LIMIT as u64));
    assert_eq!(coordinator.counters().received_bytes(), sent_bytes);
}

#[tokio::test]
async fn a_second_live_link_of_one_identity_is_refused_and_named() {
    let fixture = Fixture::new();
    let mut listener = ControlListener::bind(&fixture.coordinator(), ANY_PORT).unwrap();
    let identity = fixture.worker("private-0");
    let (first, first_end) = pair(&mut listener, &identity).await;

    let mut second = connect(&listener, &identity).await;
    drop(second.send_message(b"hello").await);
    let refused = listener.accept().await.err().expect("a refusal");
    assert!(matches!(&refused, AcceptError::SecondLink { peer, .. } if *peer == identity.me), "{refused}");
    let LinkError::Lost { source: LinkLoss::ClosedByPeer { code, .. }, .. } =
        second.recv().await.unwrap_err()
    else {
        panic!("the second link was not closed with a reason")
    };
    assert_eq!(code, CloseCode::SecondLink);

    drop((first, first_end));
    pair(&mut listener, &identity).await;
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_the_link_and_names_the_peer() {
    let fixture = Fixture::new();
    let mut listener = ControlListener::bind(&fixture.coordinator(), ANY_PORT).unwrap();
    let (mut worker, mut coordinator) = pair(&mut listener, &fixture.worker("public-1")).await;
    worker.sender.pending.push_back(Bytes::from_static(&[1, 0xff, 0xff, 0xff, 0xff]));
    worker.sender.flush().await.unwrap();
    let error = coordinator.recv().await.unwrap_err();
    assert!(error.to_string().contains("`public-1` in zone `public`"), "{error}");
    assert!(matches!(error, LinkError::Frame { source: FrameError::MessageTooLarge { .. }, .. }), "{error}");
    let closed = worker.recv().await.unwrap_err();
    assert!(
        matches!(
            &closed,
            LinkError::Lost { source: LinkLoss::ClosedByPeer { code: CloseCode::Protocol, .. }, .. }
        ),
        "{closed:?}"
    );
}

#[tokio::test]
async fn a_link_cut_within_a_frame_is_an_error_at_every_offset() {
    let fixture = Fixture::new();
    let mut listener = ControlListener::bind(&fixture.coordinator(), ANY_PORT).unwrap();
    let frame = super::frame::message(b"0123456789").unwrap();
    for cut in 1..frame.len() {
        let (mut worker, mut coordinator) = pair(&mut listener, &fixture.worker("private-0")).await;
        worker.sender.pending.push_back(frame.slice(..cut));
        worker.sender.flush().await.unwrap();
        worker.sender.stream.finish().unwrap();
        let error = coordinator.recv().await.unwrap_err();
        assert!(matches!(error, LinkError::Lost { source: LinkLoss::Truncated, .. }), "{cut}: {error:?}");
    }
}

#[tokio::test]
async fn a_cancelled_receive_loses_nothing() {
    let fixture = Fixture::new();
    let mut listener = ControlListener::bind(&fixture.coordinator(), ANY_PORT).unwrap();
    let (mut worker, mut coordinator) = pair(&mut listener, &fixture.worker("private-0")).await;
    let frame = super::frame::message(&[7; 5_000]).unwrap();
    for part in [frame.slice(..3), frame.slice(3..2_000), frame.slice(2_000..)] {
        // Polled once and dropped, with whatever has come.
        let cancelled = tokio::time::timeout(Duration::ZERO, coordinator.recv()).await;
        assert!(cancelled.is_err());
        worker.sender.pending.push_back(part);
        worker.sender.flush().await.unwrap();
    }
    assert_eq!(coordinator.recv().await.unwrap(), Frame::Message(vec![7; 5_000].into()));
}

#[tokio::test]
async fn garbage_at_the_port_changes_nothing_and_a_closed_port_is_free() {
    let fixture = Fixture::new();
    let mut listener = ControlListener::bind(&fixture.coordinator(), ANY_PORT).unwrap();
    let address = listener.local_addr();
    let stranger = std::net::UdpSocket::bind(ANY_PORT).unwrap();
    for length in 1..200u8 {
        let garbage: Vec<u8> = (0..length).map(|i| i.wrapping_mul(length) ^ 0xc3).collect();
        stranger.send_to(&garbage, address).unwrap();
    }
    let (worker, coordinator) = pair(&mut listener, &fixture.worker("private-0")).await;
    drop(coordinator);
    drop(worker);
    listener.close(CloseCode::Done, "done").await;
    // The endpoint's driver lets go of the socket as soon as it runs once more.
    while std::net::UdpSocket::bind(address).is_err() {
        tokio::task::yield_now().await;
    }
}
