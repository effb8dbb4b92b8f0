//! Where cuBLASLt lies, and whether it can be used.
//!
//! Its version is asked for before anything else, so that an old one is called old. Every function that is called is
//! looked up when the library is opened, so that none can be missing later.

#![expect(unsafe_code, reason = "cuBLASLt is a C library")]

use std::fmt;
use std::path::{Path, PathBuf};

use libloading::Library;

use super::api::Api;
use super::error::CublasLtError;
use crate::device::DeviceError;
use crate::libraries::{self, file_of, words};

/// Opens the first cuBLASLt that can be used. With `HCRUN_CUBLASLT` (a file, its folder, or `none`) that one or none; else
/// the one that the system finds, which is the one that the process has already if there is one; else that of a toolkit;
/// else a wheel of Python. One of CUDA 12 comes before any of CUDA 13, since it works with more drivers.
///
/// # Errors
/// If there is none, with every library that was tried and why it was passed over.
pub fn find() -> Result<CublasLt, CublasLtUnavailable> {
    let candidates = match libraries::variable("HCRUN_CUBLASLT") {
        Some(chosen) if chosen == Path::new("none") => return Err(CublasLtUnavailable::Off),
        Some(chosen) if chosen.is_dir() => NAMES.iter().map(|name| chosen.join(name)).collect(),
        Some(chosen) => vec![chosen],
        None => usual(),
    };
    let mut tried = Vec::new();
    for library in candidates {
        match open(&library) {
            Ok(cublaslt) => return Ok(cublaslt),
            Err(refusal) => tried.push(refusal),
        }
    }
    Err(CublasLtUnavailable::NoneUsable { tried })
}

/// Opens this library, which stays open until the process ends.
///
/// # Errors
/// If it is no cuBLASLt that can be used.
pub fn open(library: &Path) -> Result<CublasLt, Refusal> {
    let name = || library.display().to_string();
    // SAFETY: its initialisers are those that every program using it runs.
    let opened = unsafe { Library::new(library) }
        .map_err(|error| Refusal::CannotOpen { library: name(), cause: words(&error) })?;
    let version = version(&opened).map_err(|symbol| Refusal::MissingSymbol { library: name(), symbol })?;
    if version < CublasLtVersion::NEEDED {
        return Err(Refusal::OldVersion { library: name(), version, needed: CublasLtVersion::NEEDED });
    }
    let api = Api::resolve(opened).map_err(|symbol| Refusal::MissingSymbol { library: name(), symbol })?;
    let file = file_of(api.version as usize).unwrap_or_else(|| library.to_owned());
    Ok(CublasLt { api: Box::leak(Box::new(api)), version, file: Box::leak(file.into_boxed_path()) })
}

/// The library, opened and of a version that can be used.
#[derive(Clone, Copy)]
pub struct CublasLt {
    api: &'static Api,
    version: CublasLtVersion,
    file: &'static Path,
}

impl CublasLt {
    pub fn version(&self) -> CublasLtVersion {
        self.version
    }

    /// The file that was loaded.
    pub fn file(&self) -> &Path {
        self.file
    }

    pub(super) fn api(&self) -> &'static Api {
        self.api
    }
}

impl fmt::Debug for CublasLt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CublasLt({}, {})", self.version, self.file.display())
    }
}

/// As `cublasLtGetVersion` writes it: 120901 is 12.9.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CublasLtVersion(usize);

impl CublasLtVersion {
    /// What the oldest driver that kernels run on serves, and the oldest header that was compared.
    pub const NEEDED: CublasLtVersion = CublasLtVersion(120_000);
}

impl fmt::Display for CublasLtVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0 / 10_000, self.0 / 100 % 100, self.0 % 100)
    }
}

/// Why products are computed by our kernels.
#[derive(Debug, thiserror::Error)]
pub enum CublasLtUnavailable {
    #[error("HCRUN_CUBLASLT is `none`")]
    Off,
    #[error(
        "no cuBLASLt that can be used: {}; `pip install nvidia-cublas-cu12` brings one, or set HCRUN_CUBLASLT to \
         libcublasLt.so.12 or its folder",
        tried.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    NoneUsable {
        /// In the order in which they were tried.
        tried: Vec<Refusal>,
    },
    #[error(
        "{library} does not start: {cause}; one of the driver's CUDA version may, named by HCRUN_CUBLASLT"
    )]
    NotStarted { library: String, cause: CublasLtError },
    #[error("there is no memory for its work: {0}")]
    Workspace(Box<DeviceError>),
}

impl CublasLtUnavailable {
    /// One word for machines that read it: of the first library that was there.
    pub fn code(&self) -> &'static str {
        match self {
            CublasLtUnavailable::Off => "cublaslt-off",
            CublasLtUnavailable::NoneUsable { tried } => {
                let mut codes = tried.iter().map(Refusal::code);
                codes.find(|code| *code != NO_CUBLASLT).unwrap_or(NO_CUBLASLT)
            }
            CublasLtUnavailable::NotStarted { .. } => "cublaslt-failed",
            CublasLtUnavailable::Workspace(_) => "no-workspace",
        }
    }

    /// Whether nothing is wrong: there is none at all, or it is not wanted.
    pub fn is_usual(&self) -> bool {
        matches!(self, CublasLtUnavailable::Off) || self.code() == NO_CUBLASLT
    }
}

/// Why a library was passed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{library} cannot be opened ({cause})")]
    CannotOpen { library: String, cause: String },
    #[error("{library} is cuBLASLt {version}, and {needed} or newer is needed")]
    OldVersion { library: String, version: CublasLtVersion, needed: CublasLtVersion },
    #[error("{library} lacks {symbol}")]
    MissingSymbol { library: String, symbol: &'static str },
}

impl Refusal {
    fn code(&self) -> &'static str {
        match self {
            Refusal::CannotOpen { .. } => NO_CUBLASLT,
            Refusal::OldVersion { .. } => "old-cublaslt",
            Refusal::MissingSymbol { .. } => "missing-symbol",
        }
    }
}

/// Files that are not there are not tried.
fn usual() -> Vec<PathBuf> {
    let folders: Vec<PathBuf> =
        libraries::toolkits().into_iter().chain(libraries::folders(&WHEELS)).collect();
    let of_name = |name: &str| {
        let files = folders.iter().map(|folder| folder.join(name)).filter(|file| file.exists());
        [PathBuf::from(name)].into_iter().chain(files).collect::<Vec<_>>()
    };
    NAMES.iter().flat_map(|name| of_name(name)).collect()
}

fn version(library: &Library) -> Result<CublasLtVersion, &'static str> {
    const SYMBOL: &str = "cublasLtGetVersion";
    // SAFETY: the signature of cublasLt.h since 10.1; it takes nothing.
    unsafe {
        let function = library.get::<unsafe extern "C" fn() -> usize>(SYMBOL).map_err(|_| SYMBOL)?;
        Ok(CublasLtVersion(function()))
    }
}

/// What NVIDIA's packages install and PyTorch loads.
const NAMES: [&str; 2] = ["libcublasLt.so.12", "libcublasLt.so.13"];
const WHEELS: [&str; 2] = ["nvidia/cublas/lib", "nvidia/cu13/lib"];
const NO_CUBLASLT: &str = "no-cublaslt";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_written_as_people_write_them() {
        for (code, text) in [(120_901, "12.9.1"), (111_103, "11.11.3"), (130_101, "13.1.1")] {
            assert_eq!(CublasLtVersion(code).to_string(), text);
        }
        assert_eq!(CublasLtVersion::NEEDED.to_string(), "12.0.0");
    }

    #[test]
    fn a_library_that_is_there_is_what_counts() {
        let absent = Refusal::CannotOpen { library: NAMES[0].to_owned(), cause: "words".to_owned() };
        let lacking = Refusal::MissingSymbol { library: "/b".to_owned(), symbol: "cublasLtMatmul" };
        let unavailable = CublasLtUnavailable::NoneUsable { tried: vec![absent.clone(), lacking] };
        assert_eq!((unavailable.code(), unavailable.is_usual()), ("missing-symbol", false));
        let text = unavailable.to_string();
        assert!(
            text.contains("libcublasLt.so.12 cannot be opened (words); /b lacks cublasLtMatmul; `pip"),
            "{text}"
        );
        let unavailable = CublasLtUnavailable::NoneUsable { tried: vec![absent] };
        assert_eq!((unavailable.code(), unavailable.is_usual()), ("no-cublaslt", true));
        assert_eq!(
            (CublasLtUnavailable::Off.code(), CublasLtUnavailable::Off.is_usual()),
            ("cublaslt-off", true)
        );
    }
}
