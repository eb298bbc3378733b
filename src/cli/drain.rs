use clap::Args;
use http::StatusCode;

use super::status::AdminArgs;
use super::{Answer, output, running};
use crate::admin::client::{Reply, gateway_path};
use crate::admin::order::{Changed, DrainBody};

/// Take a gateway out of the choice, for service.
///
/// Newcomers go elsewhere; its tunnels stay. That holds until `vestibule resume`, over a restart of the front door
/// too. Exit status 1: there is no gateway of that name.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vestibule drain gw1 --reason 'new kernel'")]
pub struct Drain {
    /// Its name in the configuration.
    gateway: String,
    /// Why, for those who see it in the status and in the log: 200 characters at most.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    admin: AdminArgs,
}

impl Drain {
    pub fn run(self) -> anyhow::Result<Answer> {
        running::once(async {
            let body = serde_json::to_vec(&DrainBody { reason: self.reason })?;
            let path = gateway_path(&self.gateway, "drain");
            let reply = self.admin.client()?.post(&path, body).await?;
            tell(&reply, |changed| {
                let gateway = &changed.gateway;
                format!(
                    "{} takes no newcomers; its tunnels stay (state: {})\n",
                    gateway.name,
                    gateway.state.as_str()
                )
            })
        })
    }
}

/// Prints what has become of the order.
pub fn tell(reply: &Reply, words: impl FnOnce(&Changed) -> String) -> anyhow::Result<Answer> {
    match reply.status {
        StatusCode::OK => {
            let changed: Changed = reply.json()?;
            output::print(&words(&changed))?;
            if let Some(warning) = &changed.warning {
                output::warning(warning);
            }
            Ok(Answer::Yes)
        }
        StatusCode::NOT_FOUND => {
            output::print(&format!("{}\n", reply.error().error))?;
            Ok(Answer::No)
        }
        _ => anyhow::bail!("{}", reply.error().error),
    }
}
