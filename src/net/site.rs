use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::fleet::{Endpoint, Host};

/// An endpoint to connect to, with what was last found out about its name. Clones share that.
///
/// A name is looked up at every connect, so that a change is noticed at the next one; what was found before
/// is used meanwhile, and further when the resolver fails or is slow. There is never more than one lookup
/// under way: a lookup cannot be called off, and those that hang would pile up.
#[derive(Clone, Debug)]
pub struct Site {
    endpoint: Endpoint,
    memory: Arc<Memory>,
}

/// The sites that are in use. Who asks for an endpoint that somebody else uses shares what is known of it.
#[derive(Debug, Default)]
pub struct Sites(Mutex<HashMap<Endpoint, Weak<Memory>>>);

#[derive(Debug)]
struct Memory {
    /// What the last lookup that has found anything has found.
    found: ArcSwap<Vec<SocketAddr>>,
    /// A lookup is under way.
    asking: AtomicBool,
    /// Changes when a lookup ends; what the resolver has said, where it had no answer.
    ended: watch::Sender<Option<Arc<io::Error>>>,
}

/// The name leads to no address now, and never did.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The resolver says so, or cannot be asked.
    #[error("the name {name} cannot be resolved: {}", super::words::in_words(.cause))]
    Failed {
        /// The name.
        name: Box<str>,
        /// What the resolver says.
        #[source]
        cause: Arc<io::Error>,
    },
    /// The resolver says nothing.
    #[error("the resolver has not answered for the name {0}")]
    Slow(Box<str>),
}

impl From<Endpoint> for Site {
    fn from(endpoint: Endpoint) -> Self {
        let memory = Memory {
            found: ArcSwap::default(),
            asking: AtomicBool::new(false),
            ended: watch::Sender::default(),
        };
        Self { endpoint, memory: Arc::new(memory) }
    }
}

impl Sites {
    /// The site of this endpoint. What is known of it is forgotten when nobody has it any more.
    ///
    /// Takes a lock: for when the set of gateways changes, not for when a request comes.
    pub fn of(&self, endpoint: &Endpoint) -> Site {
        let mut sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(memory) = sites.get(endpoint).and_then(Weak::upgrade) {
            return Site { endpoint: endpoint.clone(), memory };
        }
        sites.retain(|_, memory| memory.strong_count() > 0);
        let site = Site::from(endpoint.clone());
        sites.insert(endpoint.clone(), Arc::downgrade(&site.memory));
        site
    }
}

impl Site {
    /// The endpoint as it was given.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The addresses to try, in order; at least one. Nobody waits but who comes before any was ever found, and
    /// he not for long.
    pub async fn addresses(&self) -> Result<Vec<SocketAddr>, LookupError> {
        let name = match &self.endpoint.host {
            Host::Address(address) => return Ok(vec![(*address, self.endpoint.port).into()]),
            Host::Name(name) => name,
        };
        let remembered = self.memory.found.load();
        if !remembered.is_empty() {
            // a change shows at the next connect; nobody waits for it at this one
            self.begin_lookup(name);
            return Ok(remembered.to_vec());
        }
        // before it is begun, so that its end cannot be missed
        let mut ended = self.memory.ended.subscribe();
        self.begin_lookup(name);
        // its sender is in this site, so it is not gone
        let answered = tokio::time::timeout(PATIENCE, ended.changed()).await.is_ok();
        let found = self.memory.found.load();
        if !found.is_empty() {
            return Ok(found.to_vec());
        }
        let cause = if answered { ended.borrow().clone() } else { None };
        Err(match cause {
            Some(cause) => LookupError::Failed { name: name.clone(), cause },
            None => LookupError::Slow(name.clone()),
        })
    }

    /// The addresses that are known now, without asking anybody; none where the name was never found.
    pub fn known_addresses(&self) -> Vec<SocketAddr> {
        match &self.endpoint.host {
            Host::Address(address) => vec![(*address, self.endpoint.port).into()],
            Host::Name(_) => self.memory.found.load().to_vec(),
        }
    }

    /// Whether an address of the name was ever found.
    #[cfg(test)]
    pub fn knows_addresses(&self) -> bool {
        !self.memory.found.load().is_empty()
    }

    /// Begins a lookup, unless one is under way.
    fn begin_lookup(&self, name: &str) {
        if !self.memory.asking.swap(true, Ordering::AcqRel) {
            let lookup = Lookup { memory: Arc::clone(&self.memory), failure: None };
            tokio::spawn(lookup.make(name.into(), self.endpoint.port));
        }
    }
}

/// A lookup that is under way. It ends when this is dropped, whatever has become of it.
struct Lookup {
    memory: Arc<Memory>,
    failure: Option<Arc<io::Error>>,
}

impl Lookup {
    /// Asks the resolver and remembers what it says, also when nobody waits any more.
    async fn make(mut self, name: Box<str>, port: u16) {
        match tokio::net::lookup_host((&*name, port)).await {
            Ok(found) => {
                let found: Vec<_> = found.collect();
                if !found.is_empty() {
                    self.memory.found.store(Arc::new(found));
                }
            }
            Err(error) => self.failure = Some(Arc::new(error)),
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.memory.asking.store(false, Ordering::Release);
        self.memory.ended.send_replace(self.failure.take());
    }
}

/// How long the first lookup may hold up a connect.
const PATIENCE: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_needs_no_lookup_and_a_name_is_looked_up() {
        let site = Site::from(Endpoint::parse("192.0.2.1:8443", 443).unwrap());
        assert_eq!(site.addresses().await.unwrap(), ["192.0.2.1:8443".parse().unwrap()]);
        let site = Site::from(Endpoint::parse("localhost:8443", 443).unwrap());
        assert!(site.addresses().await.unwrap().iter().all(|a| a.ip().is_loopback() && a.port() == 8443));
    }

    #[tokio::test]
    async fn an_address_once_found_is_used_while_the_resolver_hangs() {
        let site = Site::from(Endpoint::parse("localhost", 443).unwrap());
        let found = site.addresses().await.unwrap();
        site.memory.asking.store(true, Ordering::Relaxed);
        assert_eq!(site.addresses().await.unwrap(), found);
        let never_found = Site::from(Endpoint::parse("localhost", 443).unwrap());
        never_found.memory.asking.store(true, Ordering::Relaxed);
        assert!(matches!(never_found.addresses().await, Err(LookupError::Slow(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_hangs_is_waited_for_and_is_the_only_one() {
        let site = Site::from(Endpoint::parse("localhost", 443).unwrap());
        site.memory.asking.store(true, Ordering::Relaxed);
        let began = tokio::time::Instant::now();
        let (first, second) = tokio::join!(site.addresses(), site.addresses());
        assert!(matches!((first, second), (Err(LookupError::Slow(_)), Err(LookupError::Slow(_)))));
        assert!(began.elapsed() >= PATIENCE);
        assert_eq!(Arc::strong_count(&site.memory), 1, "nobody has begun another one");
    }

    #[tokio::test]
    async fn those_who_come_during_a_lookup_that_fails_hear_why() {
        let site = Site::from(Endpoint::parse("never.invalid", 443).unwrap());
        site.memory.asking.store(true, Ordering::Relaxed);
        let ends = async {
            let cause = Arc::new(io::Error::other("no such name"));
            drop(Lookup { memory: Arc::clone(&site.memory), failure: Some(cause) });
        };
        let (waited, ()) = tokio::join!(site.addresses(), ends);
        let error = waited.unwrap_err().to_string();
        assert_eq!(error, "the name never.invalid cannot be resolved: no such name");
    }

    #[tokio::test]
    async fn a_lookup_that_is_cut_off_leaves_room_for_the_next_one() {
        let site = Site::from(Endpoint::parse("localhost", 443).unwrap());
        site.memory.asking.store(true, Ordering::Relaxed);
        let lookup = Lookup { memory: Arc::clone(&site.memory), failure: None };
        drop(lookup.make("localhost".into(), 443));
        assert!(site.addresses().await.is_ok());
    }

    #[tokio::test]
    async fn who_has_the_same_endpoint_shares_what_is_known_of_it_as_long_as_somebody_has_it() {
        let (sites, endpoint) = (Sites::default(), Endpoint::parse("localhost", 443).unwrap());
        let first = sites.of(&endpoint);
        let found = first.addresses().await.unwrap();
        let second = sites.of(&endpoint);
        drop(first);
        assert_eq!(**second.memory.found.load(), found);
        assert!(!sites.of(&Endpoint::parse("localhost", 444).unwrap()).knows_addresses());
        // the lookup that a connect begins has the memory, too, until it ends
        while Arc::strong_count(&second.memory) > 1 {
            tokio::task::yield_now().await;
        }
        drop(second);
        assert!(!sites.of(&endpoint).knows_addresses());
        assert_eq!(sites.0.lock().unwrap().len(), 1, "those that nobody has are forgotten");
    }

    #[tokio::test]
    async fn those_who_come_during_the_first_lookup_wait_for_what_it_finds() {
        let site = Site::from(Endpoint::parse("localhost", 443).unwrap());
        let (first, second) = tokio::join!(site.addresses(), site.addresses());
        assert!(first.is_ok());
        assert!(second.is_ok(), "{second:?}");
    }
}
