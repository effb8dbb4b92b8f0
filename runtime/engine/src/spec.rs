//! A model's shape: its segments in the flat arena, its costs, its initial parameters.
//!
//! Segments lie in forward order, so that the way back finishes the arena from its end and the last bucket
//! is exchanged first. Names and layouts are PyTorch's, so a checkpoint is a state dict.

use std::ops::Range;

use hcrun_protocol::Prng;
use hcrun_protocol::job;
use hcrun_protocol::model::{ModelProfile, Segment};
use hcrun_protocol::units::padded_elems;
use serde::{Deserialize, Serialize};

/// What the data decides of a model's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataShape {
    /// Bytes: `vocab` is 256.
    Text { vocab: usize },
    /// `outputs`: classes, or 1 for a value.
    Table { features: usize, outputs: usize },
}

/// Why a model section does not describe a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("model.kind is {model}, which needs data.format = \"{needs}\"")]
    DataFormat { model: &'static str, needs: &'static str },
    #[error("model.width is {width}, which is not a multiple of model.heads = {heads}")]
    Heads { width: usize, heads: usize },
    #[error(
        "the model has {parameters} parameters, at most {LARGEST_MODEL} can be trained: lower the dimensions \
         under `model`"
    )]
    TooLarge { parameters: usize },
    #[error("{key} is {got}: {rule}")]
    Range { key: &'static str, got: usize, rule: &'static str },
}

/// A model whose shapes fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    pub(crate) kind: Kind,
    segments: Vec<InitialSegment>,
    arena_elems: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Gpt {
        layers: usize,
        width: usize,
        heads: usize,
        context: usize,
        vocab: usize,
    },
    /// Widths of input, hidden layers and output.
    Mlp {
        widths: Vec<usize>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct InitialSegment {
    segment: Segment,
    initial: Initial,
}

/// The distribution that a segment starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Initial {
    Zero,
    One,
    /// N(0, 0.02).
    Normal,
    /// N(0, 0.02 / √(2 · layers)): projections that are added to the residual stream.
    Residual {
        layers: usize,
    },
    /// Uniform in ±1/√inputs, as PyTorch's `nn.Linear` starts.
    Uniform {
        inputs: usize,
    },
}

/// Above this a dimension is a mistake of the job file; keeps every product within `usize`.
const LARGEST_DIMENSION: usize = 1 << 20;
/// Each has a dozen named segments.
const MOST_LAYERS: usize = 1 << 12;
/// 32 GiB in f32, of which every worker holds several: nobody means more by a job of this program.
const LARGEST_MODEL: usize = 1 << 33;

impl ModelSpec {
    /// # Errors
    /// If the data cannot feed the model or a dimension is out of range; the remedy is in the job file.
    pub fn new(model: &job::Model, data: DataShape) -> Result<ModelSpec, SpecError> {
        let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let kind = match (model, data) {
            (job::Model::Gpt { layers, width, heads, context }, DataShape::Text { vocab }) => {
                let (layers, width, heads) = (size(*layers), size(*width), size(*heads));
                let context = size(*context);
                check("model.layers", layers)?;
                if layers > MOST_LAYERS {
                    let rule = "must be at most 4096";
                    return Err(SpecError::Range { key: "model.layers", got: layers, rule });
                }
                check("model.width", width)?;
                check("model.heads", heads)?;
                check("model.context", context)?;
                if !width.is_multiple_of(heads) {
                    return Err(SpecError::Heads { width, heads });
                }
                Kind::Gpt { layers, width, heads, context, vocab }
            }
            (job::Model::Mlp { hidden }, DataShape::Table { features, outputs }) => {
                let hidden = hidden.iter().map(|width| size(*width));
                let widths: Vec<usize> = [features].into_iter().chain(hidden).chain([outputs]).collect();
                widths.iter().try_for_each(|width| check("a width of the model", *width))?;
                Kind::Mlp { widths }
            }
            (job::Model::Gpt { .. }, DataShape::Table { .. }) => {
                return Err(SpecError::DataFormat { model: "gpt", needs: "text" });
            }
            (job::Model::Mlp { .. }, DataShape::Text { .. }) => {
                return Err(SpecError::DataFormat { model: "mlp", needs: "csv" });
            }
        };
        let segments = kind.segments();
        let parameters = segments.iter().map(|s| s.segment.elems()).sum();
        if parameters > LARGEST_MODEL {
            return Err(SpecError::TooLarge { parameters });
        }
        Ok(ModelSpec { kind, segments, arena_elems: padded_elems(parameters) })
    }

    pub fn arena_elems(&self) -> usize {
        self.arena_elems
    }

    /// Elements before the padding.
    pub(crate) fn parameters(&self) -> usize {
        self.segments.iter().map(|s| s.segment.elems()).sum()
    }

    /// Columns of a prediction: classes, vocabulary, or 1.
    pub fn outputs(&self) -> usize {
        match &self.kind {
            Kind::Gpt { vocab, .. } => *vocab,
            Kind::Mlp { widths } => widths[widths.len() - 1],
        }
    }

    /// Rows of activations of one sample: tokens of a window, or one.
    pub(crate) fn rows_per_sample(&self) -> usize {
        match &self.kind {
            Kind::Gpt { context, .. } => *context,
            Kind::Mlp { .. } => 1,
        }
    }

    /// The arena range of the segment of this name.
    pub(crate) fn range(&self, name: &str) -> Range<usize> {
        let found = self.segments.iter().map(|s| &s.segment).find(|segment| segment.name == name);
        let segment = found.expect("models name segments of their own spec: tests build both");
        segment.offset..segment.offset + segment.elems()
    }

    pub fn profile(&self) -> ModelProfile {
        ModelProfile {
            segments: self.segments.iter().map(|s| s.segment.clone()).collect(),
            arena_elems: self.arena_elems,
            parameters: self.parameters(),
            flops_per_sample: self.kind.flops_per_sample(),
            activation_bytes_per_sample: self.kind.activation_bytes_per_sample(),
        }
    }

    /// The arena at the start: a function of the seed, the same bits on every rank and CPU.
    pub fn init(&self, seed: u64) -> Vec<f32> {
        let mut arena = vec![0.0; self.arena_elems];
        for (index, InitialSegment { segment, initial }) in self.segments.iter().enumerate() {
            let values = &mut arena[segment.offset..segment.offset + segment.elems()];
            for (element, value) in values.iter_mut().enumerate() {
                let mut draws = Prng::keyed(&[seed, INIT_KEY, index as u64, element as u64]);
                *value = initial.draw(&mut draws);
            }
        }
        arena
    }
}

/// Embeds tokens, and is the head that tells the next one.
pub(crate) const TIED_EMBEDDING: &str = "transformer.wte.weight";

/// Sets draws of initial parameters apart from others of the same seed.
const INIT_KEY: u64 = 0x696e_6974;

fn check(key: &'static str, got: usize) -> Result<(), SpecError> {
    match got {
        0 => Err(SpecError::Range { key, got, rule: "must be at least 1" }),
        1..=LARGEST_DIMENSION => Ok(()),
        _ => Err(SpecError::Range { key, got, rule: "must be at most 1048576" }),
    }
}

impl Initial {
    #[expect(clippy::cast_possible_truncation, reason = "a draw is rounded once, to f32")]
    fn draw(self, draws: &mut Prng) -> f32 {
        let value = match self {
            Initial::Zero => 0.0,
            Initial::One => 1.0,
            Initial::Normal => 0.02 * draws.normal(),
            Initial::Residual { layers } => 0.02 / libm::sqrt(2.0 * layers as f64) * draws.normal(),
            Initial::Uniform { inputs } => (2.0 * draws.uniform() - 1.0) / libm::sqrt(inputs as f64),
        };
        value as f32
    }
}

/// Lays segments one after the other.
#[derive(Default)]
struct Layout {
    segments: Vec<InitialSegment>,
    offset: usize,
}

impl Layout {
    fn push(&mut self, name: String, shape: &[usize], initial: Initial) {
        // PyTorch practice: matrices and embeddings decay, biases and norms do not.
        let segment = Segment { name, offset: self.offset, shape: shape.to_vec(), decay: shape.len() > 1 };
        self.offset += segment.elems();
        self.segments.push(InitialSegment { segment, initial });
    }

    /// PyTorch's `nn.Linear`: weight `[outputs, inputs]`, bias `[outputs]`.
    fn linear(&mut self, name: &str, inputs: usize, outputs: usize, weight: Initial, bias: Initial) {
        self.push(format!("{name}.weight"), &[outputs, inputs], weight);
        self.push(format!("{name}.bias"), &[outputs], bias);
    }

    fn layer_norm(&mut self, name: &str, width: usize) {
        self.push(format!("{name}.weight"), &[width], Initial::One);
        self.push(format!("{name}.bias"), &[width], Initial::Zero);
    }
}

impl Kind {
    fn segments(&self) -> Vec<InitialSegment> {
        let mut layout = Layout::default();
        match self {
            Kind::Gpt { layers, width, context, vocab, .. } => {
                let (layers, width) = (*layers, *width);
                layout.push(TIED_EMBEDDING.into(), &[*vocab, width], Initial::Normal);
                layout.push("transformer.wpe.weight".into(), &[*context, width], Initial::Normal);
                let (normal, residual) = (Initial::Normal, Initial::Residual { layers });
                for layer in 0..layers {
                    let name = |part: &str| format!("transformer.h.{layer}.{part}");
                    layout.layer_norm(&name("ln_1"), width);
                    layout.linear(&name("attn.c_attn"), width, 3 * width, normal, Initial::Zero);
                    layout.linear(&name("attn.c_proj"), width, width, residual, Initial::Zero);
                    layout.layer_norm(&name("ln_2"), width);
                    layout.linear(&name("mlp.c_fc"), width, 4 * width, normal, Initial::Zero);
                    layout.linear(&name("mlp.c_proj"), 4 * width, width, residual, Initial::Zero);
                }
                layout.layer_norm("transformer.ln_f", width);
            }
            Kind::Mlp { widths } => {
                for (layer, pair) in widths.windows(2).enumerate() {
                    let uniform = Initial::Uniform { inputs: pair[0] };
                    layout.linear(&format!("layers.{layer}"), pair[0], pair[1], uniform, uniform);
                }
            }
        }
        layout.segments
    }

    /// Two per multiply-add; the way back costs twice the way there.
    fn flops_per_sample(&self) -> f64 {
        match self {
            Kind::Gpt { layers, width, context, vocab, .. } => {
                let (layers, width, context) = (*layers as f64, *width as f64, *context as f64);
                let products = 12.0 * layers * width * width + *vocab as f64 * width;
                // Scores and weighted values, half of them masked.
                let attention = layers * context * width;
                context * 6.0 * (products + attention)
            }
            Kind::Mlp { widths } => widths.windows(2).map(|pair| 6.0 * (pair[0] * pair[1]) as f64).sum(),
        }
    }

    /// Activations and their gradients in f32.
    fn activation_bytes_per_sample(&self) -> u64 {
        let elems = match self {
            // Per layer: two norms, query-key-value, attention, two sums (width 8), two of the wide layer.
            Kind::Gpt { layers, width, context, vocab, .. } => {
                context * (layers * width * (1 + 3 + 1 + 1 + 1 + 1 + 4 + 4 + 1 + 1) + 2 * width + vocab)
            }
            Kind::Mlp { widths } => 2 * widths.iter().sum::<usize>(),
        };
        2 * 4 * elems as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn gpt(layers: u32, width: u32, heads: u32, context: u32) -> ModelSpec {
        let model = job::Model::Gpt { layers, width, heads, context };
        ModelSpec::new(&model, DataShape::Text { vocab: 256 }).unwrap()
    }

    #[test]
    fn segments_cover_the_parameters_without_gaps() {
        for spec in [gpt(2, 96, 4, 64), gpt(1, 8, 1, 4)] {
            let profile = spec.profile();
            let mut end = 0;
            for segment in &profile.segments {
                assert_eq!(segment.offset, end, "{}", segment.name);
                end += segment.elems();
            }
            assert_eq!(end, profile.parameters);
            assert_eq!(profile.arena_elems, padded_elems(end));
        }
        // 12 · width² + 13 · width per layer, embeddings, final norm: GPT-2's count.
        let parameters = 2 * (12 * 96 * 96 + 13 * 96) + (256 + 64) * 96 + 2 * 96;
        assert_eq!(gpt(2, 96, 4, 64).profile().parameters, parameters);
    }

    #[test]
    fn models_that_no_memory_holds_are_refused() {
        let table = DataShape::Table { features: 4, outputs: 1 };
        let wide = job::Model::Mlp { hidden: vec![1 << 20, 1 << 20] };
        assert!(matches!(ModelSpec::new(&wide, table), Err(SpecError::TooLarge { .. })));
        let deep = job::Model::Gpt { layers: 1 << 20, width: 8, heads: 1, context: 4 };
        let refused = ModelSpec::new(&deep, DataShape::Text { vocab: 256 });
        assert!(matches!(refused, Err(SpecError::Range { key: "model.layers", .. })));
    }

    #[test]
    fn only_matrices_and_embeddings_decay() {
        let profile = gpt(1, 8, 2, 4).profile();
        let plain: Vec<&str> =
            profile.segments.iter().filter(|s| !s.decay).map(|s| s.name.as_str()).collect();
        assert!(plain.iter().all(|name| name.ends_with("bias") || name.contains("ln_")), "{plain:?}");
        assert_eq!(plain.len(), 10);
    }

    #[test]
    fn initial_parameters_have_their_distribution_and_zero_padding() {
        let spec = gpt(2, 96, 4, 64);
        let arena = spec.init(1);
        assert_eq!(arena, spec.init(1));
        // The same bits on every CPU and in every build.
        assert_eq!(hcrun_kernels::digest::digest(0, &arena), 8_619_365_590_719_531_483);
        assert_ne!(arena, spec.init(2));
        let deviation = |name: &str| {
            let values = &arena[spec.range(name)];
            (values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
        };
        assert!((deviation("transformer.wte.weight") - 0.02).abs() < 5e-4);
        assert!((deviation("transformer.h.1.mlp.c_proj.weight") - 0.01).abs() < 3e-4);
        assert_eq!(deviation("transformer.h.0.ln_1.weight"), 1.0);
        assert_eq!(deviation("transformer.h.0.attn.c_attn.bias"), 0.0);
        assert!(arena[spec.profile().parameters..].iter().all(|x| *x == 0.0));
    }

    #[test]
    fn misfits_are_named() {
        let table = DataShape::Table { features: 3, outputs: 2 };
        let model = job::Model::Gpt { layers: 1, width: 10, heads: 4, context: 8 };
        let error = ModelSpec::new(&model, DataShape::Text { vocab: 256 }).unwrap_err();
        assert_eq!(error, SpecError::Heads { width: 10, heads: 4 });
        assert!(matches!(ModelSpec::new(&model, table), Err(SpecError::DataFormat { .. })));
        let none = job::Model::Mlp { hidden: vec![0] };
        assert!(matches!(ModelSpec::new(&none, table), Err(SpecError::Range { .. })));
    }
}
