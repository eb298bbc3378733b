use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::Answer;
use super::output::{self, Format};
use crate::config::{Kind, Problem, Severity, kind_of, load_agent, load_front};

/// Read a configuration and tell everything that is wrong, or likely wrong, with it.
///
/// Tells by itself whether the file is a front door's or a heartbeat agent's. Certificates and keys are read
/// too. Exit status 1: the file has errors.
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
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        match self.format {
            Format::Json => {
                let report = Report { errors, warnings, problems: problems.iter().map(Entry::of).collect() };
                output::print(&(serde_json::to_string_pretty(&report)? + "\n"))?;
            }
            Format::Text => {
                let lines = problems.iter().map(|problem| format!("{problem}\n"));
                let total = format!(
                    "{}: {}, {}\n",
                    self.config.display(),
                    plural(errors, "error"),
                    plural(warnings, "warning")
                );
                output::print(&lines.chain([total]).collect::<String>())?;
            }
        }
        Ok(if errors == 0 { Answer::Yes } else { Answer::No })
    }
}

#[derive(Serialize)]
struct Report {
    errors: usize,
    warnings: usize,
    problems: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    severity: String,
    file: String,
    line: usize,
    column: usize,
    message: String,
}

impl Entry {
    fn of(problem: &Problem) -> Self {
        Self {
            severity: problem.severity.to_string(),
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
