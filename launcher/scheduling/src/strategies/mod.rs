//! The strategies by name, and the stages that they are made of.

mod admit;
mod balanced;
mod classes;
mod consolidate;
mod cost_slo;
mod deadlines;
mod demand;
mod elastic;
mod ftf;
mod hybrid;
mod least_fragment;
mod makespan;
mod max_min;
mod modes;
mod orders;
mod places;
mod priority;
mod rounds;
mod shares;
mod sia;
mod sizes;
pub mod spot;

use hcrun_protocol::time::Span;

pub use admit::{FitsFleet, FitsPool};
pub use balanced::Balanced;
pub use classes::ByClass;
pub use consolidate::Consolidate;
pub use deadlines::{LeastSlack, MeetDeadlines};
pub use demand::{Demand, Tuning, Weight};
pub use elastic::{LeastFitsPool, WholeNodes};
pub use hybrid::{Candidate, Hybrid};
pub use least_fragment::LeastFragment;
pub use modes::AnyTerms;
pub use orders::{Attained, Remaining, Submission};
pub use places::Pack;
pub use priority::{Addend, Priority, Weights};
pub use sia::Sia;
pub use sizes::Requested;

use crate::strategy::{Discipline, Mode, Order, Pace, Place, Preemption, Size, Stages, Strategy};

/// What a strategy is for, for lists and documentation.
#[derive(Debug, Clone, Copy)]
pub struct About {
    pub name: &'static str,
    pub what: &'static str,
    make: fn(&'static str) -> Strategy,
}

/// All strategies, in the order in which lists show them.
pub const ALL: &[About] = &[
    About { name: "fifo-strict", what: "by submission; the head blocks those behind it", make: fifo_strict },
    About { name: "fifo-skip", what: "by submission; whoever fits goes", make: fifo_skip },
    About { name: "srtf", what: "shortest remaining time first, preemptive", make: srtf },
    About { name: "srsf", what: "shortest remaining service (time x devices) first, preemptive", make: srsf },
    About { name: "las", what: "least attained service first, in two queues as Tiresias", make: las },
    About {
        name: "priority",
        what: "weighted factors with ageing; classes; few whole jobs give way",
        make: priority,
    },
    About {
        name: "balanced",
        what: "zones and nodes are predicted to finish alike, by speed; spread over nodes",
        make: balanced,
    },
    About {
        name: "balanced-pack",
        what: "zones and pools are predicted to finish alike, by speed; packed within",
        make: balanced_pack,
    },
    About { name: "fgd", what: "by submission; on the node where least is lost for other gangs", make: fgd },
    About {
        name: "max-min",
        what: "fairest progress over device models, in rounds, as Gavel",
        make: max_min,
    },
    About {
        name: "max-min-efficient",
        what: "max-min, and of equally fair divisions the one with the most progress",
        make: max_min_efficient,
    },
    About { name: "max-min-blind", what: "max-min as if all devices were alike", make: max_min_blind },
    About { name: "makespan", what: "the last job done as early as can be, in rounds", make: makespan },
    About { name: "cost-slo", what: "most work per dollar with deadlines met, in rounds", make: cost_slo },
    About { name: "ftf", what: "fairest finish times, as Themis, in rounds", make: ftf },
    About { name: "demand", what: "elastic: devices go where a dollar buys most goodput", make: demand },
    About {
        name: "sia",
        what: "elastic: the best configuration of every job at once, as an integer program",
        make: sia,
    },
    About {
        name: "spot-greedy",
        what: "spot until the last moment that is safe for the deadline",
        make: spot_greedy,
    },
    About {
        name: "uniform-progress",
        what: "spot, and on-demand when behind the line to the deadline",
        make: uniform_progress,
    },
    About {
        name: "deadline",
        what: "least expected cost between spot and on-demand before the deadline",
        make: deadline,
    },
    About {
        name: "hybrid",
        what: "where delay, price, egress and expected losses cost least together",
        make: hybrid,
    },
    About {
        name: "classes",
        what: "by class, then submission; a higher class displaces a lower one",
        make: classes,
    },
];

/// The names of all strategies, for messages.
pub fn names() -> String {
    ALL.iter().map(|about| about.name).collect::<Vec<_>>().join(", ")
}

/// Makes a fresh strategy.
pub fn by_name(name: &str) -> Option<Strategy> {
    ALL.iter().find(|about| about.name == name).map(|about| (about.make)(about.name))
}

fn max_min(name: &'static str) -> Strategy {
    in_rounds(name, max_min::MaxMin(shares::Progress::Ignored))
}

fn max_min_efficient(name: &'static str) -> Strategy {
    in_rounds(name, max_min::MaxMin(shares::Progress::Preferred))
}

fn max_min_blind(name: &'static str) -> Strategy {
    in_rounds(name, max_min::MaxMinBlind)
}

fn makespan(name: &'static str) -> Strategy {
    in_rounds(name, makespan::Makespan)
}

fn cost_slo(name: &'static str) -> Strategy {
    in_rounds(name, cost_slo::CostSlo)
}

fn ftf(name: &'static str) -> Strategy {
    in_rounds(name, ftf::FinishTimeFair)
}

/// Divides time by `divide`, and decides who runs in rounds.
fn in_rounds(name: &'static str, divide: impl shares::Divide + 'static) -> Strategy {
    let admit = Box::new(FitsPool);
    let stages = Stages { admit, size: Box::new(rounds::Rounds::new(divide)), ..stages(Submission) };
    Strategy::new(name, stages, Discipline::Skip, Preemption::ByOrder, Pace::Rounds(rounds::ROUND))
}

fn stages(order: impl Order + 'static) -> Stages {
    Stages {
        admit: Box::new(FitsFleet),
        order: Box::new(order),
        size: Box::new(Requested) as Box<dyn Size>,
        place: Box::new(Pack) as Box<dyn Place>,
        mode: Box::new(AnyTerms) as Box<dyn Mode>,
    }
}

fn fifo_strict(name: &'static str) -> Strategy {
    Strategy::new(name, stages(Submission), Discipline::Strict, Preemption::Never, Pace::Events)
}

fn fifo_skip(name: &'static str) -> Strategy {
    Strategy::new(name, stages(Submission), Discipline::Skip, Preemption::Never, Pace::Events)
}

fn srtf(name: &'static str) -> Strategy {
    let order = Remaining { times_devices: false };
    Strategy::new(name, stages(order), Discipline::Skip, Preemption::ByOrder, Pace::Events)
}

fn srsf(name: &'static str) -> Strategy {
    let order = Remaining { times_devices: true };
    Strategy::new(name, stages(order), Discipline::Skip, Preemption::ByOrder, Pace::Events)
}

/// Shortest remaining time or service first as Muri's simulator runs it: gangs on as few nodes as can be, and at each
/// arrival and completion, and every `period`, all jobs are placed anew and start again.
pub fn restarting(times_devices: bool, period: Span) -> Strategy {
    let place = Box::new(Consolidate) as Box<dyn Place>;
    let stages = Stages { place, ..stages(Remaining { times_devices }) };
    let name = if times_devices { "srsf-restarting" } else { "srtf-restarting" };
    let pace = Pace::EventsAndRounds(period);
    Strategy::new(name, stages, Discipline::Skip, Preemption::Afresh, pace)
}

fn las(name: &'static str) -> Strategy {
    // 16 device hours, the threshold of Tiresias in Pollux's comparison.
    let order = Attained::new(Span::from_secs(16 * 3_600));
    Strategy::new(name, stages(order), Discipline::Skip, Preemption::ByOrder, Pace::Events)
}

fn priority(name: &'static str) -> Strategy {
    // A week, as Slurm's PriorityDecayHalfLife.
    let order = Priority::new(Weights::default(), Span::from_secs(7 * 86_400));
    let (min_runtime, patience) = (Span::from_secs(600), Span::from_secs(86_400));
    let preemption = Preemption::ByClass { min_runtime, patience };
    Strategy::new(name, stages(order), Discipline::Skip, preemption, Pace::Events)
}

fn balanced(name: &'static str) -> Strategy {
    by_submission(name, Box::new(Balanced { pack: false }))
}

fn balanced_pack(name: &'static str) -> Strategy {
    by_submission(name, Box::new(Balanced { pack: true }))
}

fn fgd(name: &'static str) -> Strategy {
    by_submission(name, Box::new(LeastFragment::default()))
}

fn by_submission(name: &'static str, place: Box<dyn Place>) -> Strategy {
    let stages = Stages { place, ..stages(Submission) };
    Strategy::new(name, stages, Discipline::Skip, Preemption::Never, Pace::Events)
}

fn elastic(size: impl Size + 'static) -> Stages {
    Stages {
        admit: Box::new(LeastFitsPool),
        order: Box::new(Submission),
        size: Box::new(size),
        place: Box::new(WholeNodes),
        mode: Box::new(AnyTerms),
    }
}

/// Elastic, in whatever way `size` decides.
pub fn elastic_with(name: &'static str, size: impl Size + 'static, pace: Pace) -> Strategy {
    Strategy::new(name, elastic(size), Discipline::Skip, Preemption::Never, pace)
}

fn demand(name: &'static str) -> Strategy {
    elastic_with(name, Demand::default(), Pace::EventsAndRounds(ROUND))
}

fn sia(name: &'static str) -> Strategy {
    elastic_with(name, Sia::default(), Pace::Rounds(ROUND))
}

/// How often elastic strategies look again, as in Pollux and Sia: speeds change as training goes on.
const ROUND: Span = Span::from_secs(60);

fn spot_greedy(name: &'static str) -> Strategy {
    meeting_deadlines(name, MeetDeadlines::new(spot::Greedy, false))
}

fn uniform_progress(name: &'static str) -> Strategy {
    meeting_deadlines(name, MeetDeadlines::new(spot::UniformProgress, false))
}

fn deadline(name: &'static str) -> Strategy {
    meeting_deadlines(name, MeetDeadlines::new(spot::LeastExpectedCost::default(), true))
}

fn meeting_deadlines(name: &'static str, size: impl Size + 'static) -> Strategy {
    let stages = Stages { size: Box::new(size), ..stages(LeastSlack) };
    Strategy::new(name, stages, Discipline::Skip, Preemption::Never, Pace::Events)
}

fn hybrid(name: &'static str) -> Strategy {
    let stages =
        Stages { admit: Box::new(FitsPool), size: Box::new(Hybrid::default()), ..stages(Submission) };
    Strategy::new(name, stages, Discipline::Skip, Preemption::Never, Pace::Events)
}

fn classes(name: &'static str) -> Strategy {
    let preemption = Preemption::ByClass { min_runtime: Span(0), patience: Span(u64::MAX) };
    Strategy::new(name, stages(ByClass), Discipline::Skip, preemption, Pace::Events)
}
