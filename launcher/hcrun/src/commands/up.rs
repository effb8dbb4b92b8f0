//! `hcrun up`: runs a queue's jobs in the foreground.

use std::process::ExitCode;

use hcrun_protocol::cluster::{Backend, Cluster};
use hcrun_protocol::time::Span;
use hcrun_scheduling::strategy::Pace;
use hcrun_scheduling::{Strategy, strategies};

use crate::cli::UpArgs;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::queue::{self, QueueDir, Settings};
use crate::settings::schema::nearest;
use crate::{cluster_file, codes};

pub(crate) fn up(args: &UpArgs, output: &Output) -> Result<ExitCode> {
    let mut strategy = strategy(&args.strategy)?;
    if let Some(seconds) = args.round {
        let length = Span::from_secs(seconds.into());
        strategy.pace = match strategy.pace {
            Pace::Rounds(_) => Pace::Rounds(length),
            Pace::EventsAndRounds(_) => Pace::EventsAndRounds(length),
            Pace::Events => {
                return Err(Failure::new(&codes::USAGE, format!("`{}` has no rounds", strategy.name))
                    .because("it decides whenever a job comes or goes")
                    .hint("leave --round out, or take a strategy of rounds such as `max-min`"));
            }
        };
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
