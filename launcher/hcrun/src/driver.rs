//! What the GPU's driver says.

use hcrun_kernels::cuda::{self, Unavailable};
use serde::{Deserialize, Serialize};

/// A line of JSON, as the process writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// The first of the GPUs.
    Card { name: String, architecture: String, devices: u32, cuda: String },
    /// There is a driver with GPUs, but the first does not answer.
    Deaf { cause: String },
    /// `is_usual` where nothing is wrong: a machine without a GPU.
    Unavailable { code: String, reason: String, is_usual: bool },
}

/// Of the process that is asked (see [`crate::probe`]): calls the driver, which may not return.
pub(crate) fn answer() -> Answer {
    let driver = match cuda::probe() {
        Ok(driver) => driver,
        Err(reason) => {
            let is_usual = matches!(reason, Unavailable::NoDriver { .. } | Unavailable::NoDevice);
            return Answer::Unavailable { code: reason.code().into(), reason: reason.to_string(), is_usual };
        }
    };
    match driver.card(0) {
        Ok(card) => Answer::Card {
            name: card.name,
            architecture: card.architecture.to_string(),
            devices: driver.devices(),
            cuda: driver.version().to_string(),
        },
        Err(error) => Answer::Deaf { cause: error.to_string() },
    }
}
