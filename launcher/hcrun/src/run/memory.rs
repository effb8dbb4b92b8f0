//! Whether the workers of this machine fit into its memory at all: better said before the run than by the
//! kernel, which ends a process without a word.

use hcrun_protocol::cluster::Backend;

use crate::codes;
use crate::failure::{Failure, Result};
use crate::prepare::Prepared;
use crate::report::format::bytes;

/// Parameters twice, gradient and summed gradient; optimizer states, activations and data come on top.
const LEAST_ARENAS: u64 = 4;

pub(super) fn check(prepared: &Prepared) -> Result<()> {
    let Some(present) = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text)) else {
        return Ok(());
    };
    let is_local = |pool| prepared.cluster.pool(pool).is_some_and(|pool| pool.backend == Backend::Local);
    let workers = prepared.plan.placement.workers.iter().filter(|worker| is_local(&worker.slot.pool)).count();
    let arena = (prepared.plan.exchange.arena_elems * size_of::<f32>()) as u64;
    let needed = arena.saturating_mul(LEAST_ARENAS).saturating_mul(workers as u64);
    if needed <= present {
        return Ok(());
    }
    Err(Failure::new(&codes::DOCTOR_FAILED, "this machine has too little memory for the job")
        .because(format!(
            "its {workers} workers here need at least {}, the machine has {}",
            bytes(needed),
            bytes(present)
        ))
        .hint("ask for fewer workers, make the model smaller, or use more hosts"))
}

/// Memory and swap in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let kibibytes = |name: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    kibibytes("MemTotal:")?.checked_add(kibibytes("SwapTotal:").unwrap_or(0))?.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_and_swap_are_added() {
        assert_eq!(super::total("MemTotal:  100 kB\nSwapTotal: 20 kB\n"), Some(120 << 10));
        assert_eq!(super::total("MemTotal:  100 kB\n"), Some(100 << 10));
        assert_eq!(super::total("nothing"), None);
    }
}
