//! The standing against the real kernel, each test in a network namespace of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod keepalived;
mod namespace;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;
use vestibule::fleet::{Claim, Standing, VrrpId};
use vestibule::net::stop::{self, Stopper};
use vestibule::vrrp::{Follow, Instance, Report, Role, run};

use crate::namespace::{alone, ip, ip_batch, lost_notices};

/// One who follows the virtual addresses.
struct Follower {
    instances: watch::Sender<Arc<[Instance]>>,
    standing: Standing,
    reported: watch::Receiver<Arc<[Report]>>,
    _claims: watch::Sender<Arc<[Claim]>>,
    _stopper: Stopper,
}

impl Follower {
    fn of(instances: &[Instance]) -> Self {
        let standing = Standing::active();
        standing.set(instances.is_empty());
        let (sender, receiver) = watch::channel(Arc::from(instances));
        let (stopper, stop) = stop::channel();
        let (reports, reported) = watch::channel(Arc::from([]));
        let (_claims, claims) = watch::channel(Arc::from([]));
        let follow = Follow { instances: receiver, standing: standing.clone(), reports, claims };
        tokio::spawn(run(follow, stop));
        Self { instances: sender, standing, reported, _claims, _stopper: stopper }
    }

    /// Waits until the standing is that; tells how long that took.
    async fn until(&self, active: bool) -> Duration {
        let start = Instant::now();
        while self.standing.is_active() != active {
            assert!(start.elapsed() < Duration::from_secs(1), "the standing is not {active} after a second");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        start.elapsed()
    }

    /// Has a look at it for a while in which nothing is to change.
    async fn stays(&self, active: bool) {
        let end = Instant::now() + Duration::from_millis(200);
        while Instant::now() < end {
            assert_eq!(self.standing.is_active(), active);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn instance(vrrp_id: i64, addresses: &[&str]) -> Instance {
    Instance {
        vrrp_id: VrrpId::new(vrrp_id).unwrap(),
        role: Role::Backup,
        interface: "d0".into(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        peers: Vec::new(),
        advertisement_interval: Duration::from_secs(1),
        preempt: false,
        notify_fifo: None,
    }
}

/// An interface to put addresses on.
fn interface() {
    ip("link set lo up");
    ip("link add d0 type veth peer name d1");
    ip("link set d1 up");
    ip("link set d0 up");
}

#[test]
fn the_standing_follows_the_addresses() {
    alone("the_standing_follows_the_addresses", async || {
        interface();
        ip("addr add 10.0.0.1/24 dev d0");
        let mut took = Vec::new();
        for (address, add) in [
            ("10.0.0.100/24", "10.0.0.100/24 dev d0"),
            // as keepalived adds them
            ("10.0.0.100/24", "10.0.0.100/32 dev d0 scope global"),
            ("2001:db8::100/64", "2001:db8::100/64 dev d0 nodad"),
            ("2001:db8::100/64", "2001:db8::100/128 dev d0 nodad preferred_lft 0"),
        ] {
            let follower = Follower::of(&[instance(31, &[address])]);
            follower.stays(false).await;
            for _ in 0..10 {
                ip(&format!("addr add {add}"));
                took.push(follower.until(true).await);
                ip(&format!(
                    "addr del {}",
                    add.split(" scope ").next().unwrap().split(" nodad").next().unwrap()
                ));
                took.push(follower.until(false).await);
            }
        }
        took.sort();
        let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
        println!("from the change to the standing: median {median:?}, longest {longest:?} of {}", took.len());
        assert!(median < Duration::from_millis(50), "{took:?}");
    });
}

#[test]
fn an_address_that_is_here_from_the_start_is_seen() {
    alone("an_address_that_is_here_from_the_start_is_seen", async || {
        interface();
        ip("addr add 10.0.0.100/24 dev d0");
        let follower = Follower::of(&[instance(31, &["10.0.0.100/24"])]);
        assert!(!follower.standing.is_active(), "it is not known before the first look");
        follower.until(true).await;
    });
}

#[test]
fn every_instance_is_needed() {
    alone("every_instance_is_needed", async || {
        interface();
        let external = instance(31, &["10.0.0.100/24", "2001:db8::100/64"]);
        let follower = Follower::of(&[external, instance(32, &["192.168.200.3/24"])]);
        ip("addr add 10.0.0.100/24 dev d0");
        follower.stays(false).await;
        ip("addr add 192.168.200.3/24 dev d0");
        follower.until(true).await;
        ip("addr add 2001:db8::100/64 dev d0 nodad");
        ip("addr del 10.0.0.100/24 dev d0");
        follower.stays(true).await;
        ip("addr del 2001:db8::100/64 dev d0");
        follower.until(false).await;
    });
}

#[test]
fn an_address_counts_only_once_nobody_else_has_it() {
    alone("an_address_counts_only_once_nobody_else_has_it", async || {
        // the other end of the link may object, which takes a second to know
        interface();
        let follower = Follower::of(&[instance(31, &["2001:db8::100/64"])]);
        let start = Instant::now();
        ip("addr add 2001:db8::100/64 dev d0");
        while !follower.standing.is_active() {
            assert!(start.elapsed() < Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(start.elapsed() > Duration::from_millis(500), "it was tentative: {:?}", start.elapsed());
    });
}

#[test]
fn an_interface_that_goes_takes_its_addresses_along() {
    alone("an_interface_that_goes_takes_its_addresses_along", async || {
        interface();
        let follower = Follower::of(&[instance(31, &["10.0.0.100/24"]), instance(32, &["2001:db8::100/64"])]);
        ip("addr add 10.0.0.100/24 dev d0");
        ip("addr add 2001:db8::100/64 dev d0 nodad");
        follower.until(true).await;
        ip("link del d0");
        follower.until(false).await;
    });
}

#[test]
fn notices_that_were_lost_are_made_up_for() {
    alone("notices_that_were_lost_are_made_up_for", async || {
        interface();
        let follower = Follower::of(&[instance(31, &["10.0.0.100/24"])]);
        follower.stays(false).await;
        for active in [true, false] {
            let lost = lost_notices();
            // nobody takes notices meanwhile: the follower has this thread
            let mut commands = flood();
            commands += &format!("addr {} 10.0.0.100/24 dev d0\n", if active { "add" } else { "del" });
            commands += &flood();
            ip_batch(&commands);
            assert!(lost_notices() > lost, "the socket held them all");
            follower.until(active).await;
            // what comes after it is seen as well
            ip("addr add 10.0.0.2/24 dev d0");
            follower.stays(active).await;
            ip("addr del 10.0.0.2/24 dev d0");
        }
    });
}

/// More changes than the socket holds notices.
fn flood() -> String {
    let there_and_back = "addr add 10.7.0.1/24 dev d0\naddr del 10.7.0.1/24 dev d0\n";
    there_and_back.repeat(2000)
}

#[test]
fn a_reload_brings_other_instances() {
    alone("a_reload_brings_other_instances", async || {
        interface();
        ip("addr add 10.0.0.100/24 dev d0");
        let follower = Follower::of(&[]);
        follower.stays(true).await;
        let change = |instances: &[Instance]| follower.instances.send_replace(Arc::from(instances));
        change(&[instance(31, &["10.0.0.101/24"])]);
        follower.until(false).await;
        follower.stays(false).await;
        change(&[instance(31, &["10.0.0.100/24"])]);
        follower.until(true).await;
        // known already: no moment as a standby
        change(&[instance(32, &["10.0.0.100/24", "10.0.0.102/24"])]);
        for _ in 0..10_000 {
            assert!(follower.standing.is_active());
            tokio::task::yield_now().await;
        }
        follower.stays(true).await;
        ip("addr del 10.0.0.100/24 dev d0");
        follower.until(false).await;
        change(&[]);
        follower.until(true).await;
        ip("addr add 10.0.0.100/24 dev d0");
        ip("addr del 10.0.0.100/24 dev d0");
        change(&[instance(31, &["10.0.0.100/24"])]);
        follower.until(false).await;
        follower.stays(false).await;
    });
}

#[test]
fn a_front_door_that_cannot_look_claims_nothing_and_tries_again() {
    alone("a_front_door_that_cannot_look_claims_nothing_and_tries_again", async || {
        interface();
        ip("addr add 10.0.0.100/24 dev d0");
        let limit = getrlimit(Resource::Nofile);
        // no file and no socket more
        setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: limit.maximum }).unwrap();
        let follower = Follower::of(&[instance(31, &["10.0.0.100/24"])]);
        follower.stays(false).await;
        setrlimit(Resource::Nofile, limit).unwrap();
        let start = Instant::now();
        while !follower.standing.is_active() {
            assert!(start.elapsed() < Duration::from_secs(2));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        ip("addr del 10.0.0.100/24 dev d0");
        follower.until(false).await;
    });
}

#[test]
fn an_address_that_stays_is_not_missed_while_others_go() {
    alone("an_address_that_stays_is_not_missed_while_others_go", async || {
        interface();
        // more than the kernel tells in one datagram
        let lines = |verb: &str, net: u8| -> String {
            let each = (0..2000).map(|i| (i / 250, i % 250 + 1));
            each.map(|(i, j)| format!("addr {verb} 10.{net}.{i}.{j}/32 dev d0\n")).collect()
        };
        // whichever of them is missed, the standing shows it
        let shared: Vec<_> = (1..=250).map(|id| instance(id, &[&format!("10.8.0.{id}/32")])).collect();
        ip_batch(&(lines("add", 7) + &lines("add", 8)));
        let follower = Follower::of(&shared);
        follower.until(true).await;
        // they stand before those that stay
        let busy = std::thread::spawn(move || ip_batch(&lines("del", 7)));
        while !busy.is_finished() {
            assert!(follower.standing.is_active());
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        busy.join().unwrap();
        follower.stays(true).await;
    });
}
