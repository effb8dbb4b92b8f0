//! Why jobs wait, kept for those who ask.

use hcrun_scheduling::JobIndex;
use hcrun_scheduling::state::Phase;

use super::Up;
use crate::failure::Result;
use crate::queue::why;

/// Waiting jobs whose reason is kept up to date.
const MAX_REASONS: usize = 200;
const NEXT_ROUND: &str = "it waits for the next round, in which its strategy looks at it";

impl Up<'_> {
    /// Keeps the reasons of waiting jobs up to date.
    pub(super) fn explain(&mut self) -> Result<()> {
        let waiting = self
            .jobs
            .iter()
            .filter(|(index, job)| self.state.job(**index).phase == Phase::Waiting && job.process.is_none());
        let waiting: Vec<JobIndex> = waiting.map(|(index, _)| *index).take(MAX_REASONS).collect();
        let mut changed = Vec::new();
        for index in waiting {
            let job = self.state.job(index);
            // Its strategy has not heard of it.
            let (reason, why) = if self.decided.is_none_or(|decided| decided < job.since) {
                (NEXT_ROUND.to_owned(), None)
            } else {
                let why = self.strategy.why(&self.state, index);
                (why.answer.to_string(), Some(why::keep(why)))
            };
            let Some(job) = self.jobs.get_mut(&index) else { continue };
            if (&job.reason, &job.why) != (&reason, &why) {
                changed.push((job.id, reason.clone(), why.clone()));
                (job.reason, job.why) = (reason, why);
            }
        }
        if changed.is_empty() { Ok(()) } else { self.store.set_whys(&changed) }
    }
}
