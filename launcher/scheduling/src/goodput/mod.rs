//! How fast an elastic job really advances: steps per second times what a step is worth.
//!
//! A larger batch takes more samples per second and more samples for the same loss. Progress is counted in iterations
//! at the smallest batch; one iteration at a larger batch advances by the gain of AdaScale, which follows from the
//! gradient noise scale. Goodput is progress per second. Sources: Qiao et al., "Pollux", OSDI 2021; Johnson et al.,
//! "AdaScale SGD", ICML 2020; McCandlish et al., "An Empirical Model of Large-Batch Training", 2018.
//!
//! A [`Profile`] holds what was measured of one application; [`ProfiledSpeed`] is the [`crate::job::Speed`] of a job
//! of it. Strategies that ask it for the speed on devices that the job does not hold know what only a profile of all
//! sizes could tell them: results are those of an oracle of step times, not of one of remaining work.

mod batch;
mod noise;
mod speed;
mod step_time;

pub use batch::{BatchLimits, Split};
pub use noise::{Epoch, NoiseScale};
pub use speed::{Batch, Profile, ProfiledSpeed, packed};
pub use step_time::{Measured, StepTime, StepTimes};
