use clap::Args;
use http::StatusCode;

use super::status::AdminArgs;
use super::{Answer, output, running};

/// Have the running front door read its configuration again.
///
/// It is taken whole or not at all, and no connection is lost. Exit status 1: the new one was refused, and
/// the old one stays.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vestibule check -c /etc/vestibule/vestibule.toml && vestibule reload")]
pub struct Reload {
    #[command(flatten)]
    admin: AdminArgs,
}

impl Reload {
    pub fn run(self) -> anyhow::Result<Answer> {
        running::once(async {
            let reply = self.admin.client()?.post("/api/v1/reload", "").await?;
            match reply.status {
                StatusCode::OK => {
                    output::print("the configuration has been reloaded\n")?;
                    Ok(Answer::Yes)
                }
                StatusCode::UNPROCESSABLE_ENTITY => {
                    let refusal = reply.error();
                    let lines = refusal.problems.iter().map(|problem| format!("{problem}\n"));
                    output::print(&lines.chain([format!("{}\n", refusal.error)]).collect::<String>())?;
                    Ok(Answer::No)
                }
                _ => anyhow::bail!("{}", reply.error().error),
            }
        })
    }
}
