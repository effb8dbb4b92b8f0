//! Why a link ended, and what is said when one is closed.

use quinn::{ConnectionError, ReadError, VarInt, WriteError};

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
    #[error("nothing is heard from it any more: it is gone, or packets no longer pass between the two")]
    Silent,
    #[error("it no longer knows the link: the process was restarted")]
    Forgotten,
    /// The peer's certificate is not taken here.
    #[error("{0}")]
    Certificate(String),
    /// The alert does not say more; the peer's own log does.
    #[error("it refused this process's certificate (TLS alert {alert}); its log says why")]
    CertificateRefused { alert: u64 },
    /// Other TLS and QUIC errors, such as another protocol or version.
    #[error("{0}")]
    Transport(String),
    #[error("the link was closed here")]
    ClosedHere,
    #[error("it ended its stream in the middle of a frame")]
    Truncated,
    #[error("it ended its stream")]
    Ended,
}

/// Longest reason that is sent; it has to fit one packet.
const REASON_BYTES: usize = 256;
/// Longest reason that is kept.
const KEPT_BYTES: usize = 512;

/// A reason from a peer, fit for a log line.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(KEPT_BYTES)]).into_owned();
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
            ConnectionError::ConnectionClosed(close) => match alert(u64::from(close.error_code)) {
                Some(alert) => LinkLoss::CertificateRefused { alert },
                None => LinkLoss::Transport(printable(close.to_string().as_bytes())),
            },
            ConnectionError::TransportError(error) => match error.reason.split_once(CERTIFICATE) {
                Some((_, reason)) => LinkLoss::Certificate(printable(unwrapped(reason).as_bytes())),
                None => LinkLoss::Transport(printable(error.to_string().as_bytes())),
            },
            ConnectionError::TimedOut => LinkLoss::Silent,
            ConnectionError::Reset => LinkLoss::Forgotten,
            ConnectionError::LocallyClosed => LinkLoss::ClosedHere,
            other => LinkLoss::Transport(printable(other.to_string().as_bytes())),
        }
    }
}

/// How rustls begins when it refuses a certificate.
const CERTIFICATE: &str = "invalid peer certificate: ";

/// The reason within rustls' error of others.
fn unwrapped(reason: &str) -> &str {
    let inner = reason.strip_prefix("Other(OtherError(").and_then(|reason| reason.strip_suffix("))"));
    inner.unwrap_or(reason)
}

/// The TLS alert about certificates in a QUIC error code (RFC 9001, section 4.8; RFC 8446, section 6.2).
fn alert(code: u64) -> Option<u64> {
    let alert = code.checked_sub(0x100)?;
    matches!(alert, 42..=46 | 48 | 116).then_some(alert)
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
