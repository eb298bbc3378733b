use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::serve::refuse;
use super::{Answer, running};
use crate::app::{Service, log, run_agent};
use crate::config::{Kind, load_agent};

/// Run the heartbeat agent on a gateway.
///
/// Checks whether the gateway works, samples its load, and tells both to the front doors that ask. Reads
/// its configuration again on SIGHUP and when a certificate file changes; stops in order on SIGINT and SIGTERM.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vestibule heartbeat -c /etc/vestibule/heartbeat.toml")]
pub struct Heartbeat {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "config/heartbeat.toml")]
    config: PathBuf,
}

impl Heartbeat {
    pub fn run(self) -> anyhow::Result<Answer> {
        // before the first thread
        let service = Service::from_env();
        let (settings, warnings) = match load_agent(&self.config) {
            Ok(loaded) => loaded,
            Err(problems) => return refuse(&self.config, Kind::Agent, &problems),
        };
        let _guard = log::start(settings.log);
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let path = self.config;
        let reload = Arc::new(move || load_agent(&path));
        running::until_told_to_stop(|stop| run_agent(service, settings, reload, stop))?;
        Ok(Answer::Yes)
    }
}
