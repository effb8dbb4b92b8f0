//! `hcrun submit`: a job into a queue, whether or not it is up.

use hcrun_protocol::time::Span;
use serde_json::json;

use crate::cli::SubmitArgs;
use crate::failure::Result;
use crate::output::Output;
use crate::queue;

pub(crate) fn submit(args: &SubmitArgs, output: &Output) -> Result<()> {
    let estimate = args.estimate.map(|seconds| Span::from_secs(seconds.into()));
    let job = queue::submit(&args.queue.queue, &args.job, args.priority, estimate)?;
    let estimate_s = job.estimate.as_secs_f64();
    let answer = json!({ "job": job.id, "name": job.name, "pools": job.pools, "estimate_s": estimate_s });
    output.answer(&answer, || {
        let pools = queue::pools_words(&job.pools);
        format!("job {} ({}) on {pools}, expected to train for {estimate_s:.0} s", job.id, job.name)
    });
    Ok(())
}
