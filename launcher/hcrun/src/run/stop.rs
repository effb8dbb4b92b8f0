//! Who may ask a run to stop: signals, and `hcrun stop` through the run's control socket.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

/// A wish from outside.
#[derive(Debug)]
pub(super) enum StopRequest {
    /// SIGINT or SIGTERM.
    Signal,
    /// `hcrun stop`.
    Verb,
    /// `hcrun status`; the answer is one line of JSON.
    Status(oneshot::Sender<String>),
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
enum Request {
    Stop,
    Status,
}

/// Which signal asked first; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Interrupt,
    Terminate,
}

/// Forwards signals for as long as the run lives. The first one is remembered in `first`.
pub(super) fn watch_signals(
    stops: UnboundedSender<StopRequest>,
    first: std::sync::Arc<std::sync::OnceLock<Signal>>,
) -> std::io::Result<()> {
    let kinds = [(SignalKind::interrupt(), Signal::Interrupt), (SignalKind::terminate(), Signal::Terminate)];
    for (kind, name) in kinds {
        let (mut signals, stops, first) = (signal(kind)?, stops.clone(), first.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                first.get_or_init(|| name);
                if stops.send(StopRequest::Signal).is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

/// Answers requests at `path` until the run ends.
pub(super) fn listen(path: &Path, stops: UnboundedSender<StopRequest>) -> std::io::Result<()> {
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(tokio::time::timeout(PATIENCE, answer(stream, stops.clone())));
        }
    });
    Ok(())
}

/// A client of the same machine asks at once or never.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_REQUEST: u64 = 1 << 10;

async fn answer(stream: UnixStream, stops: UnboundedSender<StopRequest>) -> std::io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reading).take(LONGEST_REQUEST).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(Request::Stop) => {
            drop(stops.send(StopRequest::Verb));
            r#"{"ok":true}"#.to_owned()
        }
        Ok(Request::Status) => {
            let (sender, receiver) = oneshot::channel();
            drop(stops.send(StopRequest::Status(sender)));
            receiver.await.unwrap_or_else(|_| r#"{"ok":false,"error":"the run has ended"}"#.to_owned())
        }
        Err(error) => serde_json::json!({ "ok": false, "error": error.to_string() }).to_string(),
    };
    writing.write_all(answer.as_bytes()).await?;
    writing.write_all(b"\n").await
}
