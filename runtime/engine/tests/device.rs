//! Training on a device, which the emulator stands for: the losses and gradients of the CPU within what bf16 allows.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use hcrun_emulator::Emulator;
use hcrun_engine::batch::{Batch, Targets};
use hcrun_engine::clip::{clip, fold_partials, norm_partials};
use hcrun_engine::device::DeviceModel;
use hcrun_engine::model::Model;
use hcrun_engine::optimizer::{Optimizer, StepScalars};
use hcrun_engine::spec::{DataShape, ModelSpec};
use hcrun_kernels::device::{Device, DeviceBuffer, DeviceError, HostBuffer, Launch, MemoryUse, Ticket};
use hcrun_kernels::device_buffers::{STAGING_BYTES, Staging};
use hcrun_kernels::digest::digest;
use hcrun_protocol::Prng;
use hcrun_protocol::job::{self, Matmul, Train};
use hcrun_protocol::units::chunk_elems;

const TEXT: &[u8] = b"the quick brown fox jumps over the lazy dog, and the dog sleeps on. ";

fn gpt() -> ModelSpec {
    let model = job::Model::Gpt { layers: 2, width: 32, heads: 2, context: 24 };
    ModelSpec::new(&model, DataShape::Text { vocab: 256 }).unwrap()
}

fn mlp(outputs: usize) -> ModelSpec {
    ModelSpec::new(&job::Model::Mlp { hidden: vec![24, 16] }, DataShape::Table { features: 7, outputs })
        .unwrap()
}

fn train(optimizer: job::Optimizer) -> Train {
    Train { optimizer, learning_rate: 3e-3, ..common::train(Matmul::F32) }
}

fn scalars(train: &Train, gradient: &[f32], weight: f64, step: u64) -> StepScalars {
    let mut partials = Vec::new();
    norm_partials(gradient, chunk_elems(gradient.len()), &mut partials);
    let clip = clip(fold_partials(&partials), weight, train.clip);
    StepScalars {
        learning_rate: train.learning_rate,
        gradient_scale: clip.gradient_scale,
        updates_before: step,
        skip: clip.skip,
    }
}

#[expect(clippy::single_range_in_vec_init, reason = "one owned range, the whole arena")]
fn whole(spec: &ModelSpec) -> Vec<Range<usize>> {
    vec![0..spec.arena_elems()]
}

struct Trained {
    losses: Vec<f64>,
    parameters: Vec<f32>,
    first_gradient: Vec<f32>,
}

fn on_device(device: Rc<dyn Device>, spec: ModelSpec, train: &Train, steps: &[Vec<Batch<'_>>]) -> Trained {
    let initial = spec.init(1);
    let owned = whole(&spec);
    let mut model = DeviceModel::new(device, spec, train, 2, owned, &initial).unwrap();
    let mut trained = Trained { losses: Vec::new(), parameters: Vec::new(), first_gradient: Vec::new() };
    for (step, batches) in (0..).zip(steps) {
        let mut end = initial.len();
        let mut on_final = |range: Range<usize>| {
            assert_eq!(range.end, end, "ranges come from the end, each once");
            end = range.start;
        };
        let sums = model.forward_backward(batches, &mut on_final).unwrap();
        let gradient = gradient_of(&model);
        assert_eq!(end, 0, "the ranges cover the arena");
        trained.losses.push(sums.loss_sum / sums.weight);
        let scalars = scalars(train, &gradient, sums.weight, step);
        model.update(&scalars).unwrap();
        model.advance().unwrap();
        if step == 0 {
            trained.first_gradient = gradient;
        }
    }
    trained.parameters = parameters_of(&model);
    trained
}

fn gradient_of(model: &DeviceModel) -> Vec<f32> {
    let mut gradient = Vec::new();
    model.read_gradient(&(0..model.arena_elems()), &mut gradient).unwrap();
    gradient
}

fn parameters_of(model: &DeviceModel) -> Vec<f32> {
    let mut parameters = Vec::new();
    model.read_parameters(&(0..model.arena_elems()), &mut parameters).unwrap();
    parameters
}

fn on_cpu(spec: ModelSpec, train: &Train, steps: &[Vec<Batch<'_>>]) -> Trained {
    let profile = spec.profile();
    let mut optimizer = Optimizer::new(train, &profile, whole(&spec));
    let mut parameters = spec.init(1);
    let (mut next, mut gradient) = (parameters.clone(), parameters.clone());
    let mut model: Model = Model::new(spec, 2);
    let mut trained = Trained { losses: Vec::new(), parameters: Vec::new(), first_gradient: Vec::new() };
    for (step, batches) in (0..).zip(steps) {
        let sums = model.forward_backward(&parameters, batches, &mut gradient, &mut |_, _| {}).unwrap();
        trained.losses.push(sums.loss_sum / sums.weight);
        optimizer.apply(&scalars(train, &gradient, sums.weight, step), &parameters, &gradient, &mut next);
        std::mem::swap(&mut parameters, &mut next);
        if step == 0 {
            trained.first_gradient.clone_from(&gradient);
        }
    }
    trained.parameters = parameters;
    trained
}

/// Of the norm of the whole gradient.
fn relative_error(device: &[f32], cpu: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let error: f64 = device.iter().zip(cpu).map(|(a, b)| square(a - b)).sum();
    (error / cpu.iter().map(|x| square(*x)).sum::<f64>()).sqrt()
}

/// Two sequences of 24 bytes, then four of 12.
struct Text {
    inputs: Vec<u8>,
    targets: Vec<u8>,
}

impl Text {
    fn of_step(step: usize) -> Text {
        let text = TEXT.repeat(3);
        let start = step * 5 % TEXT.len();
        Text { inputs: text[start..start + 96].to_vec(), targets: text[start + 1..start + 97].to_vec() }
    }

    /// An empty micro-batch is as none.
    fn batches(&self) -> Vec<Batch<'_>> {
        let part = |range: Range<usize>, context| Batch::Tokens {
            inputs: &self.inputs[range.clone()],
            targets: &self.targets[range],
            context,
        };
        vec![part(0..0, 24), part(0..48, 24), part(48..96, 12)]
    }
}

/// A table of 50 rows; the target follows from the features.
struct Table {
    features: Vec<f32>,
    classes: Vec<u32>,
    values: Vec<f32>,
}

impl Table {
    #[expect(clippy::cast_possible_truncation, reason = "test data is rounded to f32")]
    fn new() -> Table {
        let mut draws = Prng::new(5);
        let features: Vec<f32> = (0..50 * 7).map(|_| draws.normal() as f32).collect();
        let values: Vec<f32> = features.chunks(7).map(|row| row[0] - 0.5 * row[3]).collect();
        let class = |value: &f32| {
            if *value < -0.5 {
                0
            } else if *value < 0.5 {
                1
            } else {
                2
            }
        };
        Table { classes: values.iter().map(class).collect(), values, features }
    }

    fn classes(&self) -> Vec<Batch<'_>> {
        vec![Batch::Rows { features: &self.features, targets: Targets::Class(&self.classes) }]
    }

    fn values(&self) -> Vec<Batch<'_>> {
        vec![Batch::Rows { features: &self.features, targets: Targets::Value(&self.values) }]
    }
}

fn compare(what: &str, device: &Trained, cpu: &Trained) {
    let error = relative_error(&device.first_gradient, &cpu.first_gradient);
    assert!(error < 0.02, "{what}: the first gradient is off by {error}");
    // Of the first loss: towards the end single steps wander.
    let allowed = 0.02 * cpu.losses[0];
    for (step, (device, cpu)) in device.losses.iter().zip(&cpu.losses).enumerate() {
        assert!((device - cpu).abs() < allowed, "{what}: loss {device} in step {step}, on the CPU {cpu}");
    }
    let (first, last) = (cpu.losses[0], cpu.losses[cpu.losses.len() - 1]);
    assert!(last < 0.9 * first, "{what} learns: {:?}", cpu.losses);
}

#[test]
fn a_gpt_has_the_losses_of_the_cpu() {
    let texts: Vec<Text> = (0..12).map(Text::of_step).collect();
    let steps: Vec<_> = texts.iter().map(Text::batches).collect();
    let train = train(job::Optimizer::Adamw);
    let device = on_device(emulator(), gpt(), &train, &steps);
    compare("gpt", &device, &on_cpu(gpt(), &train, &steps));
}

#[test]
fn an_mlp_has_the_losses_of_the_cpu() {
    let table = Table::new();
    for optimizer in [job::Optimizer::Sgd, job::Optimizer::Nesterov, job::Optimizer::Adam] {
        // Steps that learn, and are so small that a rounding is not blown up.
        for (outputs, batches, rate) in [(3, table.classes(), 0.3), (1, table.values(), 0.05)] {
            let rate = if optimizer == job::Optimizer::Adam { 1e-2 } else { rate };
            let train = Train { learning_rate: rate, ..train(optimizer) };
            let steps = vec![batches; 15];
            let device = on_device(emulator(), mlp(outputs), &train, &steps);
            compare(&format!("{optimizer:?}, {outputs}"), &device, &on_cpu(mlp(outputs), &train, &steps));
        }
    }
}

#[test]
fn any_order_of_lanes_trains_the_same_bits() {
    let texts: Vec<Text> = (0..2).map(Text::of_step).collect();
    let steps: Vec<_> = texts.iter().map(Text::batches).collect();
    let train = train(job::Optimizer::Adamw);
    let trained = |seed| on_device(Rc::new(Emulator::new(seed)), gpt(), &train, &steps).parameters;
    let bits = |parameters: Vec<f32>| parameters.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(trained(1)), bits(trained(2)));
}

#[test]
fn held_out_sums_are_those_of_the_cpu() {
    let (text, table) = (Text::of_step(0), Table::new());
    let train = train(job::Optimizer::Sgd);
    let cases = [
        (gpt(), Batch::Tokens { inputs: &text.inputs, targets: &text.targets, context: 24 }),
        (mlp(3), table.classes()[0]),
        (mlp(1), table.values()[0]),
    ];
    for (spec, batch) in cases {
        let parameters = spec.init(1);
        let cpu = Model::<f32>::new(spec.clone(), 2).evaluate(&parameters, batch).unwrap();
        let mut model =
            DeviceModel::new(emulator(), spec.clone(), &train, 2, whole(&spec), &parameters).unwrap();
        let device = model.evaluate(batch).unwrap();
        let near = |device: f64, cpu: f64| (device - cpu).abs() <= 0.02 * cpu.abs();
        assert!(near(device.loss_sum, cpu.loss_sum), "{device:?}, on the CPU {cpu:?}");
        assert!(near(device.squared_error, cpu.squared_error), "{device:?}, on the CPU {cpu:?}");
        assert_eq!(device.weight, cpu.weight);
        // Of nearly equal logits another one may be the largest.
        assert!((device.correct - cpu.correct).abs() <= 3.0, "{device:?}, on the CPU {cpu:?}");
    }
}

/// A worker on the CPU and one on a device update parts of the same arena: all bits agree.
#[test]
fn updates_of_shared_arenas_have_the_bits_of_the_cpu() {
    let spec = gpt();
    let profile = spec.profile();
    let elems = profile.arena_elems;
    let own = vec![64..1088, 4096..elems - 512];
    let others = [0..64, 1088..4096, elems - 512..elems];
    let optimizers = [
        job::Optimizer::Sgd,
        job::Optimizer::Momentum,
        job::Optimizer::Nesterov,
        job::Optimizer::Adam,
        job::Optimizer::Adamw,
    ];
    for optimizer in optimizers {
        let train = train(optimizer);
        let initial = spec.init(1);
        let device = emulator();
        let mut model =
            DeviceModel::new(Rc::clone(&device), spec.clone(), &train, 1, own.clone(), &initial).unwrap();
        let mut cpu = Optimizer::new(&train, &profile, own.clone());
        let (mut current, mut next) = (initial.clone(), vec![0.0; elems]);
        let mut draws = Prng::new(8);
        for step in 0..4 {
            #[expect(clippy::cast_possible_truncation, reason = "test data is rounded to f32")]
            let gradient: Vec<f32> = (0..elems).map(|_| draws.normal() as f32).collect();
            let scalars = StepScalars {
                learning_rate: 0.01,
                gradient_scale: 0.3,
                updates_before: step,
                skip: step == 2,
            };
            // As the exchange does, in memory that both share.
            device.write(model.gradient_memory(), 0, bytemuck::cast_slice(&gradient)).unwrap();
            let (mut partials, mut expected) = (Vec::new(), Vec::new());
            for range in &own {
                model.norm_partials(range, 64, &mut partials).unwrap();
                norm_partials(&gradient[range.clone()], 64, &mut expected);
            }
            assert_eq!(partials, expected);
            cpu.apply(&scalars, &current, &gradient, &mut next);
            model.update(&scalars).unwrap();
            for range in &others {
                next[range.clone()].fill(step as f32);
                let bytes = bytemuck::cast_slice(&next[range.clone()]);
                device.write(model.next_memory(), 4 * range.start, bytes).unwrap();
            }
            let halves = [0..elems / 2, elems / 2..elems];
            let digests = halves.each_ref().map(|range| digest(range.start, &next[range.clone()]));
            assert_eq!(model.digests(&halves).unwrap(), digests, "{optimizer:?}, step {step}");
            model.advance().unwrap();
            std::mem::swap(&mut current, &mut next);
            assert_eq!(parameters_of(&model), current, "{optimizer:?}, step {step}");
        }
        assert_eq!(model.state().unwrap(), cpu.export(), "{optimizer:?}");
        let whole_states: Vec<_> =
            cpu.export().into_iter().map(|(name, _)| (name, initial.clone())).collect();
        cpu.restore(&whole_states).unwrap();
        model.restore(&initial, &whole_states).unwrap();
        assert_eq!(model.state().unwrap(), cpu.export(), "{optimizer:?}, restored");
        assert_eq!(parameters_of(&model), initial);
    }
}

#[test]
fn a_worker_without_samples_reports_a_gradient_of_zero() {
    let spec = mlp(3);
    let parameters = spec.init(1);
    let train = train(job::Optimizer::Sgd);
    let mut model = DeviceModel::new(emulator(), spec.clone(), &train, 2, whole(&spec), &parameters).unwrap();
    let table = Table::new();
    model.forward_backward(&table.classes(), &mut |_| {}).unwrap();
    let mut reported = Vec::new();
    let sums = model.forward_backward(&[], &mut |range| reported.push(range)).unwrap();
    assert!(gradient_of(&model).iter().all(|value| *value == 0.0));
    assert_eq!((sums.loss_sum, sums.weight, reported), (0.0, 0.0, whole(&spec)));
}

/// What a device was asked for, and one thing that it refuses.
struct Watched {
    device: Emulator,
    calls: RefCell<Vec<&'static str>>,
    /// Kernel launches that it still takes.
    launches_left: RefCell<u64>,
}

impl Watched {
    fn new(launches: u64) -> Rc<Watched> {
        Rc::new(Watched {
            device: Emulator::new(1),
            calls: RefCell::default(),
            launches_left: RefCell::new(launches),
        })
    }

    fn note(&self, call: &'static str) {
        self.calls.borrow_mut().push(call);
    }
}

impl Device for Watched {
    fn name(&self) -> String {
        self.device.name()
    }

    fn allocate(&self, bytes: usize) -> Result<DeviceBuffer, DeviceError> {
        self.note("allocate");
        self.device.allocate(bytes)
    }

    fn write(&self, buffer: &DeviceBuffer, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.note("write");
        self.device.write(buffer, offset, bytes)
    }

    fn read(&self, buffer: &DeviceBuffer, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.note("read");
        self.device.read(buffer, offset, bytes)
    }

    fn allocate_host(&self, bytes: usize) -> Result<HostBuffer, DeviceError> {
        self.note("allocate_host");
        self.device.allocate_host(bytes)
    }

    fn start_write(
        &self,
        from: &mut HostBuffer,
        range: Range<usize>,
        to: &DeviceBuffer,
        offset: usize,
    ) -> Result<Ticket, DeviceError> {
        self.note("start_write");
        self.device.start_write(from, range, to, offset)
    }

    fn start_read(
        &self,
        from: &DeviceBuffer,
        offset: usize,
        to: &mut HostBuffer,
        range: Range<usize>,
    ) -> Result<Ticket, DeviceError> {
        self.note("start_read");
        self.device.start_read(from, offset, to, range)
    }

    fn memory_use(&self) -> MemoryUse {
        self.device.memory_use()
    }

    fn mark(&self) -> Result<Ticket, DeviceError> {
        self.note("mark");
        self.device.mark()
    }

    fn wait(&self, ticket: Ticket) -> Result<(), DeviceError> {
        self.note("wait");
        self.device.wait(ticket)
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), DeviceError> {
        self.note("launch");
        let mut left = self.launches_left.borrow_mut();
        if *left == 0 {
            let cause = "cuLaunchKernel answered 214 (CUDA_ERROR_ECC_UNCORRECTABLE): uncorrectable ECC error";
            return Err(DeviceError::Failed {
                kernel: launch.kernel.name.to_owned(),
                cause: cause.to_owned(),
            });
        }
        *left -= 1;
        self.device.launch(launch)
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        self.note("synchronize");
        self.device.synchronize()
    }

    fn beside(&self) -> Result<Box<dyn Device>, DeviceError> {
        self.device.beside()
    }
}

#[test]
fn a_pass_waits_for_nothing_but_its_results_and_allocates_nothing() {
    let spec = gpt();
    let parameters = spec.init(1);
    let train = train(job::Optimizer::Adamw);
    let device = Watched::new(u64::MAX);
    let mut model = DeviceModel::new(
        Rc::clone(&device) as Rc<dyn Device>,
        spec.clone(),
        &train,
        4,
        whole(&spec),
        &parameters,
    )
    .unwrap();
    let text = Text::of_step(0);
    model.forward_backward(&text.batches(), &mut |_| {}).unwrap();
    device.calls.borrow_mut().clear();
    let mut parts = 0;
    model.forward_backward(&text.batches(), &mut |_| parts += 1).unwrap();
    let calls = device.calls.borrow();
    let count = |name: &str| calls.iter().filter(|call| **call == name).count();
    for never in ["allocate", "allocate_host", "read", "write", "synchronize"] {
        assert_eq!(count(never), 0, "{never} in a pass");
    }
    assert_eq!(count("start_write"), 2, "one copy a micro-batch");
    assert_eq!(count("start_read"), 1, "that of the sums: the gradient stays");
    assert_eq!(count("mark"), parts, "one a part of the gradient");
    let first_wait = calls.iter().position(|call| *call == "wait").unwrap();
    assert!(
        calls[first_wait..].iter().all(|call| *call == "wait"),
        "everything is launched before the first wait"
    );
    // Parts become final while the way back goes on.
    let first_mark = calls.iter().position(|call| *call == "mark").unwrap();
    assert!(calls[first_mark..].iter().filter(|call| **call == "launch").count() > 20);
}

/// All that a model has of a device it has after its first step, and gives back when it is dropped.
#[test]
fn memory_of_a_model_does_not_grow_and_is_given_back() {
    let spec = gpt();
    let (parameters, train) = (spec.init(1), train(job::Optimizer::Adamw));
    let device: Rc<dyn Device> = Rc::new(Emulator::new(1));
    let staging = Staging::new(&*device).unwrap();
    let own = STAGING_BYTES;
    assert_eq!(device.memory_use(), MemoryUse { device: own, host: own });
    let mut model =
        DeviceModel::new(Rc::clone(&device), spec.clone(), &train, 4, whole(&spec), &parameters).unwrap();
    let mut used = Vec::new();
    for step in 0..3 {
        let text = Text::of_step(step);
        let sums = model.forward_backward(&text.batches(), &mut |_| {}).unwrap();
        model.evaluate(text.batches().pop().unwrap()).unwrap();
        model.update(&scalars(&train, &gradient_of(&model), sums.weight, step as u64)).unwrap();
        model.advance().unwrap();
        used.push(device.memory_use());
    }
    assert!(used.windows(2).all(|pair| pair[0] == pair[1]), "{used:?}");
    // As docs/gpu.md says: 14 bytes a parameter and, of AdamW, 8 for its state, before any value.
    assert!(used[0].device > own + 22 * spec.arena_elems(), "{used:?}");
    drop(model);
    assert_eq!(device.memory_use(), MemoryUse { device: own, host: own });
    drop(staging);
    assert_eq!(device.memory_use(), MemoryUse::default());
}

#[test]
fn a_device_that_fails_at_any_launch_ends_the_step_with_its_words() {
    let spec = mlp(3);
    let parameters = spec.init(1);
    let train = train(job::Optimizer::Adamw);
    let table = Table::new();
    let mut launches = 2;
    loop {
        let device = Watched::new(launches);
        let owned = whole(&spec);
        let model = DeviceModel::new(device, spec.clone(), &train, 50, owned, &parameters);
        let failed = model.and_then(|mut model| {
            let batches = table.classes();
            let sums = model.forward_backward(&batches, &mut |_| {})?;
            model.update(&scalars(&train, &gradient_of(&model), sums.weight, 0))?;
            model.advance()
        });
        let Err(error) = failed else { break };
        assert!(error.to_string().contains("uncorrectable ECC error"), "{error}");
        launches += 1;
    }
    assert!(launches > 20, "all of {launches} launches were tried");
}

fn emulator() -> Rc<dyn Device> {
    Rc::new(Emulator::new(1))
}
