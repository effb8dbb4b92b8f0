//! One line that says how the training goes: redrawn on a terminal, repeated now and then when piped.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::format;
use super::metrics::{EvaluationRow, StepRow};
use crate::output::{self, Output};

/// Piped progress is read in a log: a line every so often is enough.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
/// A terminal redraws no faster than a person reads.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(100);
/// Weight of the newest step in running means.
const NEWEST: f64 = 0.1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Redraws one line.
    Terminal,
    /// Prints a line at each evaluation and every 10 s.
    Plain,
    Quiet,
}

impl Mode {
    pub fn for_output(output: &Output) -> Mode {
        match () {
            () if output.is_quiet() => Mode::Quiet,
            () if output::stderr_is_terminal() => Mode::Terminal,
            () => Mode::Plain,
        }
    }
}

#[derive(Debug)]
pub struct Progress {
    mode: Mode,
    bar: ProgressBar,
    total_steps: u64,
    shown: Option<Instant>,
    running: Option<Running>,
}

/// Running means over steps.
#[derive(Debug, Clone, Copy)]
struct Running {
    loss: f64,
    step_s: f64,
    exchange_s: f64,
    samples_per_s: f64,
}

impl Progress {
    pub fn new(mode: Mode, total_steps: u64) -> Progress {
        let bar = match mode {
            Mode::Terminal => ProgressBar::new(total_steps),
            Mode::Plain | Mode::Quiet => ProgressBar::hidden(),
        };
        // No colours: nothing to switch off for NO_COLOR, nothing unreadable on any background.
        let style = ProgressStyle::with_template("{bar:24} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        bar.set_style(style);
        Progress { mode, bar, total_steps, shown: None, running: None }
    }

    pub fn step(&mut self, row: &StepRow) {
        let blend = |old: f64, new: f64| old + NEWEST * (new - old);
        let running = match self.running {
            Some(old) => Running {
                loss: blend(old.loss, row.loss),
                step_s: blend(old.step_s, row.step_s),
                exchange_s: blend(old.exchange_s, row.exchange_s),
                samples_per_s: blend(old.samples_per_s, row.samples_per_s),
            },
            None => Running {
                loss: row.loss,
                step_s: row.step_s,
                exchange_s: row.exchange_s,
                samples_per_s: row.samples_per_s,
            },
        };
        self.running = Some(running);
        let interval = if self.mode == Mode::Terminal { TERMINAL_INTERVAL } else { PLAIN_INTERVAL };
        let due = self.shown.is_none_or(|shown| shown.elapsed() >= interval);
        if due || row.step == self.total_steps {
            self.shown = Some(Instant::now());
            let line = line(row, &running, self.total_steps);
            match self.mode {
                Mode::Terminal => {
                    self.bar.set_position(row.step);
                    self.bar.set_message(line);
                }
                Mode::Plain => print(&line),
                Mode::Quiet => {}
            }
        }
    }

    pub fn evaluation(&mut self, row: &EvaluationRow) {
        let quality = match (row.accuracy, row.rmse) {
            (_, Some(rmse)) => format!(", RMSE {rmse:.4}"),
            (Some(accuracy), None) => format!(", accuracy {}", format::percent(accuracy)),
            (None, None) => String::new(),
        };
        let samples = format::count(row.samples);
        self.event(&format!(
            "step {:>6}: held-out loss {:.4} {}{quality} ({samples} samples)",
            row.step, row.loss, row.unit
        ));
    }

    /// A line that stays.
    pub fn event(&mut self, text: &str) {
        match self.mode {
            Mode::Terminal => self.bar.suspend(|| print(text)),
            Mode::Plain => print(text),
            Mode::Quiet => {}
        }
    }

    pub fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn line(row: &StepRow, running: &Running, total_steps: u64) -> String {
    let exchange = if running.step_s > 0.0 { running.exchange_s / running.step_s } else { 0.0 };
    let left = running.step_s * total_steps.saturating_sub(row.step) as f64;
    let left = Duration::try_from_secs_f64(left).unwrap_or_default();
    format!(
        "step {}/{total_steps}  loss {:.3}  {:.0} samples/s  exchange {:.0} %  border {}  left {}",
        row.step,
        running.loss,
        running.samples_per_s,
        exchange * 100.0,
        format::bytes(row.egress_bytes),
        format::duration(left)
    )
}

/// A closed stderr must not stop a training.
fn print(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", output::printable(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_step_loss_rate_exchange_bytes_and_time_left() {
        let row = StepRow { step: 120, loss: 1.8304, egress_bytes: 4 << 20, ..StepRow::default() };
        let running = Running { loss: 1.8304, step_s: 0.1, exchange_s: 0.031, samples_per_s: 320.4 };
        assert_eq!(
            line(&row, &running, 500),
            "step 120/500  loss 1.830  320 samples/s  exchange 31 %  border 4.0 MiB  left 0:38"
        );
    }
}
