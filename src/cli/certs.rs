use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::{Answer, output};
use crate::certs::{self, CertsError, Named, Request};

/// Make certificates.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  vestibule certs init --dir certs --name vpn.example.com")]
pub enum Certs {
    Init(Init),
}

/// Make a private authority and everything a farm needs of it.
///
/// A certificate for the portal, one for each front door and each gateway's agent (they show them to each
/// other), and the key that DVE answers are signed with. For trials, and for good between front doors and
/// agents; people's browsers want a portal certificate of a public authority. Nothing is ever overwritten.
/// Exit status 1: a file exists.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vestibule certs init --dir certs --name vpn.example.com --name 62.168.1.203 \\\n    \
                  --front front-a=192.168.200.3 --front front-b=192.168.200.4 \\\n    \
                  --gateway gw1=192.168.200.1 --gateway gw2=192.168.200.2"
)]
pub struct Init {
    /// Where the files go; made if it is missing.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// A name or address that people type to reach the portal.
    #[arg(long, value_name = "HOST", required = true)]
    name: Vec<String>,
    /// A front door, with the addresses at which another one asks it ([peers]).
    #[arg(long, value_name = "NAME[=ADDRESS[,ADDRESS]]", default_value = "front-a")]
    front: Vec<Front>,
    /// A gateway with the addresses at which its agent is asked.
    #[arg(long, value_name = "NAME=ADDRESS[,ADDRESS]", value_parser = Gateway::from_str)]
    gateway: Vec<Gateway>,
}

#[derive(Clone, Debug)]
struct Front(Named);

impl FromStr for Front {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, list)) => {
                Ok(Self(Named { name: name.into(), addresses: addresses(list, "front-a=192.168.200.3")? }))
            }
            None => Ok(Self(Named { name: text.into(), addresses: Vec::new() })),
        }
    }
}

#[derive(Clone, Debug)]
struct Gateway(Named);

impl FromStr for Gateway {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, list) = text.split_once('=').ok_or("must be NAME=ADDRESS, like gw1=192.168.200.1")?;
        Ok(Self(Named { name: name.into(), addresses: addresses(list, "gw1=192.168.200.1")? }))
    }
}

fn addresses(list: &str, example: &str) -> Result<Vec<IpAddr>, String> {
    let wrong = |address: &str| format!("'{address}' is not an address; like {example}");
    list.split(',').map(|address| address.parse().map_err(|_| wrong(address))).collect()
}

impl Certs {
    pub fn run(self) -> anyhow::Result<Answer> {
        let Self::Init(init) = self;
        let request = Request {
            server_names: init.name,
            fronts: init.front.into_iter().map(|front| front.0).collect(),
            gateways: init.gateway.into_iter().map(|gateway| gateway.0).collect(),
        };
        match certs::init(&init.dir, &request) {
            Ok(written) => {
                let width =
                    written.iter().map(|w| w.path.display().to_string().len()).max().unwrap_or_default();
                let line =
                    |w: &certs::Written| format!("{:<width$}  {}\n", w.path.display().to_string(), w.purpose);
                output::print(&written.iter().map(line).collect::<String>())?;
                Ok(Answer::Yes)
            }
            Err(error @ CertsError::Exists(_)) => {
                output::error(&error.into());
                Ok(Answer::No)
            }
            Err(error) => Err(error).context("no certificates were made"),
        }
    }
}
