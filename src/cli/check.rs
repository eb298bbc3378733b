use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::Answer;
use super::output::{self, Format};
use crate::config::{Kind, Problem, Severity, kind_of, load_agent, load_front};

/// Read a configuration and tell everything that is wrong, or likely wrong, with it.
///
/// Tells by itself whether the file is a front door's or a heartbeat agent's. Certificates and keys are read
/// too. Exit status 1: the file has errors, or a warning of what no VPN client could use, such as a proxy
/// without affinity; with such a warning, a front door still starts.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vestibule check -c /etc/vestibule/vestibule.toml")]
pub struct Check {
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Check {
    pub fn run(self) -> anyhow::Result<Answer> {
        let result = match kind_of(&self.config) {
            Kind::Front => load_front(&self.config).map(|(_, warnings)| warnings),
            Kind::Agent => load_agent(&self.config).map(|(_, warnings)| warnings),
        };
        let problems = result.unwrap_or_else(|problems| problems);
        let count = |severity| problems.iter().filter(|p| p.severity == severity).count();
        let (errors, objections) = (count(Severity::Error), count(Severity::Objection));
        let warnings = objections + count(Severity::Warning);
        let refused = problems.iter().any(refuses);
        match self.format {
            Format::Json => {
                let problems = problems.iter().map(Entry::of).collect();
                let report = Report { refused, errors, warnings, problems };
                output::print(&(serde_json::to_string_pretty(&report)? + "\n"))?;
            }
            Format::Text => {
                let lines = problems.iter().map(|problem| format!("{problem}\n"));
                let total = format!(
                    "{}: {}, {}{}\n",
                    self.config.display(),
                    plural(errors, "error"),
                    plural(warnings, "warning"),
                    match objections {
                        0 => String::new(),
                        all if all == warnings => ", which check refuses".to_owned(),
                        some => format!(", {some} of which check refuses"),
                    }
                );
                output::print(&lines.chain([total]).collect::<String>())?;
            }
        }
        Ok(if refused { Answer::No } else { Answer::Yes })
    }
}

/// Whether the file is refused because of this.
fn refuses(problem: &Problem) -> bool {
    match problem.severity {
        Severity::Error | Severity::Objection => true,
        Severity::Warning => false,
    }
}

#[derive(Serialize)]
struct Report {
    /// Whether the exit status is 1.
    refused: bool,
    errors: usize,
    warnings: usize,
    problems: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    severity: String,
    /// Whether this is a reason for that.
    refused: bool,
    file: String,
    line: usize,
    column: usize,
    message: String,
}

impl Entry {
    fn of(problem: &Problem) -> Self {
        Self {
            severity: problem.severity.to_string(),
            refused: refuses(problem),
            file: problem.file.display().to_string(),
            line: problem.line,
            column: problem.column,
            message: problem.message.clone(),
        }
    }
}

fn plural(count: usize, noun: &str) -> String {
    match count {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
