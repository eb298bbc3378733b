//! Errors of the operating system in plain words.

use std::io;

/// An I/O error in the words an administrator would use, without "(os error 111)".
pub fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => REFUSED.into(),
        io::ErrorKind::ConnectionReset => RESET.into(),
        io::ErrorKind::HostUnreachable => "no route to host".into(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        io::ErrorKind::UnexpectedEof => "connection closed by the other side".into(),
        io::ErrorKind::BrokenPipe => "connection closed by the other side".into(),
        _ => {
            let text = error.to_string();
            match text.split_once(" (os error") {
                Some((words, _)) => words.to_lowercase(),
                None => text,
            }
        }
    }
}

/// Nobody listens there, or a firewall says so.
pub const REFUSED: &str = "connection refused";
/// The other side has broken it off, or a firewall has.
pub const RESET: &str = "connection reset";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_number_is_left_out() {
        assert_eq!(in_words(&io::Error::from_raw_os_error(111)), "connection refused");
        assert_eq!(in_words(&io::Error::from_raw_os_error(24)), "too many open files");
        assert_eq!(in_words(&io::Error::other("something else")), "something else");
    }
}
