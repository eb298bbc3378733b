use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use rustls::pki_types::{CertificateDer, ServerName};
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::gateway::{PretendGateway, Visitors};
use super::weather;
use crate::admin::trust::Token;
use crate::app::{FrontDoor, Reread};
use crate::certs::{self, Made, Named, Pair};
use crate::config::{AdminSettings, FrontSettings, LogSettings};
use crate::dve::{DveSettings, PublicKey, SigningKey};
use crate::fence::{FenceSettings, Fenced, Kind};
use crate::fleet::{
    Ask, Balance, Endpoint, FleetSettings, Gateway, GatewayName, Host, Thresholds, Vpn, VpnMode, VrrpMode,
    Weights,
};
use crate::front::{Certificates, Limits, ListenerSettings, Mode, Passthrough, Proxy, Redirect, UpstreamTls};
use crate::heartbeat::AgentState;
use crate::net::certificate::CertificateFacts;
use crate::net::check::{Check, Get, Kind as CheckKind, StatusRange};
use crate::net::client::{Target, Tls};
use crate::net::stop::{self, Stop};
use crate::net::tls::{self, Identity, Trust};
use crate::peer::PeerSettings;
use crate::probe::ProbeSettings;

/// A front door and pretend gateways on loopback, with certificates made for the occasion and kept in
/// memory.
pub struct Farm {
    settings: FrontSettings,
    gateways: Vec<PretendGateway>,
    tls: Vec<(Arc<rustls::ServerConfig>, Arc<rustls::ServerConfig>)>,
    authority: CertificateDer<'static>,
    certificates: Arc<Certificates>,
    dve_key: Vec<u8>,
    ports: Taken,
}

/// Which ports a farm takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// 8443 for the front door, 8543 and 8643 for its proxy and its passthrough, 9463 for its admin endpoint, 4463/udp for
    /// DVE, 8444 and on for the gateways; any that is free instead of one that is taken.
    Usual,
    /// Any that are free.
    Free,
}

impl Farm {
    /// Makes a farm of `count` gateways. It answers nobody yet.
    pub async fn open(count: usize, ports: Ports) -> anyhow::Result<Self> {
        let mut ports = Taken { ports, held: Vec::new() };
        let names: Vec<_> = (1..=count).map(|n| format!("gw{n}")).collect();
        let made = make_certificates(&names)?;
        let mut gateways = Vec::new();
        for (name, usual) in names.iter().zip(8444..) {
            gateways.push(PretendGateway::open(name, ports.choose(usual)?).await?);
        }
        let authorities = vec![made.authority.certificate.clone()];
        let tls = made.gateways.iter().map(|(_, pair)| {
            let identity = identity(pair)?;
            Ok((tls::server_config(&identity)?, tls::mutual_server_config(&identity, &authorities)?))
        });
        let tls = tls.collect::<anyhow::Result<_>>()?;
        let facts = CertificateFacts::of(&made.portal.certificate)?;
        let certificates = Arc::new(Certificates::new((identity(&made.portal)?, facts), Vec::new()));
        let redirect = Mode::Redirect(Arc::clone(&certificates));
        let settings = settings(&made, &gateways, redirect, &mut ports)?;
        let (authority, dve_key) = (made.authority.certificate, made.dve.key.secret_der().to_vec());
        Ok(Self { settings, gateways, tls, authority, certificates, dve_key, ports })
    }

    /// Puts a proxy and a passthrough before the same gateways, as the second and the third listener.
    pub fn add_proxy_and_passthrough(&mut self) -> anyhow::Result<()> {
        let trust = Trust::Authorities(vec![self.authority.clone()]);
        let proxy = Proxy {
            tls: Some(UpstreamTls { config: tls::client_config(&trust, None)?, server_name: None }),
            ..Proxy::default()
        };
        let proxy = Mode::Proxy(Arc::clone(&self.certificates), Arc::new(proxy));
        let passthrough = Mode::Passthrough(Arc::new(Passthrough::default()));
        for (name, usual, mode) in [("proxy", 8543, proxy), ("passthrough", 8643, passthrough)] {
            self.settings.listeners.push(listener(name, loopback(self.ports.choose(usual)?), mode));
        }
        Ok(())
    }

    /// Answers DVE, too: native clients are sent to the same gateways. The public half of the key is what clients know
    /// this front door by.
    pub fn add_dve(&mut self) -> anyhow::Result<PublicKey> {
        let key = SigningKey::from_pkcs8(&self.dve_key)?;
        let public = *key.public();
        self.settings.dve = Some(DveSettings {
            listen: vec![loopback(self.ports.choose_udp(4463)?)],
            key: Arc::new(key),
            ttl: 5,
            answers_per_second_per_source: 100,
        });
        Ok(public)
    }

    /// Lets whoever has the token that is given back drain and resume gateways over TCP.
    pub fn add_token(&mut self) -> anyhow::Result<String> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).context("there are no random numbers")?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.settings.admin.token = Token::new(&text);
        Ok(text)
    }

    /// The front door's settings; may be changed before the farm runs.
    pub fn settings(&mut self) -> &mut FrontSettings {
        &mut self.settings
    }

    /// The gateways.
    pub fn gateways(&self) -> &[PretendGateway] {
        &self.gateways
    }

    /// Runs everything until told to stop. With `weather`, loads move by themselves.
    pub async fn run(self, weather: bool, stop: Stop) -> anyhow::Result<()> {
        let settings = self.settings.clone();
        self.run_with(weather, Arc::new(move || Ok((settings.clone(), Vec::new()))), stop).await
    }

    /// The same; `reload` says what the front door goes over to when it is told to reload.
    pub async fn run_with(
        self,
        weather: bool,
        reload: Reread<FrontSettings>,
        stop: Stop,
    ) -> anyhow::Result<()> {
        let _held_to_the_end = self.ports;
        let front = FrontDoor::open(self.settings).await?;
        // the gateways outlive the front door, which asks them to the last
        let (stopper, gateways_stop) = stop::channel();
        let mut tasks = JoinSet::new();
        let count = self.gateways.len();
        for (number, (gateway, (page, agent))) in self.gateways.into_iter().zip(self.tls).enumerate() {
            if weather {
                let (state, visitors) = (gateway.state(), gateway.visitors());
                tasks.spawn(make_weather(number, count, state, visitors, gateways_stop.clone()));
            }
            tasks.spawn(gateway.run(page, agent, gateways_stop.clone()));
        }
        let front = front.run(reload, stop);
        let ended = tokio::select! {
            ended = front => ended,
            Some(ended) = tasks.join_next() => {
                ended.context("a gateway is lost")?.context("a gateway has failed")?;
                anyhow::bail!("a gateway has ended before the front door");
            }
        };
        stopper.stop();
        while let Some(ended) = tasks.join_next().await {
            ended.context("a gateway is lost")??;
        }
        ended
    }
}

/// Ports that a farm has chosen and that nobody else gets until it listens there, nor afterwards.
struct Taken {
    ports: Ports,
    held: Vec<Socket>,
}

impl Taken {
    fn choose(&mut self, usual: u16) -> anyhow::Result<u16> {
        let wanted = if self.ports == Ports::Usual { usual } else { 0 };
        let socket = hold(wanted).or_else(|_| hold(0)).context("no port is free on loopback")?;
        let port = socket.local_addr()?.as_socket().context("a socket without an address")?.port();
        self.held.push(socket);
        Ok(port)
    }

    /// The same for datagrams, which nobody can hold a port for: somebody else could take it meanwhile.
    fn choose_udp(&self, usual: u16) -> anyhow::Result<u16> {
        let wanted = if self.ports == Ports::Usual { usual } else { 0 };
        let socket = UdpSocket::bind(loopback(wanted)).or_else(|_| UdpSocket::bind(loopback(0)));
        Ok(socket.context("no UDP port is free on loopback")?.local_addr()?.port())
    }
}

/// A socket that has a port and does not listen. Another may listen there that says SO_REUSEADDR too, as ours do;
/// the kernel gives the port to no connection and to nobody who takes any that is free. It fails where
/// somebody listens.
fn hold(port: u16) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&loopback(port).into())?;
    Ok(socket)
}

async fn make_weather(
    number: usize,
    count: usize,
    state: watch::Sender<AgentState>,
    visitors: Visitors,
    mut stop: Stop,
) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let now = Instant::now();
        let load = weather::load(number, count, now.saturating_duration_since(started), visitors.count(now));
        state.send_modify(|state| state.load = load);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            () = stop.stopped() => return Ok(()),
        }
    }
}

fn make_certificates(names: &[String]) -> anyhow::Result<Made> {
    let loopback = Ipv4Addr::LOCALHOST.into();
    let request = certs::Request {
        server_names: vec!["localhost".into(), Ipv4Addr::LOCALHOST.to_string()],
        fronts: vec![Named { name: FRONT.into(), addresses: vec![] }],
        gateways: names.iter().map(|name| Named { name: name.clone(), addresses: vec![loopback] }).collect(),
    };
    Ok(certs::make(&request, SystemTime::now())?)
}

const FRONT: &str = "demo";

fn identity(pair: &Pair) -> anyhow::Result<Identity> {
    Ok(tls::identity(vec![pair.certificate.clone()], pair.key.clone_key())?)
}

fn settings(
    made: &Made,
    gateways: &[PretendGateway],
    redirect: Mode,
    ports: &mut Taken,
) -> anyhow::Result<FrontSettings> {
    let trust = Trust::Authorities(vec![made.authority.certificate.clone()]);
    let (_, front) = made.fronts.first().context("no certificate was made for the front door")?;
    let agents = tls::client_config(&trust, Some(&identity(front)?))?;
    let pages = tls::client_config(&trust, None)?;
    let probe = |gateway: &PretendGateway| {
        let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
        Ok(ProbeSettings {
            gateway: GatewayName::new(gateway.name()),
            heartbeat: Some(Target {
                site: endpoint(gateway.agent_address()?).into(),
                tls: Some(Tls { config: Arc::clone(&agents), server_name: name.clone() }),
            }),
            checks: vec![Check {
                name: "https".into(),
                site: endpoint(gateway.page_address()?).into(),
                kind: CheckKind::Https(
                    Tls { config: Arc::clone(&pages), server_name: name },
                    Get { path: "/".into(), expect: StatusRange::usual() },
                ),
            }],
            mark: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(800),
            stale_after: Balance::default().stale_after,
        })
    };
    let member = |gateway: &PretendGateway| {
        Ok(Arc::new(Gateway {
            name: GatewayName::new(gateway.name()),
            vrrp_id: None,
            vpn_mode: VpnMode::Both,
            ssl_endpoint: endpoint(gateway.page_address()?),
            // no pretend gateway speaks IKE; this one tells them apart
            native_endpoint: endpoint(gateway.page_address()?),
            upstream: endpoint(gateway.page_address()?),
            has_agent: true,
            vrrp_mode: VrrpMode::Inactive,
            tunnels_max: None,
            capacity_bits_per_second: None,
        }))
    };
    let probes = gateways.iter().map(probe).collect::<anyhow::Result<Vec<_>>>()?;
    let fenced = |probe: &ProbeSettings| Fenced {
        gateway: probe.gateway.clone(),
        kind: Kind::Agent,
        agent: probe.heartbeat.clone(),
        endpoints: Vec::new(),
    };
    let fence = FenceSettings {
        enabled: true,
        lease: Duration::from_secs(15),
        keep_at_least: 1,
        front: FRONT.into(),
        holder: CertificateFacts::of(&front.certificate)?.name().map(Arc::from),
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(800),
        gateways: probes.iter().map(fenced).collect(),
    };
    Ok(FrontSettings {
        node_name: FRONT.into(),
        state_dir: None,
        workers: std::thread::available_parallelism().map_or(1, usize::from).min(2),
        admin: AdminSettings {
            listen: loopback(ports.choose(9463)?),
            socket: None,
            token: None,
            hosts: Vec::new(),
        },
        log: LogSettings::default(),
        listeners: vec![listener("portal", loopback(ports.choose(8443)?), redirect)],
        fleet: FleetSettings {
            gateways: gateways.iter().map(member).collect::<anyhow::Result<_>>()?,
            thresholds: Thresholds::default(),
            weights: Weights::default(),
            // nobody who tries things out waits for half a minute
            balance: Balance { slow_start: Duration::from_secs(10), ..Balance::default() },
        },
        probes,
        dve: None,
        ike: None,
        fence,
        vrrp: Vec::new(),
        peers: PeerSettings { name: FRONT.into(), front_doors: Vec::new() },
        peer_door: None,
        files: Vec::new(),
    })
}

fn listener(name: &str, address: SocketAddr, mode: Mode) -> ListenerSettings {
    // small enough, all together, for the limit of open files that an ordinary user has; whoever is taken to a
    // gateway needs one more
    let connections = if mode.upstream().is_some() { 100 } else { 400 };
    ListenerSettings {
        name: name.into(),
        address,
        ask: Ask { vrrp_id: None, vpn: Vpn::Ssl },
        limits: Limits { connections, ..Limits::default() },
        redirect: Redirect::default(),
        mode,
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { host: Host::Address(address.ip()), port: address.port() }
}
