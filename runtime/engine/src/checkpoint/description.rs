//! What a model is, beside its parameters: enough to predict without the job file.

use hcrun_protocol::job::{Data, Job, Loss, Model};
use serde::{Deserialize, Serialize};

use crate::data::statistics::StatisticsError;
use crate::data::{Schema, Statistics};
use crate::spec::{DataShape, ModelSpec, SpecError};

/// `model.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDescription {
    pub model: Model,
    /// The job's data section: target, classes, categories.
    pub data: Data,
    pub loss: Loss,
    /// How columns become features; none for text.
    pub schema: Option<Schema>,
    pub statistics: Option<Statistics>,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DescriptionError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Statistics(#[from] StatisticsError),
    #[error("tables without an encoding of their columns")]
    NoSchema,
    #[error("a feature beyond the {features} of the encoding")]
    Feature { features: usize },
}

impl ModelDescription {
    pub fn new(job: &Job, schema: Option<Schema>, statistics: Option<Statistics>) -> ModelDescription {
        let (model, data) = (job.model.clone(), job.data.clone());
        ModelDescription { model, data, loss: job.train.loss, schema, statistics }
    }

    pub fn shape(&self) -> Result<DataShape, DescriptionError> {
        match (&self.data, &self.schema) {
            (Data::Text { .. }, _) => Ok(DataShape::Text { vocab: 256 }),
            (Data::Csv { .. }, Some(schema)) => {
                Ok(DataShape::Table { features: schema.features, outputs: schema.outputs })
            }
            (Data::Csv { .. }, None) => Err(DescriptionError::NoSchema),
        }
    }

    /// The model's segments and shapes.
    pub fn spec(&self) -> Result<ModelSpec, DescriptionError> {
        Ok(ModelSpec::new(&self.model, self.shape()?)?)
    }

    /// Refuses a description, read from a file, whose parts do not fit.
    pub(super) fn check(&self) -> Result<ModelSpec, DescriptionError> {
        let spec = self.spec()?;
        if let Some(schema) = &self.schema {
            if !schema.features_fit() {
                return Err(DescriptionError::Feature { features: schema.features });
            }
            if let Some(statistics) = &self.statistics {
                statistics.check(schema)?;
            }
        }
        Ok(spec)
    }
}
