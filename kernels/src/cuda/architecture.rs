//! Architectures of GPUs.

use std::fmt;
use std::str::FromStr;

/// A compute capability, as ten times its major plus its minor number: 90 is that of an H100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Architecture(u32);

impl Architecture {
    /// Those whose cubins are made before a release: A100, A10 and RTX 3090, L4 and RTX 4090, H100 and H200,
    /// B200, RTX 5090.
    pub const ALL: [Architecture; 6] = [
        Architecture(80),
        Architecture(86),
        Architecture(89),
        Architecture(90),
        Architecture(100),
        Architecture(120),
    ];

    pub fn new(major: u32, minor: u32) -> Architecture {
        Architecture(major * 10 + minor)
    }

    /// Whether a cubin made for `self` runs on `card`: of the same generation, and not newer than it.
    pub fn runs_on(self, card: Architecture) -> bool {
        self.0 / 10 == card.0 / 10 && self <= card
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}", self.0)
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Architecture, String> {
        let number = text.strip_prefix("sm_").and_then(|number| number.parse().ok());
        number.map(Architecture).ok_or_else(|| format!("`{text}` is no architecture: write it as sm_90"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cubin_runs_on_its_generation_from_its_own_minor_on() {
        let sm = |text: &str| text.parse::<Architecture>().unwrap();
        assert!(sm("sm_80").runs_on(sm("sm_86")));
        assert!(sm("sm_90").runs_on(Architecture::new(9, 0)));
        assert!(!sm("sm_86").runs_on(sm("sm_80")));
        assert!(!sm("sm_80").runs_on(sm("sm_90")));
        assert!(!sm("sm_100").runs_on(sm("sm_120")));
        assert!(sm("sm_100").runs_on(Architecture::new(10, 3)));
    }
}
