//! `hcrun explain`: what a code means and what to do.

use serde::Serialize;

use crate::cli::ExplainArgs;
use crate::codes::{self, Code};
use crate::failure::{Failure, Result};
use crate::output::Output;

#[derive(Serialize)]
struct CodeJson {
    code: &'static str,
    exit_code: u8,
    title: &'static str,
    explanation: &'static str,
    remedy: &'static str,
}

pub(crate) fn explain(args: &ExplainArgs, output: &Output) -> Result<()> {
    let Some(wanted) = &args.code else {
        let all: Vec<CodeJson> = codes::CODES.iter().map(|code| to_json(code)).collect();
        output.answer(&all, || {
            let line = |code: &&Code| format!("{}  exit {:>3}  {}\n", code.id, code.exit.code(), code.title);
            codes::CODES.iter().map(line).collect()
        });
        return Ok(());
    };
    let code = codes::find(wanted).ok_or_else(|| {
        Failure::new(&codes::USAGE, format!("there is no code `{wanted}`"))
            .hint("`hcrun explain` without a code lists all")
    })?;
    output.answer(&to_json(code), || {
        format!(
            "{}: {}\nexit code {}: {}\n\n{}\n\nWhat to do: {}.",
            code.id,
            code.title,
            code.exit.code(),
            code.exit.meaning(),
            code.explanation,
            code.remedy
        )
    });
    Ok(())
}

fn to_json(code: &Code) -> CodeJson {
    CodeJson {
        code: code.id,
        exit_code: code.exit.code(),
        title: code.title,
        explanation: code.explanation,
        remedy: code.remedy,
    }
}
