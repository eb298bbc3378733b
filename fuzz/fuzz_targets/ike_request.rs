//! What a front door reads on UDP 500 and 4500, and what it answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::fleet::Endpoint;
use vestibule::ike::{Notice, Request, Support, read_identity};

fuzz_target!(|datagram: &[u8]| {
    let Some(request) = Request::read(datagram) else { return };
    assert_eq!(request.length, datagram.len());
    assert_ne!(request.spi, [0; 8]);
    assert!((16..=256).contains(&request.nonce.len()));
    assert!(!request.has_marker || datagram.starts_with(&[0; 4]));
    if let Support::Followed(from) = request.support {
        let _ = read_identity(from);
    }
    let hosts = ["192.0.2.1", "[2001:db8::1]", "gw1.example.com"];
    let hosts = hosts.map(|host| Endpoint::parse(host, 500).unwrap().host);
    let redirects = hosts.iter().map(Notice::Redirect);
    for notice in redirects.chain([Notice::Cookie(&[7; 17]), Notice::NoProposalChosen]) {
        let mut answer = Vec::new();
        request.write_answer(notice, &mut answer);
        assert_eq!(answer.len(), request.answer_len(notice));
        assert_eq!(Request::read(&answer), None, "an answer is no request: two front doors cannot talk for ever");
    }
    // what is longer than any request is answered by something shorter
    assert!(request.answer_len(Notice::Cookie(&[7; 17])) <= datagram.len());
});
