//! Control messages on the wire: bincode with a size limit, in this module alone.
//!
//! Why bincode, and why pinned: ADR 0002. It decodes more than it encodes (trailing bytes, overlong
//! varints, repeated map keys), so a message is accepted only if encoding it again gives the same bytes; and
//! it does not apply its limit when encoding, so the sender checks too.
//!
//! Rules for message types, because no codec can check them: no maps, no sequences of zero-sized types (a few
//! bytes would loop for seconds), no recursive types (they overflow the stack), floats checked after
//! decoding. Tensors never travel this way.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest control message in bytes, and the most that decoding one may allocate.
pub const MESSAGE_LIMIT: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Ours when sending, the peer's when receiving.
    #[error("control message of {got} bytes exceeds the limit of {MESSAGE_LIMIT}")]
    TooLarge { got: usize },
    #[error("control message cannot be encoded")]
    Encode(#[source] bincode::error::EncodeError),
    #[error("control message is malformed")]
    Decode(#[source] bincode::error::DecodeError),
    #[error("control message of {got} bytes has {trailing} bytes after its end")]
    Trailing { got: usize, trailing: usize },
    #[error("control message of {got} bytes is not in its one accepted spelling")]
    NotCanonical { got: usize },
}

pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ControlError> {
    let bytes = bincode::serde::encode_to_vec(message, CONFIG).map_err(ControlError::Encode)?;
    if bytes.len() > MESSAGE_LIMIT {
        return Err(ControlError::TooLarge { got: bytes.len() });
    }
    Ok(bytes)
}

/// Reads what a peer sent; any error is the peer's fault.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, ControlError> {
    let got = bytes.len();
    if got > MESSAGE_LIMIT {
        return Err(ControlError::TooLarge { got });
    }
    let (message, read) = bincode::serde::decode_from_slice(bytes, CONFIG).map_err(ControlError::Decode)?;
    if read != got {
        return Err(ControlError::Trailing { got, trailing: got - read });
    }
    let again = bincode::serde::encode_to_vec(&message, CONFIG).map_err(ControlError::Encode)?;
    if again != bytes {
        return Err(ControlError::NotCanonical { got });
    }
    Ok(message)
}

const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MESSAGE_LIMIT>,
> = bincode::config::standard().with_limit::<MESSAGE_LIMIT>();

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::link::{Congestion, LinkSpec};
    use crate::time::Span;
    use crate::units::BitsPerSec;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Message {
        Hello { slot: String, ports: Vec<u16> },
        Progress(u64),
        Flag(bool),
        Loss(f64),
    }

    fn hello() -> Message {
        Message::Hello { slot: "private-0".to_owned(), ports: vec![7, 70_00] }
    }

    #[test]
    fn messages_read_back() {
        for message in [hello(), Message::Progress(u64::MAX), Message::Flag(true), Message::Loss(-0.5)] {
            assert_eq!(decode::<Message>(&encode(&message).unwrap()).unwrap(), message);
        }
    }

    #[test]
    fn what_is_known_of_a_link_travels() {
        let link = LinkSpec {
            congestion: Congestion::Provisioned,
            rate: Some(BitsPerSec(200_000_000)),
            round_trip: Some(Span::from_millis(40)),
            mtu: Some(1_452),
        };
        for link in [link, LinkSpec::default()] {
            assert_eq!(decode::<LinkSpec>(&encode(&link).unwrap()).unwrap(), link);
        }
    }

    #[test]
    fn every_truncation_and_any_trailing_byte_is_refused() {
        let mut bytes = encode(&hello()).unwrap();
        for len in 0..bytes.len() {
            assert!(matches!(decode::<Message>(&bytes[..len]), Err(ControlError::Decode(_))), "length {len}");
        }
        bytes.push(0);
        assert!(matches!(decode::<Message>(&bytes), Err(ControlError::Trailing { trailing: 1, .. })));
    }

    #[test]
    fn overlong_numbers_are_refused() {
        assert_eq!(decode::<u64>(&[1]).unwrap(), 1);
        assert!(matches!(decode::<u64>(&[251, 1, 0]), Err(ControlError::NotCanonical { got: 3 })));
        // The tag of `Flag`, spelt with two bytes.
        assert!(matches!(decode::<Message>(&[251, 2, 0, 1]), Err(ControlError::NotCanonical { .. })));
    }

    #[test]
    fn repeated_map_keys_are_refused() {
        let twice = [2u8, 1, 10, 1, 20];
        assert!(matches!(decode::<BTreeMap<u8, u8>>(&twice), Err(ControlError::NotCanonical { .. })));
    }

    #[test]
    fn unknown_tags_and_bad_values_are_refused() {
        for bytes in [&[9u8][..], &[2, 2], &[0, 1, 0xff, 0]] {
            assert!(matches!(decode::<Message>(bytes), Err(ControlError::Decode(_))), "{bytes:?}");
        }
    }

    #[test]
    fn the_limit_holds_on_both_sides_before_anything_is_allocated() {
        let long = vec![1u8; MESSAGE_LIMIT];
        assert!(matches!(encode(&long), Err(ControlError::TooLarge { .. })));
        assert!(matches!(decode::<Vec<u8>>(&[0; MESSAGE_LIMIT + 1]), Err(ControlError::TooLarge { .. })));
        // 2^60 elements announced in nine bytes.
        let mut bomb = vec![253];
        bomb.extend((1u64 << 60).to_le_bytes());
        assert!(matches!(decode::<Vec<u64>>(&bomb), Err(ControlError::Decode(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(message) = decode::<Message>(&bytes) {
                prop_assert_eq!(encode(&message).unwrap(), bytes);
            }
        }
    }
}
