//! Two front doors and the agents of some gateways, with delays between them, by a clock of their own.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::duty::{Duty, Request, Terms};
use super::plan::{Front, Kind, plan};
use crate::fleet::{
    Balance, CheckOutcome, CheckResult, Condition, FenceReport, FleetSettings, Gateway, GatewayName,
    HEARTBEAT, Holder, Lease, Load, Moment, Observation, Roster, SELF, Service, ServiceReport, Thresholds,
    Weights,
};

/// A tick of the clock.
const STEP: Duration = Duration::from_millis(250);
const LEASE: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(5);
const FALL: u32 = 3;
const RISE: u32 = 2;
const NAMES: [&str; 2] = ["front-a", "front-b"];

/// A gateway's agent.
#[derive(Default)]
struct Agent {
    bad: u32,
    good: u32,
    is_down: bool,
    will_not_open: bool,
    holders: BTreeMap<&'static str, Instant>,
    keepers: BTreeMap<&'static str, Instant>,
}

impl Agent {
    fn tick(&mut self, now: Instant) {
        self.holders.retain(|_, until| *until > now);
        self.keepers.retain(|_, until| *until > now);
    }

    fn check(&mut self, passes: bool) {
        (self.bad, self.good) = if passes { (0, self.good + 1) } else { (self.bad + 1, 0) };
        self.is_down = if self.is_down { self.good < RISE } else { self.bad >= FALL };
    }

    fn blocks_itself(&self) -> bool {
        self.is_down && self.keepers.is_empty()
    }

    fn is_blocked(&self) -> bool {
        self.blocks_itself() || !self.holders.is_empty()
    }

    fn asked(&mut self, by: &'static str, request: &Request, now: Instant) -> Answer {
        match request {
            Request::Block { kept_open_by, .. } => {
                let is_known =
                    |keeper: &str| keeper == by || kept_open_by.iter().any(|name| **name == *keeper);
                if !self.holders.contains_key(by) && !self.keepers.keys().all(|keeper| is_known(keeper)) {
                    return Answer::KeptOpen;
                }
                self.holders.insert(by, now + LEASE);
            }
            Request::Unblock => _ = self.holders.remove(by),
            Request::KeepOpen { .. } if self.will_not_open => return Answer::Silence,
            Request::KeepOpen { .. } => _ = self.keepers.insert(by, now + LEASE),
            Request::LetGo => _ = self.keepers.remove(by),
        }
        Answer::Done
    }

    fn report(&self, now: Instant) -> ServiceReport {
        let lease = |by: &str, until: Instant| Lease { by: by.into(), left: until - now };
        let own = self.blocks_itself().then(|| (SELF, now + LEASE));
        let holders = self.holders.iter().map(|(by, until)| (*by, *until)).chain(own);
        let holder = |(by, until)| Holder { lease: lease(by, until), reason: "bad".into() };
        let fence = FenceReport {
            engine: "nftables".into(),
            blocked: self.is_blocked(),
            ports: Arc::from([]),
            holders: holders.map(holder).collect(),
            kept_open_by: self.keepers.iter().map(|(by, until)| lease(by, *until)).collect(),
        };
        let service = if self.is_down { Service::Down("bad".into()) } else { Service::Up };
        ServiceReport { service, load: Load::default(), fence: Some(fence) }
    }
}

/// What arrives at its time.
enum Message {
    Finding(usize, usize, Box<Observation>),
    Asked(usize, usize, Request),
    Answered(usize, usize, Answer),
}

enum Answer {
    Done,
    KeptOpen,
    /// None comes.
    Silence,
}

struct Door {
    roster: Roster,
    duties: Vec<Duty>,
}

struct World {
    now: Moment,
    keep_at_least: usize,
    agents: Vec<Agent>,
    doors: Vec<Door>,
    /// Whether the agent's own checks pass, and those of each front door; whether the agent reaches it.
    health: Vec<Truth>,
    post: Vec<(Instant, Message)>,
    draws: fastrand::Rng,
    /// How often a block was set anew.
    blocks: usize,
}

#[derive(Clone, Copy)]
struct Truth {
    own: bool,
    from: [bool; 2],
    reached: [bool; 2],
}

const FINE: Truth = Truth { own: true, from: [true; 2], reached: [true; 2] };

fn name(i: usize) -> GatewayName {
    GatewayName::new(&format!("gw{i:02}"))
}

impl World {
    fn new(seed: u64, gateways: usize, keep_at_least: usize) -> Self {
        let now = Moment { instant: Instant::now(), wall: SystemTime::UNIX_EPOCH };
        let mut world = Self {
            now,
            keep_at_least,
            agents: (0..gateways).map(|_| Agent::default()).collect(),
            doors: Vec::new(),
            health: vec![FINE; gateways],
            post: Vec::new(),
            draws: fastrand::Rng::with_seed(seed),
            blocks: 0,
        };
        world.doors = NAMES.map(|_| world.new_door()).into();
        world
    }

    fn new_door(&self) -> Door {
        let gateway = |i| Arc::new(Gateway::plain(name(i).as_str(), "10.0.0.1"));
        let rounds = |n| NonZeroU32::new(n).unwrap();
        let settings = FleetSettings {
            gateways: (0..self.agents.len()).map(gateway).collect(),
            thresholds: Thresholds { rise: rounds(RISE), fall: rounds(FALL) },
            weights: Weights::default(),
            balance: Balance { stale_after: Duration::from_secs(10), ..Balance::default() },
        };
        let duties = self.agents.iter().map(|_| Duty::default()).collect();
        Door { roster: Roster::new(settings, self.now), duties }
    }

    fn send(&mut self, message: Message) {
        let after = STEP * self.draws.u32(0..4);
        self.post.push((self.now.instant + after, message));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while self.now.instant < end {
            self.step();
        }
    }

    fn step(&mut self) {
        self.now = Moment { instant: self.now.instant + STEP, wall: self.now.wall + STEP };
        let now = self.now.instant;
        let tick = (now.duration_since(self.post_base()).as_millis() / STEP.as_millis()) as usize;
        for i in 0..self.agents.len() {
            self.agents[i].tick(now);
            if (tick + i).is_multiple_of(4) {
                let passes = self.health[i].own;
                self.agents[i].check(passes);
            }
            for door in 0..NAMES.len() {
                if (tick + i + 2 * door) % 4 == 1 {
                    let observation = self.observation(door, i);
                    self.send(Message::Finding(door, i, Box::new(observation)));
                }
            }
        }
        let (due, later) = std::mem::take(&mut self.post).into_iter().partition(|(at, _)| *at <= now);
        self.post = later;
        for (_, message) in due {
            self.take(message);
        }
        for door in 0..NAMES.len() {
            self.act(door);
        }
    }

    fn post_base(&self) -> Instant {
        // rounds need only a common rhythm
        self.now.instant - self.now.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap()
    }

    fn observation(&self, door: usize, i: usize) -> Observation {
        let truth = self.health[i];
        let outcome = |passes| match passes {
            true => CheckOutcome::Pass("200 OK".into()),
            false => CheckOutcome::Fail("refused".into()),
        };
        let check =
            |name: &str, passes| CheckResult { check: name.into(), outcome: outcome(passes), took: STEP };
        let report = truth.reached[door].then(|| self.agents[i].report(self.now.instant));
        let checks = vec![
            check(HEARTBEAT, report.is_some()),
            check("portal", truth.own && truth.from[door] && truth.reached[door]),
        ];
        Observation { checks, report, asked: Some(self.now) }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Finding(door, i, observation) => {
                let now = self.now;
                self.doors[door].roster.observe(&name(i), *observation, now);
            }
            Message::Asked(door, i, request) => {
                let answer = match self.health[i].reached[door] {
                    true => self.agents[i].asked(NAMES[door], &request, self.now.instant),
                    false => Answer::Silence,
                };
                self.send(Message::Answered(door, i, answer));
            }
            Message::Answered(door, i, answer) => {
                let (duty, now) = (&mut self.doors[door].duties[i], self.now.instant);
                match answer {
                    Answer::Done => _ = duty.ended(true, STEP * 4, now),
                    Answer::Silence => _ = duty.ended(false, STEP * 4, now),
                    Answer::KeptOpen => duty.kept_open(now),
                }
            }
        }
    }

    fn act(&mut self, door: usize) {
        let now = self.now.instant;
        let snapshot = self.doors[door].roster.snapshot();
        let posts = snapshot.gateways.iter().zip(&self.doors[door].duties);
        let posts = posts
            .map(|(view, duty)| {
                (view.gateway.name.clone(), duty.post(Kind::Agent, view.fence.as_ref(), LEASE, now))
            })
            .collect();
        let front = Front {
            holder: Some(NAMES[door]),
            enabled: true,
            keep_at_least: self.keep_at_least,
            patience: PATIENCE,
        };
        let terms = Terms { holder: NAMES[door], lease: LEASE, stale_after: Duration::from_secs(10) };
        for (i, stance) in plan(&snapshot, front, &posts, now).iter().enumerate() {
            let reading = snapshot.gateways[i].fence.as_ref();
            if let Some(request) = self.doors[door].duties[i].next(stance, reading, terms, now) {
                if matches!(request, Request::Block { is_new: true, .. }) {
                    self.blocks += 1;
                }
                self.send(Message::Asked(door, i, request));
            }
        }
    }

    fn open(&self) -> usize {
        self.agents.iter().filter(|agent| !agent.is_blocked()).count()
    }

    /// Long enough for all that has begun to come to its end.
    fn settle(&mut self) {
        self.run(Duration::from_secs(60));
    }

    fn told(&self) -> String {
        let told = self.agents.iter().enumerate().map(|(i, agent)| {
            let holders: Vec<_> = agent.holders.keys().collect();
            let keepers: Vec<_> = agent.keepers.keys().collect();
            let truth = self.health[i];
            format!(
                "gw{i:02} own {} from {:?} reached {:?}: down {} held {holders:?} kept {keepers:?}",
                truth.own, truth.from, truth.reached, agent.is_down
            )
        });
        told.collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn all_gateways_failing_at_once_leave_as_many_open_as_are_to_stay() {
    // on a report that is late by a moment each had blocked what the other one kept open
    for seed in (0..97).chain([571, 630, 1687, 2981]) {
        let mut world = World::new(seed, 4, 1 + (seed as usize % 3));
        world.run(Duration::from_secs(10));
        world.health = vec![Truth { own: false, ..FINE }; 4];
        for _ in 0..400 {
            world.step();
            assert!(world.open() >= world.keep_at_least, "seed {seed}\n{}", world.told());
        }
        assert_eq!(
            world.open(),
            world.keep_at_least,
            "seed {seed}: the others are blocked\n{}",
            world.told()
        );
        world.health = vec![FINE; 4];
        world.settle();
        assert_eq!(world.open(), 4, "seed {seed}\n{}", world.told());
    }
}

#[test]
fn an_agent_that_fails_to_keep_its_gateway_open_stops_nobody_from_blocking_another() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3, 1);
        world.agents[0].will_not_open = true;
        world.run(Duration::from_secs(10));
        world.health[2].from = [false, false];
        world.settle();
        let holders: Vec<_> = world.agents[2].holders.keys().collect();
        assert_eq!(holders, [&"front-a", &"front-b"], "seed {seed}\n{}", world.told());
        world.assert_settled(seed);
        world.health = vec![Truth { own: false, ..FINE }; 3];
        for _ in 0..400 {
            world.step();
            assert!(world.open() >= 1, "seed {seed}\n{}", world.told());
        }
        assert_eq!(world.open(), 1, "seed {seed}\n{}", world.told());
    }
}

#[test]
fn gateways_that_failed_before_anybody_looked_are_opened_as_far_as_they_are_to_be() {
    for seed in 0..40 {
        let mut world = World::new(seed, 3, 1);
        let doors = std::mem::take(&mut world.doors);
        world.health = vec![Truth { own: false, ..FINE }; 3];
        for agent in &mut world.agents {
            (agent.is_down, agent.bad) = (true, FALL);
        }
        world.doors = doors;
        assert_eq!(world.open(), 0);
        world.settle();
        assert_eq!(world.open(), 1, "seed {seed}\n{}", world.told());
    }
}

#[test]
fn whatever_fails_enough_stays_open_once_things_have_settled_and_every_block_ends_with_its_reason() {
    for seed in 0..40 {
        let mut draws = fastrand::Rng::with_seed(seed);
        let gateways = draws.usize(1..6);
        let keep = draws.usize(0..4);
        let mut world = World::new(seed, gateways, keep);
        world.run(Duration::from_secs(5));
        for _ in 0..6 {
            for truth in &mut world.health {
                *truth = Truth {
                    own: draws.u8(0..3) > 0,
                    from: [draws.u8(0..3) > 0, draws.u8(0..3) > 0],
                    reached: [draws.u8(0..6) > 0, draws.u8(0..6) > 0],
                };
            }
            if draws.bool() {
                let door = draws.usize(0..2);
                world.doors[door] = world.new_door();
            }
            world.settle();
            world.assert_settled(seed);
        }
        world.health = vec![FINE; gateways];
        world.settle();
        assert_eq!(world.open(), gateways, "seed {seed}: every reason has ended\n{}", world.told());
    }
}

impl World {
    /// Nothing changes any more, and enough is open of what each front door sees.
    fn assert_settled(&mut self, seed: u64) {
        let before = self.blocks;
        for _ in 0..120 {
            self.step();
            for door in 0..NAMES.len() {
                let reached = |i: &usize| self.health[*i].reached[door];
                let known = (0..self.agents.len()).filter(reached).count();
                let open = (0..self.agents.len()).filter(reached).filter(|i| !self.agents[*i].is_blocked());
                let others_block = (0..self.agents.len())
                    .filter(reached)
                    .any(|i| self.agents[i].holders.contains_key(NAMES[1 - door]));
                // who sees less than the other cannot help what that one blocks
                if self.health.iter().all(|truth| truth.reached == [true; 2]) || !others_block {
                    let enough = self.keep_at_least.min(known);
                    assert!(open.count() >= enough, "seed {seed}, {}\n{}", NAMES[door], self.told());
                }
            }
        }
        assert_eq!(self.blocks, before, "seed {seed}: it goes on and on\n{}", self.told());
        for (i, agent) in self.agents.iter().enumerate() {
            for (door, by) in NAMES.into_iter().enumerate() {
                let view = self.doors[door].roster.view(&name(i)).unwrap();
                let is_down = view.direct.as_ref().is_some_and(|direct| direct.condition == Condition::Down);
                assert!(
                    is_down || !agent.holders.contains_key(by),
                    "seed {seed}, gw{i:02}, {by}\n{}",
                    self.told()
                );
            }
        }
    }
}

#[test]
fn two_front_doors_that_disagree_block_while_either_holds_and_free_when_both_let_go() {
    let mut world = World::new(7, 3, 1);
    world.run(Duration::from_secs(5));
    world.health[2].from = [false, true];
    world.settle();
    assert_eq!(world.agents[2].holders.keys().collect::<Vec<_>>(), [&"front-a"]);
    world.health[2].from = [false, false];
    world.settle();
    assert_eq!(world.agents[2].holders.keys().collect::<Vec<_>>(), [&"front-a", &"front-b"]);
    world.health[2].from = [true, false];
    world.settle();
    assert_eq!(world.agents[2].holders.keys().collect::<Vec<_>>(), [&"front-b"]);
    assert!(world.agents[2].is_blocked());
    world.health[2].from = [true, true];
    world.settle();
    assert!(!world.agents[2].is_blocked());
}

#[test]
fn two_that_have_blocked_the_last_two_at_the_same_moment_leave_exactly_one_open() {
    for seed in 0..40 {
        let mut world = World::new(seed, 2, 1);
        world.run(Duration::from_secs(5));
        // each keeps the other one open, and blocks
        let until = world.now.instant + LEASE;
        world.health[0].from = [false, true];
        world.health[1].from = [true, false];
        world.run(Duration::from_secs(1));
        world.agents[0].holders.insert("front-a", until);
        world.agents[1].holders.insert("front-b", until);
        world.settle();
        assert_eq!(world.open(), 1, "seed {seed}\n{}", world.told());
        world.assert_settled(seed);
    }
}

#[test]
fn a_front_door_that_starts_leaves_alone_what_it_holds_until_it_has_seen_something() {
    let mut world = World::new(3, 2, 1);
    world.run(Duration::from_secs(5));
    world.health[1].own = false;
    world.settle();
    assert!(world.agents[1].holders.contains_key("front-a"));
    world.doors[0] = world.new_door();
    for _ in 0..200 {
        world.step();
        assert!(world.agents[1].holders.contains_key("front-a"), "{}", world.told());
    }
}
