//! Linking one lane to all members of a generation.

use std::collections::BTreeMap;
use std::time::Duration;

use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, Incoming, TransportErrorCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::greeting::{self, Hello};
use super::{FormError, FormSpec, GreetingError, LinkReport, Member, Pair};
use crate::endpoint::{self, GREETING_DEADLINE, LinkKind, PENDING_LIMIT};
use crate::identity::{Alpn, Identity};
use crate::loss::{self, CloseCode};

/// A link that stands: both ends are who they should be.
pub(super) struct Link {
    pub(super) member: Member,
    pub(super) connection: Connection,
    pub(super) report: LinkReport,
}

/// What is the same for all links of one forming.
#[derive(Clone)]
struct Forming {
    identity: Identity,
    hello: Hello,
    /// Who should dial us.
    callers: Vec<Member>,
}

/// How a link turned out; callers that could not be told who they are have no pair.
enum Outcome {
    Stands(Box<Link>),
    Failed(Box<Pair>, GreetingError),
    TurnedAway(String),
}

/// Reports of callers that were turned away, kept to explain a missing link.
const REFUSALS_KEPT: usize = 4;

pub(super) async fn form(
    endpoint: &Endpoint,
    identity: &Identity,
    kind: LinkKind,
    lane: usize,
    spec: &FormSpec,
) -> Result<Vec<Link>, FormError> {
    let me = check(identity, spec)?;
    let ip = endpoint.local_addr().map_err(|_| FormError::LaneGone)?.ip();
    let config = endpoint::client(identity, Alpn::Data, kind, ip).map_err(FormError::Tls)?;
    let (mut missing, mut callers, mut tasks) = (BTreeMap::new(), Vec::new(), JoinSet::new());
    let index = u16::try_from(lane).expect("a handful of lanes");
    let hello = Hello { job: spec.job, generation: spec.generation, rank: spec.me, lane: index };
    for other in spec.members.iter().filter(|member| member.rank != spec.me) {
        let (got, expected) = (other.lanes.len(), me.lanes.len());
        if got != expected && got != 0 && expected != 0 {
            return Err(FormError::Lanes { peer: other.peer(), got, expected });
        }
        if i_dial(me, other)? {
            let pair = Pair::new(me, other, lane);
            if pair.address.is_none() {
                return Err(FormError::NoAddress(Box::new(pair)));
            }
            let (endpoint, identity, config) = (endpoint.clone(), identity.clone(), config.clone());
            tasks.spawn(dial(endpoint, identity, config, hello, other.clone(), pair.clone()));
            missing.insert(other.rank, pair);
        } else {
            callers.push(other.clone());
            missing.insert(other.rank, Pair::new(other, me, lane));
        }
    }
    let forming = Forming { identity: identity.clone(), hello, callers };
    gather(endpoint, forming, tasks, missing, spec.deadline).await
}

/// The own entry of the member list.
fn check<'a>(identity: &Identity, spec: &'a FormSpec) -> Result<&'a Member, FormError> {
    for (index, member) in spec.members.iter().enumerate() {
        if member.rank.index() != index {
            return Err(FormError::Members { index, got: member.rank });
        }
    }
    let me = spec.members.get(spec.me.index()).filter(|member| member.peer() == identity.me);
    me.ok_or_else(|| FormError::NotAMember { me: spec.me, identity: identity.me.clone() })
}

/// Both ends come to the same answer. Inside a zone everybody can be dialled.
fn i_dial(me: &Member, other: &Member) -> Result<bool, FormError> {
    match (me.reachable, other.reachable) {
        _ if me.zone == other.zone => Ok(me.rank > other.rank),
        (true, true) => Ok(me.rank > other.rank),
        (mine, theirs) if mine != theirs => Ok(theirs),
        _ => Err(FormError::NeitherReachable { first: me.peer(), second: other.peer() }),
    }
}

async fn gather(
    endpoint: &Endpoint,
    forming: Forming,
    mut tasks: JoinSet<Outcome>,
    mut missing: BTreeMap<hcrun_protocol::Rank, Pair>,
    within: Duration,
) -> Result<Vec<Link>, FormError> {
    let deadline = Instant::now() + within;
    let mut links: BTreeMap<hcrun_protocol::Rank, Link> = BTreeMap::new();
    let mut refused = Vec::new();
    while !missing.is_empty() {
        let outcome = tokio::select! {
            () = tokio::time::sleep_until(deadline) => {
                return Err(FormError::Deadline { missing: missing.into_values().collect(), within, refused });
            }
            Some(incoming) = endpoint.accept() => {
                receive(incoming, &forming, &mut tasks);
                continue;
            }
            Some(outcome) = tasks.join_next(), if !tasks.is_empty() => outcome,
        };
        match outcome {
            Ok(Outcome::Stands(link)) => match missing.remove(&link.member.rank) {
                Some(_) => drop(links.insert(link.member.rank, *link)),
                None => loss::close(
                    &link.connection,
                    CloseCode::SecondLink,
                    &format!("{} already has a live link", link.member.peer()),
                ),
            },
            Ok(Outcome::Failed(pair, source)) => return Err(FormError::Link { pair, source }),
            Ok(Outcome::TurnedAway(why)) if refused.len() < REFUSALS_KEPT => refused.push(why),
            Ok(Outcome::TurnedAway(_)) => {}
            Err(error) => tracing::error!(%error, "a task of forming a group ended early"),
        }
    }
    Ok(links.into_values().collect())
}

async fn dial(
    endpoint: Endpoint,
    identity: Identity,
    config: ClientConfig,
    hello: Hello,
    member: Member,
    pair: Pair,
) -> Outcome {
    let expected = member.peer();
    let name = expected.dns_name(hello.job);
    let Some(address) = pair.address else {
        return Outcome::Failed(Box::new(pair), GreetingError::Address("none is known".to_owned()));
    };
    // The peer may not have begun to form; the deadline of forming ends this loop.
    let connection = loop {
        match endpoint.connect_with(config.clone(), address, &name) {
            Err(error) => return Outcome::Failed(Box::new(pair), GreetingError::Address(error.to_string())),
            Ok(connecting) => match connecting.await {
                Ok(connection) => break connection,
                Err(error) if is_busy(&error) => tokio::time::sleep(AGAIN).await,
                Err(error) => {
                    return Outcome::Failed(Box::new(pair), GreetingError::Lost(error.into()));
                }
            },
        }
    };
    let greeted = match identity.peer_of(&connection) {
        Err(error) => Err(GreetingError::Peer(error)),
        Ok(got) if got != expected => Err(GreetingError::OtherPeer { got, expected }),
        Ok(_) => greeting::dial(&connection, hello, member.rank).await,
    };
    match greeted {
        Ok(report) => Outcome::Stands(Box::new(Link { member, connection, report })),
        Err(error) => {
            loss::close(&connection, CloseCode::Refused, &error.to_string());
            Outcome::Failed(Box::new(pair), error)
        }
    }
}

/// Whether the peer may answer later: it does not listen yet, greets too many others, or was too slow to
/// finish the handshake in time.
fn is_busy(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::TimedOut => true,
        ConnectionError::ConnectionClosed(close) => {
            [TransportErrorCode::CONNECTION_REFUSED, TransportErrorCode::APPLICATION_ERROR]
                .contains(&close.error_code)
        }
        _ => false,
    }
}

/// Between two attempts to dial a busy peer.
const AGAIN: Duration = Duration::from_millis(50);

/// Starts the greeting of a caller, unless too many are being greeted.
fn receive(incoming: Incoming, forming: &Forming, tasks: &mut JoinSet<Outcome>) {
    if !incoming.remote_address_validated() {
        drop(incoming.retry());
    } else if tasks.len() >= PENDING_LIMIT + forming.callers.len() {
        incoming.refuse();
    } else {
        tasks.spawn(greet(incoming, forming.clone()));
    }
}

async fn greet(incoming: Incoming, forming: Forming) -> Outcome {
    let address = incoming.remote_address();
    let deadline = Instant::now() + GREETING_DEADLINE;
    let turned_away = |why: &dyn std::error::Error| {
        let cause = why.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Outcome::TurnedAway(format!("a caller from {address}: {why}{cause}"))
    };
    let lost = |error: ConnectionError| GreetingError::Lost(error.into());
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return turned_away(&lost(error)),
    };
    let connection = match timeout_at(deadline, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return turned_away(&lost(error)),
        Err(_) => {
            return Outcome::TurnedAway(format!("a caller from {address}: its handshake took too long"));
        }
    };
    // A stranger has been turned away by now: a member may be as slow as its host, until forming ends.
    let greeted = async {
        let member = identify(&connection, &forming)?;
        let report = greeting::answer(&connection, forming.hello, member.rank).await?;
        Ok::<_, GreetingError>((member, report))
    };
    match greeted.await {
        Ok((member, report)) => Outcome::Stands(Box::new(Link { member, connection, report })),
        Err(error) => {
            loss::close(&connection, CloseCode::Refused, &error.to_string());
            turned_away(&error)
        }
    }
}

/// Which of the expected callers this is.
fn identify(connection: &Connection, forming: &Forming) -> Result<Member, GreetingError> {
    let got = forming.identity.peer_of(connection).map_err(GreetingError::Peer)?;
    let member = forming.callers.iter().find(|member| member.peer() == got);
    member.cloned().ok_or(GreetingError::NotExpected(got))
}
