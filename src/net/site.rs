use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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

#[derive(Debug, Default)]
struct Memory {
    addresses: Mutex<Vec<SocketAddr>>,
    asking: AtomicBool,
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
        cause: io::Error,
    },
    /// The resolver says nothing.
    #[error("the resolver has not answered for the name {0}")]
    Slow(Box<str>),
}

impl From<Endpoint> for Site {
    fn from(endpoint: Endpoint) -> Self {
        Self { endpoint, memory: Arc::default() }
    }
}

impl Site {
    /// The endpoint as it was given.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The addresses to try, in order; at least one.
    pub async fn addresses(&self) -> Result<Vec<SocketAddr>, LookupError> {
        let name = match &self.endpoint.host {
            Host::Address(address) => return Ok(vec![(*address, self.endpoint.port).into()]),
            Host::Name(name) => name,
        };
        let asking = self.memory.asking.swap(true, Ordering::Relaxed);
        let lookup = (!asking).then(|| tokio::spawn(self.clone().look_up(name.clone())));
        // a change shows at the next connect; nobody waits for it at this one
        let remembered = self.remembered();
        if !remembered.is_empty() {
            return Ok(remembered);
        }
        let failure = match lookup {
            None => LookupError::Slow(name.clone()),
            Some(lookup) => match tokio::time::timeout(PATIENCE, lookup).await {
                Ok(Ok(Err(cause))) => LookupError::Failed { name: name.clone(), cause },
                Ok(Ok(Ok(())) | Err(_)) | Err(_) => LookupError::Slow(name.clone()),
            },
        };
        let found = self.remembered();
        if found.is_empty() { Err(failure) } else { Ok(found) }
    }

    fn remembered(&self) -> Vec<SocketAddr> {
        self.memory.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks the name up and remembers what comes of it, also when nobody waits any more.
    async fn look_up(self, name: Box<str>) -> io::Result<()> {
        let found = tokio::net::lookup_host((&*name, self.endpoint.port)).await;
        self.memory.asking.store(false, Ordering::Relaxed);
        let found: Vec<_> = found?.collect();
        if !found.is_empty() {
            *self.memory.addresses.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }
        Ok(())
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

    #[tokio::test]
    async fn those_who_come_during_the_first_lookup_wait_for_what_it_finds() {
        let site = Site::from(Endpoint::parse("localhost", 443).unwrap());
        let (first, second) = tokio::join!(site.addresses(), site.addresses());
        assert!(first.is_ok());
        assert!(second.is_ok(), "{second:?}");
    }
}
