//! The waiting jobs in line, in one line per request.
//!
//! Jobs that ask for the same devices on the same pools fit or do not fit alike. So a walk that found no room for one
//! skips the whole line, and a queue of ten thousand jobs costs a decision as much as its few different requests.

use std::collections::{BTreeMap, BTreeSet};

use super::Key;
use crate::fleet::PoolSet;
use crate::job::{Class, JobIndex};

/// What must be equal for two jobs to fit alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Request {
    pub devices: u32,
    pub pools: PoolSet,
    /// Number of the list of parts that the job names; 0: none.
    pub parts: u32,
    /// Where a class may displace another.
    pub class: Option<Class>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    lines: BTreeMap<Request, BTreeSet<(Key, JobIndex)>>,
    /// Where each waiting job stands, by index.
    places: Vec<Option<(Request, Key)>>,
    len: usize,
    /// That all of them ask for.
    devices: u64,
}

impl Queue {
    pub(super) fn insert(&mut self, job: JobIndex, request: Request, key: Key) {
        self.remove(job);
        if self.places.len() <= job.index() {
            self.places.resize(job.index() + 1, None);
        }
        self.places[job.index()] = Some((request, key));
        self.lines.entry(request).or_default().insert((key, job));
        self.devices += u64::from(request.devices);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, job: JobIndex) {
        let Some((request, key)) = self.places.get_mut(job.index()).and_then(Option::take) else { return };
        let line = self.lines.get_mut(&request).expect("a waiting job stands in a line");
        line.remove(&(key, job));
        if line.is_empty() {
            self.lines.remove(&request);
        }
        self.devices -= u64::from(request.devices);
        self.len -= 1;
    }

    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.places.clear();
        (self.devices, self.len) = (0, 0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn devices(&self) -> u64 {
        self.devices
    }

    pub(super) fn jobs(&self) -> impl Iterator<Item = JobIndex> + '_ {
        self.lines.values().flatten().map(|(_, job)| *job)
    }

    /// What is asked for, each once.
    pub(super) fn requests(&self) -> impl Iterator<Item = &Request> {
        self.lines.keys()
    }

    /// A walk through all lines at once, in the order of keys.
    pub(super) fn walk(&self) -> Walk<'_> {
        let lines = self.lines.iter().map(|(request, line)| {
            let mut rest = line.iter();
            let head = rest.next().copied();
            Line { request: *request, head, rest }
        });
        let mut walk = Walk { lines: lines.collect(), best: None, passed: None };
        walk.find_best();
        walk
    }
}

#[derive(Debug)]
struct Line<'a> {
    request: Request,
    head: Option<(Key, JobIndex)>,
    rest: std::collections::btree_set::Iter<'a, (Key, JobIndex)>,
}

#[derive(Debug)]
pub(super) struct Walk<'a> {
    lines: Vec<Line<'a>>,
    best: Option<usize>,
    /// The first of those that were given up.
    passed: Option<(Key, JobIndex)>,
}

impl Walk<'_> {
    /// The first of all heads.
    pub(super) fn peek(&self) -> Option<(Key, JobIndex, Request)> {
        let line = &self.lines[self.best?];
        line.head.map(|(key, job)| (key, job, line.request))
    }

    /// Goes past the job that [`Self::peek`] shows.
    pub(super) fn next(&mut self) {
        if let Some(best) = self.best {
            let line = &mut self.lines[best];
            line.head = line.rest.next().copied();
            self.find_best();
        }
    }

    /// Gives up on lines: none of their jobs is shown again.
    pub(super) fn skip_lines(&mut self, hopeless: impl Fn(&Request) -> bool) {
        let passed = &mut self.passed;
        self.lines.retain(|line| {
            let keep = !hopeless(&line.request);
            if let (false, Some(head)) = (keep, line.head) {
                *passed = Some(passed.map_or(head, |first| first.min(head)));
            }
            keep
        });
        self.find_best();
    }

    /// Gives up on requests for more than `devices`.
    pub(super) fn skip_larger(&mut self, devices: u64) {
        // Lines are sorted by devices.
        if self.lines.last().is_some_and(|line| u64::from(line.request.devices) > devices) {
            self.skip_lines(|request| u64::from(request.devices) > devices);
        }
    }

    /// Gives up on the job that [`Self::peek`] shows.
    pub(super) fn pass(&mut self) {
        if let Some((key, job, _)) = self.peek() {
            self.passed = Some(self.passed.map_or((key, job), |first| first.min((key, job))));
        }
        self.next();
    }

    /// The first job given up that stands before this one.
    pub(super) fn passed_before(&self, key: Key, job: JobIndex) -> Option<JobIndex> {
        self.passed.filter(|first| *first < (key, job)).map(|(_, first)| first)
    }

    fn find_best(&mut self) {
        let heads =
            self.lines.iter().enumerate().filter_map(|(index, line)| line.head.map(|head| (head, index)));
        self.best = heads.min().map(|(_, index)| index);
    }
}
