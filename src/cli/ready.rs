use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::de::IgnoredAny;
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

/// Whether it is, or why not. A host that is busy for a moment is no reason to move an address: whoever is there and gives no
/// answer is asked again.
async fn ask(client: &Client) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let (address, seconds) = (&client.address, PATIENCE.as_secs());
    let mut complaint = format!("the front door on {address} did not answer within {seconds} seconds");
    loop {
        match timeout_at(deadline, client.get("/readyz")).await {
            Err(_) => return Err(complaint),
            Ok(Ok(reply)) if reply.status.is_success() => return Ok(()),
            // only the endpoint itself complains as JSON
            Ok(Ok(reply)) if reply.json::<IgnoredAny>().is_ok() => complaint = reply.error().error,
            Ok(Ok(reply)) => return Err(String::from_utf8_lossy(&reply.body).trim().to_owned()),
            Ok(Err(ClientError::NobodyAnswers(address))) => {
                return Err(format!("no front door answers on {address}; is it running?"));
            }
            Ok(Err(error)) => complaint = error.to_string(),
        }
        if Instant::now() + BREATH >= deadline {
            return Err(complaint);
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// Until one that has given no answer is asked again.
const BREATH: Duration = Duration::from_millis(20);

/// For an answer; less than what keepalived has.
const PATIENCE: Duration = Duration::from_secs(2);
