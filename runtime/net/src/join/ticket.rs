//! Tokens that were given out: one per slot, hashed, used once, for a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::{JoinRefusal, from_hex, to_hex};
use crate::identity::{Peer, random};

/// Why no ticket could be made.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    #[error("zone `{0}` has no authority here: it cannot be joined")]
    Zone(hcrun_protocol::ZoneId),
    #[error("{0} does not join: only workers do")]
    NotAWorker(Peer),
    #[error("the system gives no random numbers")]
    Random,
}

struct Ticket {
    token_sha256: [u8; 32],
    issued: Instant,
    lifetime: Duration,
    used: bool,
}

/// The tickets of one run; as many as it has slots.
#[derive(Default)]
pub(super) struct Tickets(BTreeMap<Peer, Ticket>);

impl Tickets {
    /// A new token for `peer`; an older one is void.
    pub(super) fn issue(
        &mut self,
        peer: Peer,
        lifetime: Duration,
        now: Instant,
    ) -> Result<String, TicketError> {
        let token: [u8; 32] = random().map_err(|_| TicketError::Random)?;
        let ticket =
            Ticket { token_sha256: Sha256::digest(token).into(), issued: now, lifetime, used: false };
        self.0.insert(peer, ticket);
        Ok(to_hex(&token))
    }

    /// Takes a token. A second use of a good one says so, whoever comes second.
    pub(super) fn redeem(&mut self, peer: &Peer, token: &str, now: Instant) -> Result<(), JoinRefusal> {
        let token = from_hex(token).ok_or(JoinRefusal::UnknownToken)?;
        let ticket = self.0.get_mut(peer).ok_or(JoinRefusal::UnknownToken)?;
        if !equal(&Sha256::digest(token).into(), &ticket.token_sha256) {
            return Err(JoinRefusal::UnknownToken);
        }
        if ticket.used {
            return Err(JoinRefusal::Used);
        }
        if now.duration_since(ticket.issued) >= ticket.lifetime {
            return Err(JoinRefusal::Expired);
        }
        ticket.used = true;
        Ok(())
    }
}

/// Takes equally long wherever the bytes differ; hashing first leaves nothing to learn either way.
fn equal(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let difference = left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use hcrun_protocol::{SlotId, ZoneId};

    use super::*;

    #[test]
    fn a_token_works_once_in_time_and_for_its_slot() {
        let zone = || ZoneId::new("private").unwrap();
        let peer = |slot| Peer::slot(SlotId::parse(slot).unwrap(), zone());
        let (mut tickets, start, minute) = (Tickets::default(), Instant::now(), Duration::from_secs(60));
        let first = tickets.issue(peer("a-0"), minute, start).unwrap();
        let second = tickets.issue(peer("a-1"), minute, start).unwrap();

        assert_eq!(tickets.redeem(&peer("a-1"), &first, start), Err(JoinRefusal::UnknownToken));
        assert_eq!(tickets.redeem(&peer("a-2"), &first, start), Err(JoinRefusal::UnknownToken));
        assert_eq!(tickets.redeem(&peer("a-0"), &first[..63], start), Err(JoinRefusal::UnknownToken));
        assert_eq!(tickets.redeem(&peer("a-0"), "é", start), Err(JoinRefusal::UnknownToken));
        assert_eq!(tickets.redeem(&peer("a-0"), &first, start), Ok(()));
        assert_eq!(tickets.redeem(&peer("a-0"), &first, start), Err(JoinRefusal::Used));
        assert_eq!(tickets.redeem(&peer("a-1"), &second, start + minute), Err(JoinRefusal::Expired));

        let renewed = tickets.issue(peer("a-1"), minute, start + minute).unwrap();
        assert_eq!(tickets.redeem(&peer("a-1"), &second, start + minute), Err(JoinRefusal::UnknownToken));
        assert_eq!(tickets.redeem(&peer("a-1"), &renewed, start + minute), Ok(()));
    }
}
