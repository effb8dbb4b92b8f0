//! Where NCCL lies, and whether it can be used.
//!
//! Its version is asked for before anything else, so that an old one is called old. Every function that is called is
//! looked up when the library is opened, so that none can be missing later.

#![expect(unsafe_code, reason = "NCCL is a C library")]

use std::ffi::c_int;
use std::fmt;
use std::path::{Path, PathBuf};

use libloading::Library;

use super::bindings::{NCCL_VERSION_CODE, NcclApi, ncclResult_t};
use crate::libraries::{self, file_of, words};

/// Opens the first NCCL that can be used. With `HCRUN_NCCL` (a file or its folder) that one or none; else the one that
/// the system finds, which is the one that the process has already if there is one; else a wheel of Python.
///
/// Opening runs what the library does when it is loaded; ask in a process of its own where that must not hang.
///
/// # Errors
/// If there is none, with every library that was tried and why it was passed over.
pub fn find() -> Result<Nccl, NcclUnavailable> {
    let mut tried = Vec::new();
    for library in candidates() {
        match open(&library) {
            Ok(nccl) => return Ok(nccl),
            Err(refusal) => tried.push(refusal),
        }
    }
    Err(NcclUnavailable { tried })
}

/// Opens this library, which stays open until the process ends.
///
/// # Errors
/// If it is no NCCL that can be used.
pub fn open(library: &Path) -> Result<Nccl, Refusal> {
    let name = || library.display().to_string();
    // SAFETY: its initialisers are those that every program using it runs.
    let opened = unsafe { Library::new(library) }
        .map_err(|error| Refusal::CannotOpen { library: name(), cause: words(&error) })?;
    // Never closed: NCCL starts threads, and may be in use by others in this process.
    let opened: &'static Library = Box::leak(Box::new(opened));
    let version = version(opened, &name)?;
    if version < NcclVersion::NEEDED {
        return Err(Refusal::OldVersion { library: name(), version, needed: NcclVersion::NEEDED });
    }
    // SAFETY: opened once more, what was opened just now; the signatures are those of the header of the oldest version
    // that passes here, and NCCL keeps them.
    let api = unsafe { NcclApi::new(library) }
        .map_err(|error| Refusal::CannotOpen { library: name(), cause: words(&error) })?;
    let api: &'static NcclApi = Box::leak(Box::new(api));
    if let Some(symbol) = api.missing() {
        return Err(Refusal::MissingSymbol { library: name(), symbol });
    }
    let file = api.ncclGetVersion.as_ref().ok().and_then(|function| file_of(*function as usize));
    Ok(Nccl { api, version, file: Box::leak(file.unwrap_or_else(|| library.to_owned()).into_boxed_path()) })
}

/// The library, opened and of a version that can be used.
#[derive(Clone, Copy)]
pub struct Nccl {
    api: &'static NcclApi,
    version: NcclVersion,
    file: &'static Path,
}

impl Nccl {
    pub fn version(&self) -> NcclVersion {
        self.version
    }

    /// The file that was loaded.
    pub fn file(&self) -> &Path {
        self.file
    }

    /// Its functions. None is missing, so that the methods of their names do not panic.
    pub(super) fn api(&self) -> &'static NcclApi {
        self.api
    }
}

impl fmt::Debug for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nccl({}, {})", self.version, self.file.display())
    }
}

/// As `ncclGetVersion` writes it: 21801 is 2.18.1; up to 2.8, 2804 was 2.8.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NcclVersion(u32);

impl NcclVersion {
    /// That of the header that the bindings are made from.
    pub const NEEDED: NcclVersion = NcclVersion(NCCL_VERSION_CODE);
}

impl fmt::Display for NcclVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let major_unit = if self.0 < 10_000 { 1_000 } else { 10_000 };
        write!(f, "{}.{}.{}", self.0 / major_unit, self.0 % major_unit / 100, self.0 % 100)
    }
}

/// Why NCCL is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no NCCL that can be used: {}; `pip install nvidia-nccl-cu12` brings one, or set HCRUN_NCCL to libnccl.so.2 or its \
     folder",
    tried.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
)]
pub struct NcclUnavailable {
    /// In the order in which they were tried.
    pub tried: Vec<Refusal>,
}

impl NcclUnavailable {
    /// One word for machines that read it: of the first library that was there.
    pub fn code(&self) -> &'static str {
        let mut codes = self.tried.iter().map(Refusal::code);
        codes.find(|code| *code != NO_NCCL).unwrap_or(NO_NCCL)
    }

    /// Whether none was there at all, which is no fault of the machine.
    pub fn is_usual(&self) -> bool {
        self.code() == NO_NCCL
    }
}

/// Why a library was passed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{library} cannot be opened ({cause})")]
    CannotOpen { library: String, cause: String },
    #[error("{library} does not tell its version: ncclGetVersion answered {code}")]
    NoVersion { library: String, code: u32 },
    #[error("{library} is NCCL {version}, and {needed} or newer is needed")]
    OldVersion { library: String, version: NcclVersion, needed: NcclVersion },
    #[error("{library} lacks {symbol}")]
    MissingSymbol { library: String, symbol: &'static str },
}

impl Refusal {
    fn code(&self) -> &'static str {
        match self {
            Refusal::CannotOpen { .. } => NO_NCCL,
            Refusal::NoVersion { .. } => "nccl-failed",
            Refusal::OldVersion { .. } => "old-nccl",
            Refusal::MissingSymbol { .. } => "missing-symbol",
        }
    }
}

fn candidates() -> Vec<PathBuf> {
    match libraries::variable("HCRUN_NCCL") {
        Some(chosen) if chosen.is_dir() => vec![chosen.join(NAME)],
        Some(chosen) => vec![chosen],
        None => {
            let of_wheels =
                libraries::folders(&["nvidia/nccl/lib"]).into_iter().map(|folder| folder.join(NAME));
            [PathBuf::from(NAME)].into_iter().chain(of_wheels).collect()
        }
    }
}

fn version(library: &Library, name: &dyn Fn() -> String) -> Result<NcclVersion, Refusal> {
    const SYMBOL: &str = "ncclGetVersion";
    let mut version: c_int = 0;
    // SAFETY: the signature of nccl.h since 2.0; it writes one int.
    let answer = unsafe {
        match library.get::<unsafe extern "C" fn(*mut c_int) -> ncclResult_t>(SYMBOL) {
            Ok(function) => function(&mut version),
            Err(_) => return Err(Refusal::MissingSymbol { library: name(), symbol: SYMBOL }),
        }
    };
    match answer {
        ncclResult_t::ncclSuccess => Ok(NcclVersion(version.unsigned_abs())),
        ncclResult_t(code) => Err(Refusal::NoVersion { library: name(), code }),
    }
}

/// What NVIDIA's packages install and PyTorch loads; `libnccl.so` is for linking.
const NAME: &str = "libnccl.so.2";
const NO_NCCL: &str = "no-nccl";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_written_as_people_write_them() {
        for (code, text) in [(21_801, "2.18.1"), (2_804, "2.8.4"), (23_203, "2.32.3"), (21_002, "2.10.2")] {
            assert_eq!(NcclVersion(code).to_string(), text);
        }
        assert_eq!(NcclVersion::NEEDED.to_string(), "2.18.1");
    }

    #[test]
    fn a_library_that_is_there_is_what_counts() {
        let absent = Refusal::CannotOpen { library: NAME.to_owned(), cause: "words".to_owned() };
        let lacking = Refusal::MissingSymbol { library: "/b".to_owned(), symbol: "ncclAllReduce" };
        let unavailable = NcclUnavailable { tried: vec![absent.clone(), lacking] };
        assert_eq!((unavailable.code(), unavailable.is_usual()), ("missing-symbol", false));
        let text = unavailable.to_string();
        assert!(
            text.contains("libnccl.so.2 cannot be opened (words); /b lacks ncclAllReduce; `pip"),
            "{text}"
        );
        let unavailable = NcclUnavailable { tried: vec![absent] };
        assert_eq!((unavailable.code(), unavailable.is_usual()), ("no-nccl", true));
    }
}
