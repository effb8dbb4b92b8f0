//! What is measured: shapes, how often a round repeats them, and the peer's words for them.

use hcrun_protocol::job::{self, Matmul};

#[derive(Clone)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// Steps of a round.
    pub(crate) steps: u64,
}

#[derive(Clone)]
pub(crate) enum Shape {
    Gpt {
        layers: u32,
        width: u32,
        heads: u32,
        context: u32,
        sequences: u32,
        matmul: Matmul,
    },
    /// Cross-entropy over two outputs or more, mean squared error over one.
    Mlp {
        rows: usize,
        widths: &'static [u32],
    },
    /// The update alone.
    Adamw {
        elems: usize,
    },
}

impl Workload {
    pub(crate) fn all() -> Vec<Workload> {
        let gpt = |matmul| Shape::Gpt { layers: 4, width: 256, heads: 4, context: 128, sequences: 8, matmul };
        let (matmul, widths): (_, &[u32]) = (Matmul::F32, &[30, 64, 32, 2]);
        let small = Shape::Gpt { layers: 2, width: 96, heads: 4, context: 64, sequences: 8, matmul };
        vec![
            Workload { name: "gpt", shape: gpt(Matmul::F32), steps: 4 },
            Workload { name: "gpt-bf16", shape: gpt(Matmul::Bf16), steps: 6 },
            Workload { name: "mlp", shape: Shape::Mlp { rows: 64, widths }, steps: 1_000 },
            Workload { name: "adamw", shape: Shape::Adamw { elems: 64 << 20 }, steps: 6 },
            // Those of `examples/gpt` and `examples/factory`.
            Workload { name: "example-gpt", shape: small, steps: 20 },
            Workload {
                name: "example-mlp",
                shape: Shape::Mlp { rows: 64, widths: &[11, 64, 32, 1] },
                steps: 1_000,
            },
        ]
    }

    /// The line that `peers/torch_engine.py` obeys.
    pub(crate) fn order(&self) -> String {
        let steps = self.steps;
        match &self.shape {
            Shape::Gpt { layers, width, heads, context, sequences, matmul } => {
                let matmul = matmul.name();
                format!("gpt {layers} {width} {heads} {context} {sequences} {matmul} {steps}")
            }
            Shape::Mlp { rows, widths } => {
                let widths: Vec<String> = widths.iter().map(u32::to_string).collect();
                format!("mlp {rows} {steps} {}", widths.join(" "))
            }
            Shape::Adamw { elems } => format!("adamw {elems} {steps}"),
        }
    }
}

impl Shape {
    /// What one step works through, and its name.
    pub(crate) fn units(&self) -> (usize, &'static str) {
        match self {
            Shape::Gpt { context, sequences, .. } => ((context * sequences) as usize, "tokens"),
            Shape::Mlp { rows, .. } => (*rows, "samples"),
            Shape::Adamw { elems } => (*elems, "parameters"),
        }
    }

    /// The model, if there is one.
    pub(crate) fn model(&self) -> Option<job::Model> {
        match self {
            Shape::Gpt { layers, width, heads, context, .. } => {
                Some(job::Model::Gpt { layers: *layers, width: *width, heads: *heads, context: *context })
            }
            Shape::Mlp { widths, .. } => {
                Some(job::Model::Mlp { hidden: widths[1..widths.len() - 1].to_vec() })
            }
            Shape::Adamw { .. } => None,
        }
    }
}
