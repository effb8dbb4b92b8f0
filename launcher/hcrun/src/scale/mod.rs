//! Scaling experiments: one job with several numbers of workers, what that did to its speed, and what a model fitted to
//! it says of numbers that nobody ran.

mod charts;
mod document;
mod measure;
mod plan;
mod report;
mod results;
mod sweep;
mod table;

pub(crate) use document::Document;
pub(crate) use plan::plan;
pub(crate) use report::to_html;
pub(crate) use results::Results;
pub(crate) use sweep::sweep;
pub(crate) use table::{text, to_csv};
