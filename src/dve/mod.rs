//! DVE/1: native VPN clients ask over UDP which gateway to use. Signed answers, and the client for them.

mod answer;
mod keys;
mod merkle;
mod message;
mod verify;

#[cfg(test)]
mod tests;
