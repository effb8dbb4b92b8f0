//! Ctrl-C and SIGTERM for work that ends between two of its parts. A run of a job sees them by itself.

use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};

use crate::codes::{self, Code};
use crate::failure::{Failure, Result};

#[derive(Debug)]
pub(crate) struct Interrupts {
    first: Arc<OnceLock<&'static Code>>,
}

impl Interrupts {
    /// Listens until the process ends.
    pub(crate) fn watch() -> Result<Interrupts> {
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

    pub(crate) fn seen(&self) -> Option<&'static Code> {
        self.first.get().copied()
    }
}
