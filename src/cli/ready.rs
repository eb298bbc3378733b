use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::time::{Instant, timeout_at};

use super::{Answer, output, running};
use crate::admin::client::{Client, ClientError};
use crate::config::{admin_of, duration};

/// Ask the running front door whether it is fit to own the virtual address.
///
/// For keepalived's vrrp_script. It is fit when its listeners are open and a gateway is available. Exit status 1: it is not, or it does not run; standard
/// error says why.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vestibule ready -c /etc/vestibule/vestibule.toml && echo fit")]
pub struct Ready {
    /// The front door's configuration, which says where its admin socket is.
    #[arg(short, long, value_name = "FILE", default_value = "config/vestibule.toml")]
    config: PathBuf,
    /// Stay for that long, and end as soon as it is fit no longer.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    watch: Option<Duration>,
}

impl Ready {
    pub fn run(self) -> anyhow::Result<Answer> {
        running::once(async {
            let client = Client { address: admin_of(&self.config), token: None };
            let end = Instant::now().checked_add(self.watch.unwrap_or_default());
            let end = end.context("'--watch' is longer than can be counted; give a shorter one")?;
            loop {
                // its end is the first that is seen of a front door that is killed
                let lifeline = client.lifeline().await;
                if let Err(reasons) = ask(&client).await {
                    output::reasons(&reasons);
                    return Ok(Answer::No);
                }
                if Instant::now() >= end {
                    return Ok(Answer::Yes);
                }
                let pause = end.min(Instant::now() + PAUSE);
                match lifeline {
                    Ok(lifeline) => drop(timeout_at(pause, lifeline.ended()).await),
                    Err(_) => tokio::time::sleep_until(pause).await,
                }
            }
        })
    }
}

/// Whether it is, or why not.
async fn ask(client: &Client) -> Result<(), String> {
    // a host that is busy for a moment is no reason to move an address
    let asked = tokio::time::timeout(PATIENCE, client.get("/readyz"));
    let reply = match asked.await {
        Ok(Ok(reply)) => reply,
        Ok(Err(ClientError::NobodyAnswers(address))) => {
            return Err(format!("no front door answers on {address}; is it running?"));
        }
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => {
            let (address, seconds) = (&client.address, PATIENCE.as_secs());
            return Err(format!("the front door on {address} did not answer within {seconds} seconds"));
        }
    };
    if reply.status.is_success() {
        return Ok(());
    }
    let reasons = String::from_utf8_lossy(&reply.body);
    Err(match reasons.trim() {
        "" => format!("the front door answers {}", reply.status),
        reasons => reasons.to_owned(),
    })
}

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// For one answer; less than what keepalived has.
const PATIENCE: Duration = Duration::from_secs(2);
