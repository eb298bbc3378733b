use clap::ValueEnum;

use crate::fleet::Vpn;

/// A kind of VPN, as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// IPsec and the like.
    Native,
    /// SSL VPN.
    Ssl,
}

impl From<Kind> for Vpn {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Native => Self::Native,
            Kind::Ssl => Self::Ssl,
        }
    }
}
