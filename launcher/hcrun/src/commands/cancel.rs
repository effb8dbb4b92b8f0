//! `hcrun cancel`: takes a job out of a queue and waits until it is.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cli::CancelArgs;
use crate::codes;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::queue::{QueueDir, Store, wall_clock};

/// A step and a checkpoint of a large model take a while.
const LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

pub(crate) fn cancel(args: &CancelArgs, output: &Output) -> Result<()> {
    let queue = QueueDir::open(&args.queue.queue)?;
    let store = Store::open(&queue)?;
    let job = store.job(queue.job_id(&args.job)?)?;
    if job.state.is_final() {
        return Err(Failure::new(
            &codes::QUEUE_JOB_ENDED,
            format!("job {} is {} already", job.id, job.state.word()),
        ));
    }
    store.cancel(job.id)?;
    queue.wake();
    let since = Instant::now();
    let state = loop {
        let state = store.job(job.id)?.state;
        if state.is_final() {
            break state;
        }
        if !queue.is_up() {
            store.withdraw(job.id, wall_clock())?;
            continue;
        }
        if since.elapsed() > LIMIT {
            let what = format!("job {} is still {} after {} s", job.id, state.word(), LIMIT.as_secs());
            return Err(Failure::new(&codes::STOP_DEADLINE, what));
        }
        std::thread::sleep(POLL);
    };
    output.answer(&json!({ "job": job.id, "state": state }), || format!("job {}: {}", job.id, state.word()));
    Ok(())
}
