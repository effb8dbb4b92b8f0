//! The only place that prints: data on stdout, everything else on stderr.

#![expect(clippy::print_stderr, reason = "printing is what this module is for")]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{LazyLock, OnceLock};

use serde::Serialize;

use crate::cli::Global;
use crate::codes;
use crate::failure::Failure;

/// Version of the JSON that verbs print: `{schema, ok, data | error}`. Additions keep the number.
pub const SCHEMA: u32 = 1;

/// How to answer: for people or as JSON, with notes or without.
#[derive(Debug, Clone)]
pub struct Output {
    json: bool,
    quiet: bool,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    schema: u32,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<crate::failure::ErrorJson<'a>>,
}

impl Output {
    pub fn new(global: &Global) -> Output {
        Output { json: global.json, quiet: global.quiet }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// The answer of a verb: `data` as JSON, or `text` for people.
    pub fn answer<T: Serialize>(&self, data: &T, text: impl FnOnce() -> String) {
        if self.json {
            let envelope = Envelope { schema: SCHEMA, ok: true, data: Some(data), error: None };
            write_line(&to_json(&envelope));
        } else {
            write_line(&printable(text().trim_end_matches('\n')));
        }
    }

    /// The answer of a verb whose JSON is one flat object with a `schema` of its own.
    pub fn document<T: Serialize>(&self, document: &T, text: impl FnOnce() -> String) {
        match self.json {
            true => write_line(&to_json(document)),
            false => write_line(&printable(text().trim_end_matches('\n'))),
        }
    }

    /// One line of text that is data, whatever the mode (a log line, a script).
    pub fn line(&self, text: &str) {
        write_line(text);
    }

    /// A remark for people; not data.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            eprintln!("{}", printable(text));
        }
    }

    /// Something a person should look at; printed also when quiet.
    pub fn warn(&self, text: &str) {
        eprintln!("warning: {}", printable(text));
    }

    pub fn failure(&self, failure: &Failure) -> ExitCode {
        if self.json {
            let envelope =
                Envelope::<()> { schema: SCHEMA, ok: false, data: None, error: Some(failure.to_json()) };
            write_line(&to_json(&envelope));
        } else {
            eprintln!("{}", printable(&failure.to_string()));
        }
        ExitCode::from(failure.exit_code())
    }
}

/// Answers a command line that could not be read, or `--help` and `--version`.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help on a closed pipe (`hcrun --help | head -1`) is no failure.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    let text = error.to_string();
    let text = text.trim_start_matches("error: ").trim_end();
    let what = text.lines().next().unwrap_or("the command line cannot be read");
    let failure = Failure::new(&codes::USAGE, what);
    if wants_json {
        return Output { json: true, quiet: false }.failure(&failure);
    }
    let _ = error.print();
    eprintln!("code: {id} (`hcrun explain {id}` says more)", id = codes::USAGE.id);
    ExitCode::from(failure.exit_code())
}

/// Version, protocol version and build, as two workers compare them.
pub fn long_version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        format!(
            "{}\nprotocol {}\nbuild {build} {}-{}",
            env!("CARGO_PKG_VERSION"),
            hcrun_protocol::control::PROTOCOL_VERSION,
            std::env::consts::ARCH,
            std::env::consts::OS
        )
    });
    &TEXT
}

/// Whether progress may redraw its line.
pub fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Without control characters but line ends and tabs: what workers, files and models say must not drive the
/// terminal it is read on.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("answers have string keys only")
}

/// Says so if data could not be written to stdout: the command has not done what it was asked for.
pub(crate) fn unwritten() -> Option<ExitCode> {
    let cause = UNWRITTEN.get()?;
    let failure = Failure::new(&codes::OUTPUT_UNWRITABLE, "cannot write the answer");
    let failure = failure.at("standard output").because(cause);
    eprintln!("{}", printable(&failure.to_string()));
    Some(ExitCode::from(failure.exit_code()))
}

static UNWRITTEN: OnceLock<String> = OnceLock::new();

fn write_line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        // A reader that went away (`| head`) is no failure of ours.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            UNWRITTEN.get_or_init(|| error.to_string());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_others_say_does_not_drive_the_terminal() {
        assert_eq!(
            printable("a\u{1b}[2Jb\r\u{9b}1m\n\tc\u{7}"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}1m\n\tc\u{fffd}"
        );
    }
}
