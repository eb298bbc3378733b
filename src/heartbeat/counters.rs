//! Rates from counters that only grow. Pure: the texts of /proc and the time between them are arguments.

use std::time::Duration;

use procfs::net::InterfaceDeviceStatus;
use procfs::{ExplicitSystemInfo, FromBufRead, FromBufReadSI, KernelStats};

/// What the processors have done since the machine was started, in ticks (proc_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CpuTicks {
    busy: u64,
    idle: u64,
}

impl CpuTicks {
    /// Reads /proc/stat.
    pub(super) fn parse(stat: &str) -> Option<Self> {
        let cpu = KernelStats::from_buf_read(stat.as_bytes(), &UNUSED).ok()?.total;
        let parts = [cpu.user, cpu.nice, cpu.system];
        // what a guest machine has used is in user and nice already
        let later = [cpu.irq, cpu.softirq, cpu.steal].map(Option::unwrap_or_default);
        let busy = parts.into_iter().chain(later).fold(0, u64::saturating_add);
        Some(Self { busy, idle: cpu.idle.saturating_add(cpu.iowait.unwrap_or_default()) })
    }

    /// The part of the time since `earlier` in which the processors were busy, 0..1; `None` if no tick
    /// has passed.
    pub(super) fn busy_ratio_since(self, earlier: Self) -> Option<f64> {
        // the kernel may take back some of the time spent waiting for I/O (proc_stat(5), iowait)
        let busy = self.busy.saturating_sub(earlier.busy);
        let all = busy.saturating_add(self.idle.saturating_sub(earlier.idle));
        (all > 0).then(|| busy as f64 / all as f64)
    }
}

/// What an interface has carried since it came up, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traffic {
    received: u64,
    transmitted: u64,
}

/// What an interface carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates {
    /// In bits per second.
    pub(super) receive: Option<u64>,
    /// In bits per second.
    pub(super) transmit: Option<u64>,
}

impl Traffic {
    /// The traffic of `interface` in /proc/net/dev.
    pub(super) fn parse(net_dev: &str, interface: &str) -> Option<Self> {
        let InterfaceDeviceStatus(interfaces) =
            InterfaceDeviceStatus::from_buf_read(net_dev.as_bytes()).ok()?;
        let found = interfaces.get(interface)?;
        Some(Self { received: found.recv_bytes, transmitted: found.sent_bytes })
    }

    /// The mean rates since `earlier`. A counter that has gone backwards was set back in between (the
    /// interface was made anew), so that its rate is not known.
    pub(super) fn rates_since(self, earlier: Self, elapsed: Duration) -> Rates {
        Rates {
            receive: rate(earlier.received, self.received, elapsed),
            transmit: rate(earlier.transmitted, self.transmitted, elapsed),
        }
    }
}

/// The number of interfaces in /proc/net/dev whose names begin with `prefix`.
pub(super) fn interfaces_named(net_dev: &str, prefix: &str) -> Option<u64> {
    let InterfaceDeviceStatus(interfaces) = InterfaceDeviceStatus::from_buf_read(net_dev.as_bytes()).ok()?;
    u64::try_from(interfaces.keys().filter(|name| name.starts_with(prefix)).count()).ok()
}

/// The bits per second in /sys/class/net/*/speed, which holds Mbit/s, and -1 where there is no link.
pub(super) fn link_bits_per_second(speed: &str) -> Option<u64> {
    let megabits = speed.trim().parse::<u64>().ok().filter(|&speed| speed > 0)?;
    megabits.checked_mul(1_000_000)
}

/// A number on the first line of a file or of a program's output.
pub(super) fn first_number(text: &str) -> Option<u64> {
    text.trim_start().lines().next()?.trim().parse().ok()
}

fn rate(before: u64, after: u64, elapsed: Duration) -> Option<u64> {
    let bits = after.checked_sub(before)? as f64 * 8.0;
    let seconds = elapsed.as_secs_f64();
    (seconds > 0.0).then(|| (bits / seconds).round() as u64)
}

/// procfs wants to know the length of a tick; a ratio of ticks does not depend on it.
const UNUSED: ExplicitSystemInfo =
    ExplicitSystemInfo { boot_time_secs: 0, ticks_per_second: 100, page_size: 4096, is_little_endian: true };

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(cpu: &str) -> Option<CpuTicks> {
        CpuTicks::parse(&format!("cpu  {cpu}\ncpu0 {cpu}\nctxt 1\nbtime 1772366400\nprocesses 5\n"))
    }

    #[test]
    fn the_cpu_ratio_is_the_busy_part_of_what_has_passed() {
        //                user nice system idle iowait irq softirq steal guest guest_nice
        let before = stat("100 10 40 800 50 0 5 5 60 0").unwrap();
        let after = stat("130 10 50 850 60 0 5 5 90 0").unwrap();
        assert_eq!(after.busy_ratio_since(before), Some(0.4));
        assert_eq!(after.busy_ratio_since(after), None);
    }

    #[test]
    fn an_old_kernel_and_time_taken_back_do_no_harm() {
        let before = stat("100 0 0 900").unwrap();
        assert_eq!(stat("200 0 0 800").unwrap().busy_ratio_since(before), Some(1.0));
        assert_eq!(before.busy_ratio_since(stat("101 0 0 901").unwrap()), None);
    }

    #[test]
    fn the_proc_files_of_this_machine_are_read() {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        assert!(CpuTicks::parse(&stat).is_some());
        let net_dev = std::fs::read_to_string("/proc/net/dev").unwrap();
        assert!(Traffic::parse(&net_dev, "lo").is_some());
        assert_eq!(interfaces_named(&net_dev, "lo"), Some(1));
        for length in 0..stat.len() {
            let _ = CpuTicks::parse(&stat[..length]);
        }
        for length in 0..net_dev.len() {
            let _ = Traffic::parse(&net_dev[..length], "lo");
        }
    }

    /// A gateway with two tunnels.
    const NET_DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  eth0:  110389     328    0    0    0     0          0         0    94801     291    0    0    0     0       0          0
 vpns0:       0       0    0    0    0     0          0         0      400       6    0    0    0     0       0          0
vpns15:       0       0    0    0    0     0          0         0      400       6    0    0    0     0       0          0
";

    #[test]
    fn throughput_is_bits_per_second_in_each_direction() {
        let before = Traffic { received: 100_389, transmitted: 94_301 };
        let after = Traffic::parse(NET_DEV, "eth0").unwrap();
        let rates = after.rates_since(before, Duration::from_millis(500));
        assert_eq!(rates, Rates { receive: Some(160_000), transmit: Some(8_000) });
        assert_eq!(Traffic::parse(NET_DEV, "eth1"), None);
    }

    #[test]
    fn a_counter_that_goes_backwards_and_no_time_at_all_give_no_rate() {
        let before = Traffic { received: 110_390, transmitted: 0 };
        let after = Traffic::parse(NET_DEV, "eth0").unwrap();
        let rates = after.rates_since(before, Duration::from_secs(1));
        assert_eq!(rates, Rates { receive: None, transmit: Some(758_408) });
        assert_eq!(after.rates_since(after, Duration::ZERO), Rates::default());
    }

    #[test]
    fn interfaces_are_counted_by_how_their_names_begin() {
        assert_eq!(interfaces_named(NET_DEV, "vpns"), Some(2));
        assert_eq!(interfaces_named(NET_DEV, "ppp"), Some(0));
    }

    #[test]
    fn a_link_has_a_speed_or_none() {
        assert_eq!(link_bits_per_second("10000\n"), Some(10_000_000_000));
        for none in ["-1\n", "0\n", "", "fast"] {
            assert_eq!(link_bits_per_second(none), None);
        }
    }

    #[test]
    fn a_number_stands_alone_on_the_first_line() {
        assert_eq!(first_number(" 312 \nmore"), Some(312));
        for none in ["", "-1", "3.5", "312 tunnels", "none\n312"] {
            assert_eq!(first_number(none), None, "{none:?}");
        }
    }
}
