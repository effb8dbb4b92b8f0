//! Samples that fit their model, checked once where they come in.

use crate::batch::{Batch, BatchError, Inputs, Targets};
use crate::spec::{Kind, ModelSpec};

/// Checked inputs, and targets unless they are to be predicted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Samples<'a> {
    pub(crate) rows: usize,
    /// Rows of one sequence; 1 for tables.
    pub(crate) length: usize,
    pub(crate) tokens: &'a [u8],
    pub(crate) features: &'a [f32],
    pub(crate) targets: Option<AnyTargets<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum AnyTargets<'a> {
    Bytes(&'a [u8]),
    Rows(Targets<'a>),
}

impl<'a> Samples<'a> {
    pub(crate) fn of_inputs(spec: &ModelSpec, inputs: Inputs<'a>) -> Result<Samples<'a>, BatchError> {
        match (&spec.kind, inputs) {
            (Kind::Gpt { context: most, .. }, Inputs::Tokens { inputs, context }) => {
                if context == 0 || context > *most {
                    return Err(BatchError::Context { got: context, context: *most });
                }
                let rows = inputs.len();
                if !rows.is_multiple_of(context) {
                    return Err(BatchError::Ragged { got: rows, width: context });
                }
                Ok(Samples { rows, length: context, tokens: inputs, features: &[], targets: None })
            }
            (Kind::Mlp { widths }, Inputs::Rows { features }) => {
                let width = widths[0];
                if !features.len().is_multiple_of(width) {
                    return Err(BatchError::Ragged { got: features.len(), width });
                }
                Ok(Samples { rows: features.len() / width, length: 1, tokens: &[], features, targets: None })
            }
            (Kind::Gpt { .. }, Inputs::Rows { .. }) => {
                Err(BatchError::Kind { got: "rows", expected: "text" })
            }
            (Kind::Mlp { .. }, Inputs::Tokens { .. }) => {
                Err(BatchError::Kind { got: "text", expected: "rows" })
            }
        }
    }

    pub(crate) fn of_batch(spec: &ModelSpec, batch: &Batch<'a>) -> Result<Samples<'a>, BatchError> {
        let (inputs, targets) = match *batch {
            Batch::Tokens { inputs, targets, context } => {
                (Inputs::Tokens { inputs, context }, AnyTargets::Bytes(targets))
            }
            Batch::Rows { features, targets } => (Inputs::Rows { features }, AnyTargets::Rows(targets)),
        };
        let samples = Samples::of_inputs(spec, inputs)?;
        let outputs = spec.outputs();
        let (got, expected) = match targets {
            AnyTargets::Bytes(bytes) => (bytes.len(), samples.rows),
            AnyTargets::Rows(Targets::Class(classes)) => (classes.len(), samples.rows),
            AnyTargets::Rows(Targets::Value(values)) => (values.len(), samples.rows * outputs),
        };
        if got != expected {
            return Err(BatchError::TargetCount { got, expected });
        }
        if let AnyTargets::Rows(Targets::Class(classes)) = targets {
            let fits = |class: u32| usize::try_from(class).is_ok_and(|class| class < outputs);
            if let Some(row) = classes.iter().position(|class| !fits(*class)) {
                return Err(BatchError::Class { got: classes[row], row, outputs });
            }
        }
        Ok(Samples { targets: Some(targets), ..samples })
    }

    /// Parts of at most `rows` rows, which must be whole sequences.
    pub(crate) fn parts(self, rows: usize, outputs: usize) -> impl Iterator<Item = Samples<'a>> {
        (0..self.rows).step_by(rows).map(move |start| {
            let end = (start + rows).min(self.rows);
            let width = self.features.len() / self.rows;
            let targets = self.targets.map(|targets| match targets {
                AnyTargets::Bytes(bytes) => AnyTargets::Bytes(&bytes[start..end]),
                AnyTargets::Rows(Targets::Class(classes)) => {
                    AnyTargets::Rows(Targets::Class(&classes[start..end]))
                }
                AnyTargets::Rows(Targets::Value(values)) => {
                    AnyTargets::Rows(Targets::Value(&values[start * outputs..end * outputs]))
                }
            });
            let tokens = if self.tokens.is_empty() { self.tokens } else { &self.tokens[start..end] };
            let features = &self.features[start * width..end * width];
            Samples { rows: end - start, tokens, features, targets, ..self }
        })
    }
}
