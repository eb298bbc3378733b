//! Where the rooms meet: a front door and an agent put together from their settings.

mod access_log;
mod agent;
mod chronicle;
mod door_metrics;
mod doors;
mod farm;
mod fence_log;
mod files;
mod front;
mod keeper;
pub mod log;
mod native_metrics;
mod open_files;
mod peer_metrics;
mod peers;
mod probes;
mod reload;
mod reread;
mod responders;
mod samples;
mod service;
mod standing;
mod state;
mod state_document;
mod state_file;
mod steered;
mod udp;
mod vrrp_metrics;

#[cfg(test)]
mod matrix;

pub use agent::run_agent;
pub use doors::DoorsError;
pub use front::FrontDoor;
pub use reread::Reread;
pub use service::Service;

/// Why an address cannot be listened on, in words that say what to do. `what` names the key.
fn listen_error(what: &str, address: std::net::SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let (words, advice) = (crate::net::words::in_words(error), doors::what_to_do(error));
    anyhow::anyhow!("cannot listen on {address} ({what}): {words}{advice}")
}
