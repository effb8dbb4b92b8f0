//! Why a job of the queue is where it is: what its strategy said last, in the words of the simulator, and what was
//! decided about it before.
//!
//! The process that runs the queue keeps each waiting job's answer in the database; whoever asks reads it there.

use std::path::Path;

use hcrun_scheduling::strategy::{EnoughFree, Why};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::dir::QueueDir;
use super::store::Store;
use super::view::{self, JobView};
use crate::failure::Result;
use crate::output::{self, Output};

/// What is kept of an answer. It is the same until something changes: a moment stands in it as such, not as how long
/// it is until then.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Kept {
    text: String,
    why: Value,
    forecast: Option<Forecast>,
}

/// When enough devices are expected to be free. Seconds since 1970, and the job that gives the last of them back.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Forecast {
    at: f64,
    after: String,
}

#[derive(Serialize)]
struct Answer {
    /// Whether an `hcrun up` runs the queue; otherwise this is how it was.
    up: bool,
    job: JobView,
    /// Of a waiting job that the strategy has looked at.
    why: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enough_free: Option<EnoughFree>,
}

/// An answer as it is kept.
pub(super) fn keep(mut why: Why) -> String {
    let at = |enough: EnoughFree| Forecast { at: (why.at_s + enough.in_s).round(), after: enough.after };
    let forecast = why.enough_free.take().map(at);
    let text = why.to_string();
    let mut why = serde_json::to_value(&why).expect("an answer has string keys");
    if let Some(fields) = why.as_object_mut() {
        fields.remove("at_s");
    }
    output::to_json(&Kept { text, why, forecast })
}

pub(crate) fn why(path: &Path, job: &str, output: &Output) -> Result<()> {
    let queue = QueueDir::open(path)?;
    let id = queue.job_id(job)?;
    let store = Store::open(&queue)?;
    let row = store.job(id)?;
    let kept = store.why(id)?.and_then(|kept| serde_json::from_str::<Kept>(&kept).ok());
    let job = JobView::of(row, &queue, &store)?;
    let (text, why, forecast) = match kept {
        Some(kept) => (kept.text, Some(kept.why), kept.forecast),
        None => (format!("job `{} {}`: {}", job.id, job.name, job.state_words()), None, None),
    };
    let enough_free =
        forecast.map(|one| EnoughFree { in_s: (one.at - view::now()).max(0.0), after: one.after });
    let answer = Answer { up: queue.is_up(), job, why, enough_free };
    output.answer(&answer, || to_text(&text, &answer));
    Ok(())
}

fn to_text(text: &str, answer: &Answer) -> String {
    let mut lines = vec![text.trim_end().to_owned()];
    lines.extend(answer.enough_free.iter().map(|enough| format!("  {enough}")));
    lines.push(format!("  {}", answer.job.line().trim_start()));
    lines.extend(answer.job.decisions().iter().map(|line| format!("  {line}")));
    lines.extend(answer.job.run_line().iter().map(|line| format!("  {line}")));
    if !answer.up && !answer.job.state.is_final() {
        lines.push(NOT_UP.to_owned());
    }
    lines.join("\n")
}

pub(crate) const NOT_UP: &str = "nobody runs this queue: `hcrun up` does";
