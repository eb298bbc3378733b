//! What commands print: answers to standard output, complaints to standard error.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;

use crate::admin::columns::Style;
use crate::config::Problem;
use crate::net::words::in_words;

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Prints an answer.
pub fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())?;
    io::stdout().flush()
}

/// Whether nobody reads any more what is printed (`| head`), which is no fault.
pub fn nobody_reads(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether colours are wanted on standard output (<https://no-color.org>).
pub fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether standard output is something that can be drawn on.
pub fn is_screen() -> bool {
    let can_nothing = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdout().is_terminal() && !can_nothing
}

/// What tables look like on standard output. They are not cut: what is not on the screen can be scrolled to, or looked for.
pub fn style() -> Style {
    Style { colour: colour(), width: None, ascii: !is_utf8() }
}

/// Whether the locale's character set is UTF-8 (POSIX, Environment Variables §8.2).
fn is_utf8() -> bool {
    let named = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(std::env::var_os);
    let locale = named.into_iter().find(|value| !value.is_empty()).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    locale.ends_with("utf-8") || locale.ends_with("utf8")
}

/// Prints an error with its causes: `error: what is wrong: why`.
pub fn error(error: &anyhow::Error) {
    let mut text = format!("error: {error}");
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        // the kernel's words, without "(os error 98)", as our own errors tell them
        let cause = cause.downcast_ref::<io::Error>().map_or_else(|| cause.to_string(), in_words);
        // an error that already tells its cause is not told twice
        if !last.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        last = cause;
    }
    complain(&text);
}

/// Prints every problem of a configuration.
pub fn problems(problems: &[Problem]) {
    for problem in problems {
        complain(&problem.to_string());
    }
}

/// Prints that something was done, and is not all that was meant.
pub fn warning(text: &str) {
    complain(&format!("warning: {}", text.replace(char::is_control, " ")));
}

/// Prints why the answer is no.
pub fn reasons(words: &str) {
    complain(words);
}

fn complain(line: &str) {
    // there is nobody left to tell if this fails
    let _ = writeln!(io::stderr(), "{line}");
}
