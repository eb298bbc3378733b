use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};

use super::keeper::Order;
use super::listen_error;
use super::service;
use super::standing::Reports;
use super::steered::Steered;
use crate::admin::peers::{PeerState, PeerStatus};
use crate::config::PeerDoor;
use crate::fleet::{Claim, Elsewhere, Standing};
use crate::net::inherited::Inherited;
use crate::net::news;
use crate::net::stop::{self, Stopper};
use crate::peer::{self, Accounts, Inputs, PeerSettings, Posture, TIMEOUT, Told, serve_accounts};

/// The ones who ask the other front doors, and who answer them.
pub struct Peers {
    asking: Steered<PeerSettings>,
    told: watch::Receiver<Told>,
    relay: JoinHandle<()>,
    answers: watch::Sender<bool>,
    accounts: Accounts,
    door: Option<OpenDoor>,
}

/// A socket that other front doors ask this one at.
pub struct PeerSocket {
    socket: StdListener,
    door: PeerDoor,
}

struct OpenDoor {
    socket: PeerSocket,
    stopper: Stopper,
    task: JoinHandle<()>,
}

/// What this front door knows of itself.
pub struct Here {
    /// What its account is made of, but for its posture.
    pub accounts: Accounts,
    /// How it stands with the virtual addresses.
    pub reports: Reports,
    /// Whether it is the active one.
    pub standing: Standing,
}

/// Where what comes of it goes.
pub struct There {
    /// To the keeper.
    pub orders: mpsc::Sender<Order>,
    /// To the one who fences.
    pub fencing: Standing,
    /// To the one who follows the virtual addresses.
    pub claims: watch::Sender<Arc<[Claim]>>,
    /// To the status and the metrics.
    pub told: watch::Sender<Told>,
    /// How this front door stands, for its account.
    pub posture: watch::Sender<Posture>,
}

impl Peers {
    /// Begins to ask and to answer.
    pub fn start(
        settings: &PeerSettings,
        door: Option<PeerSocket>,
        here: Here,
        there: There,
    ) -> std::io::Result<Self> {
        let (news, heard) = mpsc::channel(8);
        let told = there.told.subscribe();
        let posture = there.posture.subscribe();
        let (answers, answering) = watch::channel(false);
        let relay = Relay {
            answering,
            reports: here.reports,
            standing: here.standing,
            posture: there.posture,
            claims: there.claims,
            told: told.clone(),
            orders: there.orders,
        };
        let relay = tokio::spawn(relay.run(heard));
        let asking = Steered::start(settings.clone(), |settings, stop| {
            peer::run(Inputs { settings, posture, fencing: there.fencing }, news, there.told, stop)
        });
        let mut peers = Self { asking, told, relay, answers, accounts: here.accounts, door: None };
        peers.open(door)?;
        Ok(peers)
    }

    /// Opens a socket for others, unless it is the one that is open already.
    pub fn prepare(
        &self,
        door: Option<&PeerDoor>,
        inherited: &Inherited,
    ) -> anyhow::Result<Option<PeerSocket>> {
        let Some(door) = door else { return Ok(None) };
        let open = self.door.as_ref().map(|open| &open.socket);
        match open.filter(|open| open.door.listen == door.listen) {
            Some(open) => Ok(Some(PeerSocket { socket: open.socket.try_clone()?, door: door.clone() })),
            None => PeerSocket::open(door, inherited).map(Some),
        }
    }

    /// Goes over to other settings.
    pub async fn change(
        &mut self,
        settings: &PeerSettings,
        socket: Option<PeerSocket>,
    ) -> std::io::Result<()> {
        self.asking.change(settings.clone());
        if let Some(OpenDoor { stopper, task, .. }) = self.door.take() {
            stopper.stop();
            let _ = task.await;
        }
        self.open(socket)
    }

    fn open(&mut self, socket: Option<PeerSocket>) -> std::io::Result<()> {
        let Some(socket) = socket else { return Ok(()) };
        let listener = TcpListener::from_std(socket.socket.try_clone()?)?;
        let (stopper, stop) = stop::channel();
        let tls = Arc::clone(&socket.door.tls);
        let task = tokio::spawn(serve_accounts(listener, tls, self.accounts.clone(), stop));
        self.door = Some(OpenDoor { socket, stopper, task });
        Ok(())
    }

    /// Returns when each of the others has answered once, or should have: what they know may decide who is sent where.
    pub async fn first_round(&self) {
        let mut told = self.told.clone();
        let all_asked = told.wait_for(|told| told.all_were_asked);
        let _ = tokio::time::timeout(TIMEOUT + MARGIN, all_asked).await;
    }

    /// Whether this front door answers clients from now on. Before it does it is not active, whatever addresses it has, and follows who
    /// is: so one that was away begins with the choices that have been made meanwhile.
    pub fn answers(&self, answers: bool) {
        self.answers.send_replace(answers);
    }

    /// Returns when one of them has ended though nobody has told it to; a panic is an error.
    pub async fn ended(&mut self) -> Result<(), JoinError> {
        let door = async {
            match &mut self.door {
                Some(door) => (&mut door.task).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = self.asking.ended() => ended,
            ended = &mut self.relay => ended,
            ended = door => ended,
        }
    }

    /// Stops in order.
    pub async fn stop(self) {
        if let Some(OpenDoor { stopper, task, .. }) = self.door {
            stopper.stop();
            let _ = task.await;
        }
        self.asking.stop().await;
        // ends with the one before
        let _ = self.relay.await;
    }
}

const MARGIN: Duration = Duration::from_millis(200);

impl PeerSocket {
    /// Opens it.
    pub fn open(door: &PeerDoor, inherited: &Inherited) -> anyhow::Result<Self> {
        let address: SocketAddr = door.listen;
        // what is served outside must not wait for a network inside
        let socket = service::listen_early(inherited, address);
        let socket = socket.map_err(|error| listen_error("[peers] listen", address, &error))?;
        Ok(Self { socket, door: door.clone() })
    }
}

/// Between the rooms, which do not know each other.
struct Relay {
    /// Whether this front door answers clients.
    answering: watch::Receiver<bool>,
    reports: Reports,
    standing: Standing,
    posture: watch::Sender<Posture>,
    claims: watch::Sender<Arc<[Claim]>>,
    told: watch::Receiver<Told>,
    orders: mpsc::Sender<Order>,
}

impl Relay {
    /// Works until the one who asks the others is gone.
    async fn run(mut self, mut heard: mpsc::Receiver<Elsewhere>) {
        loop {
            let posture = self.posture();
            news::tell(&self.posture, posture);
            tokio::select! {
                elsewhere = heard.recv() => match elsewhere {
                    // an error means that the keeper is gone, and that is seen elsewhere
                    Some(elsewhere) => _ = self.orders.send(Order::Hear(elsewhere)).await,
                    None => return,
                },
                Ok(()) = self.reports.changed() => {}
                Ok(()) = self.answering.changed() => {}
                Ok(()) = self.told.changed() => {
                    let claims = Arc::clone(&self.told.borrow_and_update().claims);
                    news::tell(&self.claims, claims);
                }
            }
        }
    }

    fn posture(&mut self) -> Posture {
        let answers = *self.answering.borrow_and_update();
        let reports = self.reports.borrow_and_update();
        let held = reports.iter().filter(|report| report.active);
        Posture {
            active: answers && self.standing.is_active(),
            holds: held.map(|report| report.vrrp_id).collect(),
        }
    }
}

/// How the status shows them.
pub fn statuses(told: &watch::Receiver<Told>) -> Vec<PeerStatus> {
    let shown = |report: &peer::Report| PeerStatus {
        name: report.name.as_ref().map(ToString::to_string),
        url: report.url.to_string(),
        state: match report.state {
            peer::PeerState::Active => PeerState::Active,
            peer::PeerState::Standby => PeerState::Standby,
            peer::PeerState::Silent => PeerState::Silent,
            peer::PeerState::Unknown => PeerState::Unknown,
        },
        since: report.since.wall.into(),
        reason: report.reason.clone(),
    };
    told.borrow().reports.iter().map(shown).collect()
}
