use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::continuity::{Continuity, check_age};
use super::origin::origins;
use super::settings::ProbeSettings;
use crate::fleet::{CheckOutcome, CheckResult, GatewayName, HEARTBEAT, Observation, ServiceReport};
use crate::heartbeat::{MAX_REPORT_BYTES, Report};
use crate::net::check::{Check, all_at_once};
use crate::net::client::{Client, ClientError, Question, Target};
use crate::net::clock::now;
use crate::net::stop::Stop;

/// What a round has found, for the keeper.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Of which gateway.
    pub gateway: GatewayName,
    /// What.
    pub observation: Observation,
}

/// Asks one gateway, round after round, until told to stop or until nobody wants to know any more.
pub async fn run(settings: ProbeSettings, findings: mpsc::Sender<Finding>, mut stop: Stop) {
    let mut probe = Probe::new(settings);
    loop {
        let started = Instant::now();
        let observation = tokio::select! {
            observation = probe.round() => observation,
            () = stop.stopped() => return,
        };
        let finding = Finding { gateway: probe.settings.gateway.clone(), observation };
        let pause = probe.pause().saturating_sub(started.elapsed());
        tokio::select! {
            sent = findings.send(finding) => if sent.is_err() { return },
            () = stop.stopped() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.stopped() => return,
        }
    }
}

struct Probe {
    settings: ProbeSettings,
    agent: Option<Agent>,
    draws: fastrand::Rng,
}

/// A gateway's agent, over a connection that is kept from round to round.
struct Agent {
    gateway: GatewayName,
    client: Client,
    continuity: Continuity,
    told_of_name: bool,
}

impl Agent {
    fn new(gateway: GatewayName, target: Target) -> Self {
        Self { gateway, client: Client::new(target), continuity: Continuity::default(), told_of_name: false }
    }
}

impl Probe {
    fn new(settings: ProbeSettings) -> Self {
        let agent = settings.heartbeat.clone().map(|target| Agent::new(settings.gateway.clone(), target));
        Self { settings, agent, draws: fastrand::Rng::new() }
    }

    /// Asks the agent and does every direct check, all at once, each with its own deadline.
    async fn round(&mut self) -> Observation {
        let asked = Some(now());
        let (deadline, stale_after) = (self.settings.timeout, self.settings.stale_after);
        let from = self.agent.is_some().then(|| checks_from(&self.settings.checks)).flatten();
        let heartbeat = async {
            match &mut self.agent {
                Some(agent) => Some(agent.ask(from, deadline, stale_after).await),
                None => None,
            }
        };
        let (heartbeat, direct) = tokio::join!(heartbeat, run_all(&self.settings, deadline));
        let (heartbeat, report) = heartbeat.unzip();
        Observation { checks: heartbeat.into_iter().chain(direct).collect(), report: report.flatten(), asked }
    }

    /// Up to a fifth shorter than the interval, so that gateways are not asked in step, and one that refuses
    /// connections is found within `fall` intervals all the same (one that hangs: a timeout later).
    fn pause(&mut self) -> Duration {
        self.settings.interval.mul_f64(0.8 + 0.2 * self.draws.f64())
    }
}

async fn run_all(settings: &ProbeSettings, deadline: Duration) -> Vec<CheckResult> {
    let checks = settings.checks.clone().into_iter().map(|check| {
        let mark = settings.mark.clone();
        async move { check.run_marked(deadline, mark.as_deref()).await }
    });
    all_at_once(checks).await
}

/// Where the direct checks leave from, for the agent to let them through its fence: who is blocked is seen to be
/// well again by them alone.
fn checks_from(checks: &[Check]) -> Option<HeaderValue> {
    let addresses: Vec<_> = origins(checks).iter().map(ToString::to_string).collect();
    // always a value: digits, dots, colons and commas
    HeaderValue::from_str(&addresses.join(", ")).ok().filter(|value| !value.is_empty())
}

const CHECKS_FROM: HeaderName = HeaderName::from_static("vestibule-checks-from");

impl Agent {
    async fn ask(
        &mut self,
        from: Option<HeaderValue>,
        deadline: Duration,
        stale_after: Duration,
    ) -> (CheckResult, Option<ServiceReport>) {
        let started = Instant::now();
        let (outcome, report) = match timeout(deadline, self.report(from, stale_after)).await {
            Err(_) => (CheckOutcome::Timeout(deadline), None),
            Ok(Ok(report)) => (CheckOutcome::Pass("reported".into()), Some(report)),
            Ok(Err(Refusal::Client(error))) if error.is_local() => {
                (CheckOutcome::Inconclusive(error.to_string()), None)
            }
            Ok(Err(refusal)) => (CheckOutcome::Fail(refusal.to_string()), None),
        };
        let took = started.elapsed();
        (CheckResult { check: Arc::from(HEARTBEAT), outcome, took }, report)
    }

    async fn report(
        &mut self,
        from: Option<HeaderValue>,
        stale_after: Duration,
    ) -> Result<ServiceReport, Refusal> {
        let mut question = Question::get("/v1/report");
        question.headers.extend(from.map(|from| (CHECKS_FROM, from)));
        let answer = self.client.ask(&question, MAX_REPORT_BYTES).await?;
        if answer.status != StatusCode::OK {
            return Err(Refusal::Status(answer.status));
        }
        let report = Report::parse(&answer.body)?;
        if report.name != *self.gateway.as_str() && !std::mem::replace(&mut self.told_of_name, true) {
            let (gateway, name) = (self.gateway.as_str(), &*report.name);
            tracing::warn!(
                gateway,
                name,
                "the agent asked for this gateway has another name; is its address right?"
            );
        }
        let sent = sent_at(&answer.headers);
        check_age(report.time.to_system_time(), sent, stale_after)?;
        self.continuity.admit(&report.boot_id, report.sequence)?;
        Ok(report.as_sent_at(sent))
    }
}

/// When the agent says it has sent its answer (RFC 9110 §6.6.1); now, where it does not say.
fn sent_at(headers: &HeaderMap) -> SystemTime {
    let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
    date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now)
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0} instead of a report")]
    Status(StatusCode),
    #[error(transparent)]
    Report(#[from] crate::heartbeat::ReportError),
    #[error(transparent)]
    Old(#[from] super::continuity::OldReport),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Endpoint;
    use crate::net::check::{Get, Kind, StatusRange};

    fn settings(interval: Duration) -> ProbeSettings {
        ProbeSettings {
            gateway: GatewayName::new("gw1"),
            heartbeat: None,
            checks: Vec::new(),
            mark: None,
            interval,
            timeout: interval,
            stale_after: interval,
        }
    }

    #[tokio::test]
    async fn a_round_tells_when_it_was_begun_however_long_a_check_hangs() {
        let hangs = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&hangs.local_addr().unwrap().to_string(), 80).unwrap();
        let timeout = Duration::from_millis(100);
        let get = Get { path: "/".into(), expect: StatusRange::usual() };
        let check = Check { name: "portal".into(), site: endpoint.into(), kind: Kind::Http(get) };
        let settings = ProbeSettings { checks: vec![check], ..settings(timeout) };
        let observation = Probe::new(settings).round().await;
        assert_eq!(observation.checks[0].outcome, CheckOutcome::Timeout(timeout));
        assert!(observation.asked.unwrap().instant.elapsed() >= timeout);
    }

    #[test]
    fn pauses_differ_and_are_never_longer_than_the_interval_nor_much_shorter() {
        let interval = Duration::from_secs(1);
        let mut probe = Probe::new(settings(interval));
        let mut pauses: Vec<_> = (0..1000).map(|_| probe.pause()).collect();
        pauses.sort();
        let (shortest, longest) = (pauses[0], pauses[999]);
        assert!(shortest >= interval.mul_f64(0.8) && longest <= interval, "{shortest:?} {longest:?}");
        // all over what they may be: the chance to miss a tenth of it is 0.9 to the power of 1000
        assert!(shortest < interval.mul_f64(0.82) && longest > interval.mul_f64(0.98));
        pauses.dedup();
        assert!(pauses.len() > 900, "{} of 1000 differ", pauses.len());
    }
}
