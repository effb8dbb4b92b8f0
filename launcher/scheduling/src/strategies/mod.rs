//! The strategies by name, and the stages that they are made of.

mod admit;
mod hybrid;
mod modes;
mod orders;
mod places;
mod sizes;
pub mod spot;

use hcrun_protocol::time::Span;

pub use admit::FitsFleet;
pub use hybrid::{Candidate, Hybrid};
pub use modes::AnyTerms;
pub use orders::{Attained, Remaining, Submission};
pub use places::Pack;
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
        what: "least expected cost between spot and on-demand, never late",
        make: deadline,
    },
    About {
        name: "hybrid",
        what: "where delay, price, egress and expected losses cost least together",
        make: hybrid,
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

fn las(name: &'static str) -> Strategy {
    // 16 device hours, the threshold of Tiresias in Pollux's comparison.
    let order = Attained::new(Span::from_secs(16 * 3_600));
    Strategy::new(name, stages(order), Discipline::Skip, Preemption::ByOrder, Pace::Events)
}

fn spot_greedy(name: &'static str) -> Strategy {
    meeting_deadlines(name, spot::SpotMode::new(spot::Greedy))
}

fn uniform_progress(name: &'static str) -> Strategy {
    meeting_deadlines(name, spot::SpotMode::new(spot::UniformProgress))
}

fn deadline(name: &'static str) -> Strategy {
    meeting_deadlines(name, spot::SpotMode::new(spot::LeastExpectedCost::default()))
}

fn meeting_deadlines(name: &'static str, mode: impl Mode + 'static) -> Strategy {
    let stages = Stages { size: Box::new(spot::Movable), mode: Box::new(mode), ..stages(spot::LeastSlack) };
    Strategy::new(name, stages, Discipline::Skip, Preemption::Never, Pace::Events)
}

fn hybrid(name: &'static str) -> Strategy {
    let stages = Stages { size: Box::new(Hybrid::default()), ..stages(Submission) };
    Strategy::new(name, stages, Discipline::Skip, Preemption::Never, Pace::Events)
}
