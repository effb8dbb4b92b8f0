//! What kernels take of a multiprocessor, as the assembler reports it.

use std::collections::BTreeMap;

/// Of one kernel, for one architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Of a thread.
    pub registers: u32,
    /// Bytes of a thread that did not fit into registers, written and read.
    pub spill_bytes: u32,
    /// Local memory of a thread.
    pub stack_bytes: u32,
    /// Static shared memory of a block.
    pub shared_bytes: u32,
}

/// The log has another form than the known one: another version of NVRTC writes another log.
#[derive(Debug, thiserror::Error)]
#[error("the assembler's log is not understood at `{line}`: this needs NVRTC 12.9")]
pub struct ResourcesError {
    line: String,
}

/// Reads the log of `--ptxas-options=-v`: kernels by name.
///
/// # Errors
/// If a line about a kernel has another form than known, or an entry lacks its lines.
pub fn ptxas_resources(log: &str) -> Result<BTreeMap<String, Resources>, ResourcesError> {
    let mut kernels = BTreeMap::new();
    let mut entry: Option<(&str, &str)> = None;
    let mut frame: Option<[u32; 3]> = None;
    for line in log.lines() {
        let strange = || ResourcesError { line: line.to_owned() };
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            if let Some((_, unfinished)) = entry {
                return Err(ResourcesError { line: unfinished.to_owned() });
            }
            entry = Some((rest.split_once('\'').ok_or_else(strange)?.0, line));
            frame = None;
        } else if line.contains(" bytes stack frame") {
            let numbers = [" bytes stack frame", " bytes spill stores", " bytes spill loads"]
                .map(|unit| before(line, unit));
            let [Some(stack), Some(stores), Some(loads)] = numbers else { return Err(strange()) };
            // Of the kernel itself; device functions that were not inlined come later, with their own.
            frame = frame.or(Some([stack, stores, loads]));
        } else if line.contains(" : Used ") && line.contains(" registers") {
            let (Some((name, _)), Some([stack_bytes, stores, loads])) = (entry.take(), frame.take()) else {
                return Err(strange());
            };
            let registers = before(line, " registers").ok_or_else(strange)?;
            let shared_bytes =
                if line.contains(" smem") { before(line, " bytes smem").ok_or_else(strange)? } else { 0 };
            let spill_bytes = stores + loads;
            kernels.insert(name.to_owned(), Resources { registers, spill_bytes, stack_bytes, shared_bytes });
        }
    }
    match entry {
        Some((_, line)) => Err(ResourcesError { line: line.to_owned() }),
        None => Ok(kernels),
    }
}

/// The number that stands before `unit`.
fn before(line: &str, unit: &str) -> Option<u32> {
    line[..line.find(unit)?].rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As NVRTC 12.9 writes it, with the numbers of a kernel that spills.
    const LOG: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'hc_tiny' for 'sm_80'
ptxas info    : Function properties for hc_tiny
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 1 barriers, 1024 bytes smem, 384 bytes cmem[0]
ptxas info    : Compile time = 4.283 ms
ptxas info    : Compiling entry function 'hc_other' for 'sm_80'
ptxas info    : Function properties for hc_other
ptxas         .     16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 16 bytes cumulative stack size
";

    #[test]
    fn the_log_is_read_whole() {
        let read = ptxas_resources(LOG).unwrap();
        let tiny = Resources { registers: 10, spill_bytes: 0, stack_bytes: 0, shared_bytes: 1024 };
        let other = Resources { registers: 255, spill_bytes: 20, stack_bytes: 16, shared_bytes: 0 };
        assert_eq!(read, BTreeMap::from([("hc_tiny".to_owned(), tiny), ("hc_other".to_owned(), other)]));
    }

    #[test]
    fn another_form_is_an_error_and_not_a_zero() {
        for (from, to) in [
            (" bytes spill stores", " B spill stores"),
            ("10 registers", "ten registers"),
            ("1024 bytes smem", "1 KiB smem"),
            ("Used 255 registers", "Took 255"),
            ("ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n", ""),
        ] {
            let log = LOG.replace(from, to);
            assert_ne!(log, LOG);
            assert!(ptxas_resources(&log).is_err(), "{log}");
        }
    }
}
