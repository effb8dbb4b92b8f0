//! `hcrun why`: why a job is where it is, in a queue or at a moment of a simulation.

use hcrun_protocol::time::Time;
use hcrun_scheduling::comparison::vary;
use hcrun_scheduling::{JobIndex, simulator, strategies};

use crate::cli::WhyArgs;
use crate::codes;
use crate::failure::{Failure, Result};
use crate::lab;
use crate::output::Output;
use crate::queue;
use crate::settings::schema::nearest;

pub(crate) fn why(args: &WhyArgs, output: &Output) -> Result<()> {
    if args.lab.trace.is_none() && args.lab.replay.is_none() {
        if args.at.is_some() || args.strategy.is_some() {
            return Err(Failure::new(&codes::USAGE, "`--at` and `--strategy` are for jobs of a trace")
                .because("a job of a queue is explained as it is now, under the strategy of `hcrun up`")
                .hint("leave them out, or give a trace with `--trace` and `--cluster`"));
        }
        return queue::why(&args.queue.queue, &args.job, output);
    }
    let inputs = lab::read(&args.lab, args.strategy.as_slice(), "why")?;
    let index = find(&inputs, &args.job)?;
    let submit = inputs.workload.jobs()[index.index()].submit;
    let moment = args.at.map_or(Ok(submit), moment)?;
    let mut strategy =
        strategies::by_name(inputs.strategies[0]).expect("names are checked when they are read");
    let stuck = |error: &dyn std::error::Error| {
        Failure::new(&codes::SIMULATION_STUCK, "the simulation does not come to this moment").caused_by(error)
    };
    let course = lab::course(&inputs)?;
    let workload = vary(&inputs.workload, 0, inputs.estimates).map_err(|error| stuck(&error))?;
    let state = simulator::until(&inputs.fleet, &course, workload, &mut strategy, moment)
        .map_err(|error| stuck(&error))?;
    let why = strategy.why(&state, index);
    output.answer(&why, || why.to_string());
    Ok(())
}

fn find(inputs: &lab::Inputs, id: &str) -> Result<JobIndex> {
    let jobs = inputs.workload.jobs();
    jobs.iter().position(|job| job.id == id).map(JobIndex::from_index).ok_or_else(|| {
        let failure = Failure::new(&codes::USAGE, format!("the trace has no job `{id}`"));
        match nearest(id, jobs.iter().map(|job| job.id.as_str())) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint(format!("its jobs have ids such as `{}`", jobs[0].id)),
        }
    })
}

fn moment(seconds: f64) -> Result<Time> {
    if !(0.0..1e12).contains(&seconds) {
        return Err(Failure::new(&codes::USAGE, format!("`--at {seconds}` is no moment of a trace"))
            .hint("give seconds from the first submission, at least 0"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the range just checked"
    )]
    let micros = (seconds * 1e6).round() as u64;
    Ok(Time(micros))
}
