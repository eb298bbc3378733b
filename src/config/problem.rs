use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Something wrong, or likely wrong, in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// The file, as it was named.
    pub file: PathBuf,
    /// Counted from 1; 0 where the problem is not at any line.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// A warning that `vestibule check` refuses the file for, while `serve` starts with it.
    ///
    /// For what cannot do what this program is there for, VPN tunnels, but does serve something else: who
    /// sets up a farm must not be told that all is well, and who means it must not be held up.
    Objection,
    /// Legal, but likely not what was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Objection | Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        write!(f, " {}: {}", self.severity, self.message)
    }
}

/// Collects every problem of one file.
#[derive(Debug)]
pub struct Problems<'a> {
    file: &'a Path,
    text: &'a str,
    found: RefCell<Vec<Problem>>,
}

/// Where in the text something stands, in bytes.
pub type Span = Range<usize>;

impl<'a> Problems<'a> {
    /// None yet.
    pub fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, found: RefCell::default() }
    }

    /// Notes an error at a place.
    pub fn error(&self, span: &Span, message: impl Into<String>) {
        self.note(Severity::Error, span, message.into());
    }

    /// Notes a warning at a place that `vestibule check` refuses the file for.
    pub fn objection(&self, span: &Span, message: impl Into<String>) {
        self.note(Severity::Objection, span, message.into());
    }

    /// Notes a warning at a place.
    pub fn warning(&self, span: &Span, message: impl Into<String>) {
        self.note(Severity::Warning, span, message.into());
    }

    /// Takes the value, or notes the error at a place.
    pub fn take<T, E: fmt::Display>(&self, span: &Span, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.error(span, error.to_string())).ok()
    }

    /// Everything noted, in the order of the file.
    pub fn into_list(self) -> Vec<Problem> {
        let mut list = self.found.into_inner();
        list.sort_by_key(|p| (p.line, p.column));
        list
    }

    fn note(&self, severity: Severity, span: &Span, message: String) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let file = self.file.to_path_buf();
        self.found.borrow_mut().push(Problem { severity, file, line, column, message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_by_line_and_column_in_characters() {
        let problems = Problems::new(Path::new("a.toml"), "x = 1\nname = \"ü\" oops\n");
        problems.error(&(18..22), "what is this");
        problems.warning(&(0..1), "first");
        let shown: Vec<_> = problems.into_list().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a.toml:1:1: warning: first", "a.toml:2:12: error: what is this"]);
    }
}
