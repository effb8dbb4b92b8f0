//! One test a family of operations: the same bits at every level that the CPU has, whatever the length, where
//! slices begin and what is in them.
//!
//! Which NaN arithmetic gives is open (IEEE 754, and the compiler may swap operands), so here all are one; where
//! they are promised to be one, in payloads and [`host_buffers`](crate::host_buffers), raw bits are compared.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use hcrun_protocol::dtype::{Codec, DType, Packing};
use hcrun_protocol::prng::mix64;
use hcrun_protocol::schedule::Phase;
use hcrun_protocol::{Prng, Rank};
use pulp::Arch;
use pulp::x86::{V3, V4};

use crate::attention::{self, attention, attention_backward};
use crate::matmul::Mode;
use crate::update::{Moments, Outer, Scalars, StateRounding};
use crate::update_bf16::Span;
use crate::wire::Rounding;
use crate::{
    Real, cross_entropy, digest, elementwise, embedding, gelu, layer_norm, mean_squared_error, privacy,
    reduce, top_k, update, update_bf16, wire,
};

thread_local! {
    static CHOSEN: Cell<Option<Arch>> = const { Cell::new(None) };
}

/// What [`at`] has chosen for this thread.
pub(super) fn chosen() -> Option<Arch> {
    CHOSEN.get()
}

/// Those that this CPU has, from the plainest on.
pub(crate) fn levels() -> Vec<(&'static str, Arch)> {
    let avx2 = V3::try_new().map(|simd| ("AVX2", Arch::V3(simd)));
    let avx512 = V4::try_new().map(|simd| ("AVX-512", Arch::V4(simd)));
    [Some(("plain x86-64", Arch::Scalar)), avx2, avx512].into_iter().flatten().collect()
}

/// What `work` gives if all kernels that it calls on this thread are of that level.
pub(crate) fn at<R>(arch: Arch, work: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arch>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CHOSEN.set(self.0);
        }
    }
    let _restore = Restore(CHOSEN.replace(Some(arch)));
    work()
}

/// Lengths, place and content of the slices of one comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) elems: usize,
    /// Elements from a multiple of 64 bytes to the first.
    begin: usize,
    /// Whether there is anything that is not finite.
    finite: bool,
}

impl Case {
    pub(crate) fn all() -> impl Iterator<Item = Case> {
        const ELEMS: [usize; 14] = [0, 1, 3, 7, 8, 15, 16, 17, 31, 33, 65, 129, 257, 1_031];
        let places = ELEMS.into_iter().flat_map(|elems| [0, 1, 3, 13].map(|begin| (elems, begin)));
        places.flat_map(|(elems, begin)| [true, false].map(|finite| Case { elems, begin, finite }))
    }

    /// Of any size, with denormals and both zeros.
    pub(crate) fn floats(&self, seed: u64) -> Placed<f32> {
        self.floats_of(self.elems, seed)
    }

    #[expect(clippy::cast_possible_truncation, reason = "random values are cut to size")]
    fn floats_of(&self, elems: usize, seed: u64) -> Placed<f32> {
        const SPECIAL: [f32; 12] = [
            0.0,
            -0.0,
            1e-45,
            -3e-39,
            f32::MIN_POSITIVE,
            -1.0,
            1e19,
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        let mut draws = Prng::keyed(&[seed, elems as u64]);
        let specials = if self.finite { 6 } else { SPECIAL.len() as u64 };
        self.place(elems, || match draws.below(8) {
            0 => SPECIAL[draws.below(specials) as usize],
            1 if !self.finite => f32::from_bits(draws.next_u64() as u32),
            _ => (draws.normal() * 10_f64.powi(draws.below(4) as i32 - 2)) as f32,
        })
    }

    /// Not negative, as second moments are.
    pub(crate) fn squares(&self, seed: u64) -> Placed<f32> {
        let mut values = self.floats(seed);
        values.iter_mut().for_each(|x| *x *= *x);
        values
    }

    pub(crate) fn zeros<T: Copy + Default>(&self) -> Placed<T> {
        self.place(self.elems, T::default)
    }

    fn place<T: Copy + Default>(&self, elems: usize, mut value: impl FnMut() -> T) -> Placed<T> {
        let mut values = vec![T::default(); 64 + self.begin + elems];
        let begin = values.as_ptr().align_offset(64) + self.begin;
        values[begin..][..elems].iter_mut().for_each(|place| *place = value());
        Placed { values, begin, elems }
    }
}

/// A slice that begins where its case says.
pub(crate) struct Placed<T> {
    values: Vec<T>,
    begin: usize,
    elems: usize,
}

impl<T> Deref for Placed<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[self.begin..][..self.elems]
    }
}

impl<T> DerefMut for Placed<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.begin..][..self.elems]
    }
}

pub(crate) trait Bits: Copy {
    fn bits(self) -> u64;
}

impl Bits for f32 {
    fn bits(self) -> u64 {
        u64::from(if self.is_nan() { f32::NAN.to_bits() } else { self.to_bits() })
    }
}

impl Bits for f64 {
    fn bits(self) -> u64 {
        if self.is_nan() { f64::NAN.to_bits() } else { self.to_bits() }
    }
}

macro_rules! integer_bits {
    ($($type:ident)*) => {$(
        impl Bits for $type {
            fn bits(self) -> u64 {
                u64::from(self)
            }
        }
    )*};
}

integer_bits!(u8 u16 u32 u64);

/// All NaN are one.
pub(crate) fn bits<T: Bits>(values: &[T]) -> Vec<u64> {
    values.iter().map(|value| value.bits()).collect()
}

fn raw_bits(values: &[f32]) -> Vec<u64> {
    values.iter().map(|value| u64::from(value.to_bits())).collect()
}

/// # Panics
/// Where `work` gives other bits at some level than at the plainest.
pub(crate) fn same_at_every_level(name: &str, work: impl Fn(&Case) -> Vec<u64>) {
    let levels = levels();
    let (_, plain) = levels[0];
    for case in Case::all() {
        let expected = at(plain, || work(&case));
        for (level, arch) in &levels[1..] {
            let got = at(*arch, || work(&case));
            let differs = got.iter().zip(&expected).position(|(got, expected)| got != expected);
            assert!(
                got.len() == expected.len() && differs.is_none(),
                "{name} by {level}, {case:?}: value {differs:?} differs"
            );
        }
    }
}

super::kernel! {
    fn lanes<'a>(_values: &'a [f32]) -> usize {
        S::F32_LANES
    }
}

/// Else every comparison here would be one of a level with itself.
#[test]
fn the_chosen_level_is_the_one_that_runs() {
    let lanes: Vec<usize> = levels().iter().map(|(_, arch)| at(*arch, || lanes(&[]))).collect();
    assert_eq!(lanes, &[1, 8, 16][..lanes.len()]);
    assert_eq!(Some(&self::lanes(&[])), lanes.last(), "the widest, unless one is chosen");
}

pub(crate) const SCALARS: Scalars = Scalars { learning_rate: 0.01, gradient_scale: 0.3, weight_decay: 0.1 };
pub(crate) const MOMENTS: Moments =
    Moments { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, step_size: 0.02, correction2_sqrt: 0.4 };
const OUTER: Outer = Outer { learning_rate: 0.7, momentum: 0.9, change_scale: 0.25 };

#[test]
fn updates_have_the_same_bits_at_every_level() {
    type Update = fn(&[f32], &[f32], &mut [f32], &mut [f32], &mut [f32]);
    let updates: [(&str, Update); 6] = [
        ("sgd", |p, g, _, _, out| update::sgd(SCALARS, p, g, out)),
        ("momentum", |p, g, m, _, out| update::momentum(SCALARS, 0.9, p, g, m, out)),
        ("nesterov", |p, g, m, _, out| update::nesterov(SCALARS, 0.9, p, g, m, out)),
        ("adam", |p, g, m, v, out| update::adam(SCALARS, MOMENTS, p, g, m, v, out)),
        ("adamw", |p, g, m, v, out| update::adamw(SCALARS, MOMENTS, p, g, m, v, out)),
        ("outer_nesterov", |_, g, m, v, out| update::outer_nesterov(OUTER, g, m, v, out)),
    ];
    for (name, update) in updates {
        same_at_every_level(name, |case| {
            let (params, gradient) = (case.floats(1), case.floats(2));
            let [mut first, mut second, mut out] = [case.floats(3), case.squares(4), case.zeros()];
            update(&params, &gradient, &mut first, &mut second, &mut out);
            [bits(&first), bits(&second), bits(&out)].concat()
        });
    }
}

#[test]
fn updates_of_bf16_state_have_the_same_bits_at_every_level() {
    type Update = fn(Span, &[f32], &[f32], &mut [u16], &mut [u16], &mut [f32]);
    let updates: [(&str, Update); 4] = [
        ("momentum", |span, p, g, m, _, out| update_bf16::momentum(span, 0.9, p, g, m, out)),
        ("nesterov", |span, p, g, m, _, out| update_bf16::nesterov(span, 0.9, p, g, m, out)),
        ("adam", |span, p, g, m, v, out| update_bf16::adam(span, MOMENTS, p, g, m, v, out)),
        ("adamw", |span, p, g, m, v, out| update_bf16::adamw(span, MOMENTS, p, g, m, v, out)),
    ];
    for (name, update) in updates {
        for rounding in [StateRounding::Nearest, StateRounding::Stochastic { stream: mix64(7) }] {
            same_at_every_level(&format!("{name}, {rounding:?}"), |case| {
                // Beyond 32 bits, where an index that is cut draws others.
                let span = Span { start: (1 << 33) + 5, rounding, scalars: SCALARS };
                let (params, gradient) = (case.floats(1), case.floats(2));
                let state = |values: Placed<f32>| {
                    let mut values = values.iter();
                    case.place(case.elems, || values.next().map_or(0, |x| half::bf16::from_f32(*x).to_bits()))
                };
                let [mut first, mut second] = [state(case.floats(3)), state(case.squares(4))];
                let mut out = case.zeros();
                update(span, &params, &gradient, &mut first, &mut second, &mut out);
                [bits(&first), bits(&second), bits(&out)].concat()
            });
        }
    }
}

#[test]
fn sums_of_squares_have_the_same_bits_at_every_level() {
    same_at_every_level("sum_of_squares", |case| vec![reduce::sum_of_squares(&case.floats(1)).bits()]);
    same_at_every_level("part_squares", |case| vec![privacy::part_squares(&case.floats(1)).bits()]);
}

#[test]
fn digests_have_the_same_bits_at_every_level() {
    same_at_every_level("digest", |case| vec![digest::digest((1 << 33) + 5, &case.floats(1))]);
}

#[test]
fn payloads_and_what_they_decode_to_have_the_same_bits_at_every_level() {
    for codec in [Codec::Bf16, Codec::F16, Codec::Int8, Codec::Int4] {
        for rounding in [Rounding::Nearest, Rounding::Stochastic { key: 3 }] {
            same_at_every_level(&format!("{codec}, {rounding:?}"), |case| {
                let bytes = codec.payload_bytes(DType::F32, case.elems);
                let packing = Packing { codec, phase: Phase(1), source: Rank(2) };
                let mut draws = case.zeros();
                let draws = rounding.draws(packing, 1 << 33, &mut draws);
                let mut payload = case.place(bytes, u8::default);
                wire::pack(codec, &case.floats(1), draws, &mut payload);
                let mut decoded = case.zeros();
                wire::unpack(codec, &payload, &mut decoded);
                let drawn = bits(draws.unwrap_or_default());
                // Any bytes are values.
                let mut noise = Prng::new(9);
                let payload_of_noise = case.place(bytes, || noise.next_u64().to_le_bytes()[7]);
                let mut decoded_noise = case.zeros();
                wire::unpack(codec, &payload_of_noise, &mut decoded_noise);
                // A NaN in a payload of 16 bits keeps its own bits.
                [drawn, bits(&payload), raw_bits(&decoded), raw_bits(&decoded_noise)].concat()
            });
        }
    }
}

#[test]
fn selections_have_the_same_bits_at_every_level() {
    same_at_every_level("top_k", |case| {
        let (values, mut wanted) = (case.floats(1), case.floats(2));
        top_k::add(&values, &mut wanted);
        let mut selection = top_k::Selection::new(std::iter::once(&wanted[..]), case.elems as u64 / 3);
        let mut chosen = Vec::new();
        selection.take_from(1 << 33, &mut wanted, |index, value| {
            chosen.extend([index, u64::from(value.to_bits())]);
        });
        [chosen, bits(&wanted)].concat()
    });
}

#[test]
fn clipped_sums_and_noise_have_the_same_bits_at_every_level() {
    let key = privacy::NoiseKey { seed: 5, step: 9 };
    same_at_every_level("clipped_sum", |case| {
        let rows = [case.floats(1), case.floats(2), case.floats(3)];
        let mut sum = case.zeros();
        privacy::clipped_sum(rows.iter().map(|row| &row[..]), &[0.3, 1.0, 1e-30], &mut sum);
        bits(&sum)
    });
    same_at_every_level("noise", |case| {
        let (mut normals, mut noisy) = (case.zeros(), case.floats(1));
        privacy::normals(key, (1 << 33) + 5, &mut normals);
        privacy::add_noise(key, 7, 0.1, &mut noisy);
        [bits(&normals), bits(&noisy)].concat()
    });
}

/// Both types that forward and backward kernels are written for.
fn same_for_both(name: &str, f32s: impl Fn(&Case) -> Vec<u64>, f64s: impl Fn(&Case) -> Vec<u64>) {
    same_at_every_level(&format!("{name} of f32"), f32s);
    same_at_every_level(&format!("{name} of f64"), f64s);
}

impl Case {
    fn reals<T: Real>(&self, elems: usize, seed: u64) -> Placed<T> {
        let values = self.floats_of(elems, seed);
        let mut values = values.iter();
        self.place(elems, || values.next().map_or(T::ZERO, |x| T::from_f32(*x)))
    }
}

#[test]
fn elementwise_operations_have_the_same_bits_at_every_level() {
    fn all<T: Real + Bits>(case: &Case) -> Vec<u64> {
        let elems = case.elems;
        let (a, b) = (case.reals::<T>(elems, 1), case.reals::<T>(elems, 2));
        let fresh = || case.reals::<T>(elems, 3);
        let mut outputs = [fresh(), fresh(), fresh(), fresh(), fresh(), fresh(), fresh()];
        let [sum, stored, added, relu, gelu, stored_relu, stored_gelu] = &mut outputs;
        elementwise::sum_of(&a, &b, sum);
        elementwise::put(Mode::Store, &a, stored);
        elementwise::put(Mode::Add, &a, added);
        elementwise::relu(&a, relu);
        elementwise::relu_backward(Mode::Add, &a, &b, relu);
        elementwise::relu_backward(Mode::Store, &a, &b, stored_relu);
        gelu::gelu(&a, gelu);
        gelu::gelu_backward(Mode::Add, &a, &b, gelu);
        gelu::gelu_backward(Mode::Store, &a, &b, stored_gelu);
        outputs.iter().flat_map(|output| bits(output)).collect()
    }
    same_for_both("element-wise", all::<f32>, all::<f64>);
}

#[test]
fn operations_on_rows_have_the_same_bits_at_every_level() {
    const ROWS: usize = 3;
    fn all<T: Real + Bits>(case: &Case) -> Vec<u64> {
        let width = case.elems.max(1);
        let rows = |seed| case.reals::<T>(ROWS * width, seed);
        let row = |seed| case.reals::<T>(width, seed);
        let (x, dy, weight, bias) = (rows(1), rows(2), row(3), row(4));
        let mut outputs = [rows(5), rows(5), rows(5), rows(5), rows(5)];
        let mut sums = [row(6), row(6), row(6), row(6)];
        let [y, dx, broadcast, dlogits, dpredictions] = &mut outputs;
        let [dweight, dbias, row_sums, positions] = &mut sums;
        let (mut moments, mut lse) = ([T::ZERO; 2 * ROWS], [T::ZERO; ROWS]);

        layer_norm::layer_norm(&x, &weight, &bias, y, &mut moments);
        layer_norm::layer_norm_backward(Mode::Add, &x, &weight, &moments, &dy, dx, dweight, dbias);
        elementwise::broadcast_rows(&bias, broadcast);
        elementwise::add_row_sums(&x, row_sums);
        let classes = [0, u32::try_from(width).unwrap() - 1, 0];
        let loss = cross_entropy::cross_entropy(&x, width, &classes, &mut lse);
        cross_entropy::cross_entropy_backward(&x, width, &classes, &lse, dlogits);
        let targets = case.floats_of(ROWS * width, 7);
        let error = mean_squared_error::squared_error(&x, width, &targets);
        mean_squared_error::squared_error_backward(&x, width, &targets, dpredictions);
        let mut embedded = rows(8);
        embedding::embed(&[2, 0, 2], 1, width, &x, &bias, &mut embedded);
        let mut tokens = rows(9);
        embedding::embed_backward(&[2, 0, 2], 1, width, &dy, &mut tokens, positions);

        let numbers = [loss.bits(), error.bits(), cross_entropy::correct(&x, width, &classes)];
        let wide = outputs.iter().chain([&embedded, &tokens]).flat_map(|output| bits(output));
        let narrow = sums.iter().flat_map(|output| bits(output));
        wide.chain(narrow).chain(bits(&moments)).chain(bits(&lse)).chain(numbers).collect()
    }
    same_for_both("rows", all::<f32>, all::<f64>);
}

/// All of attention but its matrix products, which choose their instructions by themselves.
#[test]
fn softmax_of_attention_has_the_same_bits_at_every_level() {
    fn all<T: Real + Bits>(case: &Case) -> Vec<u64> {
        let length = case.elems.clamp(1, 129);
        let shape = attention::Shape { sequences: 1, length, heads: 1, head_width: 5 };
        let (qkv, dout) = (case.reals::<T>(length * 15, 1), case.reals::<T>(length * 5, 2));
        let mut scratch = vec![T::ZERO; attention::scratch_elems(length)];
        let (mut out, mut lse) = (vec![T::ZERO; length * 5], vec![T::ZERO; length]);
        let mut dqkv = vec![T::ZERO; length * 15];
        attention(shape, &qkv, &mut out, &mut lse, &mut scratch);
        attention_backward(shape, &qkv, &out, &lse, &dout, &mut dqkv, &mut scratch);
        [bits(&out), bits(&lse), bits(&dqkv)].concat()
    }
    same_for_both("attention", all::<f32>, all::<f64>);
}

/// What is promised of attention instead of bits.
#[test]
fn attention_in_f32_is_near_that_in_f64() {
    fn all<T: Real>(length: usize) -> Vec<f64> {
        let mut draws = Prng::new(length as u64);
        let mut normals = |elems| -> Vec<T> { (0..elems).map(|_| T::from_f64(draws.normal())).collect() };
        let shape = attention::Shape { sequences: 2, length, heads: 2, head_width: 8 };
        let (qkv, dout) = (normals(2 * length * 48), normals(2 * length * 16));
        let mut scratch = vec![T::ZERO; attention::scratch_elems(length)];
        let (mut out, mut lse) = (vec![T::ZERO; dout.len()], vec![T::ZERO; 4 * length]);
        let mut dqkv = vec![T::ZERO; qkv.len()];
        attention(shape, &qkv, &mut out, &mut lse, &mut scratch);
        attention_backward(shape, &qkv, &out, &lse, &dout, &mut dqkv, &mut scratch);
        out.iter().chain(&lse).chain(&dqkv).map(|x| x.to_f64()).collect()
    }
    for length in [1, 33, 64, 129] {
        let exact = all::<f64>(length);
        for (level, arch) in levels() {
            for (got, exact) in at(arch, || all::<f32>(length)).iter().zip(&exact) {
                let error = (got - exact).abs();
                assert!(error < 1e-5 * exact.abs().max(1.0), "{got} for {exact} by {level}, length {length}");
            }
        }
    }
}
