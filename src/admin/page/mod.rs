//! The status page: what a status document says, as HTML for people. It works without JavaScript; with it, it follows
//! what happens.
//!
//! All but [`routes`] and [`assets`] is made from a [`super::status::Status`] and the request alone, so that nothing is
//! on a page that is not in the document.

mod assets;
mod change;
mod doors;
mod events;
mod farm;
mod frame;
mod gateway;
mod listeners;
mod load;
mod refusal;
mod routes;
mod table;
#[cfg(test)]
mod tests;
mod verdict;
mod why;
mod words;

pub use self::refusal::refused;
pub use self::routes::{for_people, nothing_here, router, wrong_method};
