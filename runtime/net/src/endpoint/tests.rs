//! Transport settings, on one connection over an emulated link.

use hcrun_protocol::link::Congestion;
use hcrun_protocol::{BitsPerSec, Span};

use super::*;
use crate::loss::LinkLoss;
use crate::testing::{Fixture, JOB, LOOPBACK};

/// The path of a link that is not on loopback.
const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Sends so many bytes one way on one stream; returns how many arrived before the connection ended.
async fn transfer(bytes: usize, link: LinkSpec, emulation: Emulation) -> Result<usize, LinkLoss> {
    let fixture = Fixture::new();
    let kind = LinkKind::Data { silence: Duration::from_secs(10), link, lanes: 1 };
    let identities = ["private-0", "private-1"].map(|name| fixture.worker(name));
    let server = server(&identities[0], Alpn::Data, kind, REMOTE).unwrap();
    let bind = || bind(LOOPBACK, None).unwrap();
    let listening = endpoint(bind(), Some(server), kind.mtu(), Some(&emulation)).unwrap();
    let dialling = endpoint(bind(), None, kind.mtu(), Some(&emulation)).unwrap();
    let config = client(&identities[1], Alpn::Data, kind, REMOTE).unwrap();
    let name = identities[0].me.dns_name(JOB);
    let address = listening.local_addr().unwrap();
    let (here, there) =
        tokio::join!(async { dialling.connect_with(config, address, &name).unwrap().await }, async {
            listening.accept().await.unwrap().await
        },);
    let (here, there) = (here?, there?);
    let sending = async {
        let mut stream = here.open_uni().await?;
        let mut chunks: Vec<_> = (0..bytes >> 16).map(|_| bytes::Bytes::from(vec![0; 1 << 16])).collect();
        stream.write_all_chunks(&mut chunks).await?;
        stream.finish().expect("it is open");
        Ok::<_, LinkLoss>(())
    };
    let reading = async {
        let (mut stream, mut arrived) = (there.accept_uni().await?, 0);
        while let Some(chunk) = stream.read_chunk(usize::MAX, true).await? {
            arrived += chunk.bytes.len();
        }
        Ok::<_, LinkLoss>(arrived)
    };
    Ok(tokio::try_join!(sending, reading)?.1)
}

#[tokio::test]
async fn a_long_window_that_loses_a_twentieth_keeps_its_connection() {
    // Much more is on its way than before the first loss can be made good.
    let (rate, round_trip) = (BitsPerSec(2_000_000_000), Span::from_millis(600));
    let link = LinkSpec {
        congestion: Congestion::Provisioned,
        rate: Some(rate),
        round_trip: Some(round_trip),
        mtu: Some(1_200),
    };
    let emulation = Emulation { delay: Span(round_trip.0 / 2), loss: 0.05, ..Emulation::default() };
    let bytes = 32 << 20;
    assert_eq!(transfer(bytes, link, emulation).await, Ok(bytes));
}
