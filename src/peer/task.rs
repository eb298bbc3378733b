use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode, header};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::account::{Account, AccountError};
use super::circle::{Circle, PeerState, Picture, Report, Url};
use super::server::PREFER;
use super::settings::{FrontDoorAt, PeerSettings, TIMEOUT, WAIT_SECONDS};
use crate::fleet::{Claim, Elsewhere, Standing, VrrpId};
use crate::net::client::{Answer, Client, ClientError, Question};
use crate::net::clock::now;
use crate::net::news;
use crate::net::stop::Stop;

/// How it stands with this front door.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Posture {
    /// It is the active one, or shares no virtual address.
    pub active: bool,
    /// The VRRP IDs of the virtual addresses that it has.
    pub holds: Vec<VrrpId>,
}

/// What leads to the one who knows the other front doors.
#[derive(Debug)]
pub struct Inputs {
    /// Whom to ask; changes with a reload.
    pub settings: watch::Receiver<Arc<PeerSettings>>,
    /// How it stands with this front door.
    pub posture: watch::Receiver<Posture>,
    /// Whether this front door sees to the fences: written here. The active one does, and one that stands by does when
    /// no other one is heard to be active; but where there are no others to be heard, it leaves that alone.
    pub fencing: Standing,
}

/// What is known of the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// How it stands with each, in the order of the configuration.
    pub reports: Arc<[Report]>,
    /// Who else says that it has a virtual address that this front door has, too.
    pub claims: Arc<[Claim]>,
    /// Whether each has answered, or failed to, at least once.
    pub all_were_asked: bool,
}

/// Asks the other front doors how things stand and tells what follows, until told to stop.
pub async fn run(inputs: Inputs, keeper: mpsc::Sender<Elsewhere>, told: watch::Sender<Told>, mut stop: Stop) {
    let Inputs { mut settings, mut posture, fencing } = inputs;
    let current = Arc::clone(&settings.borrow_and_update());
    let circle = Circle::new(Arc::clone(&current.name), &urls(&current), Instant::now());
    let (events, mut heard) = mpsc::channel(16);
    let mut askers = ask_all(&current, &events);
    let mut teller = Teller { circle, keeper, told, fencing, said: Some(Elsewhere::default()) };
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.stopped() => return,
            Ok(()) = settings.changed() => {
                let changed = Arc::clone(&settings.borrow_and_update());
                teller.circle.change(&urls(&changed), Instant::now());
                // it may be of gateways that the keeper knows only now
                teller.said = None;
                // those of the life before end with their set
                askers = ask_all(&changed, &events);
            }
            Ok(()) = posture.changed() => {}
            // none of them ends before it is told to
            Some(_) = askers.join_next() => return,
            Some(event) = heard.recv() => teller.take(event),
            _ = ticks.tick() => {}
        }
        let current = posture.borrow_and_update().clone();
        teller.tell(&current).await;
    }
}

/// Silence is no event.
const TICK: Duration = Duration::from_millis(100);
/// From one question to the next, however much changes.
const BREATH: Duration = Duration::from_millis(20);
/// From a question that got no answer to the next one.
const AGAIN: Duration = Duration::from_millis(500);
/// A front door has some hundred gateways at most, and a reason has some hundred letters.
const MOST_BYTES: usize = 4 * 1024 * 1024;

struct Teller {
    circle: Circle,
    keeper: mpsc::Sender<Elsewhere>,
    told: watch::Sender<Told>,
    fencing: Standing,
    /// What the keeper knows; `None`: it is to be told anew.
    said: Option<Elsewhere>,
}

impl Teller {
    fn take(&mut self, Event { url, asked, answer }: Event) {
        match answer {
            Ok(account) => self.circle.heard(&url, account, asked, Instant::now()),
            Err(reason) => self.circle.failed(&url, reason),
        }
    }

    async fn tell(&mut self, posture: &Posture) {
        let now = now();
        self.circle.this_one(posture.active, &posture.holds, now.instant);
        let Picture { elsewhere, is_guarded, claims, reports } = self.circle.picture(now);
        self.fencing.set(posture.active || (!reports.is_empty() && !is_guarded));
        let before = Arc::clone(&self.told.borrow().reports);
        for report in &reports {
            let known = before.iter().find(|known| known.url == report.url);
            if known.is_none_or(|known| known.state != report.state) {
                tell(report, known.is_some());
            }
        }
        let told = Told {
            reports: reports.into(),
            claims: claims.into(),
            all_were_asked: self.circle.all_were_asked(),
        };
        news::tell(&self.told, told);
        if self.said.as_ref() != Some(&elsewhere) {
            // what was inherited, or is given back, is told once
            let lasting = Elsewhere { inherited: Vec::new(), given_back: Vec::new(), ..elsewhere.clone() };
            self.said = Some(lasting);
            // an error means that the keeper is gone, and that is seen elsewhere
            let _ = self.keeper.send(elsewhere).await;
        }
    }
}

fn urls(settings: &PeerSettings) -> Vec<Url> {
    settings.front_doors.iter().map(|front_door| Arc::clone(&front_door.url)).collect()
}

fn tell(Report { url, name, state, reason, .. }: &Report, was_known: bool) {
    let name = name.as_deref();
    match state {
        PeerState::Active => tracing::info!(name, url = &**url, "the other front door is active"),
        PeerState::Standby => tracing::info!(name, url = &**url, "the other front door is standby"),
        PeerState::Silent => tracing::warn!(
            name,
            url = &**url,
            reason,
            "the other front door is silent: what it is told and decides from now on is not known here"
        ),
        PeerState::Unknown if was_known => {
            tracing::info!(name, url = &**url, "the other front door is asked anew")
        }
        PeerState::Unknown => {}
    }
}

/// What one of the others has answered, or why it has not.
struct Event {
    url: Url,
    asked: Instant,
    answer: Result<Account, String>,
}

fn ask_all(settings: &PeerSettings, events: &mpsc::Sender<Event>) -> JoinSet<()> {
    let mut askers = JoinSet::new();
    for front_door in &settings.front_doors {
        askers.spawn(ask_on(front_door.clone(), events.clone()));
    }
    askers
}

/// Asks one again and again. What has changed there is known here as fast as the network is; while nothing changes, it is
/// asked once a second.
async fn ask_on(FrontDoorAt { url, target }: FrontDoorAt, events: mpsc::Sender<Event>) {
    let (mut client, mut known) = (Client::new(target), None);
    loop {
        let asked = Instant::now();
        let answer = match ask(&mut client, known.take()).await {
            Ok((account, tag)) => {
                known = tag;
                Ok(account)
            }
            Err(refusal) => Err(refusal.to_string()),
        };
        let pause = if answer.is_ok() { BREATH } else { AGAIN };
        if events.send(Event { url: Arc::clone(&url), asked, answer }).await.is_err() {
            return;
        }
        tokio::time::sleep_until((asked + pause).into()).await;
    }
}

fn wait() -> HeaderValue {
    // always a value: letters, a sign and digits
    HeaderValue::from_str(&format!("wait={WAIT_SECONDS}")).unwrap_or(HeaderValue::from_static("wait=0"))
}

/// The account, and its tag.
async fn ask(
    client: &mut Client,
    known: Option<HeaderValue>,
) -> Result<(Account, Option<HeaderValue>), Refusal> {
    let mut question = Question::get("/v1/account");
    let mut patience = TIMEOUT;
    if let Some(tag) = known {
        question.headers.insert(header::IF_NONE_MATCH, tag);
        question.headers.insert(PREFER, wait());
        patience += Duration::from_secs(WAIT_SECONDS);
    }
    let asking = tokio::time::timeout(patience, client.ask(&question, MOST_BYTES));
    let Answer { status, headers, body } = asking.await.map_err(|_| Refusal::Timeout(patience))??;
    if status != StatusCode::OK {
        return Err(Refusal::Status(status));
    }
    Ok((Account::parse(&body)?, headers.get(header::ETAG).cloned()))
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0} instead of an account; is it the [peers] listen of a front door?")]
    Status(StatusCode),
    #[error(transparent)]
    Account(#[from] AccountError),
}
