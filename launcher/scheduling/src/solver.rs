//! Linear programs, with or without integers, through one crate.
//!
//! No time limit is set: the same program must have the same solution on every machine. Strategies keep their programs small.

use microlp::{ComparisonOp, OptimizationDirection, Problem, SolveOptions};

/// A variable of a [`Program`], in the order in which it was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Variable(usize);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a linear program of {variables} variables and {rows} rows has no solution: {why}")]
pub(crate) struct SolverError {
    variables: usize,
    rows: usize,
    why: String,
}

/// Maximises a sum over variables under linear limits.
#[derive(Debug)]
pub(crate) struct Program {
    problem: Problem,
    variables: Vec<microlp::Variable>,
    rows: usize,
}

impl Program {
    pub(crate) fn new() -> Program {
        let problem = Problem::new(OptimizationDirection::Maximize);
        Program { problem, variables: Vec::new(), rows: 0 }
    }

    /// A real variable within `min..=max`, whose value counts `worth` times.
    pub(crate) fn real(&mut self, worth: f64, min: f64, max: f64) -> Variable {
        let variable = self.problem.add_var(worth, (min, max));
        self.added(variable)
    }

    /// A variable that is 0 or 1.
    pub(crate) fn binary(&mut self, worth: f64) -> Variable {
        let variable = self.problem.add_binary_var(worth);
        self.added(variable)
    }

    pub(crate) fn at_most(&mut self, terms: &[(Variable, f64)], bound: f64) {
        self.row(terms, ComparisonOp::Le, bound);
    }

    pub(crate) fn at_least(&mut self, terms: &[(Variable, f64)], bound: f64) {
        self.row(terms, ComparisonOp::Ge, bound);
    }

    /// The value of each variable, in the order in which they were added; integers within `gap` of the best sum.
    ///
    /// # Errors
    /// If no values meet all limits, or the sum has no bound.
    pub(crate) fn maximise(self, gap: f64) -> Result<Values, SolverError> {
        self.solve(gap, None, None)
    }

    /// As [`Self::maximise`], but starts from values of all variables that meet all limits, and settles for the best found
    /// after so many nodes of the search.
    ///
    /// # Errors
    /// As [`Self::maximise`].
    pub(crate) fn improve(
        self,
        start: &[(Variable, f64)],
        gap: f64,
        nodes: u64,
    ) -> Result<Values, SolverError> {
        let start = start.iter().map(|(variable, value)| (self.variables[variable.0], *value)).collect();
        self.solve(gap, Some(start), Some(nodes))
    }

    fn solve(
        self,
        gap: f64,
        start: Option<Vec<(microlp::Variable, f64)>>,
        nodes: Option<u64>,
    ) -> Result<Values, SolverError> {
        let mut options = SolveOptions::default();
        (options.mip_gap, options.warm_start, options.node_limit) = (gap, start, nodes);
        let failed = |why: String| SolverError { variables: self.variables.len(), rows: self.rows, why };
        let outcome = self.problem.solve_with(options).map_err(|error| failed(error.to_string()))?;
        let solution = outcome.solution().ok_or_else(|| failed("it was given up".to_owned()))?;
        Ok(Values(self.variables.iter().map(|variable| solution.var_value(*variable)).collect()))
    }

    fn added(&mut self, variable: microlp::Variable) -> Variable {
        self.variables.push(variable);
        Variable(self.variables.len() - 1)
    }

    fn row(&mut self, terms: &[(Variable, f64)], comparison: ComparisonOp, bound: f64) {
        let terms: Vec<_> =
            terms.iter().map(|(variable, factor)| (self.variables[variable.0], *factor)).collect();
        self.problem.add_constraint(terms.as_slice(), comparison, bound);
        self.rows += 1;
    }
}

/// A solution.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Values(Vec<f64>);

impl std::ops::Index<Variable> for Values {
    type Output = f64;
    fn index(&self, variable: Variable) -> &f64 {
        &self.0[variable.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_and_without_integers() {
        let build = |whole: bool| {
            let mut program = Program::new();
            let small = if whole { program.binary(3.0) } else { program.real(3.0, 0.0, 1.0) };
            let large = if whole { program.binary(4.0) } else { program.real(4.0, 0.0, 1.0) };
            program.at_most(&[(small, 2.0), (large, 3.0)], 4.0);
            let values = program.maximise(1e-9).unwrap();
            (values[small], values[large])
        };
        let (small, large) = build(false);
        assert!((small - 1.0).abs() < 1e-6 && (large - 2.0 / 3.0).abs() < 1e-6, "{small} {large}");
        let (small, large) = build(true);
        assert!(small.abs() < 1e-6 && (large - 1.0).abs() < 1e-6, "{small} {large}");
    }

    #[test]
    fn what_cannot_be_met_is_an_error() {
        let mut program = Program::new();
        let part = program.real(1.0, 0.0, 1.0);
        program.at_least(&[(part, 1.0)], 2.0);
        assert!(program.maximise(0.0).unwrap_err().to_string().contains("1 variables and 1 rows"));
    }
}
