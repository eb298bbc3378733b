use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::serve::refuse;
use super::{Answer, output, running};
use crate::config::{Kind, kind_of, load_agent, load_front};
use crate::vrrp::{Fitness, Plan, own_addresses};

/// Print the keepalived.conf that belongs to a configuration.
///
/// For a front door with [[vrrp]], or for a gateway whose agent has [vrrp] with [[vrrp.instance]]. To be made on the host
/// that it is for, where the interfaces and their addresses are, and again when either changes. What is likely wrong is
/// told on standard error.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vestibule keepalived -c /etc/vestibule/vestibule.toml > /etc/keepalived/keepalived.conf"
)]
pub struct Keepalived {
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

impl Keepalived {
    pub fn run(self) -> anyhow::Result<Answer> {
        let kind = kind_of(&self.config);
        let loaded = match kind {
            Kind::Front => load_front(&self.config)
                .map(|(settings, warnings)| (settings.node_name, settings.vrrp, None, warnings)),
            Kind::Agent => load_agent(&self.config).map(|(settings, warnings)| {
                let track_file = settings.agent.track_file;
                (settings.agent.name.to_string(), settings.vrrp, track_file, warnings)
            }),
        };
        let (name, instances, track_file, warnings) = match loaded {
            Ok(loaded) => loaded,
            Err(problems) => return refuse(&self.config, kind, &problems),
        };
        output::problems(&warnings);
        if instances.is_empty() {
            let table = if kind == Kind::Front { "[[vrrp]]" } else { "[[vrrp.instance]]" };
            anyhow::bail!(
                "there is no {table} in {}, so there is nothing for keepalived to do; add one",
                self.config.display()
            );
        }
        let fitness = track_file.as_deref().map_or(Fitness::FrontDoor, Fitness::TrackFile);
        let interfaces: Vec<_> = instances.iter().map(|instance| instance.interface.as_str()).collect();
        let own = running::once(async { Ok(own_addresses(&interfaces).await) })?;
        let mut unknown = None;
        let own = own.unwrap_or_else(|error| {
            unknown = Some(format!("the addresses of this host are not known: {error}"));
            BTreeMap::new()
        });
        let program = std::env::current_exe().context("where this program is cannot be found out")?;
        let config = std::path::absolute(&self.config)
            .with_context(|| format!("{} cannot be found", self.config.display()))?;
        let plan = Plan {
            node: &name,
            instances: &instances,
            fitness,
            own: &own,
            program: &program,
            config: &config,
        };
        let written = plan.write()?;
        for warning in unknown.iter().chain(&written.warnings) {
            output::warning(warning);
        }
        output::print(&written.text)?;
        Ok(Answer::Yes)
    }
}
