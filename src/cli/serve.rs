use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::{Answer, output, running};
use crate::app::{FrontDoor, Service, log};
use crate::config::{Kind, Problem, kind_of, load_front};

/// Run a front door.
///
/// Reads its configuration again on SIGHUP, on `vestibule reload`, and when a certificate file changes;
/// stops in order on SIGINT and SIGTERM.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vestibule serve -c /etc/vestibule/vestibule.toml")]
pub struct Serve {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "config/vestibule.toml")]
    config: PathBuf,
}

impl Serve {
    pub fn run(self) -> anyhow::Result<Answer> {
        // before the first thread
        let service = Service::from_env();
        let (settings, warnings) = match load_front(&self.config) {
            Ok(loaded) => loaded,
            Err(problems) => return refuse(&self.config, Kind::Front, &problems),
        };
        let _guard = log::start(settings.log);
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let path = self.config;
        running::until_told_to_stop(async |stop| {
            let door = FrontDoor::open_as(service, settings).await?;
            door.run(Arc::new(move || load_front(&path)), stop).await
        })?;
        Ok(Answer::Yes)
    }
}

/// Tells what is wrong with a configuration that something of this kind was to be run with.
pub fn refuse(config: &Path, wanted: Kind, problems: &[Problem]) -> anyhow::Result<Answer> {
    let config_shown = config.display();
    match (wanted, kind_of(config)) {
        (Kind::Front, Kind::Agent) => anyhow::bail!(
            "{config_shown} is a heartbeat agent's configuration; run it with: vestibule heartbeat -c {config_shown}"
        ),
        (Kind::Agent, Kind::Front) if config.exists() => anyhow::bail!(
            "{config_shown} is a front door's configuration; run it with: vestibule serve -c {config_shown}"
        ),
        _ => {}
    }
    output::problems(problems);
    anyhow::bail!(
        "nothing is started with a configuration that has errors; correct them, then try: vestibule check -c {config_shown}"
    )
}
