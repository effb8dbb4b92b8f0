//! Talking to a live run: one JSON line asks, one JSON line answers, over a socket only its owner may open.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::run_dir::{RunDir, files};

/// A request or answer is a line; whoever sends more is not one of ours.
const MAX_REQUEST_BYTES: u64 = 4 << 10;
/// 1,024 workers with their names and states take a tenth.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// Where no connection can be taken, as without free file descriptors, the next cannot either for a while.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// The one thread that serves must not wait for a client that says nothing.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Request {
    /// Finish the step, write a checkpoint, end.
    Stop,
    Status,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveStatus {
    pub state: String,
    pub step: u64,
    pub steps: u64,
    pub loss: Option<f64>,
    pub workers: Vec<LiveWorker>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveWorker {
    pub slot: String,
    pub state: String,
}

/// Serves a run's socket until dropped, then removes it.
#[derive(Debug)]
pub struct ControlServer {
    run: RunDir,
    ending: Arc<AtomicBool>,
}

impl ControlServer {
    pub fn start(
        run: &RunDir,
        answer: impl Fn(Request) -> LiveStatus + Send + 'static,
    ) -> io::Result<ControlServer> {
        let _ = fs::remove_file(run.file(files::CONTROL_SOCKET));
        let (_directory, path) = short_path(run)?;
        let listener = UnixListener::bind(&path)?;
        // Nobody else could connect before: the directory is 0700.
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let ending = Arc::new(AtomicBool::new(false));
        std::thread::Builder::new().name("control-socket".to_owned()).spawn({
            let ending = Arc::clone(&ending);
            move || {
                for stream in listener.incoming() {
                    if ending.load(Ordering::SeqCst) {
                        break;
                    }
                    match stream {
                        // A client that breaks off is its own affair.
                        Ok(stream) => drop(serve(stream, &answer)),
                        Err(_) => std::thread::sleep(RETRY_AFTER),
                    }
                }
            }
        })?;
        Ok(ControlServer { run: run.clone(), ending })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // Wakes the thread out of `accept`. It is not waited for: it may be with a client that says nothing.
        let _ = connect(&self.run);
        let _ = fs::remove_file(self.run.file(files::CONTROL_SOCKET));
    }
}

/// Asks a live run.
pub fn ask(run: &RunDir, request: Request) -> io::Result<LiveStatus> {
    let stream = connect(run)?;
    write_line(&stream, &request)?;
    read_line(&stream, MAX_ANSWER_BYTES)
}

fn serve(stream: UnixStream, answer: &impl Fn(Request) -> LiveStatus) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let request = read_line(&stream, MAX_REQUEST_BYTES)?;
    write_line(&stream, &answer(request))
}

fn connect(run: &RunDir) -> io::Result<UnixStream> {
    let (_directory, path) = short_path(run)?;
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(2 * CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    Ok(stream)
}

/// A name below the 108 bytes that a socket's address can hold, however deep the run directory lies. The
/// directory must stay open while the name is used.
fn short_path(run: &RunDir) -> io::Result<(File, PathBuf)> {
    let directory = File::open(&run.path)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), files::CONTROL_SOCKET));
    Ok((directory, path))
}

fn write_line<T: Serialize>(mut stream: &UnixStream, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn read_line<T: for<'de> Deserialize<'de>>(stream: &UnixStream, limit: u64) -> io::Result<T> {
    let mut line = String::new();
    BufReader::new(stream.take(limit)).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_run_answers_and_takes_its_socket_with_it() {
        let deep = tempfile::tempdir().unwrap();
        // Longer than a socket's address may be.
        let runs = deep.path().join("x".repeat(120));
        let run = RunDir::create(&runs, "demo", 1).unwrap();
        let server = ControlServer::start(&run, |request| LiveStatus {
            state: format!("{request:?}"),
            step: 3,
            steps: 10,
            loss: None,
            workers: (0..1_024)
                .map(|index| LiveWorker {
                    slot: format!("{}-{index}", "p".repeat(40)),
                    state: "training".to_owned(),
                })
                .collect(),
        })
        .unwrap();
        let socket = run.file(files::CONTROL_SOCKET);
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        // A client that talks nonsense does not keep the next one from being served.
        let stream = connect(&run).unwrap();
        (&stream).write_all(b"nonsense\n").unwrap();
        assert_eq!(ask(&run, Request::Stop).unwrap().state, "Stop");
        assert_eq!(ask(&run, Request::Status).unwrap().workers.len(), 1_024);
        drop(server);
        assert!(!socket.exists());
        assert!(ask(&run, Request::Status).is_err());
    }
}
