//! The process of a rank: obeys orders.

use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::{Communicator, Failed, Options};
use hcrun_net::group::{FormSpec, Group, LaneListener, LaneSettings, Member};
use hcrun_protocol::Rank;
use hcrun_protocol::link::LinkSpec;

use super::order::{Answer, Order, Seat};

/// Obeys the orders on stdin until there are no more.
pub fn main() -> anyhow::Result<()> {
    let orders = std::io::stdin().lock().lines();
    let mut orders = orders.map(|line| -> anyhow::Result<Order> { Ok(serde_json::from_str(&line?)?) });
    let Some(first) = orders.next() else { return Ok(()) };
    let Order::Bind { identity, silence } = first? else { bail!("the first order is to bind") };
    let identity = identity.read()?;
    let settings = LaneSettings { silence, ..LaneSettings::default() };
    let listener = LaneListener::bind(&identity, IpAddr::V4(Ipv4Addr::LOCALHOST), None, &settings)?;
    let lanes = listener.addresses().to_vec();
    answer(&Answer::Bound { lanes: lanes.clone() })?;
    let mut listener = Some(listener);
    for order in orders {
        let Order::Form { generation, me, seats, elems, rounds } = order? else { bail!("bound already") };
        let member = |(index, seat): (usize, Seat)| Member {
            rank: Rank::from_index(index),
            slot: seat.slot,
            zone: identity.me.zone.clone(),
            lanes: seat.lanes,
            reachable: true,
        };
        let listener = match listener.take() {
            Some(listener) => listener,
            None => LaneListener::bind_at(&identity, &lanes, &settings)?,
        };
        let group: Group<HostBuffers> = listener.form(FormSpec {
            job: identity.job,
            generation,
            me,
            members: seats.into_iter().enumerate().map(member).collect(),
            deadline: Duration::from_secs(20),
            staging_bytes: 4 << 20,
            segment_bytes: 256 << 10,
        })?;
        // Says how it went before it closes the group, which takes a while.
        match Communicator::new(group, &LinkSpec::default()) {
            Ok(communicator) => answer(&all_reduce(&communicator, elems, rounds.unwrap_or(u64::MAX))?)?,
            Err(failed) => answer(&failure(&failed))?,
        }
    }
    Ok(())
}

/// All-reduces so often, or until one fails.
fn all_reduce(communicator: &Communicator<HostBuffers>, elems: usize, rounds: u64) -> anyhow::Result<Answer> {
    let (me, ranks) = (communicator.group().me().index() as u64, communicator.ranks().len() as u64);
    for round in 0..rounds {
        let own: Vec<u64> = (0..elems as u64).map(|index| index + me * round).collect();
        let pending = communicator.all_reduce(HostBuffers::new(own), &Options::default())?;
        answer(&Answer::Began)?;
        let sum: Vec<u64> = match pending.wait() {
            Ok(buffers) => buffers.into_vec().context("u64")?,
            Err(failed) => return Ok(failure(&failed)),
        };
        let all_of_round = ranks * (ranks - 1) / 2 * round;
        let right = |(index, sum): (u64, &u64)| *sum == ranks * index + all_of_round;
        ensure!((0..).zip(&sum).all(right), "round {round}: a sum is wrong");
    }
    Ok(Answer::Done)
}

fn failure(failed: &Failed<HostBuffers>) -> Answer {
    let mut text = failed.to_string();
    let mut source = std::error::Error::source(failed);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    Answer::Failed { peer: failed.peer(), text }
}

fn answer(answer: &Answer) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(answer)?)?;
    Ok(out.flush()?)
}
