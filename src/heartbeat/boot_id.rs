use std::fmt::Write;

use rustls::crypto::GetRandomFailed;

use super::HeartbeatError;
use crate::net::tls;

/// What tells one run of an agent from another: 128 random bits as 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BootId(String);

impl BootId {
    /// Draws one.
    pub(super) fn random() -> Result<Self, HeartbeatError> {
        let mut bits = [0; 16];
        tls::provider()
            .secure_random
            .fill(&mut bits)
            .map_err(|GetRandomFailed| HeartbeatError::NoRandomNumbers)?;
        Ok(Self::of(bits))
    }

    /// The digits.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn of(bits: [u8; 16]) -> Self {
        Self(bits.iter().fold(String::with_capacity(32), |mut digits, byte| {
            // writing to a String does not fail
            let _ = write!(digits, "{byte:02x}");
            digits
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_32_digits_and_another_one_each_time() {
        assert_eq!(BootId::of([0x0d; 16]).as_str(), "0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d");
        assert_ne!(BootId::random().unwrap(), BootId::random().unwrap());
    }
}
