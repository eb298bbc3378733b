use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::{Answer, CommandLine, output};

/// Print a page of the manual, or write all of them.
///
/// Read one with `vestibule man status | man -l -`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vestibule man\n  vestibule man certs init | man -l -\n  \
                  vestibule man --dir /usr/local/share/man/man1")]
pub struct Man {
    /// Of which command; otherwise of all together.
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write a page for each command to this folder, which is made if it is missing.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub fn run(self) -> anyhow::Result<Answer> {
        let mut all = CommandLine::command().disable_help_subcommand(true);
        all.build();
        match &self.dir {
            Some(dir) => write_all(&all, dir)?,
            None => {
                let command = self.command.iter().try_fold(&all, |command, name| {
                    let found = command.get_subcommands().find(|sub| sub.get_name() == name);
                    found.with_context(|| {
                        let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
                        match names.as_slice() {
                            [] => format!("'{}' has no commands of its own", command.get_name()),
                            names => format!("there is no command '{name}'; there are: {}", names.join(", ")),
                        }
                    })
                })?;
                output::print(&page(command)?)?;
            }
        }
        Ok(Answer::Yes)
    }
}

fn write_all(all: &Command, dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let mut waiting = vec![all];
    while let Some(command) = waiting.pop() {
        let file = dir.join(format!("{}.1", full_name(command)));
        std::fs::write(&file, page(command)?)
            .with_context(|| format!("{} cannot be written", file.display()))?;
        waiting.extend(command.get_subcommands());
    }
    Ok(())
}

/// `vestibule-certs-init`
fn full_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// A page in the format of man(7), section 1.
fn page(command: &Command) -> anyhow::Result<String> {
    let words = Words::of(command);
    // its exit status has a section of its own
    let described = command.clone().long_about(words.description.clone());
    let man = clap_mangen::Man::new(described);
    // without a date, so that the same version always gives the same page
    let (name, version) = (full_name(command), env!("CARGO_PKG_VERSION"));
    let mut text = format!(".TH {name} 1 \"\" \"vestibule {version}\" \"Vestibule Manual\"\n").into_bytes();
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    let no = words.no.as_deref().map(|no| ("1", no));
    let yes = if no.is_some() { "Yes, or done." } else { "Done." };
    let failed = "Bad usage, bad configuration, or a failure; standard error says what to do.";
    for (status, meaning) in [("0", yes)].into_iter().chain(no).chain([("2", failed)]) {
        entry(&mut roff, status, meaning);
    }
    section(&mut roff, "FILES", files(name));
    let variables = command.get_arguments().filter_map(|argument| {
        let named = argument.get_env()?.to_str()?;
        Some((named, format!("Stands for --{}.", argument.get_long()?)))
    });
    let others = variables_of(name).iter().map(|(name, use_)| (*name, (*use_).to_owned()));
    let variables: Vec<_> = variables.chain(others).collect();
    section(&mut roff, "ENVIRONMENT", variables.iter().map(|(name, use_)| (*name, use_.as_str())));
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in words.examples.lines() {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
    roff.control("SH", ["SEE ALSO"]);
    let related = related(name);
    for (i, name) in related.iter().enumerate() {
        let comma = if i + 1 < related.len() { "," } else { "" };
        roff.text([bold(*name), roman(format!("(1){comma}"))]);
    }
    roff.to_writer(&mut text)?;
    Ok(String::from_utf8(text)?)
}

/// What the help of a command says, taken apart.
struct Words {
    description: String,
    /// What exit status 1 means.
    no: Option<String>,
    examples: String,
}

impl Words {
    fn of(command: &Command) -> Self {
        let about = command.get_long_about().or_else(|| command.get_about());
        let about = about.map(ToString::to_string).unwrap_or_default();
        let (description, no) = match about.split_once("Exit status 1: ") {
            Some((before, no)) => (before.trim_end().to_owned(), Some(capitalised(no.trim()))),
            None => (about, None),
        };
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples = after.strip_prefix("Example:\n").unwrap_or_default().to_owned();
        Self { description, no, examples }
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let stop = if text.ends_with('.') { "" } else { "." };
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<String>() + stop
}

fn section<'a>(roff: &mut Roff, title: &str, entries: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let mut entries = entries.into_iter().peekable();
    if entries.peek().is_some() {
        roff.control("SH", [title]);
        entries.for_each(|(term, meaning)| entry(roff, term, meaning));
    }
}

fn entry(roff: &mut Roff, term: &str, meaning: &str) {
    roff.control("TP", []);
    roff.text([italic(term)]);
    roff.text([roman(meaning)]);
}

const SOCKET: (&str, &str) = ("/run/vestibule/admin.sock", "The running front door's admin socket.");
const FRONT_FILE: (&str, &str) =
    ("config/vestibule.toml", "The front door's configuration, if none is named.");

fn files(name: &str) -> Vec<(&'static str, &'static str)> {
    let state = ("/var/lib/vestibule/state.json", "What outlives the front door's process: who is drained.");
    match name {
        "vestibule-serve" => vec![FRONT_FILE, SOCKET, state],
        "vestibule-heartbeat" => {
            vec![("config/heartbeat.toml", "The agent's configuration, if none is named.")]
        }
        "vestibule-ready" => vec![FRONT_FILE],
        "vestibule-drain" | "vestibule-resume" => vec![SOCKET, state],
        "vestibule-status" | "vestibule-why" | "vestibule-reload" => vec![SOCKET],
        _ => Vec::new(),
    }
}

fn variables_of(name: &str) -> &'static [(&'static str, &'static str)] {
    match name {
        "vestibule-status" | "vestibule-why" => &[
            ("NO_COLOR", "If it is set and not empty, nothing is coloured."),
            ("LC_ALL, LC_CTYPE, LANG", "Where the character set is not UTF-8, tables keep to ASCII."),
        ],
        "vestibule-serve" | "vestibule-heartbeat" => {
            &[("NOTIFY_SOCKET, WATCHDOG_USEC", "As systemd sets them: who is told that all is well.")]
        }
        _ => &[],
    }
}

fn related(name: &str) -> &'static [&'static str] {
    match name {
        "vestibule" => &[
            "vestibule-demo",
            "vestibule-serve",
            "vestibule-heartbeat",
            "vestibule-check",
            "vestibule-status",
            "vestibule-why",
        ],
        "vestibule-serve" => {
            &["vestibule", "vestibule-check", "vestibule-status", "vestibule-reload", "vestibule-ready"]
        }
        "vestibule-heartbeat" => &["vestibule", "vestibule-check", "vestibule-fence"],
        "vestibule-check" => &["vestibule", "vestibule-serve", "vestibule-heartbeat", "vestibule-reload"],
        "vestibule-status" => &["vestibule", "vestibule-why", "vestibule-drain"],
        "vestibule-why" => &["vestibule", "vestibule-status"],
        "vestibule-drain" => &["vestibule", "vestibule-resume", "vestibule-status"],
        "vestibule-resume" => &["vestibule", "vestibule-drain", "vestibule-status"],
        "vestibule-reload" => &["vestibule", "vestibule-check", "vestibule-serve"],
        "vestibule-ready" | "vestibule-keepalived" => {
            &["vestibule", "vestibule-ready", "vestibule-keepalived", "keepalived"]
        }
        "vestibule-fence" => &["vestibule", "vestibule-fence-list", "vestibule-fence-clear"],
        "vestibule-fence-list" | "vestibule-fence-clear" => {
            &["vestibule", "vestibule-fence-list", "vestibule-fence-clear", "vestibule-heartbeat"]
        }
        "vestibule-certs" => &["vestibule", "vestibule-certs-init"],
        _ => &["vestibule"],
    }
}
