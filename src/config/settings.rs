use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;

use super::files::SeenFile;
use crate::admin::trust::Token;
use crate::dve::DveSettings;
use crate::fence::FenceSettings;
use crate::fleet::FleetSettings;
use crate::front::ListenerSettings;
use crate::ike::IkeSettings;
use crate::peer::PeerSettings;
use crate::probe::ProbeSettings;
use crate::vrrp::Instance;

/// Everything a front door runs on.
#[derive(Clone, Debug)]
pub struct FrontSettings {
    /// Its name.
    pub node_name: String,
    /// Where what outlives the process is kept; `None`: nothing is.
    pub state_dir: Option<PathBuf>,
    /// Data-plane threads; at least one.
    pub workers: usize,
    /// The admin endpoint.
    pub admin: AdminSettings,
    /// The log.
    pub log: LogSettings,
    /// The doors.
    pub listeners: Vec<ListenerSettings>,
    /// The farm.
    pub fleet: FleetSettings,
    /// How each gateway is asked.
    pub probes: Vec<ProbeSettings>,
    /// What answers native clients over DVE, if anything does.
    pub dve: Option<DveSettings>,
    /// What redirects IKEv2 clients, if anything does.
    pub ike: Option<IkeSettings>,
    /// How gateways that fail are fenced.
    pub fence: FenceSettings,
    /// The virtual addresses that it shares with another front door; none: it is alone.
    pub vrrp: Vec<Instance>,
    /// Whom it asks how things stand: the other front doors, if there are any.
    pub peers: PeerSettings,
    /// Where the others ask it, if anywhere.
    pub peer_door: Option<PeerDoor>,
    /// The certificates, keys and other files these settings were read from, beside the configuration.
    pub files: Vec<SeenFile>,
}

/// Where other front doors ask this one.
#[derive(Clone, Debug)]
pub struct PeerDoor {
    /// TCP.
    pub listen: SocketAddr,
    /// This front door's certificate, and whose certificates the others must have.
    pub tls: Arc<ServerConfig>,
}

/// Everything an agent runs on.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// The agent.
    pub agent: crate::heartbeat::Settings,
    /// The addresses that its gateway shares with another one: for keepalived, the agent itself has no use for them.
    pub vrrp: Vec<Instance>,
    /// The log.
    pub log: LogSettings,
    /// The certificates, keys and other files these settings were read from, beside the configuration.
    pub files: Vec<SeenFile>,
}

/// Where and to whom the admin endpoint answers.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// HTTP.
    pub listen: SocketAddr,
    /// Unix socket for the command line; `None`: no socket.
    pub socket: Option<PathBuf>,
    /// What a change over HTTP must show.
    pub token: Option<Token>,
    /// Under which names, in lower case, it may be asked beside addresses, `localhost` and the front door's own name.
    pub hosts: Vec<String>,
}

/// What is logged and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Text or JSON.
    pub format: LogFormat,
    /// From which level on.
    pub level: tracing::Level,
    /// One line for each redirect.
    pub access: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: tracing::Level::INFO, access: true }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}
