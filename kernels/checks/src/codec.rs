//! Lossy packings: bytes, what receivers decode, residuals, and sums of payloads.

use hcrun_kernels::device::{Address, Device};
use hcrun_kernels::host_buffers::{Feedback, HostBuffers};
use hcrun_kernels::launch;
use hcrun_kernels::wire::{self, Rounding};
use hcrun_protocol::buffers::{Buffers, Operand};
use hcrun_protocol::dtype::{Codec, DType, Packing, ReduceOp};
use hcrun_protocol::schedule::{Level, Phase};
use hcrun_protocol::{Prng, Rank};

use crate::placed::{Placed, same};
use crate::values::{SHARDS, aligned_shards, any, finite};
use crate::{Case, Failure};

pub(crate) const CASES: &[Case] = &[
    Case { name: "packings_have_the_bytes_of_the_cpu", run: bytes },
    Case { name: "stochastic_rounding_does_not_depend_on_shards_or_launches", run: sharded },
    Case { name: "misaligned_values_and_payloads_give_the_same_bytes", run: misaligned },
    Case { name: "draws_beyond_32_bits_are_those_of_the_cpu", run: far_indices },
    Case { name: "values_may_be_replaced_by_what_is_decoded", run: in_place },
    Case { name: "rounds_with_feedback_are_those_of_host_buffers", run: rounds },
    Case { name: "halves_round_ties_to_even", run: ties },
    Case { name: "blocks_of_zeros_and_blocks_that_are_not_finite", run: special_blocks },
    Case { name: "any_bytes_are_the_values_of_the_cpu", run: any_bytes },
    Case { name: "payloads_are_added_in_rank_order_in_f32", run: reduced },
    Case { name: "sums_of_eight_payloads_are_not_formed_in_half_precision", run: eight },
];

pub(crate) const LAST_BLOCK_CASES: &[Case] =
    &[Case { name: "packings_of_more_than_32_bits_reach_their_last_elements", run: last_block }];

const LOSSY: [Codec; 4] = [Codec::Bf16, Codec::F16, Codec::Int8, Codec::Int4];
const LENGTHS: [usize; 12] = [0, 1, 2, 3, 5, 127, 128, 130, 255, 257, 1025, 2563];
const DRAWN: Rounding = Rounding::Stochastic { key: 0x5eed };

/// Starts the kernel of a codec: all four take the same arguments but for the payload's type.
macro_rules! start {
    ($codec:expr, $device:expr, [$bf16:ident $f16:ident $int8:ident $int4:ident], $($name:ident: $value:expr),*) => {
        match $codec {
            Codec::Bf16 => launch::$bf16 { $($name: $value),* }.launch($device),
            Codec::F16 => launch::$f16 { $($name: $value),* }.launch($device),
            Codec::Int8 => launch::$int8 { $($name: $value),* }.launch($device),
            Codec::Int4 => launch::$int4 { $($name: $value),* }.launch($device),
            Codec::None => unreachable!("packs nothing"),
        }
    };
}

fn packing(codec: Codec) -> Packing {
    Packing { codec, phase: Phase(2), source: Rank(5) }
}

fn payload_bytes(codec: Codec, elems: usize) -> usize {
    codec.payload_bytes(DType::F32, elems)
}

/// All bits count, also those of NaN.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn random_bytes(seed: u64, bytes: usize) -> Vec<u8> {
    let mut draws = Prng::new(seed);
    (0..bytes).map(|_| draws.next_u64().to_le_bytes()[7]).collect()
}

#[derive(Debug, Clone, PartialEq)]
struct Packed {
    payload: Vec<u8>,
    decoded: Vec<f32>,
    residual: Option<Vec<f32>>,
}

impl Packed {
    fn expect(&self, what: &str, cpu: &Packed) -> Result<(), Failure> {
        same(&format!("{what}: payload"), &self.payload, &cpu.payload)?;
        same(&format!("{what}: decoded"), &bits(&self.decoded), &bits(&cpu.decoded))?;
        let residual = |packed: &Packed| bits(packed.residual.as_deref().unwrap_or_default());
        same(&format!("{what}: residual"), &residual(self), &residual(cpu))
    }
}

#[derive(Clone)]
struct Job {
    codec: Codec,
    rounding: Rounding,
    values: Vec<f32>,
    residual: Option<Vec<f32>>,
}

/// How a device is to do it.
#[derive(Debug, Clone, Copy)]
struct How {
    parts: usize,
    /// Index of the first element.
    far: u64,
    /// The launch begins at element 0 all the same.
    from_zero: bool,
    /// Elements from an aligned place.
    shift: usize,
    payload_shift_bytes: usize,
    in_place: bool,
}

const WHOLE: How =
    How { parts: 1, far: 0, from_zero: false, shift: 0, payload_shift_bytes: 0, in_place: false };

impl Job {
    fn on_cpu(&self, far: u64) -> Packed {
        let elems = self.values.len();
        let mut wanted = self.values.clone();
        for (wanted, lost) in wanted.iter_mut().zip(self.residual.iter().flatten()) {
            *wanted += lost;
        }
        let mut draws = vec![0; elems];
        let start = usize::try_from(far).expect("64-bit machines");
        let draws = self.rounding.draws(packing(self.codec), start, &mut draws);
        let mut payload = vec![0; payload_bytes(self.codec, elems)];
        wire::pack(self.codec, &wanted, draws, &mut payload);
        let mut decoded = vec![0.0; elems];
        wire::unpack(self.codec, &payload, &mut decoded);
        let lost = |(wanted, decoded): (&f32, &f32)| {
            if decoded.is_finite() { wanted - decoded } else { 0.0 }
        };
        let residual = self.residual.is_some().then(|| wanted.iter().zip(&decoded).map(lost).collect());
        Packed { payload, decoded, residual }
    }

    fn on_device(&self, device: &dyn Device, how: How) -> Result<Packed, Failure> {
        let How { parts, far, from_zero, shift, payload_shift_bytes, in_place } = how;
        let (codec, elems) = (self.codec, self.values.len());
        let values = Placed::new(device, &self.values, shift)?;
        let residual =
            self.residual.as_ref().map(|residual| Placed::new(device, residual, shift)).transpose()?;
        let apart = Placed::new(device, &vec![7.0_f32; elems], shift)?;
        let decoded = if in_place { &values } else { &apart };
        let payload = vec![0xee_u8; payload_bytes(codec, elems)];
        let payload = Placed::new(device, &payload, payload_shift_bytes)?;
        for shard in aligned_shards(elems, parts, 256) {
            let offset = payload_bytes(codec, shard.start);
            let before =
                if from_zero { payload_bytes(codec, usize::try_from(far).expect("64 bits")) } else { 0 };
            start!(codec, device, [PackBf16 PackF16 PackInt8 PackInt4],
                n: shard.len() as u64 + if from_zero { far } else { 0 },
                begin: if from_zero { 0 } else { far + shard.start as u64 },
                stochastic: u32::from(self.rounding != Rounding::Nearest),
                stream: self.rounding.stream(packing(codec)).unwrap_or(0),
                values: values.address().less(far),
                residual: residual.as_ref().map_or(Address::NULL, |placed| placed.address().less(far)),
                payload: before_bytes(payload.address_as(offset), before),
                decoded: decoded.address().less(far))?;
        }
        device.synchronize()?;
        if !in_place {
            values.expect_unchanged(device, "the values read")?;
        }
        Ok(Packed {
            payload: payload.read(device, "payload")?,
            decoded: decoded.read(device, "what is decoded")?,
            residual: residual.map(|placed| placed.read(device, "residual")).transpose()?,
        })
    }

    fn compare(&self, device: &dyn Device, how: How) -> Result<(), Failure> {
        let (feedback, elems) = (self.residual.is_some(), self.values.len());
        let what =
            format!("{}, {:?}, feedback {feedback}, {elems} elements, {how:?}", self.codec, self.rounding);
        self.on_device(device, how)?.expect(&what, &self.on_cpu(how.far))
    }
}

fn before_bytes<T>(address: Address<T>, bytes: usize) -> Address<T> {
    address.less((bytes / size_of::<T>()) as u64)
}

fn jobs(elems: usize, values: fn(u64, usize) -> Vec<f32>) -> impl Iterator<Item = Job> {
    let rounds = LOSSY.into_iter().flat_map(|codec| [(codec, Rounding::Nearest), (codec, DRAWN)]);
    let jobs = rounds.flat_map(move |round| [(round, false), (round, true)]);
    jobs.map(move |((codec, rounding), feedback)| Job {
        codec,
        rounding,
        values: values(elems as u64, elems),
        residual: feedback.then(|| values(77, elems)),
    })
}

fn bytes(device: &dyn Device) -> Result<(), Failure> {
    for elems in LENGTHS {
        for values in [any, finite] {
            jobs(elems, values).try_for_each(|job| job.compare(device, WHOLE))?;
        }
    }
    Ok(())
}

fn sharded(device: &dyn Device) -> Result<(), Failure> {
    for parts in SHARDS {
        jobs(2563, finite).try_for_each(|job| job.compare(device, How { parts, ..WHOLE }))?;
    }
    Ok(())
}

fn misaligned(device: &dyn Device) -> Result<(), Failure> {
    for shift in 1..4 {
        for job in jobs(1031, finite) {
            let word = if job.codec.block_elems() == 1 { 2 } else { 1 };
            job.compare(device, How { shift, payload_shift_bytes: word * shift, ..WHOLE })?;
        }
    }
    Ok(())
}

/// Bug of others: 32-bit indices, wrong from 2^31 or 2^32 elements on.
fn far_indices(device: &dyn Device) -> Result<(), Failure> {
    for far in [(1 << 31) - 256, (1 << 32) - 256, (1 << 40) + 512] {
        jobs(1031, finite).try_for_each(|job| job.compare(device, How { far, parts: 2, ..WHOLE }))?;
    }
    Ok(())
}

fn last_block(device: &dyn Device) -> Result<(), Failure> {
    jobs(133, finite).try_for_each(|job| {
        job.compare(device, How { far: 1 << 33, from_zero: true, ..WHOLE })?;
        unpack_last_block(device, job.codec)
    })
}

fn unpack_last_block(device: &dyn Device, codec: Codec) -> Result<(), Failure> {
    const ELEMS: usize = 133;
    let far = 1_u64 << 33;
    let payload = random_bytes(5, payload_bytes(codec, ELEMS));
    let mut cpu = vec![0.0; ELEMS];
    wire::unpack(codec, &payload, &mut cpu);
    let payload = Placed::new(device, &payload, 0)?;
    let values = Placed::new(device, &[7.0_f32; ELEMS], 0)?;
    let before = payload_bytes(codec, usize::try_from(far).expect("64 bits"));
    start!(codec, device, [UnpackBf16 UnpackF16 UnpackInt8 UnpackInt4],
        n: far + ELEMS as u64,
        begin: 0,
        payload: before_bytes(payload.address_as(0), before),
        values: values.address().less(far))?;
    same(&format!("{codec}: far"), &bits(&values.read(device, "values")?), &bits(&cpu))
}

fn in_place(device: &dyn Device) -> Result<(), Failure> {
    jobs(2563, any).try_for_each(|job| job.compare(device, How { parts: 3, in_place: true, ..WHOLE }))
}

/// Three rounds of what a worker really does.
fn rounds(device: &dyn Device) -> Result<(), Failure> {
    const ELEMS: usize = 1300;
    for (codec, rounding) in LOSSY.into_iter().flat_map(|codec| [(codec, Rounding::Nearest), (codec, DRAWN)])
    {
        let mut feedback = Feedback::default();
        let mut residual = vec![0.0; ELEMS];
        for round in 0..3 {
            let values = finite(round, ELEMS);
            let mut host = HostBuffers::new(values.clone()).rounding(rounding).feedback(feedback);
            let mut payload = Vec::new();
            host.encode(Level(0), 0..ELEMS, packing(codec), &mut payload)
                .map_err(|error| Failure::Other(error.to_string()))?;
            let job = Job { codec, rounding, values, residual: Some(residual) };
            let packed = job.on_device(device, WHOLE)?;
            let what = format!("{codec}, {rounding:?}, round {round}");
            same(&format!("{what}: payload"), &packed.payload, &payload)?;
            let Some(parts) = host.into_parts::<f32>() else {
                return Err(Failure::Other("host buffers of f32 hold f32".to_owned()));
            };
            same(&format!("{what}: level"), &bits(&packed.decoded), &bits(&parts.result))?;
            feedback = parts.feedback.unwrap_or_default();
            residual = packed.residual.unwrap_or_default();
        }
    }
    Ok(())
}

/// Bug of others: ties that do not reconstruct. Every half, the points between neighbours, and the floats beside.
#[expect(clippy::cast_possible_truncation, reason = "the middle of two halves is an f32")]
fn ties(device: &dyn Device) -> Result<(), Failure> {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for codec in [Codec::F16, Codec::Bf16] {
        let mut exact = vec![0.0; 1 << 16];
        wire::unpack(codec, &all, &mut exact);
        let middle = |pair: &[f32]| ((f64::from(pair[0]) + f64::from(pair[1])) / 2.0) as f32;
        let beside = |middle: f32| [middle.next_down(), middle, middle.next_up()];
        let mut values: Vec<f32> = exact.windows(2).flat_map(|pair| beside(middle(pair))).collect();
        values.extend(exact);
        values.extend([65_519.996, 65_520.0, 65_536.0, 1e30, -65_520.0, f32::MAX]);
        for rounding in [Rounding::Nearest, DRAWN] {
            Job { codec, rounding, values: values.clone(), residual: None }.compare(device, WHOLE)?;
        }
    }
    Ok(())
}

fn special_blocks(device: &dyn Device) -> Result<(), Failure> {
    for codec in LOSSY {
        for bad in [f32::NAN, f32::INFINITY, f32::MIN, f32::from_bits(0x7fff_ffff), 0.0, 1e-45, 1e-38, 1e30] {
            // The second block is all the same, the third has one such value, the last is short.
            let mut values = vec![0.0; 3 * 256 + 3];
            values[256..512].fill(bad);
            values[512..].fill(1.0);
            values[600] = bad;
            for rounding in [Rounding::Nearest, DRAWN] {
                let residual = Some(vec![0.25; values.len()]);
                Job { codec, rounding, values: values.clone(), residual: None }.compare(device, WHOLE)?;
                Job { codec, rounding, values: values.clone(), residual }.compare(device, WHOLE)?;
            }
        }
    }
    Ok(())
}

/// Also scales that no sender forms: infinite, negative, NaN.
fn any_bytes(device: &dyn Device) -> Result<(), Failure> {
    for codec in LOSSY {
        for (elems, shift) in LENGTHS.into_iter().map(|elems| (elems, 0)).chain([(1031, 1), (1031, 3)]) {
            let bytes = random_bytes(elems as u64, payload_bytes(codec, elems));
            let what = format!("{codec}, {elems} elements, shift {shift}");
            let mut cpu = vec![0.0; elems];
            wire::unpack(codec, &bytes, &mut cpu);
            let payload_shift = if codec.block_elems() == 1 { 2 * shift } else { shift };
            let payload = Placed::new(device, &bytes, payload_shift)?;

            let values = Placed::new(device, &vec![7.0_f32; elems], shift)?;
            start!(codec, device, [UnpackBf16 UnpackF16 UnpackInt8 UnpackInt4],
                n: elems as u64, begin: 0, payload: payload.address_as(0), values: values.address())?;
            same(&format!("{what}: values"), &bits(&values.read(device, "values")?), &bits(&cpu))?;

            let own = any(3, elems);
            let values = Placed::new(device, &own, shift)?;
            start!(codec, device, [AccumulateBf16 AccumulateF16 AccumulateInt8 AccumulateInt4],
                n: elems as u64, begin: 0, payload: payload.address_as(0), values: values.address())?;
            let total = |(own, value): (&f32, &f32)| {
                let sum = own + value;
                if sum.is_nan() { f32::NAN } else { sum }
            };
            let sums: Vec<f32> = own.iter().zip(&cpu).map(total).collect();
            same(&format!("{what}: sums"), &bits(&values.read(device, "sums")?), &bits(&sums))?;
            payload.expect_unchanged(device, "the payload read")?;
        }
    }
    Ok(())
}

/// Payloads of ranks, and where the own values belong between them.
struct Sum {
    codec: Codec,
    payloads: Vec<Vec<u8>>,
    own: Option<(usize, Vec<f32>)>,
    average: bool,
}

impl Sum {
    fn ranks(&self) -> usize {
        self.payloads.len() + usize::from(self.own.is_some())
    }

    fn on_device(&self, device: &dyn Device, elems: usize, parts: usize) -> Result<Vec<f32>, Failure> {
        let codec = self.codec;
        let bytes = payload_bytes(codec, elems);
        let stride = bytes.next_multiple_of(2) + 6;
        let mut staged = vec![0xee; stride * self.payloads.len()];
        for (place, payload) in staged.chunks_mut(stride).zip(&self.payloads) {
            place[..bytes].copy_from_slice(payload);
        }
        let staged = Placed::new(device, &staged, 0)?;
        let own = self.own.as_ref().map(|(_, own)| Placed::new(device, own, 0)).transpose()?;
        let out = Placed::new(device, &vec![7.0_f32; elems], 0)?;
        for shard in aligned_shards(elems, parts, 256) {
            let words = if codec.block_elems() == 1 { stride / 2 } else { stride };
            start!(codec, device, [ReduceBf16 ReduceF16 ReduceInt8 ReduceInt4],
                n: shard.len() as u64,
                begin: shard.start as u64,
                payloads: u32::try_from(self.payloads.len()).expect("few"),
                stride: words as u64,
                payload: staged.address_as(payload_bytes(codec, shard.start)),
                own: own.as_ref().map_or(Address::NULL, Placed::address),
                own_at: self.own.as_ref().map_or(0, |(at, _)| u32::try_from(*at).expect("few")),
                divisor: if self.average { self.ranks() as f32 } else { 1.0 },
                out: out.address())?;
        }
        staged.expect_unchanged(device, "the payloads read")?;
        out.read(device, "sums")
    }

    fn on_cpu(&self, elems: usize) -> Result<Vec<f32>, Failure> {
        let level = self.own.as_ref().map_or(vec![0.0; elems], |(_, own)| own.clone());
        let mut host =
            HostBuffers::new(level).op(if self.average { ReduceOp::Average } else { ReduceOp::Sum });
        let pieces: Vec<[&[u8]; 1]> = self.payloads.iter().map(|payload| [&payload[..]]).collect();
        let mut operands: Vec<Operand<'_>> =
            pieces.iter().map(|pieces| Operand::Received { codec: self.codec, pieces }).collect();
        if let Some((at, _)) = self.own {
            operands.insert(at, Operand::Own(Level(0)));
        }
        let divisor = self.average.then(|| self.ranks());
        let reduced = host.reduce(Level(0), 0..elems, &operands, divisor);
        reduced.map_err(|why| Failure::Other(why.to_string()))?;
        host.into_vec().ok_or_else(|| Failure::Other("host buffers of f32 hold f32".to_owned()))
    }
}

fn reduced(device: &dyn Device) -> Result<(), Failure> {
    const ELEMS: usize = 1299;
    for codec in LOSSY {
        for (ranks, own_at, average) in
            [(2, None, false), (3, None, true), (1, Some(0), false), (2, Some(1), true), (7, Some(7), true)]
        {
            let payload = |rank: u64| {
                let job = Job { codec, rounding: DRAWN, values: any(rank, ELEMS), residual: None };
                job.on_cpu(0).payload
            };
            let payloads = (0..ranks).map(payload).collect();
            let own = own_at.map(|at| (at, any(99, ELEMS)));
            let sum = Sum { codec, payloads, own, average };
            let cpu = bits(&sum.on_cpu(ELEMS)?);
            for parts in SHARDS {
                let what = format!("{codec}, {ranks} payloads, own {own_at:?}, {parts} shards");
                same(&what, &bits(&sum.on_device(device, ELEMS, parts)?), &cpu)?;
            }
        }
    }
    Ok(())
}

/// Bug of others: payloads added in pairs of halves lose what is small beside the sum.
fn eight(device: &dyn Device) -> Result<(), Failure> {
    const ELEMS: usize = 600;
    for codec in LOSSY {
        let decoded: Vec<Packed> = (0..8)
            .map(|rank| {
                // One large value and seven small ones, in another order for each element.
                let value = |index: usize| if index % 8 == rank { 1.5 } else { 0.001 * (1 + rank) as f32 };
                let values = (0..ELEMS).map(value).collect();
                Job { codec, rounding: Rounding::Nearest, values, residual: None }.on_cpu(0)
            })
            .collect();
        let payloads = decoded.iter().map(|packed| packed.payload.clone()).collect();
        let sum = Sum { codec, payloads, own: None, average: false }.on_device(device, ELEMS, 1)?;
        for (index, sum) in sum.iter().enumerate() {
            let exact: f64 = decoded.iter().map(|packed| f64::from(packed.decoded[index])).sum();
            let size: f64 = decoded.iter().map(|packed| f64::from(packed.decoded[index]).abs()).sum();
            if (f64::from(*sum) - exact).abs() > 8.0 * size * f64::powi(2.0, -24) {
                return Err(Failure::Other(format!("{codec}: element {index} is {sum}, exactly {exact}")));
            }
        }
    }
    Ok(())
}
