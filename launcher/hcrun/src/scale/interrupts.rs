//! Ctrl-C and SIGTERM between two runs. During a run the run itself sees them, stops, and ends the sweep.

use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};

use crate::codes::{self, Code};
use crate::failure::{Failure, Result};

#[derive(Debug)]
pub(super) struct Interrupts {
    first: Arc<OnceLock<&'static Code>>,
}

impl Interrupts {
    /// Listens until the process ends.
    pub(super) fn watch() -> Result<Interrupts> {
        let first = Arc::new(OnceLock::new());
        let failed = |error: std::io::Error| {
            Failure::new(&codes::INTERNAL, "signals cannot be listened to").caused_by(&error)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            let listen = |kind| signal(kind).map_err(failed);
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
        };
        let seen = first.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let code = tokio::select! {
                    _ = interrupt.recv() => &codes::INTERRUPTED,
                    _ = terminate.recv() => &codes::TERMINATED,
                };
                seen.get_or_init(|| code);
            });
        });
        Ok(Interrupts { first })
    }

    pub(super) fn seen(&self) -> Option<Failure> {
        self.first.get().map(|code| Failure::new(code, "stopped between two runs"))
    }
}
