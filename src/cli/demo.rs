use std::fmt::Write;

use clap::Args;

use super::{Answer, output, running};
use crate::app::log;
use crate::config::LogSettings;
use crate::demo::{Farm, Ports};
use crate::dve::PublicKey;
use anyhow::Context;

/// Run a whole farm on this machine to try things out.
///
/// A front door, gateways with heartbeat agents and made certificates, all on loopback, as an ordinary user,
/// without a file. The gateways are pretend ones, and their load moves: visit the front door again and again
/// and see it steer, by a redirect, as a proxy, with TLS passed through, or
/// by an answer over UDP. Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vestibule demo --gateways 5")]
pub struct Demo {
    /// How many gateways.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    gateways: u8,
}

impl Demo {
    pub fn run(self) -> anyhow::Result<Answer> {
        let _guard = log::start(LogSettings::default());
        running::until_told_to_stop(async |stop| {
            let mut farm = Farm::open(usize::from(self.gateways), Ports::Usual).await?;
            farm.add_proxy_and_passthrough()?;
            let key = farm.add_dve()?;
            let token = farm.add_token()?;
            output::print(&introduction(&mut farm, &key, &token)?)?;
            farm.run(true, stop).await
        })?;
        Ok(Answer::Yes)
    }
}

fn introduction(farm: &mut Farm, key: &PublicKey, token: &str) -> anyhow::Result<String> {
    let program = std::env::args_os().next().unwrap_or_else(|| "vestibule".into());
    let program = program.to_string_lossy();
    let admin = farm.settings().admin.listen;
    let addresses: Vec<_> = farm.settings().listeners.iter().map(|listener| listener.address).collect();
    let [front, proxy, passthrough] = addresses.as_slice() else {
        anyhow::bail!("the demo lacks a listener")
    };
    let dve = farm.settings().dve.as_ref().and_then(|dve| dve.listen.first().copied());
    let dve = dve.context("the demo answers no DVE")?;
    let mut text = format!(
        "A front door and {} gateways on this machine, with certificates made just now. Ctrl-C ends it all.\n\n\
         \x20 Ask where you would be sent     curl -k -i https://{front}/\n\
         \x20 Go there                        curl -k -L https://{front}/\n\
         \x20 With a browser                  https://{front}/ (and accept the certificate)\n\
         \x20 Through a proxy, by turns       curl -k https://{proxy}/\n\
         \x20 With a session, to the same     curl -k -b jar -c jar https://{proxy}/\n\
         \x20 With TLS passed through         curl -k https://{passthrough}/   (always the same one: by your address)\n\
         \x20 As a native client, over DVE    {program} resolve --server {dve} --key {key}\n\
         \x20 See the farm                    http://{admin}/   (draining a gateway there takes the token {token})\n\
         \x20 The same on a terminal          {program} status --admin {admin}\n\
         \x20 See why it chooses as it does   {program} why --admin {admin}\n\
         \x20 The same for programs           curl http://{admin}/api/v1/status\n\
         \x20 Metrics                         curl http://{admin}/metrics\n\n",
        farm.gateways().len()
    );
    for gateway in farm.gateways() {
        writeln!(
            text,
            "  {:<31} https://{}/",
            format!("Gateway {}", gateway.name()),
            gateway.page_address()?
        )?;
    }
    text.push_str("\nTheir loads move: ask again and again. Below is the front door's log.\n\n");
    Ok(text)
}
