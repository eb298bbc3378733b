//! Whose fault an error is.

use std::io;

use rustix::io::Errno;

/// Whether the fault of a connection that did not come about lies on this host, so that it says nothing about
/// the other one: no more files, memory, or ports.
pub fn is_local(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_host_lacks_is_no_fault_of_the_other() {
        assert!(is_local(&Errno::MFILE.into()));
        assert!(is_local(&Errno::ADDRNOTAVAIL.into()));
        assert!(!is_local(&Errno::CONNREFUSED.into()));
        assert!(!is_local(&io::ErrorKind::AddrNotAvailable.into()), "that is not the kernel's word");
    }
}
