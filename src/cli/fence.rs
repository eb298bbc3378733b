use clap::{Args, Subcommand};

use super::output::{self, Format};
use super::{Answer, running};
use crate::net::firewall::inventory;

/// Show or remove every firewall rule that Vestibule ever set on this host.
///
/// On a gateway or a front door, and also when nothing of it runs any more. Needs root.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  vestibule fence list")]
pub enum Fence {
    List(List),
    Clear(Clear),
}

/// Show what Vestibule blocks on this host, for whom, and for how much longer.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vestibule fence list --format json")]
pub struct List {
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Remove every firewall rule that Vestibule ever set on this host, and no other.
///
/// An agent or front door that runs sets again what it still has a reason for. Exit status 1: a rule could not be
/// removed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vestibule fence clear")]
pub struct Clear {
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Fence {
    pub fn run(self) -> anyhow::Result<Answer> {
        match self {
            Self::List(list) => list.run(),
            Self::Clear(clear) => clear.run(),
        }
    }
}

impl List {
    fn run(self) -> anyhow::Result<Answer> {
        let inventory = running::once(async { Ok(inventory::list().await) })?;
        output::print(&match self.format {
            Format::Json => serde_json::to_string_pretty(&inventory)? + "\n",
            Format::Text => inventory.to_string(),
        })?;
        all_seen(&inventory.unseen)?;
        Ok(Answer::Yes)
    }
}

impl Clear {
    fn run(self) -> anyhow::Result<Answer> {
        let cleared = running::once(async { Ok(inventory::clear().await) })?;
        output::print(&match self.format {
            Format::Json => serde_json::to_string_pretty(&cleared)? + "\n",
            Format::Text => cleared.to_string(),
        })?;
        for failure in &cleared.failed {
            output::error(&anyhow::anyhow!("{failure}"));
        }
        all_seen(&cleared.unseen)?;
        Ok(if cleared.failed.is_empty() { Answer::Yes } else { Answer::No })
    }
}

/// An answer that leaves something out is none.
fn all_seen(unseen: &[String]) -> anyhow::Result<()> {
    anyhow::ensure!(unseen.is_empty(), "{}", unseen.join("; "));
    Ok(())
}
