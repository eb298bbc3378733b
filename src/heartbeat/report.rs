//! The report as JSON: what an agent sends and a front door reads (contracts/heartbeat.md).

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::state::{AgentState, ServiceState};
use super::text::one_line;
use super::timestamp::Timestamp;
use crate::fleet::{CheckOutcome, CheckResult, FenceReport, Holder, Lease, Load, Service, ServiceReport};

/// One report. Texts that come from the network are short and on one line, numbers that make no sense
/// are `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What the agent calls its gateway.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// Another one at every start of the agent.
    #[serde(deserialize_with = "name")]
    pub boot_id: String,
    /// Grows by one per report; starts again with another `boot_id`.
    pub sequence: u64,
    /// The agent's clock at the end of the round that the report tells of: an agent that answers but no longer
    /// looks is found out by it.
    pub time: Timestamp,
    /// Whether the gateway works.
    pub service: ServiceSection,
    /// How busy it is.
    #[serde(default)]
    pub load: LoadSection,
    /// Its firewall blocks, where it has a fence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<FenceSection>,
}

/// Whether the gateway works.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceSection {
    /// In one word.
    pub state: ServiceState,
    /// Since when.
    pub since: Timestamp,
    /// What the word rests on.
    #[serde(default)]
    pub checks: Vec<CheckSection>,
}

/// One local check of the last round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckSection {
    /// Its name in the agent's configuration.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// Whether it passed.
    pub passing: bool,
    /// What was seen.
    #[serde(default, deserialize_with = "sentence")]
    pub detail: String,
    /// How long it took.
    #[serde(default, deserialize_with = "quantity")]
    pub milliseconds: Option<f64>,
}

/// [`Load`] as it stands in a report: `null` where not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of Load")]
pub struct LoadSection {
    #[serde(deserialize_with = "ratio")]
    pub cpu_ratio: Option<f64>,
    #[serde(deserialize_with = "count")]
    pub receive_bits_per_second: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub transmit_bits_per_second: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub capacity_bits_per_second: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub tunnels: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub tunnels_max: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub pool_used: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub pool_size: Option<u64>,
}

/// The gateway's firewall blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FenceSection {
    /// What sets them.
    #[serde(deserialize_with = "name")]
    pub engine: String,
    /// Whether the ports are blocked now.
    pub blocked: bool,
    /// Which ports, as `tcp/443`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Who wants them blocked.
    #[serde(default)]
    pub holders: Vec<HolderSection>,
    /// Who keeps the agent from blocking them by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_open_by: Vec<LeaseSection>,
}

/// One who keeps the gateway open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseSection {
    /// A front door's name.
    #[serde(deserialize_with = "name")]
    pub by: String,
    /// When that ends if it is not renewed.
    pub until: Timestamp,
}

/// One who keeps a block up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HolderSection {
    /// A front door's name, or `self`.
    #[serde(deserialize_with = "name")]
    pub by: String,
    /// What for.
    #[serde(default, deserialize_with = "sentence")]
    pub reason: String,
    /// When the block ends if it is not renewed.
    pub until: Timestamp,
}

/// Why bytes are not a report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Longer than any report.
    #[error("the report is larger than {MAX_REPORT_BYTES} bytes")]
    TooLarge,
    /// It stops in the middle.
    #[error("the report ends too early")]
    Cut(#[source] serde_json::Error),
    /// It is something else.
    #[error("the report is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but not ours.
    #[error("the report names no version")]
    NoVersion,
    /// A version that came after this program, or never was.
    #[error("the report is of version {0}; only version {VERSION} is known")]
    Version(String),
    /// Something that it must hold is missing or of another kind.
    #[error("the report is not understood: {}", one_line(&.0.to_string(), SENTENCE_LIMIT))]
    Content(#[source] serde_json::Error),
}

/// The longest report that is read: some hundred checks, or some hundred holders of a block.
pub const MAX_REPORT_BYTES: usize = 256 * 1024;

impl Report {
    /// Reads a report. The version is looked at first: of a report of another one nothing else is known.
    pub fn parse(json: &[u8]) -> Result<Self, ReportError> {
        if json.len() > MAX_REPORT_BYTES {
            return Err(ReportError::TooLarge);
        }
        match serde_json::from_slice::<Versioned>(json).map_err(explain)?.version {
            None => Err(ReportError::NoVersion),
            Some(version) if version == VERSION => serde_json::from_slice(json).map_err(explain),
            Some(version) => Err(ReportError::Version(one_line(&version.to_string(), NAME_LIMIT))),
        }
    }

    /// The report on `state` and `fence` that is the `sequence`th since the agent has started.
    pub fn of(state: &AgentState, fence: FenceSection, name: &str, boot_id: &str, sequence: u64) -> Self {
        Self {
            name: name.to_owned(),
            boot_id: boot_id.to_owned(),
            sequence,
            time: state.observed.into(),
            service: ServiceSection::of(state),
            load: LoadSection::from(state.load.clone()),
            fence: Some(fence),
        }
    }

    /// The report as it is sent.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Sent { version: VERSION, report: self })
    }
}

impl Report {
    /// What it says, where `sent` is when the agent says it has sent it: leases are told by the agent's clock.
    pub fn as_sent_at(&self, sent: SystemTime) -> ServiceReport {
        let service = match self.service.state {
            ServiceState::Up => Service::Up,
            ServiceState::Draining => Service::Draining,
            ServiceState::Down => Service::Down(self.service.why_down()),
        };
        let fence = self.fence.as_ref().map(|fence| fence.as_sent_at(sent));
        ServiceReport { service, load: Load::from(self.load.clone()), fence }
    }
}

impl FenceSection {
    /// Of an agent that blocks nothing.
    pub fn none() -> Self {
        Self {
            engine: "none".to_owned(),
            blocked: false,
            ports: Vec::new(),
            holders: Vec::new(),
            kept_open_by: Vec::new(),
        }
    }

    fn as_sent_at(&self, sent: SystemTime) -> FenceReport {
        let lease = |by: &str, until: &Timestamp| Lease {
            by: by.into(),
            left: until.to_system_time().duration_since(sent).unwrap_or_default(),
        };
        let holder =
            |h: &HolderSection| Holder { lease: lease(&h.by, &h.until), reason: h.reason.as_str().into() };
        FenceReport {
            engine: self.engine.as_str().into(),
            blocked: self.blocked,
            ports: self.ports.iter().take(MAX_PORTS).map(|p| one_line(p, NAME_LIMIT).into()).collect(),
            holders: self.holders.iter().map(holder).collect(),
            kept_open_by: self.kept_open_by.iter().map(|open| lease(&open.by, &open.until)).collect(),
        }
    }
}

impl ServiceSection {
    pub(super) fn of(state: &AgentState) -> Self {
        let checks = state.checks.iter().map(CheckSection::of).collect();
        Self { state: state.service, since: state.since.into(), checks }
    }

    /// The checks that fail, in one line.
    pub(super) fn why_down(&self) -> String {
        let failing = self.checks.iter().filter(|check| !check.passing);
        let reasons: Vec<_> = failing.map(CheckSection::to_string).collect();
        if !reasons.is_empty() {
            return one_line(&reasons.join("; "), REASON_LIMIT);
        }
        // its checks have passed again, but not often enough; or nothing is known yet; or it gives no checks
        "it calls itself down and names no failing check".to_owned()
    }
}

impl CheckSection {
    fn of(result: &CheckResult) -> Self {
        let passing = matches!(result.outcome, CheckOutcome::Pass(_));
        let detail = result.outcome.detail();
        let detail = match &result.outcome {
            CheckOutcome::Inconclusive(_) => one_line(&format!("not tried: {detail}"), SENTENCE_LIMIT),
            _ => one_line(&detail, SENTENCE_LIMIT),
        };
        let milliseconds = Some(in_milliseconds(result.took));
        Self { name: result.check.to_string(), passing, detail, milliseconds }
    }
}

impl fmt::Display for CheckSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = if self.detail.is_empty() { "failed" } else { &self.detail };
        write!(f, "{}: {detail}", self.name)
    }
}

impl From<Load> for LoadSection {
    fn from(load: Load) -> Self {
        Self {
            cpu_ratio: load.cpu_ratio,
            receive_bits_per_second: load.receive_bits_per_second,
            transmit_bits_per_second: load.transmit_bits_per_second,
            capacity_bits_per_second: load.capacity_bits_per_second,
            tunnels: load.tunnels,
            tunnels_max: load.tunnels_max,
            pool_used: load.pool_used,
            pool_size: load.pool_size,
        }
    }
}

impl From<LoadSection> for Load {
    fn from(load: LoadSection) -> Self {
        Self {
            cpu_ratio: load.cpu_ratio,
            receive_bits_per_second: load.receive_bits_per_second,
            transmit_bits_per_second: load.transmit_bits_per_second,
            capacity_bits_per_second: load.capacity_bits_per_second,
            tunnels: load.tunnels,
            tunnels_max: load.tunnels_max,
            pool_used: load.pool_used,
            pool_size: load.pool_size,
        }
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: Option<Value>,
}

#[derive(Serialize)]
struct Sent<'a> {
    version: u64,
    #[serde(flatten)]
    report: &'a Report,
}

const VERSION: u64 = 1;
const NAME_LIMIT: usize = 64;
/// More than anybody has to block.
const MAX_PORTS: usize = 64;
const SENTENCE_LIMIT: usize = 200;
const REASON_LIMIT: usize = 500;
/// Below this every whole number fits, above it nothing is a count of anything here.
const COUNT_LIMIT: f64 = 9.0e18;

fn explain(error: serde_json::Error) -> ReportError {
    if error.is_eof() {
        ReportError::Cut(error)
    } else if error.is_data() {
        ReportError::Content(error)
    } else {
        ReportError::NotJson(error)
    }
}

fn in_milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(one_line(&String::deserialize(deserializer)?, NAME_LIMIT))
}

fn sentence<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(one_line(&String::deserialize(deserializer)?, SENTENCE_LIMIT))
}

fn quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_f64().filter(|n| n.is_finite() && *n >= 0.0))
}

fn ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(quantity(deserializer)?.filter(|n| *n <= 1.0))
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let rounded = || value.as_f64().filter(|n| (0.0..COUNT_LIMIT).contains(n)).map(|n| n.round() as u64);
    Ok(value.as_u64().or_else(rounded))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;

    /// The example of contracts/heartbeat.md, with one check that fails.
    const EXAMPLE: &str = r#"{
      "version": 1, "name": "gw1", "boot_id": "0d6b", "sequence": 4711, "time": "2026-03-01T12:00:00.000Z",
      "service": { "state": "up", "since": "2026-03-01T11:00:00.000Z",
        "checks": [{ "name": "portal", "passing": true, "detail": "200 OK", "milliseconds": 3.1 }] },
      "load": { "cpu_ratio": 0.42, "receive_bits_per_second": 120000000,
        "transmit_bits_per_second": 310000000, "capacity_bits_per_second": 1000000000,
        "tunnels": 312, "tunnels_max": 1000, "pool_used": 312, "pool_size": 1022 },
      "fence": { "engine": "nftables", "blocked": true, "ports": ["tcp/443"],
        "holders": [{ "by": "front-a", "reason": "3 checks failed", "until": "2026-03-01T12:00:15.000Z" }] }
    }"#;

    fn changed(pointer: &str, value: Value) -> Result<Report, ReportError> {
        let mut json: Value = serde_json::from_str(EXAMPLE).unwrap();
        *json.pointer_mut(pointer).unwrap() = value;
        Report::parse(json.to_string().as_bytes())
    }

    fn without(section: &str, key: &str) -> Result<Report, ReportError> {
        let mut json: Value = serde_json::from_str(EXAMPLE).unwrap();
        json.pointer_mut(section).unwrap().as_object_mut().unwrap().remove(key).unwrap();
        Report::parse(json.to_string().as_bytes())
    }

    fn refusal(json: &[u8]) -> String {
        Report::parse(json).unwrap_err().to_string()
    }

    #[test]
    fn the_example_of_the_contract_is_read_and_written_alike() {
        let report = Report::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!((report.name.as_str(), report.sequence), ("gw1", 4711));
        assert!(report.fence.as_ref().is_some_and(|f| f.blocked && f.holders[0].by == "front-a"));
        let written: Value = serde_json::from_slice(&report.to_json().unwrap()).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(EXAMPLE).unwrap());
    }

    #[test]
    fn a_report_cut_at_any_length_is_refused_without_a_panic() {
        for length in 0..EXAMPLE.len() {
            let error = Report::parse(&EXAMPLE.as_bytes()[..length]).unwrap_err();
            // after the point of 3.1 it is no number yet
            let plain = matches!(error, ReportError::Cut(_) | ReportError::NotJson(_));
            assert!(plain, "{length}: {error}");
        }
    }

    #[test]
    fn a_report_of_another_version_is_refused_by_its_version_whatever_else_it_holds() {
        let known = "; only version 1 is known";
        assert_eq!(refusal(br#"{"version": 2, "load": []}"#), format!("the report is of version 2{known}"));
        assert_eq!(refusal(br#"{"version": "1"}"#), format!("the report is of version \"1\"{known}"));
        assert_eq!(refusal(b"{}"), "the report names no version");
        let long = format!(r#"{{"version": "{}"}}"#, "9".repeat(10_000));
        assert!(refusal(long.as_bytes()).len() < 200);
    }

    #[test]
    fn what_is_not_a_report_is_refused_in_plain_words() {
        assert_eq!(refusal(b"<html>"), "the report is not JSON");
        assert_eq!(refusal(b""), "the report ends too early");
        assert_eq!(refusal(&vec![b' '; MAX_REPORT_BYTES + 1]), "the report is larger than 262144 bytes");
        let error = changed("/service/state", "sideways".into()).unwrap_err().to_string();
        assert!(error.starts_with("the report is not understood: unknown variant `sideways`"), "{error}");
        let error = changed("/service/state", "x\n".repeat(9999).into()).unwrap_err().to_string();
        assert!(error.chars().count() < 250 && !error.contains('\n'), "{error}");
        assert!(matches!(without("", "boot_id"), Err(ReportError::Content(_))));
        let deep = "[".repeat(100_000);
        assert_eq!(refusal(format!(r#"{{"version":{deep}"#).as_bytes()), "the report is not JSON");
    }

    #[test]
    fn unknown_fields_are_ignored_and_a_report_without_load_or_fence_is_one() {
        let more = EXAMPLE.replacen('{', r#"{ "later": [1, {"x": null}],"#, 1);
        assert_eq!(Report::parse(more.as_bytes()).unwrap(), Report::parse(EXAMPLE.as_bytes()).unwrap());
        assert_eq!(without("", "load").unwrap().load, LoadSection::default());
        assert_eq!(without("", "fence").unwrap().fence, None);
        assert_eq!(without("/load", "tunnels").unwrap().load.tunnels, None);
    }

    #[test]
    fn a_load_value_that_makes_no_sense_is_unknown() {
        for nonsense in
            [Value::Null, (-1).into(), "12".into(), true.into(), Value::Array(vec![]), 1e300.into()]
        {
            let load = changed("/load/tunnels", nonsense.clone()).unwrap().load;
            assert_eq!((load.tunnels, load.tunnels_max), (None, Some(1000)), "{nonsense}");
            assert_eq!(
                changed("/load/cpu_ratio", nonsense.clone()).unwrap().load.cpu_ratio,
                None,
                "{nonsense}"
            );
        }
        assert_eq!(changed("/load/cpu_ratio", 42.into()).unwrap().load.cpu_ratio, None);
        assert_eq!(changed("/load/tunnels", 12.4.into()).unwrap().load.tunnels, Some(12));
        assert_eq!(changed("/load/tunnels", u64::MAX.into()).unwrap().load.tunnels, Some(u64::MAX));
        assert_eq!(changed("/load/cpu_ratio", 1.into()).unwrap().load.cpu_ratio, Some(1.0));
        let nan = EXAMPLE.replace("0.42", "NaN");
        assert!(matches!(Report::parse(nan.as_bytes()), Err(ReportError::NotJson(_))));
        let infinite = EXAMPLE.replace("0.42", "1e999");
        assert!(Report::parse(infinite.as_bytes()).is_err());
    }

    #[test]
    fn a_gateway_is_down_for_the_reasons_of_its_failing_checks() {
        let mut report = Report::parse(EXAMPLE.as_bytes()).unwrap();
        let check = |name: &str, passing, detail: &str| CheckSection {
            name: name.into(),
            passing,
            detail: detail.into(),
            milliseconds: None,
        };
        assert_eq!(report.as_sent_at(SystemTime::UNIX_EPOCH).service, Service::Up);
        report.service.state = ServiceState::Draining;
        assert_eq!(report.as_sent_at(SystemTime::UNIX_EPOCH).service, Service::Draining);
        report.service.state = ServiceState::Down;
        report.service.checks = vec![
            check("portal", false, "connection refused"),
            check("dns", true, ""),
            check("disk", false, ""),
        ];
        let down = report.as_sent_at(SystemTime::UNIX_EPOCH);
        assert_eq!(down.service, Service::Down("portal: connection refused; disk: failed".into()));
        assert_eq!(down.load.tunnels, Some(312));
        report.service.checks = vec![check("portal", true, "200 OK")];
        let unexplained = Service::Down("it calls itself down and names no failing check".into());
        assert_eq!(report.as_sent_at(SystemTime::UNIX_EPOCH).service, unexplained);
        report.service.checks.clear();
        assert_eq!(report.as_sent_at(SystemTime::UNIX_EPOCH).service, unexplained);
    }

    #[test]
    fn texts_from_the_network_are_one_short_line() {
        let report = changed("/service/checks/0/detail", "bad\r\n\x1b[2Jforged line".into()).unwrap();
        assert_eq!(report.service.checks[0].detail, "bad");
        let report = changed("/name", "n".repeat(1000).into()).unwrap();
        assert_eq!(report.name.chars().count(), NAME_LIMIT);
    }

    #[test]
    fn what_an_agent_has_found_is_what_a_front_door_reads() {
        let result = |check: &str, outcome| CheckResult {
            check: check.into(),
            outcome,
            took: Duration::from_micros(3_149),
        };
        let state = AgentState {
            observed: SystemTime::UNIX_EPOCH + Duration::from_secs(60),
            service: ServiceState::Down,
            since: SystemTime::UNIX_EPOCH,
            checks: vec![
                result("portal", CheckOutcome::Timeout(Duration::from_millis(800))),
                result("disk", CheckOutcome::Pass("12 % used".into())),
                result("ike", CheckOutcome::Inconclusive("too many open files".into())),
            ],
            load: Load { cpu_ratio: Some(0.5), tunnels: Some(3), ..Load::default() },
        };
        let until = Timestamp::from(state.observed + Duration::from_secs(15));
        let fence = FenceSection {
            engine: "nftables".into(),
            blocked: true,
            ports: vec!["tcp/443".into()],
            holders: vec![HolderSection { by: "self".into(), reason: "portal: 503".into(), until }],
            kept_open_by: vec![LeaseSection { by: "front-a".into(), until }],
        };
        let sent = Report::of(&state, fence, "gw1", "0d6b", 7);
        let read = Report::parse(&sent.to_json().unwrap()).unwrap();
        assert_eq!(read, sent);
        assert_eq!(read.time.to_system_time(), state.observed);
        assert_eq!(read.service.checks[0].milliseconds, Some(3.1));
        let down = "portal: no answer within 800 ms; ike: not tried: too many open files";
        let lease = |by: &str| Lease { by: by.into(), left: Duration::from_secs(10) };
        let expected = ServiceReport {
            service: Service::Down(down.into()),
            load: state.load,
            fence: Some(FenceReport {
                engine: "nftables".into(),
                blocked: true,
                ports: Arc::from(["tcp/443".into()]),
                holders: Arc::from([Holder { lease: lease("self"), reason: "portal: 503".into() }]),
                kept_open_by: Arc::from([lease("front-a")]),
            }),
        };
        assert_eq!(read.as_sent_at(state.observed + Duration::from_secs(5)), expected);
    }
}
