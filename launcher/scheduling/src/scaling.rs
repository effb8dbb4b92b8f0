//! How fast a job is on how many workers: a small model fitted to what was measured, and what it says of other sizes.
//!
//! A step is computing, waiting for the exchange, and the rest. Each part is a sum of few [`Term`]s of the size with
//! non-negative constants. Only the wait that computing does not hide is measured, so the parts add up. Which terms a
//! part has is decided by leaving one size out at a time: the terms that predict the size left out best. The same
//! errors, of whole steps, say how far the model may be believed.
//!
//! After Pollux (Qiao et al., OSDI 2021), whose throughput model has the same terms.

mod least_squares;
mod part;

pub use part::{Part, Term};

use part::{COMPUTE, Chosen, EXCHANGE, REST};

/// What of a size the time of its steps depends on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    pub workers: u32,
    /// Of one step; a mean over workers.
    pub samples_per_worker: f64,
    /// Of all gradients.
    pub gradient_bytes: f64,
    /// Workers per core, at least 1: workers that share a core wait for each other.
    pub sharing: f64,
}

/// Seconds of a mean step at one size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    pub shape: Shape,
    pub compute_s: f64,
    /// Blocked on the exchange, not hidden behind computing.
    pub exchange_s: f64,
    /// Updates, and whatever else is between two steps.
    pub rest_s: f64,
}

impl Measured {
    pub fn step_s(&self) -> f64 {
        self.compute_s + self.exchange_s + self.rest_s
    }
}

/// A step that nobody measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predicted {
    pub compute_s: f64,
    pub exchange_s: f64,
    pub rest_s: f64,
    /// Relative, of the step: 0.1 is 10 %. The largest of the model's [`Model::error`], the standard error of this very
    /// prediction when sizes are left out (jackknife), and how far other choices of terms are off that predict measured
    /// sizes nearly as well; the latter two grow with the distance from what was measured.
    pub error: f64,
}

impl Predicted {
    pub fn step_s(&self) -> f64 {
        self.compute_s + self.exchange_s + self.rest_s
    }
}

/// Fewer sizes than a model and its error need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{sizes} sizes are too few to fit a model and to say how wrong it is: it takes {MIN_SIZES}")]
pub struct TooFewSizes {
    pub sizes: usize,
}

/// With one size left out, two are needed to tell a constant from a slope.
pub const MIN_SIZES: usize = 3;

#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    compute: Chosen,
    exchange: Chosen,
    rest: Chosen,
    error: f64,
}

impl Model {
    /// Fits the model to one point per size.
    ///
    /// # Errors
    /// With fewer than [`MIN_SIZES`] points.
    pub fn fit(points: &[Measured]) -> Result<Model, TooFewSizes> {
        if points.len() < MIN_SIZES {
            return Err(TooFewSizes { sizes: points.len() });
        }
        let rows: Vec<part::Row> = points.iter().map(part::Row::of).collect();
        let pick = |candidates, of: fn(&Measured) -> f64| {
            let times: Vec<f64> = points.iter().map(of).collect();
            part::choose(candidates, &rows, &times)
        };
        let mut model = Model {
            compute: pick(COMPUTE, |point| point.compute_s),
            exchange: pick(EXCHANGE, |point| point.exchange_s),
            rest: pick(REST, |point| point.rest_s),
            error: 0.0,
        };
        let errors = points.iter().enumerate().map(|(left_out, point)| {
            let error = model.fold(left_out, &point.shape) / point.step_s() - 1.0;
            error * error
        });
        model.error = (errors.sum::<f64>() / points.len() as f64).sqrt();
        Ok(model)
    }

    /// Relative error of a step's time at a size that was left out: the root of the mean square over the sizes.
    pub fn error(&self) -> f64 {
        self.error
    }

    pub fn compute(&self) -> &Part {
        &self.compute.part
    }

    pub fn exchange(&self) -> &Part {
        &self.exchange.part
    }

    pub fn rest(&self) -> &Part {
        &self.rest.part
    }

    pub fn predict(&self, shape: &Shape) -> Predicted {
        let [compute_s, exchange_s, rest_s] = self.parts().map(|chosen| chosen.part.seconds(shape));
        let step_s = compute_s + exchange_s + rest_s;
        let doubt: f64 = self.parts().iter().map(|chosen| chosen.doubt(shape)).sum();
        let error = self.error.max(self.jackknife(shape) / step_s).max(doubt / step_s);
        Predicted { compute_s, exchange_s, rest_s, error }
    }

    fn parts(&self) -> [&Chosen; 3] {
        [&self.compute, &self.exchange, &self.rest]
    }

    /// Seconds of a step by the fit without one size.
    fn fold(&self, left_out: usize, shape: &Shape) -> f64 {
        self.parts().iter().map(|chosen| chosen.folds[left_out].seconds(shape)).sum()
    }

    /// Standard error of a predicted step in seconds.
    fn jackknife(&self, shape: &Shape) -> f64 {
        let steps: Vec<f64> =
            (0..self.compute.folds.len()).map(|left_out| self.fold(left_out, shape)).collect();
        let count = steps.len() as f64;
        let mean = steps.iter().sum::<f64>() / count;
        let squares: f64 = steps.iter().map(|step| (step - mean) * (step - mean)).sum();
        ((count - 1.0) / count * squares).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use hcrun_protocol::prng::Prng;

    use super::*;

    const GRADIENTS: f64 = 4e6;

    fn shape(workers: u32) -> Shape {
        let samples_per_worker = 64.0 / f64::from(workers);
        Shape { workers, samples_per_worker, gradient_bytes: GRADIENTS, sharing: 1.0 }
    }

    /// 2 ms and 1 ms a sample to compute; 3 ms and 1 ns a byte to exchange; 1 ms of rest.
    fn truth(shape: Shape) -> Measured {
        let workers = f64::from(shape.workers);
        let exchange_s = match shape.workers {
            1 => 0.0,
            _ => 3e-3 + 1e-9 * 2.0 * (workers - 1.0) / workers * shape.gradient_bytes,
        };
        let compute_s = 2e-3 + 1e-3 * shape.samples_per_worker;
        let shared = |seconds: f64| seconds * shape.sharing;
        Measured { shape, compute_s: shared(compute_s), exchange_s: shared(exchange_s), rest_s: shared(1e-3) }
    }

    fn close(got: f64, wanted: f64) -> bool {
        (got - wanted).abs() <= 1e-6 * wanted.abs().max(1e-12)
    }

    #[test]
    fn constants_are_recovered_and_sizes_far_away_predicted() {
        let points: Vec<Measured> = [1, 2, 4, 8, 16].map(|workers| truth(shape(workers))).into();
        let model = Model::fit(&points).unwrap();
        let constants = |part: &Part| part.constants().collect::<Vec<_>>();
        let [(Term::Fixed, fixed), (Term::Samples, sample)] = constants(model.compute())[..] else {
            panic!("{:?}", model.compute());
        };
        assert!(close(fixed, 2e-3) && close(sample, 1e-3), "{model:?}");
        let [(Term::Exchanging, round), (Term::Bytes, byte)] = constants(model.exchange())[..] else {
            panic!("{:?}", model.exchange());
        };
        assert!(close(round, 3e-3) && close(byte, 1e-9), "{model:?}");
        assert!(model.error() < 1e-6);
        let far = model.predict(&shape(64));
        assert!(close(far.step_s(), truth(shape(64)).step_s()) && far.error < 1e-6, "{far:?}");
    }

    #[test]
    fn three_sizes_are_enough_and_two_are_not() {
        let points: Vec<Measured> = [1, 2, 4].map(|workers| truth(shape(workers))).into();
        assert_eq!(Model::fit(&points[..2]), Err(TooFewSizes { sizes: 2 }));
        let model = Model::fit(&points).unwrap();
        let predicted = model.predict(&shape(8)).compute_s;
        assert!(close(predicted, truth(shape(8)).compute_s), "{model:?}");
    }

    /// On two cores, four workers take twice as long for the same; on machines of their own they would not.
    #[test]
    fn shared_cores_are_told_from_work() {
        let sharing = |workers: u32| Shape { sharing: (f64::from(workers) / 2.0).max(1.0), ..shape(workers) };
        let points: Vec<Measured> = [1, 2, 4, 8, 16].map(|workers| truth(sharing(workers))).into();
        let model = Model::fit(&points).unwrap();
        assert!(close(model.predict(&shape(16)).step_s(), truth(shape(16)).step_s()), "{model:?}");
    }

    fn noisy(sigma: f64, seed: u64) -> Model {
        let mut random = Prng::keyed(&[seed]);
        let mut off = |seconds: f64| seconds * (1.0 + sigma * random.normal()).max(0.1);
        let points = [1, 2, 4, 8].map(|workers| {
            let point = truth(shape(workers));
            let (compute_s, exchange_s) = (off(point.compute_s), off(point.exchange_s));
            Measured { compute_s, exchange_s, rest_s: off(point.rest_s), ..point }
        });
        Model::fit(&points).unwrap()
    }

    #[test]
    fn the_error_grows_with_noise_and_with_distance() {
        let mean = |sigma: f64, error: &dyn Fn(&Model) -> f64| {
            (0..40).map(|seed| error(&noisy(sigma, seed))).sum::<f64>() / 40.0
        };
        let errors = [0.0, 0.02, 0.1, 0.3].map(|sigma| mean(sigma, &Model::error));
        assert!(errors.windows(2).all(|pair| pair[1] > 1.5 * pair[0]), "{errors:?}");
        let at = |workers: u32| mean(0.05, &|model| model.predict(&shape(workers)).error);
        assert!(at(64) > at(4), "{} at 64, {} at 4", at(64), at(4));
    }

    #[test]
    fn no_constant_is_negative() {
        // Faster than the number of workers allows: a straight line would begin below zero.
        let points = [(1, 1.0), (2, 0.3), (4, 0.05)]
            .map(|(workers, compute_s)| Measured { compute_s, ..truth(shape(workers)) });
        let model = Model::fit(&points).unwrap();
        assert!(model.compute().constants().all(|(_, constant)| constant > 0.0));
        assert!(model.predict(&shape(512)).compute_s >= 0.0);
        assert!(model.error() > 0.1, "{}", model.error());
    }

    /// Two sizes that exchange cannot tell a constant wait from one that grows with the workers; far away they differ.
    #[test]
    fn what_the_sizes_cannot_tell_apart_is_part_of_the_error() {
        let points = [(1, 0.0), (2, 4e-3), (4, 8e-3)]
            .map(|(workers, exchange_s)| Measured { exchange_s, ..truth(shape(workers)) });
        let model = Model::fit(&points).unwrap();
        let error = |workers: u32| model.predict(&shape(workers)).error;
        assert!(error(64) > 2.0 * error(8), "{} at 64, {} at 8", error(64), error(8));
        assert!(error(64) > 0.3, "{}", error(64));
    }

    /// With a constant part per worker, what is fixed and what comes with samples cannot be told apart.
    #[test]
    fn weak_scaling_has_one_constant_for_computing() {
        let weak = |workers| Shape { samples_per_worker: 8.0, ..shape(workers) };
        let points: Vec<Measured> = [1, 2, 4].map(|workers| truth(weak(workers))).into();
        let model = Model::fit(&points).unwrap();
        assert_eq!(model.compute().constants().count(), 1);
        assert!(close(model.predict(&weak(32)).compute_s, truth(weak(32)).compute_s));
    }
}
