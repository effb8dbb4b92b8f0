//! Who may ask a run to stop: signals, and `hcrun stop` through the run's control socket.

use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

/// Somebody wants the run to stop; a second wish means at once.
#[derive(Debug)]
pub(super) struct StopRequest;

/// Which signal asked first; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Interrupt,
    Terminate,
}

/// Forwards signals for as long as the run lives. The first one is remembered in `first`.
pub(super) fn watch_signals(
    stops: UnboundedSender<StopRequest>,
    first: Arc<OnceLock<Signal>>,
) -> std::io::Result<()> {
    let kinds = [(SignalKind::interrupt(), Signal::Interrupt), (SignalKind::terminate(), Signal::Terminate)];
    for (kind, name) in kinds {
        let (mut signals, stops, first) = (signal(kind)?, stops.clone(), first.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                first.get_or_init(|| name);
                if stops.send(StopRequest).is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}
