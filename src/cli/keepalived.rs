use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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
        let fifo = instances.iter().find_map(|instance| instance.notify_fifo.as_deref());
        let fifo_owner = match fifo.map_or(Ok(None), owner_of_folder) {
            Ok(owner) => owner,
            Err(warning) => {
                output::warning(&warning);
                None
            }
        };
        let plan = Plan {
            node: &name,
            instances: &instances,
            fitness,
            fifo_owner: fifo_owner.as_deref(),
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

/// The name of the user whose folder the fifo is in, where that is not root: as that one the front door runs. `None` also
/// where there is no such folder yet: there keepalived makes no fifo either. Whom this host does not know must not be named:
/// keepalived would go on without a fifo.
fn owner_of_folder(fifo: &Path) -> Result<Option<String>, String> {
    let Some(Ok(folder)) = fifo.parent().map(std::fs::metadata) else { return Ok(None) };
    let uid = folder.uid();
    if uid == 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string(USERS).unwrap_or_default();
    let owner = users.lines().find_map(|line| user_of(line, uid)).map(|name| Some(name.to_owned()));
    owner.ok_or_else(|| {
        format!(
            "the folder of {} belongs to user {uid}, who is not in {USERS}; start the front door before keepalived, so that \
             it makes the fifo itself",
            fifo.display()
        )
    })
}

/// The name in a line of passwd(5) if it is that user's.
fn user_of(line: &str, uid: u32) -> Option<&str> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    (fields.nth(1)?.parse() == Ok(uid) && !name.is_empty()).then_some(name)
}

const USERS: &str = "/etc/passwd";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_by_his_number() {
        let line = "vestibule:x:998:997::/var/lib/vestibule:/usr/sbin/nologin";
        assert_eq!(user_of(line, 998), Some("vestibule"));
        for line in ["vestibule:x:99:998::/:/bin/sh", "998:x:1:1", "a:998:x", "vestibule", "", "::998"] {
            assert_eq!(user_of(line, 998), None, "{line}");
        }
    }
}
