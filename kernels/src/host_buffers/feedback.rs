//! What lossy packings have not sent yet.

use std::collections::BTreeMap;

use hcrun_protocol::schedule::Phase;

/// The residuals of a tensor's rounds: what packing loses is added before the next packing in the same phase,
/// so that over many rounds everything is sent.
///
/// It belongs to one rank, one tensor and one schedule: clear it when one of them changes.
/// Source: Seide et al., "1-bit stochastic gradient descent", 2014.
#[derive(Debug, Clone, Default)]
pub struct Feedback {
    /// By phase, each as long as the tensor.
    residuals: BTreeMap<Phase, Vec<f32>>,
}

impl Feedback {
    /// Forgets what was lost.
    pub fn clear(&mut self) {
        self.residuals.clear();
    }

    /// The Euclidean norm over all residuals.
    pub fn norm(&self) -> f64 {
        let squares = self.residuals.values().flatten().map(|x| f64::from(*x) * f64::from(*x));
        squares.sum::<f64>().sqrt()
    }

    /// The residual of a phase; zeros if there is none of this length.
    pub(super) fn residual(&mut self, phase: Phase, elems: usize) -> &mut [f32] {
        let residual = self.residuals.entry(phase).or_default();
        if residual.len() != elems {
            residual.clear();
            residual.resize(elems, 0.0);
        }
        residual
    }
}
