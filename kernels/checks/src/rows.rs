//! Rows of a model's values: norms, functions of elements, sums over rows.

use hcrun_kernels::device::{Address, Device};
use hcrun_kernels::gelu::{gelu, gelu_backward};
use hcrun_kernels::launch;
use hcrun_kernels::layer_norm::{layer_norm, layer_norm_backward};
use hcrun_kernels::matmul::Mode;

use crate::close::{BF16, Tolerance, close, of_bf16, of_f32, to_bf16};
use crate::placed::Placed;
use crate::values::{any, finite};
use crate::{Case, Failure};

pub(crate) const CASES: &[Case] = &[
    Case { name: "rows_are_normalised", run: norms },
    Case { name: "a_residual_connection_is_part_of_the_norm", run: norms_of_sums },
    Case { name: "gradients_of_norms_are_those_of_the_cpu", run: norms_backward },
    Case { name: "sums_over_rows_are_added_to_what_is_there", run: columns },
    Case { name: "activations_are_those_of_the_cpu", run: activations },
    Case { name: "sums_and_copies_have_the_bits_of_bf16", run: sums },
];

pub(crate) const LAST_BLOCK_CASES: &[Case] =
    &[Case { name: "activations_of_more_than_32_bits_reach_their_last_elements", run: last_block }];

/// Rows and widths: below and above an access, a warp's and several.
const SHAPES: [(usize, usize); 6] = [(1, 1), (3, 7), (9, 64), (2, 257), (17, 768), (5, 1030)];

fn mixed_shifts() -> impl Iterator<Item = ((usize, usize), usize)> {
    SHAPES.into_iter().flat_map(|shape| [(shape, 0), (shape, 3)])
}

fn norms(device: &dyn Device) -> Result<(), Failure> {
    mixed_shifts().try_for_each(|((rows, width), shift)| compare_norm(device, rows, width, shift, false))
}

fn norms_of_sums(device: &dyn Device) -> Result<(), Failure> {
    mixed_shifts().try_for_each(|((rows, width), shift)| compare_norm(device, rows, width, shift, true))
}

fn compare_norm(
    device: &dyn Device,
    rows: usize,
    width: usize,
    shift: usize,
    residual: bool,
) -> Result<(), Failure> {
    let what = format!("{rows} rows of {width}, shift {shift}, residual {residual}");
    let x = Placed::new(device, &to_bf16(&finite(1, rows * width)), shift)?;
    let addend = Placed::new(device, &to_bf16(&finite(2, rows * width)), shift)?;
    let (weight, bias) = (finite(3, width), finite(4, width));
    let placed_weight = Placed::new(device, &weight, shift)?;
    let placed_bias = Placed::new(device, &bias, 0)?;
    let sum = Placed::new(device, &vec![7_u16; rows * width], shift)?;
    let y = Placed::new(device, &vec![7_u16; rows * width], shift)?;
    let moments = Placed::new(device, &vec![7.0_f32; 2 * rows], 0)?;
    launch::LayerNorm {
        n: rows as u64,
        width: width as u64,
        x: x.address(),
        addend: if residual { addend.address() } else { Address::NULL },
        weight: placed_weight.address(),
        bias: placed_bias.address(),
        sum: if residual { sum.address() } else { Address::NULL },
        y: y.address(),
        moments: moments.address(),
    }
    .launch(device)?;
    let normed = if residual {
        let sums: Vec<f32> = (x.values().iter().zip(addend.values()))
            .map(|(a, b)| half::bf16::from_bits(*a).to_f32() + half::bf16::from_bits(*b).to_f32())
            .collect();
        let sums = to_bf16(&sums);
        sum.expect(device, &format!("{what}: sum"), &sums)?;
        of_bf16(&sums)
    } else {
        sum.expect_unchanged(device, &format!("{what}: sum"))?;
        of_bf16(x.values())
    };
    let mut expected = vec![0.0; rows * width];
    let mut expected_moments = vec![0.0; 2 * rows];
    layer_norm(&normed, &of_f32(&weight), &of_f32(&bias), &mut expected, &mut expected_moments);
    // A mean and a deviation of f32 sums, and one rounding to bf16.
    let tolerance = Tolerance { absolute: 2e-5, relative: 1e-4 };
    close(&format!("{what}: moments"), tolerance, &of_f32(&moments.read(device, &what)?), &expected_moments)?;
    close(&format!("{what}: rows"), BF16, &of_bf16(&y.read(device, &what)?), &expected)
}

fn norms_backward(device: &dyn Device) -> Result<(), Failure> {
    for ((rows, width), shift) in mixed_shifts() {
        for mode in [Mode::Store, Mode::Add] {
            compare_norm_backward(device, rows, width, shift, mode)?;
        }
    }
    Ok(())
}

fn compare_norm_backward(
    device: &dyn Device,
    rows: usize,
    width: usize,
    shift: usize,
    mode: Mode,
) -> Result<(), Failure> {
    let what = format!("{rows} rows of {width}, shift {shift}, {mode:?}");
    let x = Placed::new(device, &to_bf16(&finite(1, rows * width)), shift)?;
    let dy = Placed::new(device, &to_bf16(&finite(2, rows * width)), shift)?;
    let weight = finite(3, width);
    let mut moments = vec![0.0; 2 * rows];
    let mut y = vec![0.0; rows * width];
    let wide = of_f32(&weight);
    layer_norm(&of_bf16(x.values()), &wide, &vec![0.0; width], &mut y, &mut moments);
    #[expect(clippy::cast_possible_truncation, reason = "what the way forward would have left, in f32")]
    let narrow: Vec<f32> = moments.iter().map(|moment| *moment as f32).collect();
    let placed_weight = Placed::new(device, &weight, shift)?;
    let placed_moments = Placed::new(device, &narrow, 0)?;
    let dx = Placed::new(device, &to_bf16(&finite(5, rows * width)), shift)?;
    launch::LayerNormBackward {
        n: rows as u64,
        width: width as u64,
        add: u32::from(mode == Mode::Add),
        x: x.address(),
        weight: placed_weight.address(),
        moments: placed_moments.address(),
        dy: dy.address(),
        dx: dx.address(),
    }
    .launch(device)?;
    let (mut dweight, mut dbias) = (finite(6, width), finite(7, width));
    let placed_dweight = Placed::new(device, &dweight, 0)?;
    let placed_dbias = Placed::new(device, &dbias, 0)?;
    let parts = rows.div_ceil(PART_ROWS);
    let sums = Placed::new(device, &vec![7.0_f32; parts * width], 0)?;
    let products = Placed::new(device, &vec![7.0_f32; parts * width], 0)?;
    launch::ColumnParts {
        n: (parts * width.div_ceil(32)) as u64,
        rows: rows as u64,
        width: width as u64,
        pitch: width as u64,
        dy: dy.address(),
        x: x.address(),
        moments: placed_moments.address(),
        sums: sums.address(),
        products: products.address(),
    }
    .launch(device)?;
    for (from, to) in [(&sums, &placed_dbias), (&products, &placed_dweight)] {
        let (n, parts) = (width as u64, parts as u64);
        launch::AddParts { n, parts, sums: from.address(), gradient: to.address() }.launch(device)?;
    }
    let mut expected = of_bf16(dx.values());
    let (mut wide_dweight, mut wide_dbias) = (of_f32(&dweight), of_f32(&dbias));
    layer_norm_backward(
        mode,
        &of_bf16(x.values()),
        &wide,
        &moments,
        &of_bf16(dy.values()),
        &mut expected,
        &mut wide_dweight,
        &mut wide_dbias,
    );
    let scale = 1.0 + narrow.chunks(2).fold(0.0_f64, |most, pair| most.max(f64::from(pair[1])));
    let tolerance = Tolerance { absolute: 2e-4 * scale, ..BF16 };
    close(&format!("{what}: dx"), tolerance, &of_bf16(&dx.read(device, &what)?), &expected)?;
    dweight = placed_dweight.read(device, &what)?;
    dbias = placed_dbias.read(device, &what)?;
    let tolerance = Tolerance { absolute: 1e-4 * scale, relative: 1e-4 };
    close(&format!("{what}: dweight"), tolerance, &of_f32(&dweight), &wide_dweight)?;
    close(&format!("{what}: dbias"), tolerance, &of_f32(&dbias), &wide_dbias)
}

/// Rows of a part of `column_parts`.
const PART_ROWS: usize = 64;

fn columns(device: &dyn Device) -> Result<(), Failure> {
    for (rows, width) in [(1, 1), (63, 31), (64, 33), (65, 100), (200, 5)] {
        let what = format!("{rows} rows of {width}");
        let pitch = width + rows % 2;
        let dy = Placed::new(device, &to_bf16(&finite(1, rows * pitch)), 1)?;
        let parts = rows.div_ceil(PART_ROWS);
        let sums = Placed::new(device, &vec![7.0_f32; parts * width], 0)?;
        let gradient = Placed::new(device, &finite(2, width), 1)?;
        launch::ColumnParts {
            n: (parts * width.div_ceil(32)) as u64,
            rows: rows as u64,
            width: width as u64,
            pitch: pitch as u64,
            dy: dy.address(),
            x: Address::NULL,
            moments: Address::NULL,
            sums: sums.address(),
            products: Address::NULL,
        }
        .launch(device)?;
        let (n, parts) = (width as u64, parts as u64);
        launch::AddParts { n, parts, sums: sums.address(), gradient: gradient.address() }.launch(device)?;
        let mut expected = of_f32(gradient.values());
        for row in of_bf16(dy.values()).chunks(pitch) {
            expected.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let tolerance = Tolerance { absolute: 1e-4, relative: 1e-5 };
        close(&what, tolerance, &of_f32(&gradient.read(device, &what)?), &expected)?;
    }
    Ok(())
}

fn activations(device: &dyn Device) -> Result<(), Failure> {
    for (elems, shift) in [(1, 0), (8, 0), (13, 1), (2048, 0), (2050, 4), (5000, 0)] {
        let mut values = finite(1, elems);
        values[0] = -30.0;
        let x = Placed::new(device, &to_bf16(&values), shift)?;
        let dy = Placed::new(device, &to_bf16(&finite(2, elems)), shift)?;
        let (wide, wide_dy) = (of_bf16(x.values()), of_bf16(dy.values()));
        for mode in [Mode::Store, Mode::Add] {
            let add = u32::from(mode == Mode::Add);
            let n = elems as u64;
            for rectifier in [false, true] {
                let what = format!("{elems} elements, shift {shift}, {mode:?}, rectifier {rectifier}");
                let y = Placed::new(device, &vec![7_u16; elems], shift)?;
                let dx = Placed::new(device, &to_bf16(&finite(3, elems)), shift)?;
                let (x, dy) = (x.address(), dy.address());
                let mut expected = vec![0.0; elems];
                let mut expected_dx = of_bf16(dx.values());
                if rectifier {
                    launch::Relu { n, x, y: y.address() }.launch(device)?;
                    launch::ReluBackward { n, add, x, dy, dx: dx.address() }.launch(device)?;
                    hcrun_kernels::elementwise::relu(&wide, &mut expected);
                    hcrun_kernels::elementwise::relu_backward(mode, &wide, &wide_dy, &mut expected_dx);
                } else {
                    launch::Gelu { n, x, y: y.address() }.launch(device)?;
                    launch::GeluBackward { n, add, x, dy, dx: dx.address() }.launch(device)?;
                    gelu(&wide, &mut expected);
                    gelu_backward(mode, &wide, &wide_dy, &mut expected_dx);
                }
                close(&what, BF16, &of_bf16(&y.read(device, &what)?), &expected)?;
                close(&format!("{what}: dx"), BF16, &of_bf16(&dx.read(device, &what)?), &expected_dx)?;
            }
        }
    }
    Ok(())
}

fn sums(device: &dyn Device) -> Result<(), Failure> {
    for (elems, shift) in [(1, 0), (9, 2), (2048, 0), (4100, 5)] {
        let n = elems as u64;
        let wide = any(1, elems);
        let wanted = Placed::new(device, &wide, shift)?;
        let y = Placed::new(device, &vec![7_u16; elems], shift)?;
        launch::ToBf16 { n, x: wanted.address(), y: y.address() }.launch(device)?;
        let nearest: Vec<u16> = wide.iter().map(|value| crate::placed::nearest_bf16(*value)).collect();
        y.expect(device, "to bf16", &nearest)?;

        let a = Placed::new(device, &to_bf16(&finite(2, elems)), shift)?;
        let b = Placed::new(device, &to_bf16(&finite(3, elems)), shift)?;
        launch::SumOf { n, a: a.address(), b: b.address(), y: y.address() }.launch(device)?;
        let pairs = a.values().iter().zip(b.values());
        let float = |bits: &u16| half::bf16::from_bits(*bits).to_f32();
        let sum = to_bf16(&pairs.map(|(a, b)| float(a) + float(b)).collect::<Vec<_>>());
        y.expect(device, "sum", &sum)?;
        launch::Put { n, add: 0, x: a.address(), y: y.address() }.launch(device)?;
        y.expect(device, "copy", a.values())?;
        launch::Put { n, add: 1, x: b.address(), y: y.address() }.launch(device)?;
        y.expect(device, "added", &sum)?;
        let words = Placed::new(device, &vec![7_u32; elems], shift)?;
        launch::Clear { n, words: words.address() }.launch(device)?;
        words.expect(device, "cleared", &vec![0; elems])?;
    }
    Ok(())
}

fn last_block(device: &dyn Device) -> Result<(), Failure> {
    let (begin, elems) = (1_u64 << 33, 5);
    let x = Placed::new(device, &to_bf16(&finite(1, elems)), 0)?;
    let y = Placed::new(device, &vec![7_u16; elems], 0)?;
    launch::Relu { n: begin + elems as u64, x: x.address().less(begin), y: y.address().less(begin) }
        .launch(device)?;
    let positive = |bits: &u16| if *bits & 0x8000 == 0 { *bits } else { 0 };
    y.expect(device, "last elements", &x.values().iter().map(positive).collect::<Vec<_>>())
}
