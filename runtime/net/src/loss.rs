//! Why a link ended, and what is said when one is closed.

use std::time::Duration;

use quinn::{ConnectionError, ReadError, VarInt, WriteError};

use crate::endpoint::IDLE;

/// Sent with a close, so that the other end can say why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// Nothing is left to say.
    Done,
    /// The peer broke the protocol: its fault.
    Protocol,
    /// The certificate is good, but not for this place.
    Refused,
    /// The identity already has a live link.
    SecondLink,
    /// The sender gave up, for the reason in the text.
    Aborted,
    /// No word, or a code of a later version.
    Unknown,
}

impl CloseCode {
    const ALL: [CloseCode; 5] =
        [CloseCode::Done, CloseCode::Protocol, CloseCode::Refused, CloseCode::SecondLink, CloseCode::Aborted];

    pub(crate) fn number(self) -> VarInt {
        // 0 is what a process sends that drops its links without a word.
        let index = CloseCode::ALL.iter().position(|code| *code == self).map_or(0, |index| index + 1);
        VarInt::from_u32(u32::try_from(index).expect("six codes"))
    }

    fn of(number: VarInt) -> CloseCode {
        CloseCode::ALL.into_iter().find(|code| code.number() == number).unwrap_or(CloseCode::Unknown)
    }
}

/// Why a link is gone. Says what happened, not to whom: the error around it names the peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkLoss {
    #[error("it closed the link ({code:?}): {reason}")]
    ClosedByPeer { code: CloseCode, reason: String },
    #[error("nothing was heard from it for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("it no longer knows the link: the process was restarted")]
    Forgotten,
    /// TLS and QUIC errors: certificates, another protocol, another version.
    #[error("{0}")]
    Transport(String),
    #[error("the link was closed here")]
    ClosedHere,
    #[error("it ended its stream in the middle of a frame")]
    Truncated,
    #[error("it ended its stream")]
    Ended,
}

/// Longest reason that is sent or kept from a peer.
const REASON_BYTES: usize = 256;

/// A reason from a peer, fit for a log line.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(REASON_BYTES)]).into_owned();
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A reason short enough to fit the packet that closes a link.
pub(crate) fn close(connection: &quinn::Connection, code: CloseCode, reason: &str) {
    let mut end = reason.len().min(REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    connection.close(code.number(), &reason.as_bytes()[..end]);
}

impl From<ConnectionError> for LinkLoss {
    fn from(error: ConnectionError) -> LinkLoss {
        match error {
            ConnectionError::ApplicationClosed(close) => LinkLoss::ClosedByPeer {
                code: CloseCode::of(close.error_code),
                reason: printable(&close.reason),
            },
            ConnectionError::ConnectionClosed(close) => {
                LinkLoss::Transport(printable(close.to_string().as_bytes()))
            }
            ConnectionError::TimedOut => LinkLoss::Silent(IDLE),
            ConnectionError::Reset => LinkLoss::Forgotten,
            ConnectionError::LocallyClosed => LinkLoss::ClosedHere,
            other => LinkLoss::Transport(printable(other.to_string().as_bytes())),
        }
    }
}

impl From<ReadError> for LinkLoss {
    fn from(error: ReadError) -> LinkLoss {
        match error {
            ReadError::ConnectionLost(error) => error.into(),
            ReadError::Reset(_) => LinkLoss::Truncated,
            other => LinkLoss::Transport(other.to_string()),
        }
    }
}

impl From<WriteError> for LinkLoss {
    fn from(error: WriteError) -> LinkLoss {
        match error {
            WriteError::ConnectionLost(error) => error.into(),
            WriteError::Stopped(_) => LinkLoss::Ended,
            other => LinkLoss::Transport(other.to_string()),
        }
    }
}
