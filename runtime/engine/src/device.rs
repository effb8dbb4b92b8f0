//! A model on a device: the operations of its graph by the kernels of `kernels/cuda`.
//!
//! Values and their gradients are bf16; parameters are f32, with a copy in bf16 that matrix products read, and so are
//! their gradients. A pass is launched as a whole, and nothing in it waits for the device: batches come through host
//! memory that the device reads by itself, and parts of the gradient leave the same way as soon as they are final,
//! while the way back goes on.

mod arenas;
mod inputs;
mod passes;
mod update;
mod values;

use std::ops::Range;
use std::rc::Rc;

use hcrun_kernels::device::{Address, Device, DeviceBuffer, DeviceError, HostBuffer, Ticket};
use hcrun_kernels::device_attention::AttentionError;
use hcrun_kernels::launch;
use hcrun_protocol::job::Train;

use self::arenas::{Arenas, bytes_of};
use self::inputs::Inputs;
use self::passes::Passes;
use self::update::{DeviceOptimizer, RestoreError};
use self::values::Values;
use crate::batch::{Batch, BatchError, EvalSums, Sums, Targets};
use crate::graph::Graph;
use crate::model::samples::{AnyTargets, Samples};
use crate::model::{OnReady, graph_of};
use crate::optimizer::{StateError, StepScalars};
use crate::spec::ModelSpec;

/// Why a pass on a device ended early.
#[derive(Debug, thiserror::Error)]
pub enum DeviceModelError {
    #[error("a batch does not fit the model")]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("the model does not fit the kernels")]
    Attention(#[from] AttentionError),
    #[error("the resumed state does not fit the job")]
    State(#[from] StateError),
}

impl From<RestoreError> for DeviceModelError {
    fn from(error: RestoreError) -> DeviceModelError {
        match error {
            RestoreError::State(error) => error.into(),
            RestoreError::Device(error) => error.into(),
        }
    }
}

/// Forward and backward of one model over parameters that lie on a device.
pub struct DeviceModel {
    device: Rc<dyn Device>,
    spec: ModelSpec,
    graph: Graph,
    /// By operation: ranges of the arena that are final once it has run backward.
    ready: Vec<Vec<Range<usize>>>,
    /// Samples computed at once by [`Self::evaluate`].
    max_samples: usize,
    arenas: Arenas,
    values: Values,
    inputs: Inputs,
    sums: DeviceSums,
    optimizer: DeviceOptimizer,
    /// Host memory of a whole arena, for gradients on their way out and in.
    staging: HostBuffer,
    /// The parameters as the host knows them, and what an update makes of them.
    current: HostBuffer,
    next: HostBuffer,
    /// Parts of the gradient on their way out, in order.
    leaving: Vec<(Range<usize>, Ticket)>,
    on_progress: Box<dyn Fn() + Send>,
}

impl DeviceModel {
    /// At the given parameters, with memory for `max_samples` at once; larger micro-batches make it grow. `owned` are
    /// the ranges of the arena that [`Self::update`] updates.
    ///
    /// # Errors
    /// If the device has no room, or no kernels for the model.
    ///
    /// # Panics
    /// If the parameters are not as many as the arena has.
    pub fn new(
        device: Rc<dyn Device>,
        spec: ModelSpec,
        train: &Train,
        max_samples: usize,
        owned: Vec<Range<usize>>,
        parameters: &[f32],
    ) -> Result<DeviceModel, DeviceModelError> {
        let (graph, features, predictions) = graph_of(&spec);
        let ready = graph.ready(spec.parameters(), spec.arena_elems());
        let max_samples = max_samples.max(1);
        let rows = max_samples * spec.rows_per_sample();
        let arenas = Arenas::new(&*device, spec.arena_elems())?;
        let values = Values::new(&*device, &graph, predictions, rows)?;
        let inputs = Inputs::new(&spec, features, rows);
        let sums = DeviceSums::new(&*device)?;
        let optimizer = DeviceOptimizer::new(&*device, train, &spec.profile(), owned)?;
        let host = || device.allocate_host(size_of::<f32>() * spec.arena_elems());
        let (staging, current, next) = (host()?, host()?, host()?);
        let mut model = DeviceModel {
            device,
            spec,
            graph,
            ready,
            max_samples,
            arenas,
            values,
            inputs,
            sums,
            optimizer,
            staging,
            current,
            next,
            leaving: Vec::new(),
            on_progress: Box::new(|| {}),
        };
        model.set_parameters(parameters)?;
        Ok(model)
    }

    /// Called whenever a part of the gradient has come, and after each evaluation: what a heartbeat's progress counter
    /// counts.
    pub fn set_on_progress(&mut self, on_progress: impl Fn() + Send + 'static) {
        self.on_progress = Box::new(on_progress);
    }

    /// The current parameters, as the host knows them.
    pub fn parameters(&self) -> &[f32] {
        bytemuck::cast_slice(self.current.read(0..self.current.bytes()))
    }

    /// What [`Self::advance`] makes current; parts that others own are written here.
    pub fn next_parameters(&mut self) -> &mut [f32] {
        let bytes = 0..self.next.bytes();
        bytemuck::cast_slice_mut(self.next.write(bytes))
    }

    /// Updates the owned ranges, of the gradient's sums over all workers, into the next parameters.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If `gradient_sum` is shorter than the arena.
    pub fn update(&mut self, scalars: &StepScalars, gradient_sum: &[f32]) -> Result<(), DeviceModelError> {
        let device = &*self.device;
        for range in self.optimizer.owned() {
            let host = self.staging.write(bytes_of(range));
            host.copy_from_slice(bytemuck::cast_slice(&gradient_sum[range.clone()]));
            self.arenas.begin_write_gradient(device, &mut self.staging, range)?;
        }
        self.optimizer.apply(device, scalars, &self.arenas)?;
        let mut last = None;
        for range in self.optimizer.owned() {
            last = Some(self.arenas.begin_read_next(device, &mut self.next, range)?);
        }
        if let Some(ticket) = last {
            device.wait(ticket)?;
        }
        Ok(())
    }

    /// The next parameters become current, whole.
    ///
    /// # Errors
    /// If the device fails.
    pub fn advance(&mut self) -> Result<(), DeviceModelError> {
        let owned = self.optimizer.owned();
        let starts = [0].into_iter().chain(owned.iter().map(|range| range.end));
        let ends = owned.iter().map(|range| range.start).chain([self.spec.arena_elems()]);
        for range in starts.zip(ends).map(|(start, end)| start..end).filter(|range| !range.is_empty()) {
            self.arenas.begin_write_next(&*self.device, &mut self.next, &range)?;
        }
        self.arenas.advance();
        std::mem::swap(&mut self.current, &mut self.next);
        // What was just sent may be read by the host again.
        Ok(self.device.synchronize()?)
    }

    /// State of the optimizer of the owned ranges, as [`crate::optimizer::Optimizer::export`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn state(&self) -> Result<Vec<(String, Vec<f32>)>, DeviceModelError> {
        Ok(self.optimizer.export(&*self.device)?)
    }

    /// Takes the optimizer's state out of arenas, and these parameters.
    ///
    /// # Errors
    /// If state is missing or has another length, in which case nothing has changed, or if the device fails.
    pub fn restore(
        &mut self,
        parameters: &[f32],
        arenas: &[(String, Vec<f32>)],
    ) -> Result<(), DeviceModelError> {
        self.optimizer.restore(&*self.device, arenas)?;
        self.set_parameters(parameters)
    }

    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If these are not as many as the arena has.
    pub fn set_parameters(&mut self, parameters: &[f32]) -> Result<(), DeviceModelError> {
        self.next_parameters().copy_from_slice(parameters);
        self.arenas.begin_write_next(&*self.device, &mut self.next, &(0..parameters.len()))?;
        self.arenas.advance();
        std::mem::swap(&mut self.current, &mut self.next);
        Ok(self.device.synchronize()?)
    }

    /// As [`crate::model::Model::forward_backward`], of the parameters that were set last.
    ///
    /// # Errors
    /// If a batch does not fit the model, in which case nothing was reported ready, or if the device fails.
    pub fn forward_backward(
        &mut self,
        batches: &[Batch<'_>],
        on_ready: &mut OnReady<'_>,
    ) -> Result<Sums, DeviceModelError> {
        let mut last = None;
        for (index, batch) in batches.iter().enumerate() {
            if Samples::of_batch(&self.spec, batch)?.rows > 0 {
                last = Some(index);
            }
        }
        let device = Rc::clone(&self.device);
        self.arenas.clear_gradient(&*device)?;
        self.sums.clear(&*device)?;
        let mut weight = 0.0;
        for (index, batch) in batches.iter().enumerate() {
            let samples = Samples::of_batch(&self.spec, batch)?;
            if samples.rows > 0 {
                self.pass(index, &samples, Direction::Both { last: Some(index) == last })?;
                weight += samples.rows as f64;
            }
        }
        if last.is_none() {
            let whole = 0..self.spec.arena_elems();
            let ticket = self.arenas.begin_read_gradient(&*device, &mut self.staging, whole.clone())?;
            self.leaving.push((whole, ticket));
        }
        let sums = self.sums.begin_read(&*device)?;
        for (range, ticket) in self.leaving.drain(..) {
            device.wait(ticket)?;
            (self.on_progress)();
            let bytes = bytes_of(&range);
            on_ready(range, bytemuck::cast_slice(self.staging.read(bytes)));
        }
        device.wait(sums)?;
        Ok(Sums { loss_sum: self.sums.read()[0], weight })
    }

    /// As [`crate::model::Model::evaluate`].
    ///
    /// # Errors
    /// If the batch does not fit the model, or the device fails.
    pub fn evaluate(&mut self, batch: Batch<'_>) -> Result<EvalSums, DeviceModelError> {
        let device = Rc::clone(&self.device);
        let samples = Samples::of_batch(&self.spec, &batch)?;
        let outputs = self.spec.outputs();
        let mut total = EvalSums::default();
        for part in samples.parts(self.max_samples * samples.length, outputs) {
            self.sums.clear(&*device)?;
            self.pass(0, &part, Direction::Forward)?;
            let ticket = self.sums.begin_read(&*device)?;
            device.wait(ticket)?;
            (self.on_progress)();
            let [loss_sum, correct] = self.sums.read();
            let squares = matches!(part.targets, Some(AnyTargets::Rows(Targets::Value(_))));
            total.add(EvalSums {
                loss_sum,
                weight: part.rows as f64,
                correct,
                squared_error: if squares { loss_sum } else { 0.0 },
            });
        }
        Ok(total)
    }

    /// Launches one micro-batch. After the last one the gradient leaves, part by part.
    fn pass(
        &mut self,
        index: usize,
        samples: &Samples<'_>,
        direction: Direction,
    ) -> Result<(), DeviceModelError> {
        let DeviceModel { device, graph, ready, arenas, values, inputs, sums, staging, leaving, .. } = self;
        let device = &**device;
        values.reserve(device, graph, samples.rows)?;
        let batch = inputs.place(device, index, samples, values)?;
        let (rows, length) = (samples.rows, samples.length);
        let passes = Passes { device, arenas, values, batch, sums: sums.address(), rows, length };
        let backward = matches!(direction, Direction::Both { .. });
        passes.forward(graph.operations(), backward)?;
        let Direction::Both { last } = direction else { return Ok(()) };
        values.begin_backward();
        for (operation, ready) in graph.operations().iter().zip(ready).rev() {
            passes.backward(operation)?;
            for range in ready.iter().rev().filter(|_| last) {
                let ticket = arenas.begin_read_gradient(device, staging, range.clone())?;
                leaving.push((range.clone(), ticket));
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Forward,
    Both {
        /// No other micro-batch of the step follows.
        last: bool,
    },
}

/// Loss and right predictions, summed on the device.
struct DeviceSums {
    sums: DeviceBuffer,
    host: HostBuffer,
}

impl DeviceSums {
    const BYTES: usize = 2 * size_of::<f64>();

    fn new(device: &dyn Device) -> Result<DeviceSums, DeviceError> {
        Ok(DeviceSums { sums: device.allocate(Self::BYTES)?, host: device.allocate_host(Self::BYTES)? })
    }

    fn address(&self) -> Address<f64> {
        self.sums.at(0)
    }

    fn clear(&self, device: &dyn Device) -> Result<(), DeviceError> {
        launch::Clear { n: Self::BYTES as u64 / 4, words: self.sums.at(0) }.launch(device)
    }

    fn begin_read(&mut self, device: &dyn Device) -> Result<Ticket, DeviceError> {
        device.start_read(&self.sums, 0, &mut self.host, 0..Self::BYTES)
    }

    fn read(&self) -> [f64; 2] {
        let sums: &[f64] = bytemuck::cast_slice(self.host.read(0..Self::BYTES));
        [sums[0], sums[1]]
    }
}
