//! A model on a device: the operations of its graph by the kernels of `kernels/cuda`.
//!
//! Values and their gradients are bf16; parameters are f32, with a copy in bf16 that matrix products read, and so are
//! their gradients. A pass is launched as a whole, and nothing in it waits for the device: batches come through host
//! memory that the device reads by itself, and parts of the gradient are reported as soon as they are final, while the
//! way back goes on. Gradients and parameters stay on the device, where the exchange works on them.

mod arenas;
mod inputs;
mod passes;
mod results;
mod sharing;
mod update;
mod values;

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use hcrun_kernels::device::{Address, Device, DeviceBuffer, DeviceError, HostBuffer, Ticket};
use hcrun_kernels::device_attention::AttentionError;
use hcrun_kernels::launch;
use hcrun_protocol::job::Train;

use self::arenas::Arenas;
use self::inputs::Inputs;
use self::passes::Passes;
use self::results::Results;
use self::update::{DeviceOptimizer, RestoreError};
use self::values::Values;
use crate::batch::{Batch, BatchError, EvalSums, Sums, Targets};
use crate::graph::Graph;
use crate::model::graph_of;
use crate::model::samples::{AnyTargets, Samples};
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
    /// Results of the step on their way to the host: squares by chunk, digests by bucket.
    results: Results,
    /// Parts of the gradient that become final, in order.
    becoming_final: Vec<(Range<usize>, Ticket)>,
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
        let results = Results::new(&*device)?;
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
            results,
            becoming_final: Vec::new(),
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

    pub fn arena_elems(&self) -> usize {
        self.spec.arena_elems()
    }

    /// Appends a part of the current parameters.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read_parameters(
        &self,
        range: &Range<usize>,
        parameters: &mut Vec<f32>,
    ) -> Result<(), DeviceModelError> {
        self.read(self.arenas.current_memory(), range, parameters)
    }

    /// Appends a part of the gradient.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read_gradient(
        &self,
        range: &Range<usize>,
        gradient: &mut Vec<f32>,
    ) -> Result<(), DeviceModelError> {
        self.read(self.arenas.gradient_memory(), range, gradient)
    }

    fn read(
        &self,
        memory: &DeviceBuffer,
        range: &Range<usize>,
        values: &mut Vec<f32>,
    ) -> Result<(), DeviceModelError> {
        let start = values.len();
        values.resize(start + range.len(), 0.0);
        let bytes = bytemuck::cast_slice_mut(&mut values[start..]);
        Ok(self.device.read(memory, size_of::<f32>() * range.start, bytes)?)
    }

    /// The gradient's arena, which [`Self::update`] expects the sums of all workers in.
    pub fn gradient_memory(&self) -> &Arc<DeviceBuffer> {
        self.arenas.gradient_memory()
    }

    /// The arena that [`Self::advance`] makes current; parts that others own are written there.
    pub fn next_memory(&self) -> &Arc<DeviceBuffer> {
        self.arenas.next_memory()
    }

    /// Appends the sums of squares of a part of the gradient, by chunk.
    ///
    /// # Errors
    /// If the device fails.
    pub fn norm_partials(
        &mut self,
        range: &Range<usize>,
        chunk_elems: usize,
        partials: &mut Vec<f64>,
    ) -> Result<(), DeviceModelError> {
        let chunks = range.len().div_ceil(chunk_elems);
        let (device, values) = (&*self.device, self.arenas.gradient(range));
        let squares = self.results.room(device, chunks)?;
        let (n, elems, chunk_elems) = (chunks as u64, range.len() as u64, chunk_elems as u64);
        launch::NormPartials { n, elems, chunk_elems, values, partials: squares.at(0) }.launch(device)?;
        let words = self.results.read(device, chunks)?;
        partials.extend(words.iter().map(|word| f64::from_bits(*word)));
        Ok(())
    }

    /// Of ranges of the next parameters.
    ///
    /// # Errors
    /// If the device fails.
    pub fn digests(&mut self, ranges: &[Range<usize>]) -> Result<Vec<u64>, DeviceModelError> {
        let device = &*self.device;
        let sums = self.results.room(device, ranges.len())?;
        launch::Clear { n: 2 * ranges.len() as u64, words: sums.at(0) }.launch(device)?;
        let values = self.arenas.next(&(0..0));
        for (index, range) in ranges.iter().enumerate() {
            let (n, begin) = (range.len() as u64, range.start as u64);
            launch::Digest { n, begin, values, sum: sums.at(size_of::<u64>() * index) }.launch(device)?;
        }
        Ok(self.results.read(device, ranges.len())?.to_vec())
    }

    /// Updates the owned ranges, of the sums over all workers in the gradient's arena, into the next parameters.
    ///
    /// # Errors
    /// If the device fails.
    pub fn update(&mut self, scalars: &StepScalars) -> Result<(), DeviceModelError> {
        let device = &*self.device;
        self.optimizer.apply(device, scalars, &self.arenas)?;
        // The exchange reads them in another order.
        Ok(device.wait(device.mark()?)?)
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
            self.arenas.narrow_next(&*self.device, &range)?;
        }
        self.arenas.advance();
        Ok(())
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
        assert_eq!(parameters.len(), self.arena_elems(), "one for each element of the arena");
        let device = &*self.device;
        device.write(self.arenas.next_memory(), 0, bytemuck::cast_slice(parameters))?;
        self.arenas.narrow_next(device, &(0..parameters.len()))?;
        self.arenas.advance();
        Ok(())
    }

    /// As [`crate::model::Model::forward_backward`], of the current parameters; the gradient stays on the device.
    ///
    /// # Errors
    /// If a batch does not fit the model, in which case nothing was reported ready, or if the device fails.
    pub fn forward_backward(
        &mut self,
        batches: &[Batch<'_>],
        on_final: &mut dyn FnMut(Range<usize>),
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
            self.becoming_final.push((0..self.spec.arena_elems(), device.mark()?));
        }
        let sums = self.sums.begin_read(&*device)?;
        for (range, ticket) in self.becoming_final.drain(..) {
            device.wait(ticket)?;
            (self.on_progress)();
            on_final(range);
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

    /// Launches one micro-batch. In the last one the gradient becomes final, part by part.
    fn pass(
        &mut self,
        index: usize,
        samples: &Samples<'_>,
        direction: Direction,
    ) -> Result<(), DeviceModelError> {
        let DeviceModel { device, graph, ready, arenas, values, inputs, sums, becoming_final, .. } = self;
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
                becoming_final.push((range.clone(), device.mark()?));
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
