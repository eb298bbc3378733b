use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, bail};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::access_log::AccessLog;
use super::chronicle::Chronicle;
use super::door_metrics::{self, DoorMetrics};
use super::doors::{Doors, Prepared};
use super::farm::Farm;
use super::files::WatchedFiles;
use super::keeper::{Keeper, Order};
use super::listen_error;
use super::native_metrics::{self, NativeMetrics};
use super::open_files;
use super::peer_metrics::PeerMetrics;
use super::peers::{self, Here, PeerSocket, Peers, There};
use super::probes::Probes;
use super::reload::Reloader;
use super::reread::Reread;
use super::responders::{self, Responders};
use super::service::{self, Heart, Service};
use super::standing;
use super::state::StateWriter;
use super::state_file::StateFile;
use super::steered::Steered;
use super::vrrp_metrics::VrrpMetrics;
use crate::admin::listener::Listeners;
use crate::admin::metrics::{ConfigMetrics, FarmCollector, HealthMetrics};
use crate::admin::order::AdminOrder;
use crate::admin::recorder::Recorder;
use crate::admin::scene::Scene;
use crate::admin::server::Admin;
use crate::admin::socket::{self, SocketFile};
use crate::admin::status::Node;
use crate::admin::stream;
use crate::admin::summary;
use crate::admin::trust::Trust;
use crate::config::FrontSettings;
use crate::fence::{self, Inputs};
use crate::fleet::{Claim, Failure, Memory, Standing};
use crate::front::Common;
use crate::net::clock;
use crate::net::inherited::Inherited;
use crate::net::roll::Roll;
use crate::net::serve::{Door, serve};
use crate::net::stop::{self, Stop, Stopper};
use crate::peer::{Accounts, Posture, Told};
use crate::vrrp::{self, Follow, Report};

/// A front door with everything open that it takes, ready to [`run`](Self::run).
pub struct FrontDoor {
    settings: FrontSettings,
    doors: Doors,
    prepared: Prepared,
    responders: Responders,
    prepared_responders: responders::Prepared,
    keeper: Keeper,
    writer: StateWriter,
    memory: Memory,
    farm: Farm,
    chronicle: Chronicle,
    recorder: Recorder,
    standing: Standing,
    reports: watch::Sender<Arc<[Report]>>,
    accounts: Accounts,
    peer_socket: Option<PeerSocket>,
    told: watch::Sender<Told>,
    posture: watch::Sender<Posture>,
    failures: mpsc::Receiver<Failure>,
    admin: TcpListener,
    socket: Option<(tokio::net::UnixListener, SocketFile)>,
    router: axum::Router,
    trust: Trust,
    config_metrics: ConfigMetrics,
    orders: mpsc::Receiver<AdminOrder>,
    hangups: Signal,
    workers_stop: Stopper,
    inherited: Inherited,
    heart: Heart,
    roll: Roll,
    listeners: Listeners,
}

impl FrontDoor {
    /// Opens everything that can fail to open. Nobody is answered yet.
    pub async fn open(settings: FrontSettings) -> anyhow::Result<Self> {
        Self::open_as(Service::default(), settings).await
    }

    /// The same with what a service manager has given.
    pub async fn open_as(service: Service, mut settings: FrontSettings) -> anyhow::Result<Self> {
        // first of all: before it is caught, a hangup would end the process
        let hangups = signal(SignalKind::hangup())?;
        open_files::prepare(&mut settings);
        let (inherited, heart) = service.settle(&tcp_addresses(&settings), &udp_addresses(&settings));
        let roll = Roll::default();
        let registry = Registry::new();
        let started = SystemTime::now();
        let socket = settings.admin.socket.as_deref().map(socket::bind).transpose()?;
        let address = settings.admin.listen;
        let admin = service::listen_here(&inherited, address);
        let admin = admin.map_err(|error| listen_error("[admin] listen", address, &error))?;
        // after the socket: whoever is started beside a running front door must not touch what that one keeps
        let (file, memory) = StateFile::open(settings.state_dir.as_deref());
        let (writer, desk) = StateWriter::new(file, memory.clone());
        let health = HealthMetrics::register(&registry)?;
        let recorder = Recorder::default();
        let keeper = Keeper::new(settings.fleet.clone(), health, desk, recorder.clone(), roll.enlist());
        let view = keeper.view();
        let (workers_stop, stop) = stop::channel();
        let (failure_sender, failures) = mpsc::channel(256);
        let given = (inherited.clone(), &roll);
        let doors = Doors::start(settings.workers, &view, Common::new()?, failure_sender, given, &stop)?;
        let prepared = doors.prepare(&settings.listeners, settings.log.access)?;
        let plans = doors.plans();
        let standing = standing::at_the_start(&settings.vrrp);
        let given = (inherited.clone(), &roll);
        let mut responders = Responders::new(settings.workers, &view, standing.clone(), given, &stop);
        let places = responders.places();
        let prepared_responders = responders.prepare(settings.dve.as_ref(), settings.ike.as_ref())?;
        FarmCollector::register(&registry, view.clone())?;
        registry.register(Box::new(NativeMetrics::new(responders.places())?))?;
        registry.register(Box::new(DoorMetrics::new(plans.clone())?))?;
        crate::admin::metrics::register_process(&registry)?;
        let config_metrics = ConfigMetrics::register(&registry, started)?;
        let (order_sender, orders) = mpsc::channel(8);
        let trust = Trust::new(address.ip(), settings.admin.token.clone(), hosts(&settings));
        let (reports, reported) = watch::channel(Arc::from([]));
        registry.register(Box::new(VrrpMetrics::new(reported.clone())?))?;
        let peer_socket = settings.peer_door.as_ref().map(|door| PeerSocket::open(door, &inherited));
        let peer_socket = peer_socket.transpose()?;
        let (posture, postures) = watch::channel(Posture::default());
        let accounts = Accounts {
            name: settings.node_name.as_str().into(),
            life: life(started),
            posture: postures,
            memory: keeper.remembered(),
            view: view.clone(),
        };
        let (told, peers_told) = watch::channel(Told::default());
        registry.register(Box::new(PeerMetrics::new(peers_told.clone())?))?;
        let listeners: Listeners = Arc::new(move || {
            let native = native_metrics::statuses(&places);
            door_metrics::statuses(&plans).into_iter().chain(native).collect()
        });
        let (reports_changed, told_changed) = (reported.clone(), peers_told.clone());
        let scene = Scene {
            node: Node { name: settings.node_name.clone(), started },
            farm: view.clone(),
            listeners: Arc::clone(&listeners),
            vrrp: Arc::new(move || standing::statuses(&reported)),
            peers: Arc::new(move || peers::statuses(&peers_told)),
        };
        let chronicle = Chronicle {
            scene: scene.clone(),
            recorder: recorder.clone(),
            published: keeper.published(),
            reports: reports_changed,
            told: told_changed,
        };
        let admin_parts = Admin {
            scene,
            recorder: recorder.clone(),
            registry,
            orders: order_sender,
            stop: stop.clone(),
            places: stream::places(),
            desk: Arc::new(Semaphore::new(1)),
        };
        let router = admin_parts.router(trust.clone());
        let farm = Farm { view, published: keeper.published() };
        Ok(Self {
            settings,
            doors,
            prepared,
            responders,
            prepared_responders,
            keeper,
            writer,
            memory,
            farm,
            chronicle,
            recorder,
            standing,
            reports,
            accounts,
            peer_socket,
            told,
            posture,
            failures,
            admin,
            socket,
            router,
            trust,
            config_metrics,
            orders,
            hangups,
            workers_stop,
            inherited,
            heart,
            roll,
            listeners,
        })
    }

    /// Serves until told to stop. `read` reads the configuration again when that is asked for.
    pub async fn run(mut self, read: Reread<FrontSettings>, mut stop: Stop) -> anyhow::Result<()> {
        let (control, control_stop) = stop::channel();
        let mut tasks = JoinSet::new();
        let (finding_sender, findings) = mpsc::channel(1024);
        let (order_sender, orders) = mpsc::channel(8);
        let (news_sender, news) = mpsc::channel(256);
        // before anything is found, so that a drained gateway is nobody's even for a moment
        order_sender.try_send(Order::Adopt(self.memory)).context("the keeper takes no orders")?;
        tasks.spawn(self.writer.run());
        tasks.spawn(self.keeper.run(findings, self.failures, news, orders, control_stop.clone()));
        tasks.spawn(self.chronicle.keep(control_stop.clone()));
        let fencing = Standing::active();
        fencing.set(self.standing.is_active());
        let (farm, standing) = (self.farm.clone(), fencing.clone());
        let fences = Steered::start(self.settings.fence.clone(), |settings, stop| {
            let inputs = Inputs { settings, view: farm.view, published: farm.published, standing };
            fence::run(inputs, news_sender, stop)
        });
        let (claims, claimed) = watch::channel(Arc::<[Claim]>::from([]));
        let here = Here {
            accounts: self.accounts,
            reports: self.reports.subscribe(),
            standing: self.standing.clone(),
        };
        let there =
            There { orders: order_sender.clone(), fencing, claims, told: self.told, posture: self.posture };
        let peers = Peers::start(&self.settings.peers, self.peer_socket, here, there)
            .context("the other front doors cannot be answered")?;
        let (standing, reports) = (self.standing, self.reports);
        let follower = Steered::start(&*self.settings.vrrp, |instances, stop| {
            vrrp::run(Follow { instances, standing, reports, claims: claimed }, stop)
        });
        let mut probes = Probes::start(&self.settings.probes, finding_sender);
        let access_log = AccessLog::start(self.doors.access()).context("the access log cannot be started")?;
        // The sockets are open already, the first round is next, and then the workers begin: whoever comes
        // meanwhile waits in the backlog and is not told that no gateway is available.
        let told_to_stop = tokio::select! {
            _ = async {
                tokio::join!(
                    self.farm.first_round(&self.settings.probes),
                    peers.first_round()
                )
            } => false,
            () = stop.stopped() => true,
        };
        peers.answers(true);
        self.doors.take_up(self.prepared).await;
        self.responders.take_up(self.prepared_responders).await;
        tasks.spawn(serve(Door::Tcp(self.admin, None), self.router.clone(), control_stop.clone()));
        let socket_file = self.socket.map(|(listener, file)| {
            tasks.spawn(serve(Door::Unix(listener), self.router, control_stop.clone()));
            file
        });
        if !told_to_stop {
            tell_ready(&self.settings);
        }
        let (mut heart, roll, listeners, view) =
            (self.heart, self.roll, self.listeners, self.farm.view.clone());
        // a reader of its own each time, as for the admin endpoint
        let status = || summary::sentence(view.clone().load(), &listeners(), clock::now());
        let beat = |heart: &mut Heart| heart.beat(roll.call(), status);
        if !told_to_stop {
            heart.ready();
        }
        let mut watched = WatchedFiles::new(self.settings.files.clone());
        let mut reloader = Reloader {
            read,
            settings: self.settings,
            doors: self.doors,
            responders: self.responders,
            keeper: order_sender,
            farm: self.farm,
            trust: self.trust,
            metrics: self.config_metrics,
            recorder: self.recorder,
            fences,
            follower,
            peers,
            inherited: self.inherited.clone(),
        };
        let (mut hangups, mut admin_orders) = (self.hangups, self.orders);
        loop {
            let (by, answer): (Arc<str>, _) = tokio::select! {
                () = stop.stopped() => break,
                _ = hangups.recv() => ("SIGHUP".into(), None),
                () = watched.changed() => ("a file that has changed".into(), None),
                Some(order) = admin_orders.recv() => match order {
                    AdminOrder::Reload(by, answer) => (by, Some(answer)),
                    AdminOrder::Change(change, answer) => {
                        // an error means that the keeper is gone, and that is seen elsewhere
                        let _ = reloader.keeper.send(Order::Change(change, answer)).await;
                        continue;
                    }
                },
                // none of them ends before it is told to
                Some(ended) = tasks.join_next() => {
                    ended.context("a part of the front door has failed")?;
                    bail!("a part of the front door has ended");
                }
                ended = probes.ended() => {
                    ended.context("a probe has failed")?;
                    bail!("a probe has ended");
                }
                ended = reloader.fences.ended() => {
                    ended.context("the one who fences has failed")?;
                    bail!("the one who fences has ended");
                }
                ended = reloader.follower.ended() => {
                    ended.context("the one who follows the virtual addresses has failed")?;
                    bail!("the one who follows the virtual addresses has ended");
                }
                ended = reloader.peers.ended() => {
                    ended.context("the one who asks the other front doors has failed")?;
                    bail!("the one who asks the other front doors has ended");
                }
                () = heart.tick() => {
                    if reloader.doors.has_lost_a_worker() || reloader.responders.has_lost_a_thread() {
                        bail!("a worker has failed; its last words are above");
                    }
                    beat(&mut heart);
                    continue;
                }
            };
            heart.reloading();
            let result = tokio::select! {
                result = heart.during(reloader.reload(&mut probes, &by), beat) => result,
                // half a reload needs no end where everything ends
                () = stop.stopped() => break,
            };
            heart.ready();
            if result.is_ok() {
                let settings = &reloader.settings;
                for which in self.inherited.beside(&tcp_addresses(settings), &udp_addresses(settings)) {
                    tracing::warn!(
                        "whoever comes to an inherited socket waits in vain: {which}; take it out of the socket unit"
                    );
                }
                watched = WatchedFiles::new(reloader.settings.files.clone());
            }
            if let Some(answer) = answer {
                let _ = answer.send(result);
            }
        }
        tracing::info!("the front door stops");
        heart.stopping();
        // who asks for a reload from now on is told so
        drop(admin_orders);
        reloader.peers.answers(false);
        self.workers_stop.stop();
        let Reloader { doors, responders, fences, follower, peers, .. } = reloader;
        let ended = tokio::task::spawn_blocking(move || {
            let panicked = doors.join() + responders.join();
            access_log.finish();
            panicked
        });
        let panicked = ended.await.context("the workers are lost")?;
        probes.stop().await;
        fences.stop().await;
        follower.stop().await;
        peers.stop().await;
        control.stop();
        while let Some(ended) = tasks.join_next().await {
            ended.context("a part of the front door has failed")?;
        }
        drop(socket_file);
        if panicked > 0 {
            bail!("{panicked} workers had failed; their last words are above");
        }
        tracing::info!("the front door has stopped");
        Ok(())
    }
}

/// Everything that is listened on.
fn tcp_addresses(settings: &FrontSettings) -> Vec<SocketAddr> {
    let listeners = settings.listeners.iter().map(|listener| listener.address);
    let peers = settings.peer_door.as_ref().map(|door| door.listen);
    listeners.chain([settings.admin.listen]).chain(peers).collect()
}

/// The names that the admin endpoint goes by.
pub(super) fn hosts(settings: &FrontSettings) -> Vec<String> {
    let node = settings.node_name.to_ascii_lowercase();
    settings.admin.hosts.iter().cloned().chain([node]).collect()
}

/// A number that no other process of this front door has.
fn life(started: SystemTime) -> u64 {
    let since = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
}

/// Everywhere that datagrams are answered.
fn udp_addresses(settings: &FrontSettings) -> Vec<SocketAddr> {
    let dve = settings.dve.iter().flat_map(|dve| dve.listen.iter());
    dve.chain(settings.ike.iter().flat_map(|ike| ike.listen.iter())).copied().collect()
}

fn tell_ready(settings: &FrontSettings) {
    for listener in &settings.listeners {
        let (name, address, mode) = (&*listener.name, listener.address, listener.mode.as_str());
        let vrrp_id = listener.ask.vrrp_id.map_or_else(|| "any".to_owned(), |id| id.to_string());
        tracing::info!(name, %address, mode, vrrp_id, "listener is open");
    }
    let udp = settings.dve.iter().flat_map(|dve| dve.listen.iter().map(|address| ("dve", address)));
    let ike =
        settings.ike.iter().flat_map(|ike| ike.listen.iter().map(|address| ("ikev2_redirect", address)));
    for (name, address) in udp.chain(ike) {
        tracing::info!(name, %address, "UDP is answered");
    }
    let (gateways, workers) = (settings.fleet.gateways.len(), settings.workers);
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(name = settings.node_name, version, gateways, workers, "the front door is ready");
}
