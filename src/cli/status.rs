use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::output::{self, Format};
use super::{Answer, running, watch};
use crate::admin::client::{Address, Client, ClientError};
use crate::admin::status::{GatewayStatus, Status as Document};
use crate::admin::trust::Token;
use crate::admin::{detail, table};
use crate::fleet::State;

/// Show the gateways and listeners of the running front door.
///
/// With a gateway's name: all that is known of that one. Exit status 1: some gateway, or that one, is not up.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vestibule status\n  vestibule status gw1\n  vestibule status --watch\n  \
                  vestibule status --admin 127.0.0.1:9463 --format json"
)]
pub struct Status {
    /// One gateway, by its name in the configuration.
    gateway: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// How many of the last events to print.
    #[arg(long, value_name = "N", default_value_t = 5)]
    events: usize,
    /// Keep it up to date until interrupted: on a terminal in place (`q` ends it), else printed again every second.
    #[arg(long)]
    watch: bool,
}

/// Which front door is meant.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// The running front door's admin socket, or the ip:port of its admin endpoint.
    #[arg(
        long,
        value_name = "PATH|ADDRESS",
        env = "VESTIBULE_ADMIN",
        default_value = "/run/vestibule/admin.sock"
    )]
    admin: Address,
    /// A file with the token that the admin endpoint asks for; the socket needs none.
    #[arg(long, value_name = "FILE", env = "VESTIBULE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

impl AdminArgs {
    pub fn client(&self) -> anyhow::Result<Client> {
        let token = self.token_file.as_deref().map(|path| {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            Token::new(&text).with_context(|| format!("{} does not hold a token", path.display()))
        });
        Ok(Client { address: self.admin.clone(), token: token.transpose()? })
    }
}

impl Status {
    pub fn run(self) -> anyhow::Result<Answer> {
        running::once(async {
            let client = self.admin.client()?;
            if !self.watch {
                let status = ask(&client).await?;
                output::print(&self.render(&status)?)?;
                let meant =
                    |gateway: &&GatewayStatus| self.gateway.as_ref().is_none_or(|name| gateway.name == *name);
                let all_up = status.gateways.iter().filter(meant).all(|gateway| gateway.state == State::Up);
                return Ok(if all_up { Answer::Yes } else { Answer::No });
            }
            if self.format == Format::Text && output::is_screen() {
                match ask(&client).await {
                    Ok(status) => drop(self.render(&status)?),
                    // who is refused now will be refused again; who is not there may come
                    Err(error) if error.downcast_ref::<ClientError>().is_none() => return Err(error),
                    Err(_) => {}
                }
                watch::live(&client, self.gateway, self.events).await?;
                return Ok(Answer::Yes);
            }
            loop {
                // a front door that is started again is worth waiting for
                let text = match ask(&client).await {
                    Ok(status) => self.render(&status)?,
                    Err(error) => format!("{error}\n"),
                };
                output::print(&text)?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
    }

    fn render(&self, status: &Document) -> anyhow::Result<String> {
        let gateway = match &self.gateway {
            None => None,
            Some(name) => {
                Some(status.gateways.iter().find(|gateway| gateway.name == *name).with_context(|| {
                    let names: Vec<_> = status.gateways.iter().map(|gateway| gateway.name.as_str()).collect();
                    format!("there is no gateway of that name; there are: {}", names.join(", "))
                })?)
            }
        };
        let style = output::style();
        Ok(match (self.format, gateway) {
            (Format::Json, None) => serde_json::to_string_pretty(status)? + "\n",
            (Format::Json, Some(gateway)) => serde_json::to_string_pretty(gateway)? + "\n",
            (Format::Text, None) => table::render(status, self.events, style),
            (Format::Text, Some(gateway)) => detail::render(status, gateway, self.events, style),
        })
    }
}

/// How things stand.
pub async fn ask(client: &Client) -> anyhow::Result<Document> {
    let reply = client.get("/api/v1/status").await?;
    if !reply.status.is_success() {
        anyhow::bail!("{}", reply.error().error);
    }
    Ok(reply.json()?)
}
