//! A worker's data: files checked against their manifests, split, encoded and cut into micro-batches.
//!
//! Flow: [`shard_file`] reads a file once and checks size and digest; [`text`] and [`table`] give it
//! samples, [`schema`] and [`rows`] encode tables; [`split`] decides which rows are held out and
//! [`statistics`] what features are standardised by; [`dataset`] holds what one worker may hold and turns
//! the sample ids of a step into micro-batches. Nothing here leaves the worker but sums.
//!
//! Which samples are trained on follows from manifests alone (`hcrun_protocol::split`), and no text of an
//! error shows a value of a row: messages travel, rows do not.

pub mod dataset;
pub mod predict;
pub mod rows;
pub mod schema;
pub mod shard_file;
pub mod split;
pub mod statistics;
pub mod table;
pub mod text;

pub use dataset::{DataError, Dataset, MicroBatch};
pub use schema::Schema;
pub use statistics::{Statistics, Sums};
