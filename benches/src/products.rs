//! Products in f32 of the shapes that training has, in turns with the `gemm` crate's.
//!
//! Rates are those at the medians over rounds; factors lie in the caches as far as they fit. The sums weigh each
//! shape by how often a step has it: of a GPT of 4 layers, width 256, 4 heads over 8 sequences of 128 bytes,
//! and of an MLP 30-64-32-2 over 64 rows.

#![expect(unsafe_code, reason = "gemm takes raw pointers")]

use std::time::Instant;

use hcrun_kernels::matmul::{Matrix, MatrixMut, Mode, matmul};

use crate::arguments::Words;

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench products [--only WORD] [--rounds N]";

pub(crate) fn run(mut words: Words) -> anyhow::Result<()> {
    let (mut rounds, mut only) = (9, String::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--only" => only = words.value(&word)?,
            "--rounds" => rounds = words.count(&word)?,
            _ => return Err(words.unknown(&word)),
        }
    }
    for (title, products) in [("GPT", gpt()), ("MLP", mlp())] {
        let chosen = products.into_iter().filter(|product| product.name.contains(&only));
        measure(title, &chosen.collect::<Vec<_>>(), rounds);
    }
    Ok(())
}

/// One product of a step. Strides are those of the matrices as they lie, before they are transposed.
#[derive(Clone, Copy)]
struct Product {
    name: &'static str,
    /// How often a step has it.
    count: usize,
    rows: usize,
    columns: usize,
    depth: usize,
    a: Lies,
    b: Lies,
    c_stride: usize,
    mode: Mode,
}

#[derive(Clone, Copy)]
enum Lies {
    Straight(usize),
    Transposed(usize),
}

use Lies::{Straight, Transposed};

/// The products of a linear layer: forward, of the weight's gradient, of the input's gradient.
fn linear(name: [&'static str; 3], count: usize, rows: usize, inputs: usize, outputs: usize) -> Vec<Product> {
    let [forward, weight, input] = name;
    vec![
        Product {
            name: forward,
            count,
            rows,
            columns: outputs,
            depth: inputs,
            a: Straight(inputs),
            b: Transposed(inputs),
            c_stride: outputs,
            mode: Mode::Add,
        },
        Product {
            name: weight,
            count,
            rows: outputs,
            columns: inputs,
            depth: rows,
            a: Transposed(outputs),
            b: Straight(inputs),
            c_stride: inputs,
            mode: Mode::Add,
        },
        Product {
            name: input,
            count,
            rows,
            columns: inputs,
            depth: outputs,
            a: Straight(outputs),
            b: Straight(inputs),
            c_stride: inputs,
            mode: Mode::Store,
        },
    ]
}

/// The products of attention of 64 query rows over `end` keys: how often a step has each, with heads of
/// width 64 of 256.
fn attention(names: [&'static str; 6], end: usize) -> Vec<Product> {
    const PAIRS: usize = 4 * 8 * 4;
    let product = |name, count, (rows, columns, depth), a, b, c_stride, mode| Product {
        name,
        count: count * PAIRS,
        rows,
        columns,
        depth,
        a,
        b,
        c_stride,
        mode,
    };
    let back = if end == 128 { Mode::Store } else { Mode::Add };
    let [scores, out, dprobabilities, dvalues, dkeys, dqueries] = names;
    vec![
        product(scores, 2, (64, end, 64), Straight(768), Transposed(768), end, Mode::Store),
        product(out, 1, (64, 64, end), Straight(end), Straight(768), 256, Mode::Store),
        product(dprobabilities, 1, (64, end, 64), Straight(256), Transposed(768), end, Mode::Store),
        product(dvalues, 1, (end, 64, 64), Transposed(end), Straight(256), 768, back),
        product(dkeys, 1, (end, 64, 64), Transposed(end), Straight(768), 768, back),
        product(dqueries, 1, (64, 64, end), Straight(end), Straight(768), 768, Mode::Store),
    ]
}

fn gpt() -> Vec<Product> {
    let mut products = linear(["qkv forward", "qkv weight", "qkv input"], 4, 1024, 256, 768);
    products.extend(linear(
        ["projection forward", "projection weight", "projection input"],
        5,
        1024,
        256,
        256,
    ));
    products.extend(linear(["up forward", "up weight", "up input"], 4, 1024, 256, 1024));
    products.extend(linear(["down forward", "down weight", "down input"], 4, 1024, 1024, 256));
    products
        .extend(attention(["scores 64", "out 64", "dprob 64", "dvalues 64", "dkeys 64", "dqueries 64"], 64));
    products.extend(attention(
        ["scores 128", "out 128", "dprob 128", "dvalues 128", "dkeys 128", "dqueries 128"],
        128,
    ));
    products
}

fn mlp() -> Vec<Product> {
    let mut products = linear(["first forward", "first weight", "first input"], 1, 64, 30, 64);
    // Nobody needs the gradient of the data.
    products.pop();
    products.extend(linear(["second forward", "second weight", "second input"], 1, 64, 64, 32));
    products.extend(linear(["third forward", "third weight", "third input"], 1, 64, 32, 2));
    products
}

impl Lies {
    fn strides(self) -> (isize, isize) {
        let of = |stride: usize| isize::try_from(stride).expect("small");
        match self {
            Straight(stride) => (of(stride), 1),
            Transposed(stride) => (1, of(stride)),
        }
    }

    fn of(self, data: &[f32], rows: usize, columns: usize) -> Matrix<'_, f32> {
        match self {
            Straight(stride) => Matrix::strided(data, rows, columns, stride),
            Transposed(stride) => Matrix::strided(data, columns, rows, stride).transposed(),
        }
    }

    fn elems(self, rows: usize, columns: usize) -> usize {
        match self {
            Straight(stride) => rows * stride,
            Transposed(stride) => columns * stride,
        }
    }
}

/// Operands of one product.
struct Operands {
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Product {
    fn operands(&self) -> Operands {
        let values = |count: usize| (0..count).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        Operands {
            a: values(self.a.elems(self.rows, self.depth)),
            b: values(self.b.elems(self.depth, self.columns)),
            c: values(self.rows * self.c_stride),
        }
    }

    fn ours(&self, operands: &mut Operands) {
        matmul(
            MatrixMut::strided(&mut operands.c, self.rows, self.columns, self.c_stride),
            self.mode,
            1.0,
            self.a.of(&operands.a, self.rows, self.depth),
            self.b.of(&operands.b, self.depth, self.columns),
        );
    }

    fn peers(&self, operands: &mut Operands) {
        let ((a_rows, a_columns), (b_rows, b_columns)) = (self.a.strides(), self.b.strides());
        // SAFETY: the operands hold as many elements as the strides and the shape reach.
        unsafe {
            gemm::gemm(
                self.rows,
                self.columns,
                self.depth,
                operands.c.as_mut_ptr(),
                1,
                isize::try_from(self.c_stride).expect("small"),
                self.mode == Mode::Add,
                operands.a.as_ptr(),
                a_columns,
                a_rows,
                operands.b.as_ptr(),
                b_columns,
                b_rows,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }

    fn flops(&self) -> f64 {
        2.0 * (self.rows * self.columns * self.depth) as f64
    }
}

/// Seconds of one call, by rounds of at least half a millisecond.
fn seconds(product: &Product, operands: &mut Operands, multiply: fn(&Product, &mut Operands)) -> f64 {
    let calls = calls_for(product.flops());
    let start = Instant::now();
    for _ in 0..calls {
        multiply(product, operands);
    }
    start.elapsed().as_secs_f64() / f64::from(calls)
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn measure(title: &str, products: &[Product], rounds: usize) {
    println!("{title:24} count    m    n    k      ours      gemm GFLOP/s  ratio of times");
    let (mut own_sum, mut peer_sum) = (0.0, 0.0);
    for product in products {
        let mut operands = product.operands();
        let (mut own, mut peer) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let times = (
                seconds(product, &mut operands, Product::ours),
                seconds(product, &mut operands, Product::peers),
            );
            if round > 0 {
                own.push(times.0);
                peer.push(times.1);
            }
        }
        let (own, peer) = (median(&mut own), median(&mut peer));
        own_sum += own * product.count as f64;
        peer_sum += peer * product.count as f64;
        let Product { name, count, rows, columns, depth, .. } = product;
        let (own_rate, peer_rate) = (product.flops() / own / 1e9, product.flops() / peer / 1e9);
        let ratio = peer / own;
        println!(
            "{name:24} {count:5} {rows:4} {columns:4} {depth:4} {own_rate:9.1} {peer_rate:9.1} {ratio:15.2}"
        );
    }
    println!("all: {:.4} ms and {:.4} ms, ratio {:.3}\n", own_sum * 1e3, peer_sum * 1e3, peer_sum / own_sum);
}

/// So many that a round takes some milliseconds.
fn calls_for(flops: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "of a number from 1 to 2,000"
    )]
    let calls = (1.0 + 4e7 / flops.max(1.0)).min(2_000.0) as u32;
    calls
}
