//! What a DVE client reads from its servers, or from whoever pretends to be one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::dve::{PublicKey, Status, verify};

/// The key of tests/dve/vectors.json.
const KEY: &str = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";

fuzz_target!(|datagram: &[u8]| {
    let key: PublicKey = KEY.parse().unwrap();
    // the nonce that is asked for: otherwise nothing but that would ever be looked at
    let nonce = datagram.get(8..24).and_then(|nonce| nonce.try_into().ok()).unwrap_or_default();
    if let Ok(body) = verify(datagram, &nonce, &[key], None) {
        assert_eq!(body.nonce, nonce);
        assert!(body.endpoints.len() <= 3);
        assert_eq!(body.endpoints.is_empty(), body.status != Status::Ok);
        assert!(body.endpoints.iter().all(|endpoint| endpoint.port != 0));
        let mut written = Vec::new();
        body.write(&mut written);
        assert!(datagram.starts_with(&written), "what was signed is what was read");
    }
});
