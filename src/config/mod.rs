//! Configuration files: text → sections → settings, or every problem at once.
//!
//! [`front_file`], [`proxy_file`] and [`agent_file`] know what stands in a file and nothing of the world,
//! [`front_checks`] and [`proxy_checks`] whether its parts fit, [`vrrp`] and [`peers`] both of one section; [`front`], [`proxy`] and [`agent`] read the
//! files that it names. What comes out cannot hold nonsense. Which keys there are, with their ranges and their meaning, says
//! [`schema`]; docs/configuration.md is made of it.

mod agent;
mod agent_fence;
mod agent_file;
mod cookie_key;
mod files;
mod front;
mod front_checks;
mod front_file;
mod native;
mod native_checks;
mod native_file;
mod pair_checks;
mod peers;
mod problem;
mod proxy;
mod proxy_checks;
mod proxy_file;
pub mod schema;
mod section;
mod settings;
mod units;
mod vrrp;

pub use agent::load_agent;
pub use files::{Kind, SeenFile, kind_of};
pub use front::{admin_of, load_front};
pub use problem::{Problem, Severity};
pub use settings::{AdminSettings, AgentSettings, FrontSettings, LogFormat, LogSettings, PeerDoor};
pub use units::{UnitError, duration};
