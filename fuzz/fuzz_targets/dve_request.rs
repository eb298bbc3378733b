//! What a front door reads on its DVE port.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::dve::Asked;

fuzz_target!(|datagram: &[u8]| {
    match Asked::read(datagram) {
        None => {}
        Some(Asked::Malformed(nonce)) => assert_eq!(datagram[8..24], nonce),
        Some(asked @ Asked::Request(request)) => {
            let written = request.write();
            assert_eq!(Asked::read(&written), Some(asked));
            // all but the bits of `accept` that mean nothing
            assert_eq!((&written[..7], &written[8..24]), (&datagram[..7], &datagram[8..24]));
        }
    }
});
