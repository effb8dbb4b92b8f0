//! From a file of `kernels/cuda` to machine code for a card.
//!
//! Cubins are named by the digest of what they were made of, so that one of other sources is never taken.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::architecture::Architecture;
use super::cache::{Cache, Hit};
use super::image::{self, Damage};
use super::nvrtc::{Nvrtc, NvrtcError, NvrtcVersion, OPTIONS};
use crate::libraries;

/// Texts of kernels by file name, and of the headers that they may include.
#[derive(Debug, Clone, Copy)]
pub struct Sources {
    pub files: &'static [(&'static str, &'static str)],
    pub headers: &'static [(&'static str, &'static str)],
}

impl Sources {
    fn text(&self, file: &str) -> Result<&'static str, CodeError> {
        let found = self.files.iter().find(|(name, _)| *name == file);
        found.map(|(_, text)| *text).ok_or_else(|| CodeError::Unknown { file: file.to_owned() })
    }

    /// `update.sm_90.` and the digest of file, headers, options and architecture.
    fn cubin_name(&self, file: &str, architecture: Architecture) -> Result<String, CodeError> {
        let text = self.text(file)?;
        let mut digest = Sha256::new();
        let mut part = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        part(text.as_bytes());
        for (name, text) in self.headers {
            part(name.as_bytes());
            part(text.as_bytes());
        }
        OPTIONS.iter().for_each(|option| part(option.as_bytes()));
        part(architecture.to_string().as_bytes());
        let digest: String = digest.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{}.{architecture}.{digest}.cubin", stem(file)))
    }
}

/// Where machine code is taken from, in this order: cubins inside this program, a folder of cubins, the cache,
/// NVRTC.
pub struct Code {
    sources: Sources,
    embedded: &'static [(&'static str, &'static [u8])],
    carried: Option<PathBuf>,
    cache: Option<Cache>,
    nvrtc_folders: Vec<PathBuf>,
    /// Looked for when it is first needed.
    nvrtc: OnceLock<Result<Nvrtc, NvrtcError>>,
}

/// Machine code of one file.
#[derive(Debug)]
pub struct Machine {
    pub cubin: Vec<u8>,
    pub origin: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Embedded,
    Carried(PathBuf),
    /// Compiled by an earlier process.
    Cached(NvrtcVersion),
    /// `not_stored` says why the next process compiles it again.
    Compiled {
        version: NvrtcVersion,
        not_stored: Option<String>,
    },
}

impl Origin {
    /// None where nothing tells it.
    pub fn compiler(&self) -> Option<NvrtcVersion> {
        match self {
            Origin::Embedded | Origin::Carried(_) => None,
            Origin::Cached(version) | Origin::Compiled { version, .. } => Some(*version),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Embedded => write!(f, "this program"),
            Origin::Carried(path) => write!(f, "{}", path.display()),
            Origin::Cached(version) => write!(f, "the cache, of NVRTC {version}"),
            Origin::Compiled { version, .. } => write!(f, "NVRTC {version}"),
        }
    }
}

impl Code {
    /// Uses the user's cache, and the folder of cubins that `HCRUN_KERNELS` names.
    pub fn new(sources: Sources) -> Code {
        Code {
            sources,
            embedded: EMBEDDED,
            carried: libraries::variable("HCRUN_KERNELS"),
            cache: Cache::of_user(),
            nvrtc_folders: Vec::new(),
            nvrtc: OnceLock::new(),
        }
    }

    /// Looks for cubins in `folder`, as [`Self::cubin_name`] names them, before it compiles.
    #[must_use]
    pub fn with_carried(self, folder: impl Into<PathBuf>) -> Code {
        Code { carried: Some(folder.into()), ..self }
    }

    #[must_use]
    pub fn with_cache(self, cache: Option<Cache>) -> Code {
        Code { cache, ..self }
    }

    /// Looks for NVRTC in `folders` before the system's.
    #[must_use]
    pub fn with_nvrtc_folders(self, folders: Vec<PathBuf>) -> Code {
        Code { nvrtc_folders: folders, nvrtc: OnceLock::new(), ..self }
    }

    pub fn files(&self) -> impl Iterator<Item = &'static str> {
        self.sources.files.iter().map(|(name, _)| *name)
    }

    /// Under which name a folder of cubins has that of `file`.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn cubin_name(&self, file: &str, architecture: Architecture) -> Result<String, CodeError> {
        self.sources.cubin_name(file, architecture)
    }

    /// Code of `file` that runs on a card of `architecture`.
    ///
    /// # Errors
    /// If there is none and none can be compiled, with everything that was tried.
    pub fn get(&self, file: &str, architecture: Architecture) -> Result<Machine, CodeError> {
        let mut damaged = Vec::new();
        for candidate in candidates(architecture) {
            let name = self.sources.cubin_name(file, candidate)?;
            for machine in self.made_before(&name) {
                match image::check(&machine.cubin) {
                    Ok(()) => return Ok(machine),
                    Err(damage) => {
                        damaged.push(Damaged { name: name.clone(), origin: machine.origin, damage })
                    }
                }
            }
        }
        let nvrtc =
            self.nvrtc().map_err(|cause| self.nothing(file, architecture, damaged, cause.to_string()))?;
        let mut unknown = None;
        for candidate in candidates(architecture) {
            match self.compiled(nvrtc.version(), file, candidate) {
                // An older one of its generation runs on the card too; what is told is that its own is not known.
                Err(error @ CodeError::Compiler(NvrtcError::UnknownArchitecture { .. })) => {
                    unknown.get_or_insert(error);
                }
                other => return other,
            }
        }
        Err(unknown.unwrap_or_else(|| CodeError::Unknown { file: file.to_owned() }))
    }

    /// By an earlier process, or now.
    fn compiled(
        &self,
        version: NvrtcVersion,
        file: &str,
        architecture: Architecture,
    ) -> Result<Machine, CodeError> {
        let make = || self.compile(file, architecture).map(|(cubin, _)| cubin);
        let Some(cache) = &self.cache else {
            let not_stored = Some("there is no home directory, and HCRUN_CACHE is not set".to_owned());
            return Ok(Machine { cubin: make()?, origin: Origin::Compiled { version, not_stored } });
        };
        let name = self.sources.cubin_name(file, architecture)?;
        let (cubin, hit) = cache.get_or_make(&format!("nvrtc-{version}.{name}"), make)?;
        let origin = match hit {
            Hit::Found => Origin::Cached(version),
            Hit::Made { not_stored } => Origin::Compiled { version, not_stored },
        };
        Ok(Machine { cubin, origin })
    }

    fn made_before(&self, name: &str) -> impl Iterator<Item = Machine> {
        let embedded = self.embedded.iter().find(|(known, _)| *known == name);
        let embedded = embedded.map(|(_, cubin)| Machine { cubin: cubin.to_vec(), origin: Origin::Embedded });
        let carried = self.carried.as_ref().map(|folder| folder.join(name));
        let carried = carried.and_then(|path| {
            fs::read(&path).ok().map(|cubin| Machine { cubin, origin: Origin::Carried(path) })
        });
        embedded.into_iter().chain(carried)
    }

    /// Compiles `file` anew: the cubin, and the assembler's log.
    ///
    /// # Errors
    /// If there is no NVRTC, or the file does not compile.
    pub fn compile(&self, file: &str, architecture: Architecture) -> Result<(Vec<u8>, String), CodeError> {
        let nvrtc = self.nvrtc().map_err(|cause| CodeError::NoCompiler { cause: cause.to_string() })?;
        let compiled = nvrtc.compile(file, self.sources.text(file)?, self.sources.headers, architecture)?;
        Ok((compiled.cubin, compiled.log))
    }

    /// # Errors
    /// If there is none, with every place that was tried.
    pub fn nvrtc(&self) -> Result<&Nvrtc, &NvrtcError> {
        self.nvrtc.get_or_init(|| Nvrtc::find_among(&self.nvrtc_folders)).as_ref()
    }

    fn nothing(
        &self,
        file: &str,
        architecture: Architecture,
        damaged: Vec<Damaged>,
        nvrtc: String,
    ) -> CodeError {
        let embedded = if self.embedded.is_empty() { "none" } else { "none that fits" };
        let carried = match &self.carried {
            None => "no folder of cubins was named".to_owned(),
            Some(folder) => carried(folder, stem(file)),
        };
        CodeError::Nothing { file: file.to_owned(), architecture, embedded, carried, damaged, nvrtc }
    }
}

/// Why there is no machine code.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    #[error("there is no kernel file {file}")]
    Unknown { file: String },
    #[error(
        "no machine code of {file} for {architecture}: inside this program: {embedded}; {carried}; {}compiler: {nvrtc}",
        damaged.iter().map(|damaged| format!("{damaged}; ")).collect::<String>()
    )]
    Nothing {
        file: String,
        architecture: Architecture,
        embedded: &'static str,
        carried: String,
        damaged: Vec<Damaged>,
        nvrtc: String,
    },
    #[error("{cause}")]
    NoCompiler { cause: String },
    #[error(transparent)]
    Compiler(#[from] NvrtcError),
}

/// A cubin that was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    pub name: String,
    pub origin: Origin,
    pub damage: Damage,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Carried(path) => write!(f, "{} is damaged: {}", path.display(), self.damage),
            _ => write!(f, "{} inside this program is damaged: {}", self.name, self.damage),
        }
    }
}

/// The card's own architecture, then older ones of its generation.
fn candidates(card: Architecture) -> impl Iterator<Item = Architecture> {
    let older = Architecture::ALL.into_iter().rev().filter(move |made| *made != card && made.runs_on(card));
    std::iter::once(card).chain(older)
}

/// Why a folder has nothing: that it cannot be read, holds other architectures, or those of other sources.
fn carried(folder: &std::path::Path, stem: &str) -> String {
    let shown = folder.display();
    match fs::read_dir(folder) {
        Err(error) => format!("{shown}: {error}"),
        Ok(entries) => {
            let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
            let count = names.filter(|name| name.starts_with(&format!("{stem}.sm_"))).count();
            format!("{shown}: {count} cubins of {stem}, none for this card and these sources")
        }
    }
}

fn stem(file: &str) -> &str {
    file.split_once('.').map_or(file, |(stem, _)| stem)
}

/// Written by `build.rs` out of the folder that `HCRUN_CUBINS` names.
const EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/cubins.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Sources = Sources { files: &[("a.cu", "one")], headers: &[("h.cuh", "header")] };

    fn name(sources: Sources, architecture: &str) -> String {
        sources.cubin_name("a.cu", architecture.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_name_changes_with_source_header_and_architecture() {
        let source = Sources { files: &[("a.cu", "two")], ..ONE };
        let header = Sources { headers: &[("h.cuh", "headers")], ..ONE };
        let header_name = Sources { headers: &[("g.cuh", "header")], ..ONE };
        let mut names = vec![
            name(ONE, "sm_80"),
            name(ONE, "sm_90"),
            name(source, "sm_80"),
            name(header, "sm_80"),
            name(header_name, "sm_80"),
        ];
        assert_eq!(names[0], name(ONE, "sm_80"));
        assert!(names[0].starts_with("a.sm_80."), "{}", names[0]);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 5);
    }

    #[test]
    fn a_damaged_cubin_is_passed_over_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let newer = folder.path().join(name(ONE, "sm_86"));
        let code = || {
            let code = Code::new(ONE).with_carried(folder.path()).with_cache(None);
            code.nvrtc.set(Err(NvrtcError::Missing { tried: Vec::new() })).unwrap();
            code
        };
        let whole = image::whole();
        for content in [&[][..], &whole[..whole.len() - 1], &[0xFF; 300]] {
            fs::write(&newer, content).unwrap();
            let error = code().get("a.cu", "sm_86".parse().unwrap()).unwrap_err();
            assert!(error.to_string().contains(&format!("{} is damaged: it", newer.display())), "{error}");
            let CodeError::Nothing { damaged, .. } = error else { panic!("{error}") };
            assert_eq!(damaged[0].origin, Origin::Carried(newer.clone()));
        }
        // An older one that is whole is taken instead, as is one carried for a damaged one inside the program.
        let older = folder.path().join(name(ONE, "sm_80"));
        fs::write(&older, &whole).unwrap();
        let get = |code: Code| code.get("a.cu", "sm_86".parse().unwrap()).unwrap().origin;
        assert_eq!(get(code()), Origin::Carried(older));
        fs::write(&newer, &whole).unwrap();
        let embedded: &'static [_] = vec![(&*name(ONE, "sm_86").leak(), &b"garbage"[..])].leak();
        assert_eq!(get(Code { embedded, ..code() }), Origin::Carried(newer));
    }

    #[test]
    fn an_embedded_cubin_of_the_newest_older_architecture_of_the_generation_is_taken() {
        let embedded = |names: &[&str]| -> &'static [(&'static str, &'static [u8])] {
            // Each ends in its number, so that the answer tells which it is.
            let one = |architecture: &&str| {
                let (_, number) = architecture.split_once('_').unwrap();
                let content = [image::whole(), number.as_bytes().to_vec()].concat();
                (&*name(ONE, architecture).leak(), &*content.leak())
            };
            names.iter().map(one).collect::<Vec<_>>().leak()
        };
        let get = |names: &[&str], card: &str| {
            let code = Code { embedded: embedded(names), ..Code::new(ONE).with_cache(None) };
            code.nvrtc.set(Err(NvrtcError::Missing { tried: Vec::new() })).unwrap();
            let machine = code.get("a.cu", card.parse().unwrap())?;
            assert_eq!(machine.origin, Origin::Embedded);
            Ok::<_, CodeError>(String::from_utf8(machine.cubin[image::whole().len()..].to_vec()).unwrap())
        };
        for (names, card, taken) in [
            (&["sm_80", "sm_86"][..], "sm_86", "86"),
            (&["sm_80", "sm_86"], "sm_89", "86"),
            (&["sm_86", "sm_80"], "sm_89", "86"),
            (&["sm_80", "sm_86"], "sm_87", "86"),
            (&["sm_80", "sm_86", "sm_89"], "sm_80", "80"),
            (&["sm_90", "sm_100", "sm_120"], "sm_103", "100"),
        ] {
            assert_eq!(get(names, card).unwrap(), taken, "{names:?} on {card}");
        }
        // Neither of another generation, nor newer than the card.
        for (names, card) in
            [(&["sm_80", "sm_89"][..], "sm_90"), (&["sm_86"], "sm_80"), (&["sm_120"], "sm_103")]
        {
            let error = get(names, card).unwrap_err().to_string();
            assert!(error.contains("inside this program: none that fits"), "{names:?} on {card}: {error}");
        }
    }

    #[test]
    fn a_carried_cubin_is_taken_for_its_generation_and_its_sources_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name(ONE, "sm_80"));
        fs::write(&path, image::whole()).unwrap();
        let get = |sources, architecture: &str| {
            let code = Code::new(sources).with_carried(folder.path()).with_cache(None);
            // No compiler: it was looked for already.
            code.nvrtc.set(Err(NvrtcError::Missing { tried: vec!["nowhere".to_owned()] })).unwrap();
            code.get("a.cu", architecture.parse().unwrap())
        };
        assert_eq!(get(ONE, "sm_86").unwrap().origin, Origin::Carried(path));
        let other = Sources { files: &[("a.cu", "two")], ..ONE };
        for error in [get(ONE, "sm_90").unwrap_err(), get(other, "sm_80").unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains("1 cubins of a, none for this card and these sources"), "{text}");
            assert!(text.contains("nowhere") && text.contains("inside this program: none"), "{text}");
        }
    }
}
