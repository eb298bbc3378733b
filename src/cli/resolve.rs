use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use super::call::Call;
use super::output::{self, Format};
use super::vpn::Kind;
use super::{Answer, running};
use crate::dve::{
    self, Accept, Clock, Failure, PORT, PublicKey, Question, Rejection, ResolveError, Resolved,
};
use crate::fleet::{Endpoint, VrrpId};
use crate::net::pem::{self, PemError};
use crate::net::words::in_words;

/// Ask front doors which gateway to connect to.
///
/// Asks them over DVE, one after the other, until one names a gateway, and prints its address:port; an IPv6 address
/// stands in brackets. A front door that does not answer takes 1.75 seconds. With a command, that is run in its place:
/// in its arguments {endpoint} becomes address:port, {host} the address without brackets, {port} the port. Exit
/// status 1: no gateway available; with a command that was run, its own.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vestibule resolve --server front-a.example.com --server front-b.example.com \
                  --key dve.pub\n  vestibule resolve --server 62.168.1.203 --key dve.pub --vpn ssl -- openconnect \
                  {endpoint}"
)]
pub struct Resolve {
    /// A front door to ask; the port is 4463 if it is not given.
    #[arg(long, value_name = "HOST[:PORT]", required = true, value_parser = server)]
    server: Vec<Endpoint>,
    /// The public key that front doors sign with: 64 hex digits, or a PEM file with one or more of them.
    #[arg(long, value_name = "PUBLIC_KEY", required = true)]
    key: Vec<String>,
    /// Which kind of VPN the gateway is for.
    #[arg(long, value_enum, default_value_t = Kind::Native)]
    vpn: Kind,
    /// Only gateways with this VRRP ID.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    vrrp_id: Option<u8>,
    /// Only endpoints with an IPv4 address; with -6, either, but no host names.
    #[arg(short = '4', long)]
    ipv4: bool,
    /// Only endpoints with an IPv6 address.
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Believe answers whatever time they tell: for a host that does not know the time yet.
    #[arg(long)]
    ignore_clock: bool,
    /// Print all endpoints that were named, the best first.
    #[arg(long)]
    all: bool,
    /// Go on asking when the time of an answer is over, and print a line when it changes; `-`: no gateway is available.
    #[arg(long)]
    watch: bool,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// What to run with the answer.
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["all", "watch", "format"])]
    command: Vec<OsString>,
}

impl Resolve {
    pub fn run(self) -> anyhow::Result<Answer> {
        let keys = keys(&self.key)?;
        let call = if self.command.is_empty() { None } else { Some(Call::new(self.command.clone())?) };
        if self.watch {
            return self.watch(&keys);
        }
        let answer = running::once(async { Ok(self.ask(&keys).await) })?;
        match (answer, call) {
            (Ok(resolved), Some(call)) => {
                let best = resolved.endpoints.first().context("the answer is empty")?;
                let program = call.program().to_string_lossy();
                Err(call.become_it(best)).with_context(|| format!("{program} cannot be run"))
            }
            (Ok(resolved), None) => {
                output::print(&match self.format {
                    Format::Json => serde_json::to_string_pretty(&Document::of(&resolved))? + "\n",
                    Format::Text => self.named(&resolved).map(|endpoint| format!("{endpoint}\n")).collect(),
                })?;
                Ok(Answer::Yes)
            }
            (Err(error), _) if is_no(&error) => {
                output::error(&advised(&error));
                Ok(Answer::No)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    async fn ask(&self, keys: &[PublicKey]) -> Result<Resolved, ResolveError> {
        let clock = if self.ignore_clock { Clock::Ignored } else { Clock::Trusted };
        dve::resolve(&self.server, keys, self.question(), clock).await
    }

    fn question(&self) -> Question {
        Question {
            vpn: self.vpn.into(),
            vrrp_id: self.vrrp_id.and_then(|id| VrrpId::new(id.into())),
            accept: match (self.ipv4, self.ipv6) {
                (true, false) => Accept::IPV4,
                (false, true) => Accept::IPV6,
                (true, true) => Accept::IPV4.and(Accept::IPV6),
                (false, false) => Accept::ANY,
            },
        }
    }

    /// What is printed of an answer.
    fn named<'a>(&self, resolved: &'a Resolved) -> impl Iterator<Item = &'a Endpoint> {
        let most = if self.all || self.format == Format::Json { usize::MAX } else { 1 };
        resolved.endpoints.iter().take(most)
    }

    /// Prints what changes, until it is told to stop or nobody reads any more.
    fn watch(&self, keys: &[PublicKey]) -> anyhow::Result<Answer> {
        let mut answer = Answer::Yes;
        running::until_told_to_stop(async |mut stop| {
            tokio::select! {
                ended = self.print_changes(keys) => answer = ended?,
                () = stop.stopped() => {}
            }
            Ok(())
        })?;
        Ok(answer)
    }

    async fn print_changes(&self, keys: &[PublicKey]) -> anyhow::Result<Answer> {
        let (mut printed, mut told) = (None, String::new());
        loop {
            let answer = self.ask(keys).await;
            if nobody_reads() {
                return Ok(Answer::Yes);
            }
            let says = match &answer {
                Ok(resolved) => Some(self.named(resolved).cloned().collect()),
                Err(error) if error.retry_after().is_some() => Some(vec![]),
                // where nobody answers, the gateway that was named last may be there all the same
                Err(_) => None,
            };
            if says.is_some() && says != printed {
                output::print(&self.line(&answer)?)?;
                printed = says;
            }
            let pause = match answer {
                Ok(resolved) => {
                    told.clear();
                    resolved.ttl
                }
                Err(error) => {
                    let advised = advised(&error);
                    let text = advised.to_string();
                    if text != told {
                        output::error(&advised);
                        told = text;
                    }
                    match error {
                        ResolveError::Nowhere(_) => error.retry_after().unwrap_or(PATIENCE),
                        error if is_no(&error) => return Ok(Answer::No),
                        error => return Err(error.into()),
                    }
                }
            };
            tokio::time::sleep(pause.max(SHORTEST_PAUSE)).await;
        }
    }

    fn line(&self, answer: &Result<Resolved, ResolveError>) -> anyhow::Result<String> {
        let text = match (self.format, answer) {
            (Format::Json, Ok(resolved)) => serde_json::to_string(&Document::of(resolved))?,
            (Format::Json, Err(error)) => serde_json::to_string(&Document::none(error))?,
            (Format::Text, Ok(resolved)) => {
                self.named(resolved).map(ToString::to_string).collect::<Vec<_>>().join(" ")
            }
            (Format::Text, Err(_)) => "-".into(),
        };
        Ok(text + "\n")
    }
}

/// An answer for programs.
#[derive(Debug, Default, Serialize)]
struct Document {
    endpoints: Vec<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<u64>,
    /// Which front door has answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Named {
    endpoint: String,
    host: String,
    port: u16,
}

impl Document {
    fn of(resolved: &Resolved) -> Self {
        let named = |endpoint: &Endpoint| Named {
            endpoint: endpoint.to_string(),
            host: endpoint.host.bare(),
            port: endpoint.port,
        };
        Self {
            endpoints: resolved.endpoints.iter().map(named).collect(),
            ttl_seconds: Some(resolved.ttl.as_secs()),
            server: Some(resolved.server.to_string()),
            ..Self::default()
        }
    }

    fn none(error: &ResolveError) -> Self {
        let retry_seconds = error.retry_after().map(|retry| retry.as_secs());
        Self { retry_seconds, error: Some(error.to_string()), ..Self::default() }
    }
}

/// How long to wait where nobody has said how long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Whatever anybody says.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

fn server(text: &str) -> Result<Endpoint, String> {
    Endpoint::parse(text, PORT).map_err(|error| error.to_string())
}

fn keys(texts: &[String]) -> anyhow::Result<Vec<PublicKey>> {
    let mut keys = Vec::new();
    for text in texts {
        if let Ok(key) = text.parse() {
            keys.push(key);
            continue;
        }
        let found = pem::read_public_keys(Path::new(text)).map_err(|error| match error {
            PemError::Read(cause) => {
                let cause = in_words(&cause);
                anyhow::anyhow!(
                    "--key {text} is neither 64 hex digits nor a file that can be read ({cause}); give what \
                     `vestibule certs init` has told, or its dve.pub"
                )
            }
            error => anyhow::anyhow!("--key {text} {error}"),
        })?;
        for der in found {
            let key = PublicKey::from_spki(&der).map_err(|error| anyhow::anyhow!("--key {text} {error}"))?;
            keys.push(key);
        }
    }
    Ok(keys)
}

/// Whether the question was answered, with no.
fn is_no(error: &ResolveError) -> bool {
    matches!(error, ResolveError::Nowhere(_) | ResolveError::Unsupported(_))
}

/// An error with what can be done about it on this command line.
fn advised(error: &ResolveError) -> anyhow::Error {
    let any = |is: fn(&Failure) -> bool| error.attempts().iter().any(|attempt| is(&attempt.failure));
    let unknown_key = |failure: &Failure| {
        matches!(failure, Failure::Silent { thrown_away: Some((_, Rejection::UnknownKey)), .. })
    };
    let advice = if any(|failure| matches!(failure, Failure::Clock { .. })) {
        "; set the clock that is wrong, or use --ignore-clock"
    } else if any(unknown_key) {
        "; --key must be the public key of these front doors (dve.pub)"
    } else {
        ""
    };
    anyhow::anyhow!("{error}{advice}")
}

/// Whether the reader of standard output is gone, which is not noticed otherwise before something is printed.
fn nobody_reads() -> bool {
    let stdout = io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    let told = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    told.is_ok() && polled.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}
