//! An error and its causes in one line, for logs and messages that hold text alone.

use std::error::Error;

/// The error and the chain of its sources, joined by colons.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the {name} is broken")]
    struct Broken {
        name: &'static str,
        source: Option<Box<Broken>>,
    }

    #[test]
    fn causes_follow_what_they_caused() {
        let disk = Broken { name: "disk", source: None };
        let file = Broken { name: "file", source: Some(Box::new(disk)) };
        let run = Broken { name: "run", source: Some(Box::new(file)) };
        assert_eq!(error_chain(&run), "the run is broken: the file is broken: the disk is broken");
    }
}
