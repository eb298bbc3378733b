use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::count::{self, CountSource, FileReader, Occtl, Unknown};
use super::counters::{CpuTicks, Rates, Traffic, link_bits_per_second};
use crate::fleet::Load;

/// Where the load of this gateway is found, and what it can bear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadSettings {
    /// The interface that carries the tunnels; absent: throughput is not known.
    pub interface: Option<InterfaceName>,
    /// What is full.
    pub capacity: Capacity,
    /// Where the number of tunnels comes from.
    pub tunnels: CountSource,
    /// Where the number of pool addresses lent comes from.
    pub pool: CountSource,
}

/// What a gateway can bear, where it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// In one direction; absent: the speed of the interface's link.
    pub bits_per_second: Option<u64>,
    /// Tunnels.
    pub tunnels: Option<u64>,
    /// Addresses.
    pub pool: Option<u64>,
}

/// The name of a network interface: one to fifteen bytes, none of them a slash or white space
/// (dev_valid_name in the kernel). Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceName(Arc<str>);

/// The kernel has no interface of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an interface name: at most 15 characters, without slashes and spaces")]
pub struct NotAnInterfaceName;

impl InterfaceName {
    /// Takes a name that the kernel would take.
    pub fn new(name: &str) -> Result<Self, NotAnInterfaceName> {
        let is_odd = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace() || byte == 0;
        if matches!(name, "" | "." | "..") || name.len() > 15 || name.bytes().any(is_odd) {
            return Err(NotAnInterfaceName);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes samples of this gateway's load. What cannot be found out is unknown, and said once in the log.
#[derive(Debug)]
pub(super) struct Sampler {
    settings: LoadSettings,
    occtl: Occtl,
    tunnels_file: FileReader,
    pool_file: FileReader,
    cpu: Option<CpuTicks>,
    traffic: Option<(Instant, Traffic)>,
    log: KnownValues,
}

impl Sampler {
    /// A sampler that has seen nothing yet: its first sample knows no rates.
    pub(super) fn new(settings: LoadSettings) -> Self {
        Self {
            settings,
            occtl: Occtl::default(),
            tunnels_file: FileReader::default(),
            pool_file: FileReader::default(),
            cpu: None,
            traffic: None,
            log: KnownValues::default(),
        }
    }

    /// Takes a sample; whatever has to be asked is given `timeout`, all at the same time.
    pub(super) async fn sample(&mut self, timeout: Duration) -> Load {
        // not handed to another thread: the kernel makes these files up on the spot
        let stat = std::fs::read_to_string("/proc/stat");
        let cpu_ratio = self.cpu_ratio(stat);
        // taken together with the counters, so that the rates do not depend on how long the others take
        let now = Instant::now();
        let net_dev = std::fs::read_to_string("/proc/net/dev");
        let rates = self.rates(net_dev.as_deref(), now);
        let capacity_bits_per_second = self.capacity_bits_per_second();
        let (tunnels, pool) = self.counts(net_dev.as_deref(), timeout).await;
        Load {
            cpu_ratio,
            receive_bits_per_second: rates.receive,
            transmit_bits_per_second: rates.transmit,
            capacity_bits_per_second,
            tunnels,
            tunnels_max: self.settings.capacity.tunnels,
            pool_used: pool,
            pool_size: self.settings.capacity.pool,
        }
    }

    fn cpu_ratio(&mut self, stat: io::Result<String>) -> Option<f64> {
        let ticks = stat.map_err(Unknown::File).and_then(|s| CpuTicks::parse(&s).ok_or(Unknown::NoNumber));
        let ticks = self.log.cpu.note("processor use", ticks.map(Some));
        let earlier = std::mem::replace(&mut self.cpu, ticks);
        ticks?.busy_ratio_since(earlier?)
    }

    fn rates(&mut self, net_dev: Result<&str, &io::Error>, now: Instant) -> Rates {
        let Some(interface) = &self.settings.interface else { return Rates::default() };
        let traffic = net_dev.map_err(again).and_then(|text| {
            let found = Traffic::parse(text, interface.as_str());
            found.ok_or_else(|| Unknown::NoInterface(interface.to_string()))
        });
        let traffic = self.log.traffic.note("throughput", traffic.map(Some)).map(|traffic| (now, traffic));
        match (std::mem::replace(&mut self.traffic, traffic), traffic) {
            (Some((then, earlier)), Some((now, traffic))) => {
                traffic.rates_since(earlier, now.saturating_duration_since(then))
            }
            _ => Rates::default(),
        }
    }

    fn capacity_bits_per_second(&mut self) -> Option<u64> {
        let interface = self.settings.interface.as_ref()?;
        if let Some(given) = self.settings.capacity.bits_per_second {
            return Some(given);
        }
        let path = Path::new("/sys/class/net").join(interface.as_str()).join("speed");
        let speed = std::fs::read_to_string(path).map_err(Unknown::File);
        let speed = speed.and_then(|speed| link_bits_per_second(&speed).ok_or(Unknown::NoNumber));
        self.log.speed.note("speed of the link (capacity.throughput is not set)", speed.map(Some))
    }

    async fn counts(
        &mut self,
        net_dev: Result<&str, &io::Error>,
        timeout: Duration,
    ) -> (Option<u64>, Option<u64>) {
        let Self { settings: LoadSettings { tunnels, pool, .. }, occtl, log, .. } = self;
        if let (CountSource::Ocserv { socket }, CountSource::Ocserv { socket: other }) = (&tunnels, &pool)
            && socket == other
        {
            // the answer that the pool needs holds the number of tunnels as well
            let sessions = occtl.sessions(socket, timeout).await;
            let sessions = log.tunnels.note("tunnels and pool addresses", sessions.map(Some));
            return (sessions.map(|s| s.active), sessions.map(|s| s.with_address));
        }
        let tunnels = async {
            match tunnels {
                CountSource::Ocserv { socket } => occtl.active_sessions(socket, timeout).await.map(Some),
                other => count(other, &mut self.tunnels_file, net_dev, timeout).await,
            }
        };
        let pool = async {
            match pool {
                CountSource::Ocserv { socket } => {
                    occtl.sessions(socket, timeout).await.map(|sessions| Some(sessions.with_address))
                }
                other => count(other, &mut self.pool_file, net_dev, timeout).await,
            }
        };
        let (tunnels, pool) = tokio::join!(tunnels, pool);
        (log.tunnels.note("tunnels", tunnels), log.pool.note("pool addresses", pool))
    }
}

/// A number that means the same wherever it is counted.
async fn count(
    source: &CountSource,
    file: &mut FileReader,
    net_dev: Result<&str, &io::Error>,
    timeout: Duration,
) -> Result<Option<u64>, Unknown> {
    match source {
        CountSource::None | CountSource::Ocserv { .. } => Ok(None),
        CountSource::Interfaces { prefix } => {
            count::from_interfaces(net_dev.map_err(again), prefix).map(Some)
        }
        CountSource::Command(command) => count::from_command(command, timeout).await.map(Some),
        CountSource::File(path) => file.read(path, timeout).await.map(Some),
    }
}

/// The same error for one more who needed the file.
fn again(error: &io::Error) -> Unknown {
    Unknown::File(io::Error::new(error.kind(), error.to_string()))
}

/// What is known, so that the log tells when that changes, and only then.
#[derive(Debug, Default)]
struct KnownValues {
    cpu: Knowledge,
    traffic: Knowledge,
    speed: Knowledge,
    tunnels: Knowledge,
    pool: Knowledge,
}

#[derive(Debug, Default, PartialEq)]
enum Knowledge {
    /// So far nothing has gone wrong.
    #[default]
    Sound,
    /// Last time it was not known.
    Missing,
}

impl Knowledge {
    fn note<T>(&mut self, value: &'static str, found: Result<Option<T>, Unknown>) -> Option<T> {
        let now = if found.is_ok() { Self::Sound } else { Self::Missing };
        let before = std::mem::replace(self, now);
        match found {
            Ok(found) => {
                if before == Self::Missing {
                    tracing::info!(value, "known again");
                }
                found
            }
            Err(reason) => {
                if before == Self::Sound {
                    tracing::warn!(value, %reason, "not known; the load is reported without it");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;
    use crate::net::command::CommandLine;

    const LONG: Duration = Duration::from_secs(10);

    fn nothing() -> LoadSettings {
        LoadSettings {
            interface: None,
            capacity: Capacity::default(),
            tunnels: CountSource::None,
            pool: CountSource::None,
        }
    }

    #[test]
    fn an_interface_name_is_one_that_the_kernel_takes() {
        for name in ["eth0", "vpns15", "br-lan.100", "enp0s31f6", "fifteen_letters"] {
            assert_eq!(InterfaceName::new(name).unwrap().as_str(), name);
        }
        for name in ["", ".", "..", "../x", "a b", "eth0:1", "sixteen_letters_", "x\0"] {
            assert_eq!(InterfaceName::new(name), Err(NotAnInterfaceName), "{name:?}");
        }
    }

    #[tokio::test]
    async fn what_nobody_was_asked_for_is_unknown() {
        let load = Sampler::new(nothing()).sample(LONG).await;
        assert_eq!(load, Load::default());
    }

    #[tokio::test]
    async fn rates_are_known_from_the_second_sample_on() {
        let interface = Some(InterfaceName::new("lo").unwrap());
        let capacity = Capacity { bits_per_second: Some(5), tunnels: Some(6), pool: Some(7) };
        let mut sampler = Sampler::new(LoadSettings { interface, capacity, ..nothing() });
        let first = sampler.sample(LONG).await;
        assert_eq!((first.cpu_ratio, first.receive_bits_per_second), (None, None));
        assert_eq!(
            (first.capacity_bits_per_second, first.tunnels_max, first.pool_size),
            (Some(5), Some(6), Some(7))
        );
        let started = Instant::now();
        loop {
            let load = sampler.sample(LONG).await;
            assert!(load.receive_bits_per_second.is_some() && load.transmit_bits_per_second.is_some());
            // a tick of the processor takes its time
            if load.cpu_ratio.is_some_and(|ratio| (0.0..=1.0).contains(&ratio)) {
                break;
            }
            assert!(started.elapsed() < LONG);
        }
    }

    #[tokio::test]
    async fn an_interface_that_is_not_there_leaves_the_rest_known() {
        let interface = Some(InterfaceName::new("nosuchif0").unwrap());
        let tunnels = CountSource::Interfaces { prefix: "lo".into() };
        let mut sampler = Sampler::new(LoadSettings { interface, tunnels, ..nothing() });
        sampler.sample(LONG).await;
        let load = sampler.sample(LONG).await;
        assert_eq!((load.receive_bits_per_second, load.capacity_bits_per_second), (None, None));
        assert_eq!(load.tunnels, Some(1));
    }

    #[tokio::test]
    async fn a_source_that_fails_is_unknown_until_it_works_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tunnels");
        let tunnels = CountSource::File(path.clone());
        let words = ["cat".to_owned(), path.display().to_string()];
        let pool = CountSource::Command(CommandLine::new(words).unwrap());
        let mut sampler = Sampler::new(LoadSettings { tunnels, pool, ..nothing() });
        assert_eq!(sampler.sample(LONG).await, Load::default());
        assert_eq!(sampler.log.tunnels, Knowledge::Missing);
        std::fs::write(&path, "31\n").unwrap();
        let load = sampler.sample(LONG).await;
        assert_eq!((load.tunnels, load.pool_used), (Some(31), Some(31)));
        assert_eq!(sampler.log.tunnels, Knowledge::Sound);
    }

    /// Stands in for occtl: one tunnel and one connection that has not logged in; writes down each call.
    fn pretend_occtl(directory: &Path) -> PathBuf {
        let script = r#"#!/bin/sh
echo "$5" >> "$2"
case $5 in
status) echo '{ "Active sessions":  2 }' ;;
users) echo '[ { "IPv4": "10.101.0.50", "Routes": [], "Routes": "x" }, { "State": "pre-auth" } ]' ;;
esac
"#;
        let path = directory.join("occtl");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn ocserv_is_asked_once_for_both_and_cheaply_for_the_tunnels_alone() {
        let directory = tempfile::tempdir().unwrap();
        let calls = directory.path().join("calls");
        let ocserv = CountSource::Ocserv { socket: calls.clone() };
        let occtl = pretend_occtl(directory.path());
        for (tunnels, pool, expected, asked) in [
            (&ocserv, &ocserv, (Some(2), Some(1)), "users\n"),
            (&ocserv, &CountSource::None, (Some(2), None), "status\n"),
            (&CountSource::None, &ocserv, (None, Some(1)), "users\n"),
        ] {
            let settings = LoadSettings { tunnels: tunnels.clone(), pool: pool.clone(), ..nothing() };
            let mut sampler = Sampler { occtl: Occtl::named(&occtl), ..Sampler::new(settings) };
            let load = sampler.sample(LONG).await;
            assert_eq!((load.tunnels, load.pool_used), expected);
            assert_eq!(std::fs::read_to_string(&calls).unwrap(), asked);
            std::fs::remove_file(&calls).unwrap();
        }
    }
}
