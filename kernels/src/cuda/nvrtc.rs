//! NVRTC, the compiler that comes as one library: opened at run time, needs neither a GPU nor a driver nor headers.

#![expect(unsafe_code, reason = "the compiler is a C library")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt;
use std::fs;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::ptr;

use libloading::Library;

use super::architecture::Architecture;
use super::probe::DriverVersion;
use crate::libraries::{self, words};

/// The compiler, once opened.
pub struct Nvrtc {
    api: Api,
    version: NvrtcVersion,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NvrtcVersion {
    major: u32,
    minor: u32,
}

impl NvrtcVersion {
    pub(super) fn new(major: u32, minor: u32) -> NvrtcVersion {
        NvrtcVersion { major, minor }
    }

    pub(super) fn is_newer_than(self, driver: DriverVersion) -> bool {
        (self.major, self.minor) > driver.parts()
    }
}

impl fmt::Display for NvrtcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A cubin, and what the compiler said while it made it.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) cubin: Vec<u8>,
    pub(super) log: String,
}

impl Nvrtc {
    /// Opens the first that is found; with `HCRUN_NVRTC` (a file or its folder) that one or none.
    ///
    /// # Errors
    /// If there is none, with every place that was tried.
    pub fn find() -> Result<Nvrtc, NvrtcError> {
        Nvrtc::find_among(&[])
    }

    /// As [`Self::find`], and in `folders` before the system's own.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_among(folders: &[PathBuf]) -> Result<Nvrtc, NvrtcError> {
        if let Some(chosen) = libraries::variable("HCRUN_NVRTC") {
            let files = if chosen.is_dir() { libraries_in(&chosen) } else { vec![chosen.clone()] };
            return first(files, &[chosen.display().to_string()]);
        }
        let mut tried: Vec<String> = NAMES.iter().map(|&name| name.to_owned()).collect();
        let folders: Vec<PathBuf> = folders.iter().cloned().chain(usual_folders()).collect();
        tried.extend(folders.iter().map(|folder| folder.display().to_string()));
        let names = NAMES.iter().map(PathBuf::from);
        first(folders.iter().flat_map(|folder| libraries_in(folder)).chain(names), &tried)
    }

    /// # Errors
    /// If `library` is no NVRTC that can be opened.
    pub fn open(library: &Path) -> Result<Nvrtc, NvrtcError> {
        let unusable = |cause: String| NvrtcError::Unusable { library: library.display().to_string(), cause };
        // SAFETY: its initialisers are those that every program using it runs.
        let opened = unsafe { Library::new(library) }.map_err(|error| unusable(words(&error)))?;
        let api = Api::resolve(opened).map_err(|symbol| unusable(format!("it lacks {symbol}")))?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: writes two ints.
        let status = unsafe { (api.version)(&mut major, &mut minor) };
        if status != 0 {
            return Err(unusable(format!("nvrtcVersion answered {status}")));
        }
        Ok(Nvrtc { api, version: NvrtcVersion::new(major.unsigned_abs(), minor.unsigned_abs()) })
    }

    pub fn version(&self) -> NvrtcVersion {
        self.version
    }

    pub(super) fn compile(
        &self,
        file: &str,
        text: &str,
        headers: &[(&str, &str)],
        architecture: Architecture,
    ) -> Result<Compiled, NvrtcError> {
        let failed = |cause: String| NvrtcError::Compile {
            file: file.to_owned(),
            architecture,
            version: self.version,
            cause,
        };
        let string =
            |text: &str| CString::new(text).map_err(|_| failed("a source holds a zero byte".to_owned()));
        let (name, text) = (string(file)?, string(text)?);
        let names = headers.iter().map(|(name, _)| string(name)).collect::<Result<Vec<_>, _>>()?;
        let texts = headers.iter().map(|(_, text)| string(text)).collect::<Result<Vec<_>, _>>()?;
        let options = OPTIONS.iter().map(|&option| option.to_owned());
        let options = options.chain([format!("--gpu-architecture={architecture}")]);
        let options = options.map(|option| string(&option)).collect::<Result<Vec<_>, _>>()?;
        let (names, texts) = (pointers(&names), pointers(&texts));
        let options = pointers(&options);
        let mut program = Program { api: &self.api, handle: ptr::null_mut() };
        let count = c_int::try_from(headers.len()).map_err(|_| failed("too many headers".to_owned()))?;
        // SAFETY: strings end with zero and outlive the call, which copies them; `count` is the length of both
        // lists.
        let status = unsafe {
            (self.api.create)(
                &mut program.handle,
                text.as_ptr(),
                name.as_ptr(),
                count,
                texts.as_ptr(),
                names.as_ptr(),
            )
        };
        if status != 0 {
            return Err(failed(format!("nvrtcCreateProgram answered {status}")));
        }
        let count = c_int::try_from(options.len()).map_err(|_| failed("too many options".to_owned()))?;
        // SAFETY: the program was just made; `options` holds `count` strings that outlive the call.
        let status = unsafe { (self.api.compile)(program.handle, count, options.as_ptr()) };
        let log = program.bytes(self.api.log_size, self.api.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
        if status == INVALID_OPTION && log.contains("--gpu-architecture") {
            return Err(NvrtcError::UnknownArchitecture { architecture, version: self.version });
        }
        if status != 0 {
            return Err(failed(format!("it answered {status}\n{log}")));
        }
        let cubin = program.bytes(self.api.cubin_size, self.api.cubin);
        let cubin = cubin.filter(|cubin| !cubin.is_empty());
        Ok(Compiled { cubin: cubin.ok_or_else(|| failed("it made no cubin".to_owned()))?, log })
    }
}

impl fmt::Debug for Nvrtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nvrtc({})", self.version)
    }
}

/// Why there is no compiler, or why it made nothing.
#[derive(Debug, thiserror::Error)]
pub enum NvrtcError {
    #[error(
        "no NVRTC in {}; `pip install nvidia-cuda-nvrtc-cu12` has it, or set HCRUN_NVRTC to libnvrtc.so.12",
        tried.join(", ")
    )]
    Missing { tried: Vec<String> },
    #[error("{library} cannot be used as NVRTC: {cause}")]
    Unusable { library: String, cause: String },
    #[error("NVRTC {version} does not know {architecture}; a newer one may")]
    UnknownArchitecture { architecture: Architecture, version: NvrtcVersion },
    #[error("NVRTC {version} does not compile {file} for {architecture}: {cause}")]
    Compile { file: String, architecture: Architecture, version: NvrtcVersion, cause: String },
}

/// A program of NVRTC, given back when it is dropped.
struct Program<'a> {
    api: &'a Api,
    handle: Handle,
}

impl Program<'_> {
    fn bytes(&self, size_of: SizeOf, read: Read) -> Option<Vec<u8>> {
        let mut size = 0;
        // SAFETY: the program exists; it writes one size.
        if unsafe { size_of(self.handle, &mut size) } != 0 {
            return None;
        }
        let mut bytes = vec![0u8; size];
        // SAFETY: it writes as many bytes as it just said.
        (unsafe { read(self.handle, bytes.as_mut_ptr().cast()) } == 0).then_some(bytes)
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: made by `create`, used no more.
            unsafe { (self.api.destroy)(&mut self.handle) };
        }
    }
}

type Handle = *mut c_void;
type SizeOf = unsafe extern "C" fn(Handle, *mut usize) -> c_int;
type Read = unsafe extern "C" fn(Handle, *mut c_char) -> c_int;
type Strings = *const *const c_char;

struct Api {
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int,
    create: unsafe extern "C" fn(*mut Handle, *const c_char, *const c_char, c_int, Strings, Strings) -> c_int,
    compile: unsafe extern "C" fn(Handle, c_int, Strings) -> c_int,
    destroy: unsafe extern "C" fn(*mut Handle) -> c_int,
    log_size: SizeOf,
    log: Read,
    cubin_size: SizeOf,
    cubin: Read,
    /// Never closed, as the driver's.
    _library: ManuallyDrop<Library>,
}

impl Api {
    fn resolve(library: Library) -> Result<Api, &'static str> {
        // SAFETY: the signatures of nvrtc.h, the same since 11.1; the library is never closed.
        unsafe {
            Ok(Api {
                version: symbol(&library, "nvrtcVersion")?,
                create: symbol(&library, "nvrtcCreateProgram")?,
                compile: symbol(&library, "nvrtcCompileProgram")?,
                destroy: symbol(&library, "nvrtcDestroyProgram")?,
                log_size: symbol(&library, "nvrtcGetProgramLogSize")?,
                log: symbol(&library, "nvrtcGetProgramLog")?,
                cubin_size: symbol(&library, "nvrtcGetCUBINSize")?,
                cubin: symbol(&library, "nvrtcGetCUBIN")?,
                _library: ManuallyDrop::new(library),
            })
        }
    }
}

/// # Safety
/// `T` must be the type of this function.
unsafe fn symbol<T: Copy>(library: &Library, name: &'static str) -> Result<T, &'static str> {
    // SAFETY: the caller's.
    unsafe { library.get::<T>(name) }.map(|symbol| *symbol).map_err(|_| name)
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).collect()
}

/// The first that can be opened.
fn first(files: impl IntoIterator<Item = PathBuf>, tried: &[String]) -> Result<Nvrtc, NvrtcError> {
    let mut tried = tried.to_vec();
    for file in files {
        match Nvrtc::open(&file) {
            Ok(nvrtc) => return Ok(nvrtc),
            // A name alone was looked up by the system and is in `tried`.
            Err(error) if file.is_absolute() => tried.push(error.to_string()),
            Err(_) => {}
        }
    }
    Err(NvrtcError::Missing { tried })
}

/// Every `libnvrtc.so*` of a folder, the newest first.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|file| is_nvrtc(file)).collect();
    files.sort_by(|a, b| b.cmp(a));
    files
}

fn is_nvrtc(file: &Path) -> bool {
    file.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("libnvrtc.so"))
}

/// Toolkits, then what wheels of NVIDIA put into a Python's packages.
fn usual_folders() -> Vec<PathBuf> {
    libraries::toolkits().into_iter().chain(libraries::folders(&WHEELS)).collect()
}

/// `NVRTC_ERROR_INVALID_OPTION`.
const INVALID_OPTION: c_int = 5;

const NAMES: [&str; 3] = ["libnvrtc.so.12", "libnvrtc.so.13", "libnvrtc.so"];
const WHEELS: [&str; 2] = ["nvidia/cuda_nvrtc/lib", "nvidia/cu13/lib"];

/// Part of what kernels compute: without contraction of products and sums, so that bits equal those of the CPU.
/// Not every file uses every function of the header (177).
pub(super) const OPTIONS: [&str; 6] = [
    "--std=c++17",
    "--fmad=false",
    "-default-device",
    "-lineinfo",
    "--ptxas-options=-v",
    "--diag-suppress=177",
];
