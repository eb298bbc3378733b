use anyhow::Context;
use tokio::net::TcpListener;

use crate::config::AgentSettings;
use crate::heartbeat;
use crate::net::client::in_words;
use crate::net::stop::Stop;

/// Runs a heartbeat agent until told to stop.
pub async fn run_agent(settings: AgentSettings, stop: Stop) -> anyhow::Result<()> {
    let address = settings.agent.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| anyhow::anyhow!("cannot listen on {address}: {}", in_words(&error)))?;
    let name = settings.agent.name.clone();
    tracing::info!(name = &*name, %address, version = env!("CARGO_PKG_VERSION"), "heartbeat agent starts");
    heartbeat::run(settings.agent, listener, stop).await.context("the heartbeat agent has failed")?;
    tracing::info!(name = &*name, "heartbeat agent has stopped");
    Ok(())
}
