//! What trains: flat arenas, models, optimizers, data, checkpoints.
//!
//! A model is a [`spec::ModelSpec`] (segments of the arena, initial parameters, costs) and a
//! [`model::Model`] (a graph of operations, each with a hand-written way back). Parameters and gradients are flat
//! slices that the caller owns, so that exchange, update and checkpoint see ranges and never tensors. A step
//! is [`model::Model::forward_backward`], the exchange of what it reports ready, [`clip::clip`] on the
//! gathered norm, and [`optimizer::Optimizer::apply`] into a second arena.

pub mod batch;
pub mod checkpoint;
pub mod clip;
pub mod compress;
pub mod data;
pub mod device;
mod graph;
pub mod learning_rate;
pub mod model;
pub mod optimizer;
pub mod spec;
mod tape;
pub mod trainer;
