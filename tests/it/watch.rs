//! Who opened what: inotify on files that somebody may or may not open.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

/// Files watched since it was made.
pub(crate) struct Watch {
    events: OwnedFd,
    files: BTreeMap<i32, PathBuf>,
}

impl Watch {
    pub(crate) fn new(files: &[&Path]) -> Watch {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        let watched = |path: &&Path| {
            let watch = inotify::add_watch(&events, *path, WatchFlags::OPEN).unwrap();
            (watch, path.to_path_buf())
        };
        let files = files.iter().map(watched).collect();
        Watch { events, files }
    }

    /// Those that were opened since, by any process.
    pub(crate) fn opened(&self) -> BTreeSet<PathBuf> {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        let mut opened = BTreeSet::new();
        loop {
            match reader.next() {
                Ok(event) => drop(opened.insert(self.files[&event.wd()].clone())),
                Err(Errno::AGAIN) => return opened,
                Err(error) => panic!("the watch has ended: {error}"),
            }
        }
    }
}
