//! Why a driver does not take machine code, and what to do.

use super::api::{CudaError, INVALID_IMAGE, NO_BINARY_FOR_GPU, UNSUPPORTED_PTX_VERSION};
use super::code::{CodeError, Origin};
use super::probe::DriverVersion;
use super::{Architecture, NvrtcVersion};

/// Why code of a file is not on the card.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is none.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// Drivers take code of compilers that are not newer than they are; some newer ones of the same major version.
    #[error(
        "NVRTC {nvrtc} is newer than the driver, which serves CUDA {driver} and refuses its code of {file} ({cause}); \
         update the driver, or set HCRUN_NVRTC to an NVRTC of {driver} or older"
    )]
    NewerCompiler { file: String, nvrtc: NvrtcVersion, driver: DriverVersion, cause: CudaError },
    #[error(
        "the driver, which serves CUDA {driver}, refuses the code of {file} for {architecture} ({cause}), which comes from \
         {origin}; code that a newer compiler made needs a newer driver: update it, or compile with an NVRTC of {driver} or \
         older"
    )]
    Refused {
        file: String,
        architecture: Architecture,
        origin: Origin,
        driver: DriverVersion,
        cause: CudaError,
    },
    /// Not about this code.
    #[error("{0}")]
    Driver(#[from] CudaError),
}

/// What an answer to `cuModuleLoadData` says of the code.
pub(super) fn refusal(
    file: &str,
    architecture: Architecture,
    origin: &Origin,
    driver: DriverVersion,
    cause: CudaError,
) -> LoadError {
    let file = file.to_owned();
    match origin.compiler() {
        _ if !ABOUT_THE_CODE.contains(&cause.code) => LoadError::Driver(cause),
        Some(nvrtc) if nvrtc.is_newer_than(driver) => LoadError::NewerCompiler { file, nvrtc, driver, cause },
        _ => LoadError::Refused { file, architecture, origin: origin.clone(), driver, cause },
    }
}

const ABOUT_THE_CODE: [i32; 3] = [INVALID_IMAGE, NO_BINARY_FOR_GPU, UNSUPPORTED_PTX_VERSION];

#[cfg(test)]
mod tests {
    use super::*;

    fn why(code: i32, origin: &Origin, driver: u32) -> LoadError {
        let cause = CudaError { call: "cuModuleLoadData", code, name: "NAME".into(), text: "text".into() };
        let driver = DriverVersion::of(driver);
        refusal("update.cu", Architecture::new(9, 0), origin, driver, cause)
    }

    fn compiled(major: u32, minor: u32) -> Origin {
        Origin::Compiled { version: NvrtcVersion::new(major, minor), not_stored: None }
    }

    #[test]
    fn a_compiler_newer_than_the_driver_is_named_with_both_versions_and_the_remedy() {
        for origin in [compiled(13, 0), Origin::Cached(NvrtcVersion::new(12, 5))] {
            for code in ABOUT_THE_CODE {
                let error = why(code, &origin, 12_040);
                assert!(matches!(error, LoadError::NewerCompiler { .. }), "{error}");
                let nvrtc = origin.compiler().unwrap();
                let text = error.to_string();
                assert!(
                    text.starts_with(&format!(
                        "NVRTC {nvrtc} is newer than the driver, which serves CUDA 12.4"
                    ))
                );
                assert!(text.contains("update.cu (cuModuleLoadData answered"), "{text}");
                assert!(text.contains("HCRUN_NVRTC to an NVRTC of 12.4 or older"), "{text}");
            }
        }
    }

    #[test]
    fn an_equal_or_unknown_compiler_is_not_called_newer() {
        let path = "/cubins/update.cubin";
        for origin in [compiled(12, 4), compiled(12, 0), Origin::Embedded, Origin::Carried(path.into())] {
            let error = why(UNSUPPORTED_PTX_VERSION, &origin, 12_040);
            assert!(matches!(error, LoadError::Refused { .. }), "{error}");
            assert!(error.to_string().contains("for sm_90"), "{error}");
        }
        assert!(why(INVALID_IMAGE, &Origin::Carried(path.into()), 12_040).to_string().contains(path));
    }

    #[test]
    fn what_is_not_about_the_code_is_told_as_the_driver_told_it() {
        assert!(matches!(why(2, &compiled(13, 0), 12_040), LoadError::Driver(CudaError { code: 2, .. })));
    }
}
