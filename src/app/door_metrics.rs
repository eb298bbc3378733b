use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::doors::Plans;
use super::samples::{Buckets, Sample, Value, family};
use crate::admin::listener::{self, ListenerStatus, Steering};
use crate::admin::rates::Counted;
use crate::fleet::{GatewayName, Policy};
use crate::front::{
    Affinity, BOUNDS, Counter, Direction, Fate, GatewayMeter, Gauge, Handshake, Histogram, Meter, Mode, Plan,
    Rejection,
};

/// The workers' counters as Prometheus metrics: added up when somebody looks, so that counting costs the
/// workers nothing.
pub struct DoorMetrics {
    plans: Plans,
    families: Vec<Family>,
    descriptions: Vec<Desc>,
}

/// One metric: its name, and how it is read.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: proto::MetricType,
    read: Read,
}

enum Read {
    /// For each listener; the label `listener` is added.
    Listener(fn(&Plan) -> Vec<Sample>),
    /// For each gateway that listeners take clients to, over all of these; the label `gateway` is added.
    Gateway(fn(&[Arc<GatewayMeter>]) -> Vec<Sample>),
}

impl DoorMetrics {
    /// Over these listeners.
    pub fn new(plans: Plans) -> Result<Self, prometheus::Error> {
        let families = families();
        let describe = |family: &Family| {
            let label = match family.read {
                Read::Listener(_) => LISTENER,
                Read::Gateway(_) => GATEWAY,
            };
            Desc::new(family.name.into(), family.help.into(), vec![label.to_owned()], Default::default())
        };
        let descriptions = families.iter().map(describe).collect::<Result<_, _>>()?;
        Ok(Self { plans, families, descriptions })
    }
}

impl Collector for DoorMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let plans = self.plans.get();
        self.families
            .iter()
            .map(|family| family.collect(&plans))
            .filter(|f| !f.get_metric().is_empty())
            .collect()
    }
}

const LISTENER: &str = "listener";
const GATEWAY: &str = "gateway";

/// What the status shows of each listener.
pub fn statuses(plans: &Plans) -> Vec<ListenerStatus> {
    plans.get().iter().map(|plan| status(plan)).collect()
}

fn status(plan: &Plan) -> ListenerStatus {
    let gateways = gateway_meters(plan);
    let meters = || gateways.values().flatten();
    ListenerStatus {
        name: plan.settings.name.to_string(),
        address: plan.settings.address,
        mode: plan.settings.mode.as_str(),
        vrrp_id: plan.settings.ask.vrrp_id,
        vpn: plan.settings.ask.vpn,
        steering: steering(plan),
        open: plan.is_open(),
        connections: u64::from(plan.admission.connections()),
        tunnels: meters().map(|meter| meter.tunnels.get()).sum(),
        redirects: meters().map(|meter| meter.redirects.get()).sum(),
        unavailable: sum(plan, |meter| Some(&meter.unavailable)),
        counted: counted(plan, &gateways),
    }
}

fn counted(plan: &Plan, gateways: &GatewayMeters) -> Counted {
    let all =
        |of: fn(&Meter) -> &[Counter]| plan.meters.iter().flat_map(|meter| of(meter)).map(Counter::get).sum();
    let transferred = |direction: Direction| sum(plan, |meter| meter.transferred.get(direction.index()));
    let reached =
        || gateways.values().flatten().filter_map(|meter| meter.requests.get(Fate::Answered.index()));
    let is_passthrough = matches!(plan.settings.mode, Mode::Passthrough(_));
    Counted {
        handshakes: all(|meter| &meter.handshakes),
        answers: if is_passthrough {
            reached().map(Counter::get).sum()
        } else {
            all(|meter| &meter.responses)
        },
        rejected: all(|meter| &meter.rejected),
        bytes_in: transferred(Direction::In),
        bytes_out: transferred(Direction::Out),
    }
}

fn steering(plan: &Plan) -> Option<Steering> {
    let affinity = match &plan.settings.mode {
        Mode::HttpsUpgrade(_) => return None,
        Mode::Redirect(_) => listener::Affinity::None,
        Mode::Proxy(_, proxy) => match &proxy.affinity {
            Affinity::None => listener::Affinity::None,
            Affinity::SourceAddress => listener::Affinity::SourceAddress,
            Affinity::Session(_) => listener::Affinity::Session,
            Affinity::Cookie(_) => listener::Affinity::Cookie,
        },
        Mode::Passthrough(passthrough) if passthrough.source_affinity => listener::Affinity::SourceAddress,
        Mode::Passthrough(_) => listener::Affinity::None,
    };
    let policy = plan.settings.mode.upstream().map_or(Policy::LeastLoaded, |upstream| upstream.policy);
    Some(Steering { policy, affinity, turn: plan.next_turn() })
}

fn families() -> Vec<Family> {
    use Read::{Gateway, Listener};
    use proto::MetricType::{COUNTER, GAUGE, HISTOGRAM};
    vec![
        Family {
            name: "vestibule_redirects_total",
            help: "Answers that named a gateway.",
            kind: COUNTER,
            read: Listener(|plan| match plan.settings.mode {
                Mode::Redirect(_) => {
                    of_gateways(plan, |meters| Value::Counter(total(meters, |meter| &meter.redirects)))
                }
                Mode::HttpsUpgrade(_) | Mode::Proxy(..) | Mode::Passthrough(_) => vec![],
            }),
        },
        Family {
            name: "vestibule_responses_total",
            help: "Answers by class of status.",
            kind: COUNTER,
            read: Listener(|plan| {
                let class = |i: usize| {
                    let count = sum(plan, |meter| meter.responses.get(i));
                    Sample::counter(vec![("class", format!("{}xx", i + 1))], count)
                };
                // what passes through a passthrough is not for us to read
                if matches!(plan.settings.mode, Mode::Passthrough(_)) {
                    return vec![];
                }
                (0..5).map(class).collect()
            }),
        },
        Family {
            name: "vestibule_unavailable_total",
            help: "Answers that named no gateway.",
            kind: COUNTER,
            read: Listener(|plan| vec![Sample::counter(vec![], sum(plan, |meter| Some(&meter.unavailable)))]),
        },
        Family {
            name: "vestibule_tls_handshakes_total",
            help: "TLS handshakes by how they ended.",
            kind: COUNTER,
            read: Listener(|plan| {
                let sample = |handshake: Handshake| {
                    let [result, version, resumed] = handshake.labels().map(str::to_owned);
                    let labels = vec![("result", result), ("version", version), ("resumed", resumed)];
                    Sample::counter(labels, sum(plan, |meter| meter.handshakes.get(handshake.index())))
                };
                if plan.tls.is_some() { Handshake::ALL.into_iter().map(sample).collect() } else { vec![] }
            }),
        },
        Family {
            name: "vestibule_tls_handshake_duration_seconds",
            help: "How long successful TLS handshakes took, the client's part included.",
            kind: HISTOGRAM,
            read: Listener(|plan| {
                let value = || durations(plan.meters.iter().map(|meter| &meter.handshake_duration));
                if plan.tls.is_some() { vec![Sample { labels: vec![], value: value() }] } else { vec![] }
            }),
        },
        Family {
            name: "vestibule_certificate_expiry_timestamp_seconds",
            help: "When the first of the listener's certificates ends, in seconds since 1970.",
            kind: GAUGE,
            read: Listener(|plan| match &plan.settings.mode {
                Mode::Redirect(certificates) | Mode::Proxy(certificates, _) => {
                    let since = certificates.expiry().duration_since(SystemTime::UNIX_EPOCH);
                    let value = Value::Gauge(since.map_or(0, |since| since.as_secs()));
                    vec![Sample { labels: vec![], value }]
                }
                Mode::HttpsUpgrade(_) | Mode::Passthrough(_) => vec![],
            }),
        },
        Family {
            name: "vestibule_connections",
            help: "Open connections.",
            kind: GAUGE,
            read: Listener(|plan| {
                let value = Value::Gauge(u64::from(plan.admission.connections()));
                vec![Sample { labels: vec![], value }]
            }),
        },
        Family {
            name: "vestibule_connections_rejected_total",
            help: "Connections turned away, by the reason: a limit, a PROXY header or a server name that is missing.",
            kind: COUNTER,
            read: Listener(|plan| {
                let sample = |rejection: Rejection| {
                    let count = sum(plan, |meter| meter.rejected.get(rejection.index()));
                    Sample::counter(vec![("reason", rejection.as_str().to_owned())], count)
                };
                Rejection::ALL.into_iter().map(sample).collect()
            }),
        },
        Family {
            name: "vestibule_transferred_bytes_total",
            help: "Bytes from clients (in) and to clients (out), inside TLS where TLS ends here.",
            kind: COUNTER,
            read: Listener(|plan| {
                let sample = |direction: Direction| {
                    let count = sum(plan, |meter| meter.transferred.get(direction.index()));
                    Sample::counter(vec![("direction", direction.as_str().to_owned())], count)
                };
                Direction::ALL.into_iter().map(sample).collect()
            }),
        },
        Family {
            name: "vestibule_tunnels",
            help: "Upgraded, CONNECT and passthrough connections.",
            kind: GAUGE,
            read: Listener(|plan| {
                let mut samples =
                    of_gateways(plan, |meters| Value::Gauge(present(meters, |meter| &meter.tunnels)));
                // they outlive a reload that has the listener do something else
                if plan.settings.mode.upstream().is_none() {
                    samples.retain(|sample| matches!(sample.value, Value::Gauge(1..)));
                }
                samples
            }),
        },
        Family {
            name: "vestibule_upstream_connections",
            help: "Connections to the gateway that wait for a request (idle), and others (active).",
            kind: GAUGE,
            read: Gateway(|meters| {
                let sample = |state: &str, count| Sample {
                    labels: vec![("state", state.to_owned())],
                    value: Value::Gauge(count),
                };
                vec![
                    sample("idle", present(meters, |meter| &meter.idle)),
                    sample("active", present(meters, |meter| &meter.active)),
                ]
            }),
        },
        Family {
            name: "vestibule_upstream_requests_total",
            help: "Requests and connections taken to the gateway, by what became of them.",
            kind: COUNTER,
            read: Gateway(|meters| {
                let sample = |fate: Fate| {
                    let counters = meters.iter().filter_map(|meter| meter.requests.get(fate.index()));
                    let count = counters.map(Counter::get).sum();
                    Sample::counter(vec![("result", fate.as_str().to_owned())], count)
                };
                Fate::ALL.into_iter().map(sample).collect()
            }),
        },
        Family {
            name: "vestibule_upstream_retries_total",
            help: "Requests that the gateway was to have and that were tried once more.",
            kind: COUNTER,
            read: Gateway(|meters| vec![Sample::counter(vec![], total(meters, |meter| &meter.retries))]),
        },
        Family {
            name: "vestibule_upstream_duration_seconds",
            help: "From the end of a request to the head of the gateway's response.",
            kind: HISTOGRAM,
            read: Gateway(|meters| {
                let value = durations(meters.iter().map(|meter| &meter.response_time));
                vec![Sample { labels: vec![], value }]
            }),
        },
    ]
}

fn sum(plan: &Plan, counter: impl Fn(&Meter) -> Option<&Counter>) -> u64 {
    plan.meters.iter().filter_map(|meter| counter(meter)).map(Counter::get).sum()
}

/// What the workers have counted of each gateway.
type GatewayMeters = BTreeMap<GatewayName, Vec<Arc<GatewayMeter>>>;

fn gateway_meters(plan: &Plan) -> GatewayMeters {
    let mut all = GatewayMeters::new();
    for (gateway, meter) in plan.meters.iter().flat_map(|meter| meter.by_gateway()) {
        all.entry(gateway).or_default().push(meter);
    }
    all
}

/// One sample for each gateway of a listener.
fn of_gateways(plan: &Plan, value: impl Fn(&[Arc<GatewayMeter>]) -> Value) -> Vec<Sample> {
    let meters = gateway_meters(plan).into_iter();
    meters
        .map(|(name, meters)| Sample { labels: vec![(GATEWAY, name.to_string())], value: value(&meters) })
        .collect()
}

fn total(meters: &[Arc<GatewayMeter>], which: fn(&GatewayMeter) -> &Counter) -> u64 {
    meters.iter().map(|meter| which(meter).get()).sum()
}

fn present(meters: &[Arc<GatewayMeter>], which: fn(&GatewayMeter) -> &Gauge) -> u64 {
    meters.iter().map(|meter| which(meter).get()).sum()
}

fn durations<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Value {
    let (mut buckets, mut count, mut sum) = ([0; BOUNDS.len()], 0, 0.0);
    for histogram in histograms {
        let (more, n, seconds) = histogram.read();
        buckets.iter_mut().zip(more).for_each(|(bucket, n)| *bucket += n);
        count += n;
        sum += seconds;
    }
    Value::Histogram(Buckets { counts: BOUNDS.into_iter().zip(buckets).collect(), count, sum })
}

impl Family {
    fn collect(&self, plans: &[Arc<Plan>]) -> proto::MetricFamily {
        let samples = match self.read {
            Read::Listener(read) => {
                let of = |plan: &Arc<Plan>| labelled(read(plan), LISTENER, &plan.settings.name);
                plans.iter().flat_map(of).collect()
            }
            Read::Gateway(read) => {
                let mut all = GatewayMeters::new();
                for plan in plans.iter().filter(|plan| plan.settings.mode.upstream().is_some()) {
                    for (gateway, meters) in gateway_meters(plan) {
                        all.entry(gateway).or_default().extend(meters);
                    }
                }
                let of = |(gateway, meters): (&GatewayName, &Vec<_>)| {
                    labelled(read(meters), GATEWAY, gateway.as_str())
                };
                all.iter().flat_map(of).collect()
            }
        };
        family(self.name, self.help, self.kind, samples)
    }
}

/// With one label more for each.
fn labelled(mut samples: Vec<Sample>, name: &'static str, value: &str) -> Vec<Sample> {
    samples.iter_mut().for_each(|sample| sample.labels.insert(0, (name, value.to_owned())));
    samples
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use prometheus::TextEncoder;

    use super::*;
    use crate::fleet::{Ask, Endpoint, Vpn};
    use crate::front::{Common, Limits, ListenerSettings, Passthrough, Redirect};

    /// A listener with two workers that both know the gateways gw1 and gw2.
    fn plan(name: &str, mode: Mode) -> Arc<Plan> {
        let settings = ListenerSettings {
            name: name.into(),
            address: SocketAddr::from(([127, 0, 0, 1], 443)),
            ask: Ask { vrrp_id: None, vpn: Vpn::Ssl },
            limits: Limits::default(),
            redirect: Redirect::default(),
            mode,
        };
        let plan = Arc::new(Plan::new(settings, &Common::new().unwrap(), 2).unwrap());
        (0..2).for_each(|worker| drop(meters(&plan, worker)));
        plan
    }

    fn meters(plan: &Plan, worker: usize) -> Vec<Arc<GatewayMeter>> {
        plan.meters[worker].of_gateways(["gw1", "gw2"].map(GatewayName::new).iter())
    }

    fn passthrough() -> Mode {
        Mode::Passthrough(Arc::new(Passthrough::default()))
    }

    fn upgrade() -> Mode {
        Mode::HttpsUpgrade(Endpoint::parse("vpn.example.com", 443).unwrap())
    }

    /// The samples of the metrics whose names begin like that.
    fn samples(plans: &[Arc<Plan>], prefix: &str) -> Vec<String> {
        let mut families: Vec<_> = families().iter().map(|family| family.collect(plans)).collect();
        families.retain(|family| !family.get_metric().is_empty());
        let text = TextEncoder::new().encode_to_string(&families).unwrap();
        text.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
    }

    #[test]
    fn what_is_counted_of_a_gateway_is_added_up_over_workers_and_listeners() {
        let plans = [plan("one", passthrough()), plan("two", passthrough())];
        let mut guards = vec![];
        for (plan, worker) in [(0, 0), (0, 1), (1, 1)] {
            let [gw1, gw2] = meters(&plans[plan], worker).try_into().unwrap();
            guards.push(Gauge::up(&gw1, |meter| &meter.idle));
            guards.push(Gauge::up(&gw2, |meter| &meter.active));
            guards.push(Gauge::up(&gw2, |meter| &meter.active));
            gw1.request(Fate::Answered);
            gw2.request(Fate::ConnectTimeout);
            gw2.retries.add(2);
            gw1.response_time.observe(Duration::from_millis(500));
        }
        assert_eq!(
            samples(&plans, "vestibule_upstream_connections"),
            [
                "vestibule_upstream_connections{gateway=\"gw1\",state=\"idle\"} 3",
                "vestibule_upstream_connections{gateway=\"gw1\",state=\"active\"} 0",
                "vestibule_upstream_connections{gateway=\"gw2\",state=\"idle\"} 0",
                "vestibule_upstream_connections{gateway=\"gw2\",state=\"active\"} 6",
            ]
        );
        assert_eq!(
            samples(&plans, "vestibule_upstream_requests_total{gateway=\"gw2\""),
            [
                "vestibule_upstream_requests_total{gateway=\"gw2\",result=\"answered\"} 0",
                "vestibule_upstream_requests_total{gateway=\"gw2\",result=\"connect_failed\"} 0",
                "vestibule_upstream_requests_total{gateway=\"gw2\",result=\"connect_timeout\"} 3",
                "vestibule_upstream_requests_total{gateway=\"gw2\",result=\"broken\"} 0",
                "vestibule_upstream_requests_total{gateway=\"gw2\",result=\"response_timeout\"} 0",
            ]
        );
        assert_eq!(
            samples(&plans, "vestibule_upstream_retries_total"),
            [
                "vestibule_upstream_retries_total{gateway=\"gw1\"} 0",
                "vestibule_upstream_retries_total{gateway=\"gw2\"} 6"
            ]
        );
        let durations = samples(&plans, "vestibule_upstream_duration_seconds");
        for line in [
            "vestibule_upstream_duration_seconds_bucket{gateway=\"gw1\",le=\"0.25\"} 0",
            "vestibule_upstream_duration_seconds_bucket{gateway=\"gw1\",le=\"0.5\"} 3",
            "vestibule_upstream_duration_seconds_sum{gateway=\"gw1\"} 1.5",
            "vestibule_upstream_duration_seconds_count{gateway=\"gw2\"} 0",
        ] {
            assert!(durations.iter().any(|told| told == line), "{line} is not in {durations:#?}");
        }
    }

    #[test]
    fn tunnels_and_bytes_are_told_for_each_listener() {
        let plans = [plan("one", passthrough()), plan("two", passthrough())];
        let guards = [0, 1].map(|worker| Gauge::up(&meters(&plans[1], worker)[0], |meter| &meter.tunnels));
        plans[0].meters[0].transferred(Direction::In, 3);
        plans[0].meters[1].transferred(Direction::In, 4);
        plans[1].meters[1].transferred(Direction::Out, 5);
        assert_eq!(
            samples(&plans, "vestibule_tunnels"),
            [
                "vestibule_tunnels{listener=\"one\",gateway=\"gw1\"} 0",
                "vestibule_tunnels{listener=\"one\",gateway=\"gw2\"} 0",
                "vestibule_tunnels{listener=\"two\",gateway=\"gw1\"} 2",
                "vestibule_tunnels{listener=\"two\",gateway=\"gw2\"} 0",
            ]
        );
        assert_eq!(
            samples(&plans, "vestibule_transferred_bytes_total"),
            [
                "vestibule_transferred_bytes_total{listener=\"one\",direction=\"in\"} 7",
                "vestibule_transferred_bytes_total{listener=\"one\",direction=\"out\"} 0",
                "vestibule_transferred_bytes_total{listener=\"two\",direction=\"in\"} 0",
                "vestibule_transferred_bytes_total{listener=\"two\",direction=\"out\"} 5",
            ]
        );
        let shown = plans.each_ref().map(|plan| status(plan).tunnels);
        assert_eq!(shown, [0, 2]);
        drop(guards);
        assert_eq!(status(&plans[1]).tunnels, 0);
    }

    #[test]
    fn tunnels_are_told_as_long_as_they_last_whatever_their_listener_does_meanwhile() {
        let plans = [plan("one", upgrade())];
        assert_eq!(samples(&plans, "vestibule_tunnels"), [""; 0]);
        let guard = Gauge::up(&meters(&plans[0], 1)[1], |meter| &meter.tunnels);
        let told = samples(&plans, "vestibule_tunnels");
        assert_eq!(told, ["vestibule_tunnels{listener=\"one\",gateway=\"gw2\"} 1"]);
        drop(guard);
        assert_eq!(samples(&plans, "vestibule_tunnels"), [""; 0]);
    }

    #[test]
    fn a_listener_tells_nothing_of_what_it_does_not_do() {
        let told = |mode| {
            let plans = [plan("one", mode)];
            [
                "upstream",
                "tunnels",
                "redirects",
                "responses",
                "tls",
                "connections",
                "unavailable",
                "transferred",
                "certificate",
            ]
            .map(|what| !samples(&plans, &format!("vestibule_{what}")).is_empty())
        };
        assert_eq!(told(upgrade()), [false, false, false, true, false, true, true, true, false]);
        assert_eq!(told(passthrough()), [true, true, false, false, false, true, true, true, false]);
    }
}
