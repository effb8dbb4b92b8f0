//! `hcrun up`: runs a queue's jobs in the foreground.

use std::process::ExitCode;

use hcrun_protocol::cluster::{Backend, Cluster};
use hcrun_scheduling::strategy::Pace;
use hcrun_scheduling::{Strategy, strategies};

use crate::cli::UpArgs;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::queue::{self, QueueDir, Settings};
use crate::settings::schema::nearest;
use crate::{cluster_file, codes};

pub(crate) fn up(args: &UpArgs, output: &Output) -> Result<ExitCode> {
    let strategy = strategy(&args.strategy)?;
    if let Pace::Rounds(length) = strategy.pace {
        return Err(Failure::new(
            &codes::STRATEGY_UNKNOWN,
            format!("`{}` cannot run a queue", strategy.name),
        )
        .because(format!(
            "it decides in rounds of {} s; a queue decides whenever a job comes or goes",
            length.0 / 1_000_000
        ))
        .hint(
            "take one that decides at events, such as `fifo-skip`, `srsf`, `priority`, `classes` or `demand`",
        ));
    }
    let queue = QueueDir::make(&args.queue.queue)?;
    let cluster = match &args.cluster {
        Some(path) => cluster_file::read(path)?,
        None if queue.cluster().is_file() => cluster_file::read(&queue.cluster())?,
        None => Cluster::local(),
    };
    if let Some(pool) = cluster.pools.iter().find(|pool| pool.backend != Backend::Local) {
        return Err(Failure::new(&codes::CLUSTER_INVALID, "a queue runs jobs on this machine only")
            .because(format!("pool `{}` has backend = \"manual\"", pool.name))
            .hint("give a cluster file with local pools"));
    }
    queue::up(&queue, Settings { cluster, strategy, until_idle: args.until_idle }, output)
}

fn strategy(name: &str) -> Result<Strategy> {
    strategies::by_name(name).ok_or_else(|| {
        let failure = Failure::new(&codes::STRATEGY_UNKNOWN, format!("there is no strategy `{name}`"))
            .because(format!("the strategies are {}", strategies::names()));
        match nearest(name, strategies::ALL.iter().map(|about| about.name)) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure,
        }
    })
}
