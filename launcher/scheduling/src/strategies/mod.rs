//! The strategies by name, and the stages that they are made of.

mod admit;
mod classes;
mod modes;
mod orders;
mod places;
mod sizes;

use hcrun_protocol::time::Span;

pub use admit::FitsFleet;
pub use classes::ByClass;
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

fn classes(name: &'static str) -> Strategy {
    let preemption = Preemption::ByClass { min_runtime: Span(0) };
    Strategy::new(name, stages(ByClass), Discipline::Skip, preemption, Pace::Events)
}
