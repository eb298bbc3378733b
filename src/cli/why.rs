use std::net::IpAddr;

use clap::Args;

use super::output::{self, Format};
use super::status::AdminArgs;
use super::vpn::Kind;
use super::{Answer, running};
use crate::admin::why::{Question, Why as Document, table};

/// Explain which gateway the front door would choose now.
///
/// Every gateway with its place, its load and what that is made of, or why it is left out. Nothing is changed by asking.
/// Exit status 1: no gateway would be chosen.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vestibule why\n  vestibule why --listener portal-proxy --source 203.0.113.7\n  \
                  vestibule why --vpn native --format json"
)]
pub struct Why {
    /// At which listener, by its name; `dve` and `ikev2_redirect` are those who answer native clients. Otherwise the first
    /// one.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// For which kind of client, at the first listener for such.
    #[arg(long, value_enum)]
    vpn: Option<Kind>,
    /// For which client: it decides where a listener chooses by address.
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    admin: AdminArgs,
}

impl Why {
    pub fn run(self) -> anyhow::Result<Answer> {
        running::once(async {
            let question =
                Question { listener: self.listener, vpn: self.vpn.map(Into::into), source: self.source };
            let reply = self.admin.client()?.get(&question.path()).await?;
            if !reply.status.is_success() {
                anyhow::bail!("{}", reply.error().error);
            }
            let why: Document = reply.json()?;
            output::print(&match self.format {
                Format::Json => serde_json::to_string_pretty(&why)? + "\n",
                Format::Text => table::render(&why, output::style()),
            })?;
            Ok(if why.names_somebody() { Answer::Yes } else { Answer::No })
        })
    }
}
