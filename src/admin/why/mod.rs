//! Why the front door chooses as it does: what `GET /api/v1/why` answers, and `vestibule why` and the status page
//! show. All words are in the document, so that they say the same.

mod question;
pub mod table;
mod words;

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use self::question::{Question, QuestionError};
use self::words::Words;
pub(super) use self::words::number;
use super::listener::ListenerStatus;
use super::status::{LoadStatus, date};
use super::vrrp::{VrrpState, VrrpStatus};
use crate::fleet::{Account, Ask, By, GatewayView, Moment, Snapshot, Vpn, VrrpId, explain};

/// The explanation of one choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// Who would be chosen and why, in a sentence.
    pub summary: String,
    /// What was asked, in words.
    pub question: String,
    /// What else there is to know, a sentence each.
    pub notes: Vec<String>,
    /// The moment it describes.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// At which listener; `None`: there is none for such clients.
    pub listener: Option<String>,
    /// For which kind of client: `native` or `ssl`.
    pub vpn: String,
    /// Limits the gateways.
    pub vrrp_id: Option<u8>,
    /// `load-balancing` or `failsafe`.
    pub balance: String,
    /// `least-loaded` or `round-robin`: how a newcomer's gateway is chosen.
    pub policy: String,
    /// `none`, `source-address`, `session` or `cookie`: how who comes again finds his.
    pub affinity: String,
    /// `refuse`, `last-known-good` or `any`.
    pub when_none_available: String,
    /// For which client.
    pub source: Option<IpAddr>,
    /// Who would be chosen; `None`: nobody, or that depends on the source.
    pub chosen: Option<String>,
    /// Where the client would be sent, or taken: `host:port`.
    pub endpoint: Option<String>,
    /// What decides: `least-loaded`, `turn`, `source`, `active` (failsafe mode), `last-known-good` or `any`.
    pub rule: Option<String>,
    /// Somebody would be chosen, and only who asks decides who.
    pub depends_on_source: bool,
    /// What each criterion counts in a score.
    pub weights: WeightsEntry,
    /// In the order of the choice, then those who are left out in the order of the configuration.
    pub gateways: Vec<Candidate>,
}

/// What each criterion counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightsEntry {
    /// Bits per second of capacity, in the busier direction.
    pub throughput: f64,
    /// VPN sessions of the most it can hold.
    pub tunnels: f64,
    /// Pool addresses lent of those it has.
    pub pool: f64,
    /// Processor use.
    pub cpu: f64,
}

/// What speaks for and against one gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name in the configuration.
    pub name: String,
    /// From 1 on, among those that may be chosen.
    pub place: Option<u64>,
    /// What became of it and why, in words.
    pub verdict: String,
    /// Why it is left out, in two or three words; `None`: it is available.
    pub left_out: Option<String>,
    /// What it is compared by: its score, or the one assumed, and `pending` times `pending_share`. `None`: unknown.
    pub load: Option<f64>,
    /// The score of its last report, 0..1, if it has one that counts.
    pub score: Option<f64>,
    /// What it is taken to have instead: the average of the others.
    pub assumed_score: Option<f64>,
    /// Its last report; `None` if none ever came.
    pub report: Option<LoadStatus>,
    /// Newcomers sent to it that no report shows yet.
    pub pending: u64,
    /// What each of them adds to its load.
    pub pending_share: f64,
    /// It has come back, and takes part in this share of the choices; `None`: in all.
    pub filling_share: Option<f64>,
    /// Therefore it does not take part in this one.
    pub sits_out: bool,
    /// As many are on their way as its last report had room for.
    pub spoken_for: bool,
}

impl Why {
    /// Explains what the doors would choose now. `draw` is a random number, as they draw one for each choice.
    pub fn of(
        snapshot: &Snapshot,
        listeners: &[ListenerStatus],
        question: &Question,
        now: Moment,
        draw: u64,
    ) -> Result<Self, QuestionError> {
        let listener = question.find(listeners)?;
        let vpn = question.vpn.or(listener.map(|listener| listener.vpn)).unwrap_or(Vpn::Ssl);
        let ask = listener.map_or(Ask { vrrp_id: None, vpn }, ListenerStatus::ask);
        let steering = listener.and_then(|listener| listener.steering).unwrap_or_default();
        // in failsafe mode every source belongs to the active one
        let anybody = snapshot.balance.mode.is_failsafe().then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let by = steering.by(question.source.or(anybody));
        let explained = explain(snapshot, ask, by.unwrap_or(By::Load), now.instant, draw);
        let words = Words {
            snapshot,
            listener,
            vpn,
            steering,
            source: question.source,
            decided: by.is_some(),
            explained: &explained,
            now: now.instant,
        };
        let chosen = words.chosen();
        let views = snapshot.gateways.iter().zip(&explained.accounts).enumerate();
        let mut ranked: Vec<_> = views
            .map(|(index, (view, account))| {
                let place = account.place.filter(|_| words.decided).map(|place| place as u64);
                let verdict = words.verdict(index, view, account);
                let misfit = ask.misfit(&view.gateway).is_some();
                let rank = (place.unwrap_or(u64::MAX), account.exclusion.is_some(), misfit);
                (rank, Candidate::of(view, account, place, verdict, snapshot, now))
            })
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        let [throughput, tunnels, pool, cpu] = snapshot.weights.get();
        Ok(Self {
            summary: words.summary(),
            question: words.question(),
            notes: words.notes(),
            at: date(now.wall),
            listener: listener.map(|listener| listener.name.clone()),
            vpn: vpn.as_str().into(),
            vrrp_id: ask.vrrp_id.map(VrrpId::get),
            balance: snapshot.balance.mode.as_str().into(),
            policy: steering.policy.as_str().into(),
            affinity: steering.affinity.as_str().into(),
            when_none_available: snapshot.balance.when_none.as_str().into(),
            source: question.source,
            chosen: chosen.map(|(view, _)| view.gateway.name.to_string()),
            endpoint: chosen.map(|(view, _)| words.endpoint(view)),
            rule: chosen.map(|(_, rule)| rule.as_str().into()),
            depends_on_source: words.depends_on_source(),
            weights: WeightsEntry { throughput, tunnels, pool, cpu },
            gateways: ranked.into_iter().map(|(_, candidate)| candidate).collect(),
        })
    }

    /// The same of a front door with these virtual addresses: to one that does not have all of them clients do not come,
    /// and whoever asks it over UDP is told so.
    pub fn sharing(mut self, vrrp: &[VrrpStatus]) -> Self {
        if vrrp.iter().any(|vrrp| vrrp.state == VrrpState::Standby) {
            let note = "This front door is on standby: clients come to the one that has the virtual address.";
            self.notes.insert(0, note.to_owned());
        }
        self
    }

    /// Whether anybody would be chosen.
    pub fn names_somebody(&self) -> bool {
        self.chosen.is_some() || self.depends_on_source
    }
}

impl Candidate {
    fn of(
        view: &GatewayView,
        account: &Account,
        place: Option<u64>,
        verdict: String,
        snapshot: &Snapshot,
        now: Moment,
    ) -> Self {
        let stale_after = snapshot.balance.stale_after;
        Self {
            name: view.gateway.name.to_string(),
            place,
            verdict,
            left_out: account.exclusion.map(|exclusion| exclusion.as_str().into()),
            load: account.load.map(rounded),
            score: account.score.map(rounded),
            assumed_score: account.assumed_score.map(rounded),
            report: view.load.as_ref().map(|reading| {
                let stale = view.fresh_load(now.instant, stale_after).is_none();
                LoadStatus::of(reading, stale, now.instant)
            }),
            pending: account.pending,
            pending_share: rounded(account.pending_share),
            filling_share: account.filling_share.map(rounded),
            sits_out: account.sits_out,
            spoken_for: account.is_spoken_for,
        }
    }
}

/// To a millionth: more is noise to whoever reads it.
fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests;
