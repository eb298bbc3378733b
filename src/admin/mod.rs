//! What administrators and their tools see of a front door: its state as JSON and as a table, metrics, and
//! the endpoint that answers and takes orders, over TCP and over a Unix socket; and the client of it.

pub mod client;
pub mod columns;
pub mod detail;
pub mod events;
pub mod guard;
pub mod headroom;
pub mod history;
pub mod listener;
pub mod metrics;
pub mod order;
pub mod page;
pub mod peers;
pub mod rates;
pub mod recorder;
pub mod reply;
pub mod scene;
pub mod screen;
pub mod server;
pub mod socket;
pub mod status;
pub mod stream;
pub mod summary;
pub mod table;
pub mod trust;
pub mod vrrp;
pub mod why;
