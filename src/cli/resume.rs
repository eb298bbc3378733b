use clap::Args;

use super::drain::tell;
use super::status::AdminArgs;
use super::{Answer, running};
use crate::admin::client::gateway_path;
use crate::fleet::State;

/// Take a drained gateway back into the choice.
///
/// Exit status 1: there is no gateway of that name.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vestibule resume gw1")]
pub struct Resume {
    /// Its name in the configuration.
    gateway: String,
    #[command(flatten)]
    admin: AdminArgs,
}

impl Resume {
    pub fn run(self) -> anyhow::Result<Answer> {
        running::once(async {
            let path = gateway_path(&self.gateway, "resume");
            let reply = self.admin.client()?.post(&path, "").await?;
            tell(&reply, |changed| {
                let gateway = &changed.gateway;
                match gateway.state {
                    State::Up => format!("{} takes newcomers again\n", gateway.name),
                    state => format!(
                        "{} is no longer drained by order, and takes no newcomers (state: {}): {}\n",
                        gateway.name,
                        state.as_str(),
                        gateway.reason.replace(char::is_control, " ")
                    ),
                }
            })
        })
    }
}
