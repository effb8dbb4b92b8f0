//! What the ranks of one communicator find each other by.

#![expect(unsafe_code, reason = "NCCL is a C library")]

use std::fmt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bindings::{NCCL_UNIQUE_ID_BYTES, ncclResult_t, ncclUniqueId};
use super::error::{Cause, NcclError};
use super::find::Nccl;

/// Made by one rank, given to all others, used once. Whoever has it can join: it goes over authenticated links only,
/// and is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct UniqueId([u8; UniqueId::BYTES]);

impl UniqueId {
    pub const BYTES: usize = NCCL_UNIQUE_ID_BYTES as usize;

    /// NCCL listens for the others at an address of this process, which has to live until all have come.
    ///
    /// # Errors
    /// If it finds no network interface to listen on, or does not come back in time.
    pub fn new(nccl: &Nccl, within: Duration) -> Result<UniqueId, Cause> {
        let (sender, answer) = mpsc::channel();
        let nccl = *nccl;
        let asks = move || sender.send(UniqueId::ask(&nccl));
        // Not waited for: NCCL may never return.
        thread::Builder::new().spawn(asks).map_err(|error| Cause::Thread(error.to_string()))?;
        answer.recv_timeout(within).map_err(|_| Cause::Stuck { within })?.map_err(Cause::Refused)
    }

    fn ask(nccl: &Nccl) -> Result<UniqueId, NcclError> {
        let mut id = ncclUniqueId { internal: [0; UniqueId::BYTES] };
        // SAFETY: writes the id.
        match unsafe { nccl.api().ncclGetUniqueId(&mut id) } {
            ncclResult_t::ncclSuccess => Ok(UniqueId(id.internal.map(|byte| byte.to_ne_bytes()[0]))),
            answer => Err(NcclError::new(nccl, "ncclGetUniqueId", answer)),
        }
    }

    pub fn from_bytes(bytes: [u8; UniqueId::BYTES]) -> UniqueId {
        UniqueId(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; UniqueId::BYTES] {
        &self.0
    }

    pub(super) fn raw(&self) -> ncclUniqueId {
        ncclUniqueId { internal: self.0.map(|byte| std::ffi::c_char::from_ne_bytes([byte])) }
    }
}

impl fmt::Debug for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UniqueId(..)")
    }
}

impl Serialize for UniqueId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for UniqueId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UniqueId, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Exactly 128 bytes; formats without a type for bytes hold a list of numbers.
struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = UniqueId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", UniqueId::BYTES)
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<UniqueId, E> {
        bytes.try_into().map(UniqueId).map_err(|_| E::invalid_length(bytes.len(), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<UniqueId, A::Error> {
        let mut bytes = [0; UniqueId::BYTES];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = list.next_element()?.ok_or_else(|| de::Error::invalid_length(index, &self))?;
        }
        match list.next_element::<u8>()? {
            None => Ok(UniqueId(bytes)),
            Some(_) => Err(de::Error::invalid_length(UniqueId::BYTES + 1, &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_what_it_was_written_as() {
        let id = UniqueId::from_bytes([0xC3; UniqueId::BYTES]);
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<UniqueId>(&text).unwrap(), id);
        assert_eq!(UniqueId::from_bytes(id.raw().internal.map(|byte| byte.to_ne_bytes()[0])), id);
        assert_eq!(format!("{id:?}"), "UniqueId(..)");
    }

    #[test]
    fn another_length_is_refused() {
        for len in [0, 127, 129] {
            let text = serde_json::to_string(&vec![7u8; len]).unwrap();
            let error = serde_json::from_str::<UniqueId>(&text).unwrap_err().to_string();
            assert!(error.contains("128 bytes"), "{len}: {error}");
        }
        assert!(Bytes.visit_bytes::<serde_json::Error>(&[0; 127]).is_err());
    }
}
