//! Processes that all-reduce, of which one is killed or stands still.
//!
//! All others end with an error that names it, in time, and go on without it.

mod loss;
