//! The strategies by name, and the stages that they are made of.

mod admit;
mod balanced;
mod consolidate;
mod least_fragment;
mod modes;
mod orders;
mod places;
mod priority;
mod sizes;

use hcrun_protocol::time::Span;

pub use admit::FitsFleet;
pub use balanced::Balanced;
pub use consolidate::Consolidate;
pub use least_fragment::LeastFragment;
pub use modes::AnyTerms;
pub use orders::{Attained, Remaining, Submission};
pub use places::Pack;
pub use priority::{Addend, Priority, Weights};
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
];

/// The names of all strategies, for messages.
pub fn names() -> String {
    ALL.iter().map(|about| about.name).collect::<Vec<_>>().join(", ")
}

/// Makes a fresh strategy.
pub fn by_name(name: &str) -> Option<Strategy> {
    ALL.iter().find(|about| about.name == name).map(|about| (about.make)(about.name))
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
