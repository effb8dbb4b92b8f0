//! Losses, their gradients in place, and their sums.

use hcrun_kernels::cross_entropy::{correct, cross_entropy, cross_entropy_backward};
use hcrun_kernels::device::{Address, Device};
use hcrun_kernels::launch;
use hcrun_kernels::mean_squared_error::{squared_error, squared_error_backward};
use hcrun_protocol::Prng;

use crate::close::{BF16, Tolerance, close, of_bf16, of_f32, to_bf16};
use crate::placed::Placed;
use crate::values::finite;
use crate::{Case, Failure};

pub(crate) const CASES: &[Case] = &[
    Case { name: "cross_entropy_and_its_gradient_are_those_of_the_cpu", run: classes },
    Case { name: "a_very_wrong_row_has_its_true_loss", run: very_wrong },
    Case { name: "a_logit_that_is_no_number_is_seen", run: not_a_number },
    Case { name: "of_equal_logits_the_first_is_the_prediction", run: ties },
    Case { name: "squared_errors_are_those_of_the_cpu", run: squares },
    Case { name: "losses_are_added_to_the_sums_of_the_step", run: sums },
];

pub(crate) const LAST_BLOCK_CASES: &[Case] =
    &[Case { name: "a_row_behind_4_gi_logits_has_its_loss", run: last_block }];

struct Rows {
    logits: Vec<u16>,
    outputs: usize,
    pitch: usize,
    classes: Vec<u32>,
}

struct Answer {
    logits: Vec<u16>,
    losses: Vec<f32>,
    right: Vec<u32>,
}

impl Rows {
    fn new(rows: usize, outputs: usize, pitch: usize) -> Rows {
        let mut draws = Prng::new(9);
        let classes = (0..rows).map(|_| u32::try_from(draws.below(outputs as u64)).unwrap_or(0)).collect();
        Rows { logits: to_bf16(&finite(8, rows * pitch)), outputs, pitch, classes }
    }

    fn on(&self, device: &dyn Device, shift: usize, backward: bool) -> Result<Answer, Failure> {
        let rows = self.classes.len();
        let logits = Placed::new(device, &self.logits, shift)?;
        let classes = Placed::new(device, &self.classes, 0)?;
        let losses = Placed::new(device, &vec![7.0_f32; rows], 0)?;
        let right = Placed::new(device, &vec![7_u32; rows], 0)?;
        launch::CrossEntropy {
            n: rows as u64,
            outputs: self.outputs as u64,
            pitch: self.pitch as u64,
            backward: u32::from(backward),
            classes: classes.address(),
            logits: logits.address(),
            losses: losses.address(),
            right: right.address(),
        }
        .launch(device)?;
        if !backward {
            logits.expect_unchanged(device, "logits of a way forward")?;
        }
        let logits = logits.read(device, "logits")?;
        Ok(Answer { logits, losses: losses.read(device, "losses")?, right: right.read(device, "right")? })
    }

    /// Without padding, in f64.
    fn wide(&self, of: &[u16]) -> Vec<f64> {
        of.chunks(self.pitch).flat_map(|row| of_bf16(&row[..self.outputs])).collect()
    }
}

fn classes(device: &dyn Device) -> Result<(), Failure> {
    for (outputs, pitch) in [(1, 1), (2, 2), (7, 8), (256, 256), (1003, 1008), (2300, 2304)] {
        for shift in [0, 1] {
            let rows = Rows::new(5, outputs, pitch);
            let what = format!("{outputs} outputs, pitch {pitch}, shift {shift}");
            let wide = rows.wide(&rows.logits);
            let mut expected = Vec::new();
            let mut gradient = vec![0.0; wide.len()];
            for (row, class) in rows.classes.iter().enumerate() {
                let part = row * outputs..(row + 1) * outputs;
                let mut lse = [0.0];
                let class = std::slice::from_ref(class);
                expected.push(cross_entropy(&wide[part.clone()], outputs, class, &mut lse));
                cross_entropy_backward(&wide[part.clone()], outputs, class, &lse, &mut gradient[part]);
            }
            let right: u64 = correct(&wide, outputs, &rows.classes);
            for backward in [false, true] {
                let answer = rows.on(device, shift, backward)?;
                let tolerance = Tolerance { absolute: 2e-5, relative: 2e-6 };
                close(&format!("{what}: losses"), tolerance, &of_f32(&answer.losses), &expected)?;
                let counted: u64 = answer.right.iter().map(|right| u64::from(*right)).sum();
                if counted != right {
                    return Err(Failure::Other(format!(
                        "{what}: {counted} rows are right, on the CPU {right}"
                    )));
                }
                if backward {
                    let tolerance = Tolerance { absolute: 1e-6, ..BF16 };
                    close(&format!("{what}: gradient"), tolerance, &rows.wide(&answer.logits), &gradient)?;
                    let padding = answer.logits.chunks(pitch).flat_map(|row| &row[outputs..]);
                    if padding.copied().any(|bits| bits != 0) {
                        return Err(Failure::Other(format!("{what}: the padding has a gradient")));
                    }
                }
            }
        }
    }
    Ok(())
}

fn very_wrong(device: &dyn Device) -> Result<(), Failure> {
    let logits = to_bf16(&[200.0, 0.0, -50.0, -1e30, 0.0, 1e30]);
    let rows = Rows { logits, outputs: 3, pitch: 3, classes: vec![1, 0] };
    let answer = rows.on(device, 0, true)?;
    let far = half::bf16::from_f32(1e30).to_f64();
    let tolerance = Tolerance { absolute: 0.0, relative: 1e-6 };
    close("losses", tolerance, &of_f32(&answer.losses), &[200.0, 2.0 * far])?;
    let gradient = [1.0, -1.0, 0.0, -1.0, 0.0, 1.0];
    close("gradient", Tolerance { absolute: 1e-30, relative: 0.0 }, &of_bf16(&answer.logits), &gradient)
}

fn not_a_number(device: &dyn Device) -> Result<(), Failure> {
    for at in [0, 1, 39, 40, 2047, 2048, 2099] {
        let mut rows = Rows::new(1, 2100, 2104);
        rows.logits[at] = half::bf16::NAN.to_bits();
        let answer = rows.on(device, 0, false)?;
        if !answer.losses[0].is_nan() {
            return Err(Failure::Other(format!("NaN as logit {at} gives the loss {}", answer.losses[0])));
        }
    }
    Ok(())
}

fn ties(device: &dyn Device) -> Result<(), Failure> {
    let outputs = 600;
    for (first, second) in [(0, 1), (7, 8), (3, 255), (255, 256), (31, 599)] {
        let mut logits = vec![0.0_f32; outputs];
        logits[first] = 2.0;
        logits[second] = 2.0;
        let logits = to_bf16(&[logits.clone(), logits].concat());
        let classes = vec![u32::try_from(first).unwrap_or(0), u32::try_from(second).unwrap_or(0)];
        let answer = Rows { logits, outputs, pitch: outputs, classes }.on(device, 0, false)?;
        if answer.right != [1, 0] {
            return Err(Failure::Other(format!("{first} and {second} alike: {:?}", answer.right)));
        }
    }
    Ok(())
}

fn squares(device: &dyn Device) -> Result<(), Failure> {
    for (rows, outputs) in [(1, 1), (300, 1), (257, 3)] {
        let what = format!("{rows} rows of {outputs}");
        let predictions = to_bf16(&finite(1, rows * outputs));
        let targets = finite(2, rows * outputs);
        let wide = of_bf16(&predictions);
        let expected: Vec<f64> = (wide.chunks(outputs).zip(targets.chunks(outputs)))
            .map(|(row, targets)| squared_error(row, outputs, targets))
            .collect();
        let mut gradient = vec![0.0; rows * outputs];
        squared_error_backward(&wide, outputs, &targets, &mut gradient);
        for backward in [false, true] {
            let placed = Placed::new(device, &predictions, 1)?;
            let placed_targets = Placed::new(device, &targets, 1)?;
            let losses = Placed::new(device, &vec![7.0_f32; rows], 0)?;
            launch::SquaredError {
                n: rows as u64,
                outputs: outputs as u64,
                backward: u32::from(backward),
                targets: placed_targets.address(),
                predictions: placed.address(),
                losses: losses.address(),
            }
            .launch(device)?;
            let tolerance = Tolerance { absolute: 1e-9, relative: 1e-5 };
            close(&what, tolerance, &of_f32(&losses.read(device, &what)?), &expected)?;
            if backward {
                let tolerance = Tolerance { absolute: 1e-6, ..BF16 };
                close(&what, tolerance, &of_bf16(&placed.read(device, &what)?), &gradient)?;
            } else {
                placed.expect_unchanged(device, &what)?;
            }
        }
    }
    Ok(())
}

fn sums(device: &dyn Device) -> Result<(), Failure> {
    for rows in [0, 1, 255, 256, 1000] {
        let losses = finite(1, rows);
        let right: Vec<u32> = (0..rows).map(|row| u32::from(row % 3 == 0)).collect();
        let placed = Placed::new(device, &losses, 0)?;
        let placed_right = Placed::new(device, &right, 0)?;
        let sums = Placed::new(device, &[2.0_f64, 3.0], 0)?;
        let n = rows as u64;
        let (losses_at, sums_at) = (placed.address(), sums.address());
        launch::AddLosses { n, losses: losses_at, right: placed_right.address(), sums: sums_at }
            .launch(device)?;
        launch::AddLosses { n, losses: losses_at, right: Address::NULL, sums: sums_at }.launch(device)?;
        let loss: f64 = of_f32(&losses).iter().sum();
        let count: u32 = right.iter().sum();
        let expected = [2.0 + 2.0 * loss, 3.0 + f64::from(count)];
        let tolerance = Tolerance { absolute: 1e-9, relative: 1e-12 };
        close(&format!("{rows} rows"), tolerance, &sums.read(device, "sums")?, &expected)?;
    }
    Ok(())
}

fn last_block(device: &dyn Device) -> Result<(), Failure> {
    let (row, outputs) = ((1_u64 << 30) - 1, 9_u64);
    let logits = Placed::new(device, &to_bf16(&finite(1, 9)), 0)?;
    let (class, loss) = (Placed::new(device, &[4_u32], 0)?, Placed::new(device, &[7.0_f32], 0)?);
    let right = Placed::new(device, &[7_u32], 0)?;
    launch::CrossEntropy {
        n: row + 1,
        outputs,
        pitch: outputs,
        backward: 0,
        classes: class.address().less(row),
        logits: logits.address().less(row * outputs),
        losses: loss.address().less(row),
        right: right.address().less(row),
    }
    .launch(device)?;
    let mut lse = [0.0];
    let expected = cross_entropy(&of_bf16(logits.values()), 9, &[4], &mut lse);
    let tolerance = Tolerance { absolute: 2e-5, relative: 2e-6 };
    close("loss", tolerance, &of_f32(&loss.read(device, "loss")?), &[expected])
}
