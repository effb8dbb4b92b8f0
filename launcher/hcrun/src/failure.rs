//! A refusal as a person sees it: what failed, where, why (the first cause) and what to do.

use std::error::Error;
use std::fmt;

use serde::Serialize;

use crate::codes::Code;

/// Every error that ends the command. Libraries keep their own enums; the verb that calls them knows what
/// was asked and turns them into this.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub code: &'static Code,
    /// What failed, with operands: "cannot read the job file".
    pub what: String,
    /// File with line and column, or slot with node and zone.
    pub place: Option<String>,
    /// Why, outermost first; the last one is the first cause.
    pub causes: Vec<String>,
    /// What to do now; the code's general remedy when empty.
    pub hint: Option<String>,
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub fn new(code: &'static Code, what: impl Into<String>) -> Failure {
        Failure { code, what: what.into(), place: None, causes: Vec::new(), hint: None }
    }

    pub fn at(mut self, place: impl Into<String>) -> Failure {
        self.place = Some(place.into());
        self
    }

    pub fn because(mut self, cause: impl Into<String>) -> Failure {
        self.causes.push(cause.into());
        self
    }

    /// Adds an error and the chain of its sources.
    pub fn caused_by(mut self, error: &dyn Error) -> Failure {
        let mut next = Some(error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    pub fn exit_code(&self) -> u8 {
        self.code.exit.code()
    }

    pub fn hint_text(&self) -> &str {
        self.hint.as_deref().unwrap_or(self.code.remedy)
    }

    /// The `error` member of a JSON answer.
    pub fn to_json(&self) -> ErrorJson<'_> {
        ErrorJson {
            code: self.code.id,
            exit_code: self.exit_code(),
            message: &self.what,
            place: self.place.as_deref(),
            causes: &self.causes,
            hint: self.hint_text(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.what)?;
        if let Some(place) = &self.place {
            writeln!(f, "  at: {place}")?;
        }
        for cause in &self.causes {
            writeln!(f, "  caused by: {cause}")?;
        }
        writeln!(f, "\nhint: {}", self.hint_text())?;
        write!(f, "code: {id} (`hcrun explain {id}` says more)", id = self.code.id)
    }
}

impl Error for Failure {}

#[derive(Debug, Serialize)]
pub struct ErrorJson<'a> {
    pub code: &'static str,
    pub exit_code: u8,
    pub message: &'a str,
    pub place: Option<&'a str>,
    pub causes: &'a [String],
    pub hint: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes;

    #[test]
    fn a_failure_says_what_where_why_and_what_to_do() {
        let failure = Failure::new(&codes::JOB_UNKNOWN_KEY, "cannot use the job file")
            .at("job.toml:4:1")
            .because("unknown key `seeed`")
            .hint("did you mean `seed`?");
        let text = "error: cannot use the job file\n  at: job.toml:4:1\n  caused by: unknown key `seeed`\n\n\
                    hint: did you mean `seed`?\ncode: HC2004 (`hcrun explain HC2004` says more)";
        assert_eq!(failure.to_string(), text);
        assert_eq!(failure.exit_code(), 2);
    }
}
