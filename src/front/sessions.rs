use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::fleet::{GatewayName, Snapshot};

/// Remembers which gateway has set which session cookie, over all listeners and workers of a front door.
///
/// The memory is a table of fixed size without a lock; a session is one word in it. Cookies themselves are not
/// kept: a session is known by a secret hash, of which a part is its place and another part is in the word. Two
/// sessions that cannot be told apart are one in half a thousand million looks, and harmless: a cookie that
/// nobody knows might have led to any gateway, and a gateway that is asked for a session which it does not have
/// says so. Where the table is too small, those who were not seen for longest are forgotten first.
pub struct Sessions {
    /// Made when the first gateway is enrolled: a front door that only redirects need not have it.
    sets: OnceLock<Box<[Set]>>,
    secret: RandomState,
    origin: Instant,
    /// When what has expired was last cleared away.
    swept: AtomicU64,
    roll: Mutex<Roll>,
}

/// What a gateway is called in [`Sessions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GatewayNumber(NonZeroU16);

/// How long a session is remembered after it was last seen. A VPN tunnel makes no request as long as it is up,
/// and who reconnects after a working day must still find the way.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(24 * 3600);

impl Sessions {
    /// Nobody is known yet.
    pub fn new() -> Self {
        Self {
            sets: OnceLock::new(),
            secret: RandomState::new(),
            origin: Instant::now(),
            swept: AtomicU64::new(0),
            roll: Mutex::default(),
        }
    }

    /// The numbers of the snapshot's gateways, in their order. A gateway keeps its number as long as it is
    /// there; one that is gone loses its sessions. There are [`NUMBERS`]; who gets none has no sessions.
    ///
    /// A snapshot of an older generation than the newest one seen changes nothing, so workers may come in
    /// any order; gateways that only it has get no number. Takes a lock: for when the set of gateways
    /// changes, not for when a request comes.
    pub fn enrol(&self, snapshot: &Snapshot) -> Vec<Option<GatewayNumber>> {
        let sets = self.sets.get_or_init(|| (0..SETS).map(|_| Set::default()).collect());
        let mut roll = self.roll.lock().unwrap_or_else(PoisonError::into_inner);
        if roll.generation.is_none_or(|newest| snapshot.generation > newest) {
            let doubtful = roll.go_over_to(snapshot);
            if doubtful.contains(&true) {
                let is_doubtful =
                    |number| doubtful.get(usize::from(number)).is_some_and(|doubtful| *doubtful);
                clear(sets, |entry| is_doubtful(entry.number_bits()));
            }
        }
        snapshot.gateways.iter().map(|view| roll.numbers.get(&view.gateway.name).copied()).collect()
    }

    /// A gateway has set a cookie of this name to this value. An empty one is no session.
    pub fn learn(&self, cookie: &str, value: &[u8], gateway: GatewayNumber, now: Instant) {
        let now = self.ticks(now);
        let Some((set, fingerprint)) = self.place(cookie, value, now) else { return };
        let entry = Entry::new(fingerprint, gateway, now);
        // Who loses against another worker looks again. Who loses every time lets it be: so many others are
        // in the same set that he would not stay there.
        for _ in 0..WAYS {
            let slots = set.0.iter().map(|slot| (slot, Entry(slot.load(Ordering::Relaxed))));
            let worth = |entry: Entry| match entry.number() {
                Some(_) if entry.fingerprint() == fingerprint => 0,
                None => 1,
                // of the others the one that was not seen for longest; who has expired is among those
                Some(_) => 2 + PERIOD - entry.age(now),
            };
            let Some((slot, old)) = slots.min_by_key(|(_, entry)| worth(*entry)) else { return };
            if slot.compare_exchange(old.0, entry.0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    /// The gateway that has set a cookie of this name to this value, if that is known. To be asked for is to
    /// be remembered further.
    ///
    /// A worker whose snapshot is not the newest can get a number that is none of its gateways'.
    pub fn find(&self, cookie: &str, value: &[u8], now: Instant) -> Option<GatewayNumber> {
        let now = self.ticks(now);
        let (set, fingerprint) = self.place(cookie, value, now)?;
        set.0.iter().find_map(|slot| {
            let entry = Entry(slot.load(Ordering::Relaxed));
            let number = entry.number().filter(|_| entry.fingerprint() == fingerprint)?;
            match entry.age(now) {
                // most of those who come have come a moment ago: they are only read
                0 => {}
                LIFETIME.. => return None,
                _ => {
                    // who loses against another worker is renewed by that one, or gone
                    let renewed = Entry::new(fingerprint, number, now);
                    let _ = slot.compare_exchange(entry.0, renewed.0, Ordering::Relaxed, Ordering::Relaxed);
                }
            }
            Some(number)
        })
    }

    /// The set that a session belongs to, and what it is known by there.
    fn place(&self, cookie: &str, value: &[u8], now: u64) -> Option<(&Set, u32)> {
        let sets = self.sets.get().filter(|_| !value.is_empty())?;
        self.sweep(sets, now);
        let hash = self.secret.hash_one((cookie, value));
        Some((sets.get(hash as usize % SETS)?, (hash >> 32) as u32))
    }

    fn ticks(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_secs() / TICK.as_secs()
    }

    /// Clears away what has expired, often enough for no entry to become so old that it looks young again.
    fn sweep(&self, sets: &[Set], now: u64) {
        let swept = self.swept.load(Ordering::Relaxed);
        let since = now.saturating_sub(swept);
        if since < SWEEP_AFTER {
            return;
        }
        // the others go on meanwhile
        if self.swept.compare_exchange(swept, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        // Had anybody come since this was due, they would have swept: everything is at least so old.
        let nobody_came = since - SWEEP_AFTER >= u64::from(LIFETIME);
        clear(sets, |entry| nobody_came || entry.age(now) >= LIFETIME);
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

/// Who has which number.
#[derive(Default)]
struct Roll {
    /// Of the newest snapshot seen.
    generation: Option<u64>,
    numbers: BTreeMap<GatewayName, GatewayNumber>,
    /// The highest number that was ever given.
    highest: u16,
    /// Numbers that were given back, the first one first.
    free: VecDeque<GatewayNumber>,
}

impl Roll {
    /// Goes over to the gateways of a snapshot. Returns for each number whether what is remembered of it must
    /// be forgotten.
    fn go_over_to(&mut self, snapshot: &Snapshot) -> Vec<bool> {
        self.generation = Some(snapshot.generation);
        let names = || snapshot.gateways.iter().map(|view| &view.gateway.name);
        let mut old = std::mem::take(&mut self.numbers);
        self.numbers = names().filter_map(|name| old.remove_entry(name)).collect();
        let mut doubtful = vec![false; usize::from(NUMBERS) + 1];
        let mut doubt = |number: GatewayNumber| {
            if let Some(doubtful) = doubtful.get_mut(usize::from(number.0.get())) {
                *doubtful = true;
            }
        };
        old.values().copied().for_each(&mut doubt);
        self.free.extend(old.into_values());
        for name in names() {
            if !self.numbers.contains_key(name)
                && let Some(number) = self.next()
            {
                // a worker who came late may have learned something after this number was given back
                doubt(number);
                self.numbers.insert(name.clone(), number);
            }
        }
        doubtful
    }

    /// The number that was unused for longest, so that nobody takes its new owner for the old one.
    fn next(&mut self) -> Option<GatewayNumber> {
        if self.highest == NUMBERS {
            return self.free.pop_front();
        }
        self.highest += 1;
        NonZeroU16::new(self.highest).map(GatewayNumber)
    }
}

/// Sessions that share a place. One line of the processor's cache.
#[derive(Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

/// 8 MiB, or a million sessions: several for each connection that a big front door has.
const SETS: usize = 128 * 1024;
const WAYS: usize = 8;

fn clear(sets: &[Set], is_over: impl Fn(Entry) -> bool) {
    for slot in sets.iter().flat_map(|set| &set.0) {
        let entry = Entry(slot.load(Ordering::Relaxed));
        if entry.number().is_some() && is_over(entry) {
            // Who has changed it in the meantime has renewed it, with the same number, or put another one
            // there: look again.
            let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                is_over(Entry(now)).then_some(Entry::EMPTY.0)
            });
        }
    }
}

/// A session: from the upper end 32 bits of its hash, 12 of the gateway's number (0: there is none), and 20 of
/// the time when it was last seen, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry(u64);

/// How many gateways can have sessions.
pub const NUMBERS: u16 = (1 << NUMBER_BITS) - 1;

const NUMBER_BITS: u32 = 12;
const TIME_BITS: u32 = 20;

/// What time is counted in here.
const TICK: Duration = Duration::from_secs(16);

/// Ticks until the time of an entry begins anew: 194 days.
const PERIOD: u32 = 1 << TIME_BITS;

/// [`SESSION_LIFETIME`] in ticks.
const LIFETIME: u32 = (SESSION_LIFETIME.as_secs() / TICK.as_secs()) as u32;

/// In ticks, 48 days. With a lifetime more it is well below the half of [`PERIOD`], from which on an entry is
/// taken to be young.
const SWEEP_AFTER: u64 = PERIOD as u64 / 4;

impl Entry {
    const EMPTY: Self = Self(0);

    fn new(fingerprint: u32, number: GatewayNumber, now: u64) -> Self {
        let time = now & u64::from(PERIOD - 1);
        let number = u64::from(number.0.get());
        Self(u64::from(fingerprint) << (NUMBER_BITS + TIME_BITS) | number << TIME_BITS | time)
    }

    fn fingerprint(self) -> u32 {
        (self.0 >> (NUMBER_BITS + TIME_BITS)) as u32
    }

    fn number(self) -> Option<GatewayNumber> {
        NonZeroU16::new(self.number_bits()).map(GatewayNumber)
    }

    fn number_bits(self) -> u16 {
        (self.0 >> TIME_BITS) as u16 & NUMBERS
    }

    /// Ticks since it was last seen. Another worker's clock reading may be ahead of ours: that is no age.
    fn age(self, now: u64) -> u32 {
        let age = (now as u32).wrapping_sub(self.0 as u32) & (PERIOD - 1);
        if age < PERIOD / 2 { age } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;
    use crate::fleet::{Balance, FleetSettings, Gateway, Moment, Roster, Thresholds, Weights};

    fn settings(names: &[impl AsRef<str>]) -> FleetSettings {
        let gateway = |name: &str| Gateway { has_agent: false, ..Gateway::plain(name, "gw.example.com") };
        FleetSettings {
            gateways: names.iter().map(|name| Arc::new(gateway(name.as_ref()))).collect(),
            thresholds: Thresholds::default(),
            weights: Weights::default(),
            balance: Balance::default(),
        }
    }

    fn moment() -> Moment {
        Moment { instant: Instant::now(), wall: std::time::SystemTime::UNIX_EPOCH }
    }

    /// A snapshot with these gateways for each generation.
    fn generations<const N: usize>(names: [&[&str]; N]) -> [Snapshot; N] {
        let mut roster = Roster::new(settings(&[""; 0]), moment());
        names.map(|names| {
            roster.reload(settings(names), moment());
            roster.snapshot()
        })
    }

    /// A memory with the gateways a and b.
    fn sessions() -> (Sessions, [GatewayNumber; 2]) {
        let (sessions, [snapshot]) = (Sessions::new(), generations([&["a", "b"]]));
        let numbers = sessions.enrol(&snapshot);
        (sessions, [numbers[0].unwrap(), numbers[1].unwrap()])
    }

    const DAY: Duration = SESSION_LIFETIME;

    #[test]
    fn a_session_leads_to_the_gateway_that_has_set_it() {
        let (sessions, [a, b]) = sessions();
        let now = sessions.origin;
        assert_eq!(sessions.find("webvpn", b"1", now), None);
        sessions.learn("webvpn", b"1", a, now);
        sessions.learn("webvpn", b"2", b, now);
        sessions.learn("JSESSIONID", b"1", b, now);
        assert_eq!(sessions.find("webvpn", b"1", now), Some(a));
        assert_eq!(sessions.find("webvpn", b"2", now), Some(b));
        assert_eq!(sessions.find("JSESSIONID", b"1", now), Some(b), "the name counts as well");
        assert_eq!(sessions.find("webvpn", b"3", now), None);
        sessions.learn("webvpn", b"1", b, now);
        assert_eq!(sessions.find("webvpn", b"1", now), Some(b), "who has set it last");
    }

    #[test]
    fn an_empty_value_is_no_session() {
        let (sessions, [a, _]) = sessions();
        sessions.learn("webvpncontext", b"", a, sessions.origin);
        assert_eq!(sessions.find("webvpncontext", b"", sessions.origin), None);
        assert_eq!(used(&sessions), 0);
    }

    #[test]
    fn a_session_is_forgotten_a_day_after_it_was_last_seen() {
        let (sessions, [a, _]) = sessions();
        let mut now = sessions.origin;
        sessions.learn("webvpn", b"1", a, now);
        for _ in 0..3 {
            now += DAY - TICK;
            assert_eq!(sessions.find("webvpn", b"1", now), Some(a));
        }
        assert_eq!(sessions.find("webvpn", b"1", now + DAY), None);
    }

    #[test]
    fn the_clock_of_the_entries_begins_anew_and_no_session_notices() {
        let (sessions, [a, _]) = sessions();
        let turn = sessions.origin + TICK * PERIOD;
        for before in [TICK, DAY / 2, DAY - TICK * 2] {
            sessions.learn("webvpn", b"1", a, turn - before);
            assert_eq!(sessions.find("webvpn", b"1", turn - before), Some(a));
            assert_eq!(sessions.find("webvpn", b"1", turn + TICK), Some(a), "{before:?} before");
            assert_eq!(sessions.find("webvpn", b"1", turn + TICK + DAY), None, "{before:?} before");
        }
    }

    #[test]
    fn a_session_as_old_as_the_clock_can_tell_is_not_young_again() {
        let half = TICK * (PERIOD / 2);
        for age in [half, half * 2, half * 2 + DAY / 2] {
            // with nobody in between, and with somebody else now and then
            for visits in [0, 8] {
                let (sessions, [a, b]) = sessions();
                let learned = sessions.origin + DAY * 100;
                sessions.learn("webvpn", b"1", a, learned);
                for visit in 1..=visits {
                    sessions.learn("webvpn", b"2", b, learned + age / (visits + 1) * visit);
                }
                let found = sessions.find("webvpn", b"1", learned + age);
                assert_eq!(found, None, "after {age:?} with {visits} visits");
            }
        }
    }

    #[test]
    fn sweeping_leaves_those_alone_who_are_still_remembered() {
        let (sessions, [a, _]) = sessions();
        let due = sessions.origin + TICK * u32::try_from(SWEEP_AFTER).unwrap();
        sessions.learn("webvpn", b"old", a, due - DAY);
        sessions.learn("webvpn", b"young", a, due - DAY + TICK);
        assert_eq!(sessions.find("webvpn", b"young", due), Some(a));
        assert_eq!(used(&sessions), 1);
    }

    #[test]
    fn a_clock_reading_of_another_worker_may_be_ahead() {
        let (sessions, [a, b]) = sessions();
        let now = sessions.origin + DAY;
        sessions.learn("webvpn", b"1", a, now + TICK * 2);
        assert_eq!(sessions.find("webvpn", b"1", now), Some(a));
        sessions.learn("webvpn", b"1", b, now);
        assert_eq!(sessions.find("webvpn", b"1", now - DAY * 2), Some(b), "even before the beginning");
    }

    /// Values whose sessions belong to the same set.
    fn neighbours(sessions: &Sessions, count: usize) -> Vec<Vec<u8>> {
        let place = |value: &[u8]| sessions.secret.hash_one(("webvpn", value)) as usize % SETS;
        let values = (0u32..).map(|n| n.to_be_bytes().to_vec());
        let home = place(&0u32.to_be_bytes());
        values.filter(|value| place(value) == home).take(count).collect()
    }

    #[test]
    fn where_there_is_no_room_the_one_not_seen_for_longest_makes_some() {
        let (sessions, [a, b]) = sessions();
        let mut now = sessions.origin;
        let values = neighbours(&sessions, WAYS + 2);
        for value in &values[..WAYS] {
            now += TICK;
            sessions.learn("webvpn", value, a, now);
        }
        now += TICK;
        assert_eq!(sessions.find("webvpn", &values[0], now), Some(a), "seen again");
        sessions.learn("webvpn", &values[WAYS], b, now);
        let known = |value: &Vec<u8>| sessions.find("webvpn", value, now).is_some();
        let forgotten: Vec<_> = values[..=WAYS].iter().enumerate().filter(|(_, v)| !known(v)).collect();
        assert_eq!(forgotten, [(1, &values[1])]);
        // who has expired goes before who was only not seen for longest
        now += DAY;
        sessions.learn("webvpn", &values[0], a, now);
        sessions.learn("webvpn", &values[WAYS + 1], b, now);
        assert_eq!(sessions.find("webvpn", &values[0], now), Some(a));
        assert_eq!(sessions.find("webvpn", &values[WAYS + 1], now), Some(b));
    }

    #[test]
    fn fifty_thousand_sessions_are_remembered_each_for_itself() {
        let (sessions, numbers) = sessions();
        let now = sessions.origin;
        let session = |n: u32| (n.to_be_bytes(), numbers[n as usize % 2]);
        for (value, gateway) in (0..50_000).map(session) {
            sessions.learn("webvpn", &value, gateway, now);
        }
        let found = |value: &[u8]| sessions.find("webvpn", value, now);
        // a ninth one in a set comes once in ten thousand runs
        let wrong = (0..50_000).map(session).filter(|(value, gateway)| found(value) != Some(*gateway));
        assert!(wrong.count() <= 1);
        assert!((50_000..100_000).map(session).filter(|(value, _)| found(value).is_some()).count() <= 1);
    }

    fn used(sessions: &Sessions) -> usize {
        let slots = sessions.sets.get().unwrap().iter().flat_map(|set| &set.0);
        slots.filter(|slot| slot.load(Ordering::Relaxed) != Entry::EMPTY.0).count()
    }

    #[test]
    fn a_gateway_keeps_its_number_wherever_it_stands_and_one_that_is_gone_loses_its_sessions() {
        let sessions = Sessions::new();
        let now = sessions.origin;
        let [both, without, back] = generations([&["a", "b"], &["c", "b"], &["a", "b", "c"]]);
        let before = sessions.enrol(&both);
        assert_eq!(sessions.enrol(&both), before, "whoever asks again hears the same");
        let [a, b] = [before[0].unwrap(), before[1].unwrap()];
        assert_ne!(a, b);
        sessions.learn("webvpn", b"1", a, now);
        sessions.learn("webvpn", b"2", b, now);
        let after = sessions.enrol(&without);
        assert_eq!(after[1], Some(b));
        assert!(after[0].is_some_and(|c| c != b));
        assert_eq!(sessions.find("webvpn", b"1", now), None);
        assert_eq!(sessions.find("webvpn", b"2", now), Some(b));
        let again = sessions.enrol(&back);
        assert_eq!(again[1..], [Some(b), after[0]]);
        assert_eq!(sessions.find("webvpn", b"1", now), None);
    }

    #[test]
    fn a_worker_that_comes_late_with_an_old_snapshot_changes_nothing() {
        let sessions = Sessions::new();
        let [old, new] = generations([&["a", "b"], &["b", "c"]]);
        let before = sessions.enrol(&old);
        let after = sessions.enrol(&new);
        sessions.learn("webvpn", b"1", after[1].unwrap(), sessions.origin);
        assert_eq!(sessions.enrol(&old), [None, before[1]]);
        assert_eq!(sessions.enrol(&new), after);
        assert_eq!(sessions.find("webvpn", b"1", sessions.origin), after[1]);
    }

    #[test]
    fn gateways_beyond_the_last_number_have_no_sessions_until_another_one_goes() {
        let names: Vec<_> = (0..usize::from(NUMBERS) + 2).map(|n| format!("gw{n:04}")).collect();
        let mut roster = Roster::new(settings(&names), moment());
        let sessions = Sessions::new();
        let now = sessions.origin;
        let numbers = sessions.enrol(&roster.snapshot());
        let (with, without) = numbers.split_at(usize::from(NUMBERS));
        assert!(with.iter().all(Option::is_some));
        assert_eq!(without, [None, None]);
        let seventh = with[7].unwrap();
        sessions.learn("webvpn", b"1", seventh, now);
        let mut fewer = names.clone();
        fewer.remove(7);
        roster.reload(settings(&fewer), moment());
        let after = sessions.enrol(&roster.snapshot());
        assert_eq!(after[usize::from(NUMBERS) - 1..], [Some(seventh), None]);
        assert_eq!(sessions.find("webvpn", b"1", now), None, "with the number come no sessions");
    }

    #[test]
    fn what_was_learned_too_late_is_not_inherited_with_the_number() {
        let sessions = Sessions::new();
        let mut roster = Roster::new(settings(&["a"]), moment());
        let a = sessions.enrol(&roster.snapshot())[0].unwrap();
        for n in 1..NUMBERS {
            roster.reload(settings(&[format!("b{n}")]), moment());
            sessions.roll.lock().unwrap().go_over_to(&roster.snapshot());
        }
        // a worker that still has the first snapshot
        sessions.learn("webvpn", b"1", a, sessions.origin);
        roster.reload(settings(&["c"]), moment());
        assert_eq!(sessions.enrol(&roster.snapshot()), [Some(a)]);
        assert_eq!(sessions.find("webvpn", b"1", sessions.origin), None);
    }

    #[test]
    fn workers_that_learn_at_the_same_time_do_not_lose_each_others_sessions() {
        let (sessions, numbers) = sessions();
        let now = sessions.origin;
        let value = |worker: u32, n: u32| (u64::from(worker) << 32 | u64::from(n)).to_be_bytes();
        thread::scope(|scope| {
            for worker in 0..4u32 {
                let sessions = &sessions;
                scope.spawn(move || {
                    for n in 0..5_000 {
                        let at = now + TICK * (n / 1000);
                        sessions.learn("webvpn", &value(worker, n), numbers[worker as usize % 2], at);
                        // a session that all of them ask for and renew
                        sessions.learn("webvpn", b"all", numbers[0], at);
                        assert_eq!(sessions.find("webvpn", b"all", at), Some(numbers[0]));
                    }
                });
            }
        });
        for worker in 0..4u32 {
            for n in 0..5_000 {
                let found = sessions.find("webvpn", &value(worker, n), now + TICK * 5);
                assert_eq!(found, Some(numbers[worker as usize % 2]));
            }
        }
        assert_eq!(used(&sessions), 20_001, "no session is there twice");
    }

    #[test]
    fn workers_agree_on_the_numbers_however_they_overtake_each_other() {
        let snapshots: [_; 3] = generations([&["a", "b", "c"], &["b", "c", "d"], &["c", "d", "e"]]);
        for _ in 0..4 {
            let (sessions, done) = (Sessions::new(), AtomicBool::new(false));
            let numbers: Vec<_> = thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        sessions.find("webvpn", b"1", sessions.origin);
                    }
                });
                let worker = || {
                    snapshots.iter().for_each(|snapshot| drop(sessions.enrol(snapshot)));
                    sessions.enrol(&snapshots[2])
                };
                let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
                let numbers = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
                done.store(true, Ordering::Relaxed);
                numbers
            });
            let mut first = numbers[0].clone();
            assert!(numbers.iter().all(|other| *other == first));
            first.sort();
            first.dedup();
            assert!(first.len() == 3 && !first.contains(&None), "{first:?}");
        }
    }
}
