use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::plan::Stance;
use crate::fleet::GatewayName;
use crate::net::Site;
use crate::net::firewall::{Away, FirewallError, Wall};

/// What stands in this host's own firewall, and when it is to be looked at again.
#[derive(Debug, Default)]
pub struct Local {
    /// `None` while somebody is at work on it.
    wall: Option<Wall>,
    standing: Standing,
    /// What is being built.
    under_way: Option<Standing>,
    /// What may have been set all the same when the firewall failed.
    in_doubt: Option<Standing>,
    /// Whether it was ever looked at.
    was_touched: bool,
    /// When it was found as it should be.
    looked_at: Option<Instant>,
    /// When it may be tried again after a failure.
    not_before: Option<Instant>,
}

/// The gateways that everyone is kept from, with the reason, and until when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Why, by gateway.
    pub reasons: BTreeMap<GatewayName, Arc<str>>,
    /// Those of them whose names have led to no address yet, so that nothing stands against them.
    nowhere: BTreeSet<GatewayName>,
    /// When it was asked for last, and when the kernel ends it.
    pub lasts: Option<(Instant, Instant)>,
}

/// Work on the firewall that is to be done.
#[derive(Debug)]
pub struct Job {
    wall: Wall,
    wanted: Standing,
    front: Arc<str>,
    endpoints: Vec<(GatewayName, Vec<Site>)>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    wall: Wall,
    /// The gateways without an address.
    result: Result<BTreeSet<GatewayName>, FirewallError>,
}

impl Local {
    /// Nothing has been looked at yet.
    pub fn new() -> Self {
        Self { wall: Some(Wall::default()), ..Self::default() }
    }

    /// Whether a block on that gateway stands, or is being set.
    pub fn blocks(&self, gateway: &GatewayName, now: Instant) -> bool {
        let standing =
            [Some(&self.standing), self.under_way.as_ref(), self.in_doubt.as_ref()].into_iter().flatten();
        standing.filter(|standing| standing.is_alive(now)).any(|s| s.reasons.contains_key(gateway))
    }

    /// What is to be done now about these gateways, all that are fenced from here; nothing while something is under
    /// way, or all is as it should be and was looked at just now.
    pub fn next(
        &mut self,
        stances: &[(GatewayName, Stance, Vec<Site>)],
        front: &Arc<str>,
        lease: Duration,
        now: Instant,
    ) -> Option<Job> {
        if self.not_before.is_some_and(|earliest| now < earliest) {
            return None;
        }
        let mut wanted = Standing::default();
        for (gateway, stance, _) in stances {
            let before = self.standing.reasons.get(gateway).filter(|_| self.standing.is_alive(now));
            match (stance, before) {
                (Stance::Block(reason), _) | (Stance::AsItIs, Some(reason)) => {
                    wanted.reasons.insert(gateway.clone(), Arc::clone(reason));
                }
                (Stance::AsItIs | Stance::KeepOpen | Stance::Free, _) => {}
            }
        }
        // what an earlier life has left, of which gateway is not known, is left alone until all are known or one is
        // to be blocked; it ends by itself
        let knows_all = !stances.is_empty() && stances.iter().all(|(_, stance, _)| *stance != Stance::AsItIs);
        let nothing_to_do = if self.was_touched { self.standing.reasons.is_empty() } else { !knows_all };
        if wanted.reasons.is_empty() && nothing_to_do && self.in_doubt.is_none() {
            return None;
        }
        let same = wanted.reasons.keys().eq(self.standing.reasons.keys());
        let renewed =
            self.standing.lasts.filter(|(at, _)| same && now.saturating_duration_since(*at) < lease / 3);
        let was_seen = self.looked_at.is_some_and(|at| now.saturating_duration_since(at) < LOOK_AGAIN);
        if same && was_seen && renewed.is_some() {
            return None;
        }
        wanted.lasts = Some(renewed.unwrap_or((now, now + lease)));
        let wall = self.wall.take()?;
        let is_wanted = |gateway: &GatewayName| wanted.reasons.contains_key(gateway);
        let endpoints = stances.iter().filter(|(gateway, ..)| is_wanted(gateway));
        let endpoints = endpoints.map(|(gateway, _, sites)| (gateway.clone(), sites.clone())).collect();
        self.under_way = Some(wanted.clone());
        Some(Job { wall, wanted, front: Arc::clone(front), endpoints })
    }

    /// Takes note of what came of a job: what stands now, and what stood before; or why nothing was changed.
    pub fn ended(
        &mut self,
        Outcome { wall, result }: Outcome,
        now: Instant,
    ) -> Result<(Standing, Standing), (Standing, FirewallError)> {
        self.wall = Some(wall);
        let wanted = self.under_way.take().unwrap_or_default();
        match result {
            Ok(nowhere) => {
                self.was_touched = true;
                (self.looked_at, self.not_before, self.in_doubt) = (Some(now), None, None);
                let before = std::mem::replace(&mut self.standing, Standing { nowhere, ..wanted });
                Ok((self.standing.clone().in_force(), before.in_force()))
            }
            Err(error) => {
                // where nothing is wanted there is no hurry: what is left there ends by itself
                self.was_touched |= wanted.reasons.is_empty();
                self.not_before = Some(now + TRY_AGAIN);
                if !matches!(error, FirewallError::Unusable(_)) {
                    self.in_doubt = Some(wanted.clone());
                }
                Err((wanted, error))
            }
        }
    }

    /// Takes all of it away, if there may be anything.
    pub async fn remove(self) -> Result<(), FirewallError> {
        match self.wall {
            Some(mut wall) if self.was_touched => wall.remove().await,
            _ => Ok(()),
        }
    }
}

impl Standing {
    fn is_alive(&self, now: Instant) -> bool {
        self.lasts.is_some_and(|(_, until)| now < until)
    }

    /// What of it the firewall holds.
    fn in_force(mut self) -> Self {
        let nowhere = std::mem::take(&mut self.nowhere);
        self.reasons.retain(|gateway, _| !nowhere.contains(gateway));
        self
    }
}

impl Job {
    /// Does it.
    pub async fn run(mut self) -> Outcome {
        let (blocks, nowhere) = self.blocks().await;
        let result = self.wall.set(&blocks).await.map(|_| nowhere);
        Outcome { wall: self.wall, result }
    }

    /// What is to be set, and the gateways without an address. A name that was never found keeps the others from
    /// nothing: it leads nobody anywhere either.
    async fn blocks(&self) -> (Vec<Away>, BTreeSet<GatewayName>) {
        let (mut blocks, mut nowhere) = (Vec::<Away>::new(), BTreeSet::new());
        let Some((_, until)) = self.wanted.lasts else { return (blocks, nowhere) };
        for (gateway, sites) in &self.endpoints {
            let mut is_found = false;
            for site in sites {
                for to in site.addresses().await.unwrap_or_default() {
                    is_found = true;
                    if !blocks.iter().any(|block| block.to == to) {
                        blocks.push(Away { to, until, holders: self.front.to_string() });
                    }
                }
            }
            if !is_found {
                nowhere.insert(gateway.clone());
            }
        }
        (blocks, nowhere)
    }
}

/// Somebody else may have flushed the rules, which is to be repaired within a second.
const LOOK_AGAIN: Duration = Duration::from_millis(700);
/// After a failure: a gateway that works again is free within a second of the time that its checks take.
const TRY_AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Endpoint;

    const LEASE: Duration = Duration::from_secs(15);

    struct Builder {
        local: Local,
        start: Instant,
    }

    impl Builder {
        fn new() -> Self {
            Self { local: Local::new(), start: Instant::now() }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.start + Duration::from_millis(milliseconds)
        }

        /// What is begun at that time for gateways a, b, c …, and when the kernel would end it.
        fn begins(&mut self, milliseconds: u64, stances: &[Stance]) -> Option<(String, Job)> {
            let gateways = stances.iter().zip('a'..).map(|(stance, name)| {
                let site = Endpoint::parse("10.0.0.1", 443).unwrap().into();
                (GatewayName::new(&name.to_string()), stance.clone(), vec![site])
            });
            let now = self.at(milliseconds);
            let job = self.local.next(&gateways.collect::<Vec<_>>(), &"front-a".into(), LEASE, now)?;
            let names = job.wanted.reasons.keys().map(GatewayName::as_str).collect::<Vec<_>>().join(" ");
            let (_, until) = job.wanted.lasts.unwrap();
            let until = until.duration_since(self.start).as_millis();
            Some((format!("{names} until {until}"), job))
        }

        fn ends(&mut self, milliseconds: u64, job: Job, result: Result<(), FirewallError>) -> bool {
            let (now, result) = (self.at(milliseconds), result.map(|()| BTreeSet::new()));
            self.local.ended(Outcome { wall: job.wall, result }, now).is_ok()
        }

        /// Begins and ends well.
        fn does(&mut self, milliseconds: u64, stances: &[Stance]) -> Option<String> {
            let (told, job) = self.begins(milliseconds, stances)?;
            assert!(self.ends(milliseconds, job, Ok(())));
            Some(told)
        }
    }

    fn block() -> Stance {
        Stance::Block("refused".into())
    }

    #[test]
    fn a_block_is_looked_at_within_each_second_and_renewed_at_a_third_of_its_lease() {
        let mut site = Builder::new();
        assert_eq!(site.does(0, &[block(), Stance::Free]).as_deref(), Some("a until 15000"));
        assert_eq!(site.does(1000, &[block(), Stance::Free]).as_deref(), Some("a until 15000"));
        assert_eq!(site.does(1699, &[block(), Stance::Free]), None);
        assert_eq!(site.does(5000, &[block(), Stance::Free]).as_deref(), Some("a until 20000"));
        assert_eq!(site.does(6000, &[block(), block()]).as_deref(), Some("a b until 21000"));
        assert_eq!(site.does(6001, &[Stance::KeepOpen, Stance::AsItIs]).as_deref(), Some("b until 21001"));
        assert_eq!(site.does(6002, &[Stance::Free, Stance::Free]).as_deref(), Some(" until 21002"));
        assert_eq!(site.does(30_000, &[Stance::Free, Stance::Free]), None, "nothing is left to look at");
    }

    #[test]
    fn what_an_earlier_life_has_left_stays_until_all_is_known_and_is_then_cleared() {
        let mut site = Builder::new();
        assert_eq!(site.does(0, &[Stance::AsItIs, Stance::AsItIs]), None);
        assert_eq!(site.does(10, &[Stance::AsItIs, Stance::Free]), None, "it may be that gateway's");
        assert_eq!(site.does(20, &[Stance::KeepOpen, Stance::Free]).as_deref(), Some(" until 15020"));
        assert_eq!(Builder::new().does(0, &[Stance::AsItIs, block()]).as_deref(), Some("b until 15000"));
        assert_eq!(Builder::new().does(0, &[]), None, "where nothing is fenced from here nothing is touched");
    }

    #[tokio::test]
    async fn a_gateway_whose_name_leads_nowhere_is_not_said_to_be_blocked_until_it_leads_somewhere() {
        let mut site = Builder::new();
        let stands = |(standing, before): (Standing, Standing)| {
            [standing, before]
                .map(|s| s.reasons.keys().map(|name| name.as_str().to_owned()).collect::<Vec<_>>())
        };
        let (_, mut job) = site.begins(0, &[block(), block()]).unwrap();
        job.endpoints[1].1 = vec![Endpoint::parse("never.invalid", 443).unwrap().into()];
        let (blocks, nowhere) = job.blocks().await;
        assert_eq!(blocks.iter().map(|block| block.to.to_string()).collect::<Vec<_>>(), ["10.0.0.1:443"]);
        let outcome = Outcome { wall: job.wall, result: Ok(nowhere) };
        let ended = site.local.ended(outcome, site.at(300)).unwrap();
        assert_eq!(stands(ended), [vec!["a".to_owned()], vec![]]);
        assert!(
            site.begins(400, &[block(), block()]).is_none(),
            "it is looked for again when all is looked at"
        );
        let (told, job) = site.begins(1000, &[block(), block()]).unwrap();
        assert_eq!(told, "a b until 15000");
        let outcome = Outcome { wall: job.wall, result: Ok(BTreeSet::new()) };
        let ended = site.local.ended(outcome, site.at(1000)).unwrap();
        assert_eq!(stands(ended), [vec!["a".to_owned(), "b".to_owned()], vec!["a".to_owned()]]);
    }

    #[test]
    fn a_firewall_that_cannot_be_set_is_tried_again_a_second_later_also_to_free_a_gateway() {
        let mut site = Builder::new();
        let (_, job) = site.begins(0, &[block()]).unwrap();
        assert!(site.local.blocks(&GatewayName::new("a"), site.at(1)), "it may stand any moment");
        assert!(site.begins(1, &[block()]).is_none(), "somebody is at work on it");
        assert!(!site.ends(10, job, Err(FirewallError::Unusable("no nft".into()))));
        assert!(!site.local.blocks(&GatewayName::new("a"), site.at(11)));
        assert!(site.begins(1009, &[block()]).is_none());
        assert!(site.does(1010, &[block()]).is_some());
        let (_, job) = site.begins(2000, &[Stance::Free]).unwrap();
        assert!(!site.ends(2010, job, Err(FirewallError::Failed("nft: busy".into()))));
        assert!(site.begins(3009, &[Stance::Free]).is_none());
        assert!(site.does(3010, &[Stance::Free]).is_some());
        let mut site = Builder::new();
        let (_, job) = site.begins(0, &[Stance::Free]).unwrap();
        assert!(!site.ends(10, job, Err(FirewallError::Unusable("no nft".into()))));
        assert!(site.begins(10_000, &[Stance::Free]).is_none(), "nothing is to be done there");
    }

    #[test]
    fn what_may_have_been_set_though_the_firewall_failed_counts_and_is_taken_away() {
        let mut site = Builder::new();
        assert!(site.does(0, &[Stance::Free]).is_some());
        let (_, job) = site.begins(100, &[block()]).unwrap();
        assert!(!site.ends(110, job, Err(FirewallError::NotInForce("table inet vestibule_front".into()))));
        assert!(site.local.blocks(&GatewayName::new("a"), site.at(111)));
        assert!(site.does(1110, &[Stance::Free]).is_some());
        assert!(!site.local.blocks(&GatewayName::new("a"), site.at(1111)));
        assert!(site.begins(3000, &[Stance::Free]).is_none());
    }
}
