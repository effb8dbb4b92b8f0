//! Computing on a device, whose memory rounds work on.

use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use hcrun_kernels::any_buffers::AnyBuffers;
use hcrun_kernels::device::Device;
use hcrun_kernels::device_buffers::{DeviceBuffers, DeviceFeedback, Staging};
use hcrun_protocol::job::Train;

use super::TrainerError;
use super::buckets::Buckets;
use super::compute::{Compute, OnFinal};
use crate::batch::{Batch, EvalSums, Sums};
use crate::device::{DeviceModel, DeviceModelError};
use crate::optimizer::StepScalars;
use crate::spec::ModelSpec;

pub(super) struct OnDevice {
    model: DeviceModel,
    staging: Arc<Mutex<Staging>>,
    buckets: Buckets,
    /// What codecs have rounded away, by bucket.
    feedback: Vec<DeviceFeedback>,
}

impl OnDevice {
    pub(super) fn new(
        device: Rc<dyn Device>,
        spec: ModelSpec,
        train: &Train,
        max_samples: usize,
        buckets: &[Range<usize>],
        owned: Vec<Range<usize>>,
        parameters: &[f32],
    ) -> Result<OnDevice, DeviceModelError> {
        let staging = Arc::new(Mutex::new(Staging::new(&*device)?));
        let model = DeviceModel::new(device, spec, train, max_samples, owned, parameters)?;
        let feedback = buckets.iter().map(|_| DeviceFeedback::default()).collect();
        Ok(OnDevice { model, staging, buckets: Buckets::new(buckets), feedback })
    }
}

impl Compute for OnDevice {
    fn set_on_progress(&mut self, on_progress: Box<dyn Fn() + Send>) {
        self.model.set_on_progress(on_progress);
    }

    fn forward_backward(
        &mut self,
        batches: &[Batch<'_>],
        on_final: &mut OnFinal<'_>,
    ) -> Result<Sums, TrainerError> {
        let OnDevice { model, staging, buckets, feedback } = self;
        let memory = Arc::clone(model.gradient_memory());
        buckets.begin();
        let sums = model.forward_backward(batches, &mut |range| {
            buckets.finish(&range, |bucket, whole, _, last| {
                if last {
                    let lost = std::mem::take(&mut feedback[bucket]);
                    let own = DeviceBuffers::new(Arc::clone(&memory), whole.clone(), Arc::clone(staging));
                    on_final(bucket, own.feedback(lost).into());
                }
            });
        })?;
        buckets.assert_final();
        Ok(sums)
    }

    fn evaluate(&mut self, batch: Batch<'_>) -> Result<EvalSums, TrainerError> {
        Ok(self.model.evaluate(batch)?)
    }

    fn take_gradient(&mut self, bucket: usize, sums: AnyBuffers) {
        let sums = sums.into_device().expect("the buffers that were handed out");
        self.feedback[bucket] = sums.into_feedback();
    }

    fn norm_partials(
        &mut self,
        range: &Range<usize>,
        chunk_elems: usize,
        partials: &mut Vec<f64>,
    ) -> Result<(), TrainerError> {
        Ok(self.model.norm_partials(range, chunk_elems, partials)?)
    }

    fn update(&mut self, scalars: &StepScalars) -> Result<(), TrainerError> {
        Ok(self.model.update(scalars)?)
    }

    fn lend_parameters(&mut self, bucket: usize) -> AnyBuffers {
        let (memory, staging) = (Arc::clone(self.model.next_memory()), Arc::clone(&self.staging));
        DeviceBuffers::new(memory, self.buckets.ranges()[bucket].clone(), staging).into()
    }

    /// They lie where they belong.
    fn take_parameters(&mut self, _bucket: usize, _gathered: AnyBuffers) {}

    fn digests(&mut self) -> Result<Vec<u64>, TrainerError> {
        Ok(self.model.digests(self.buckets.ranges())?)
    }

    fn advance(&mut self) -> Result<(), TrainerError> {
        Ok(self.model.advance()?)
    }

    fn read_parameters(&self, range: &Range<usize>, parameters: &mut Vec<f32>) -> Result<(), TrainerError> {
        Ok(self.model.read_parameters(range, parameters)?)
    }

    fn state(&self) -> Result<Vec<(String, Vec<f32>)>, TrainerError> {
        Ok(self.model.state()?)
    }

    fn restore(&mut self, parameters: &[f32], arenas: &[(String, Vec<f32>)]) -> Result<(), TrainerError> {
        Ok(self.model.restore(parameters, arenas)?)
    }
}
