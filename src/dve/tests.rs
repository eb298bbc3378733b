//! The vectors of the protocol's description: every one reaches its verdict, both ways.

use serde_json::Value;

use super::keys::{PublicKey, SigningKey};
use super::merkle::{Tree, leaf};
use super::message::{Accept, Asked, Body, Proof, Request, Status, read_answer};
use super::verify::{Rejection, verify};
use crate::fleet::{Endpoint, Host, Vpn, VrrpId};

pub fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/dve/vectors.json")).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

pub fn signing_key(vectors: &Value) -> SigningKey {
    let prefix =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    SigningKey::from_pkcs8(&[&prefix[..], &hex(&vectors["private_seed"])].concat()).unwrap()
}

#[test]
fn requests_are_written_and_read_as_described() {
    let vectors = vectors();
    for vector in vectors["requests"].as_array().unwrap() {
        let accept = vector["accept"].as_u64().unwrap();
        let kinds = [(1, Accept::IPV4), (2, Accept::IPV6), (4, Accept::NAME)].into_iter();
        let accept = kinds.filter(|(bit, _)| accept & bit != 0).map(|(_, kind)| kind).reduce(Accept::and);
        let request = Request {
            vpn: if vector["vpn"] == 1 { Vpn::Native } else { Vpn::Ssl },
            vrrp_id: VrrpId::new(vector["vrrp_id"].as_i64().unwrap()),
            accept: accept.unwrap(),
            nonce: hex(&vector["nonce"]).try_into().unwrap(),
        };
        let datagram = hex(&vector["request"]);
        assert_eq!(request.write().to_vec(), datagram, "{}", vector["name"]);
        assert_eq!(Asked::read(&datagram), Some(Asked::Request(request)), "{}", vector["name"]);
    }
}

#[test]
fn answers_reach_their_verdicts() {
    let vectors = vectors();
    let key: PublicKey = vectors["public_key"].as_str().unwrap().parse().unwrap();
    assert_eq!(signing_key(&vectors).public(), &key);
    for vector in vectors["responses"].as_array().unwrap() {
        let (name, datagram) = (&vector["name"], hex(&vector["response"]));
        let verdict = verify(&datagram, &hex(&vector["nonce"]).try_into().unwrap(), &[key], None);
        if let Some(reason) = vector["reject"].as_str() {
            let verdict = verdict.unwrap_err().to_string();
            assert!(verdict == reason || verdict == format!("wrong {reason}"), "{name}: {verdict}");
            continue;
        }
        let (body, wanted) = (verdict.unwrap(), &vector["accept"]);
        assert_eq!(
            Status::ALL.iter().position(|s| *s == body.status),
            Some(wanted["status"].as_u64().unwrap() as usize)
        );
        let endpoints = body.endpoints.iter().map(|e| serde_json::json!([e.host.bare(), e.port])).collect();
        assert_eq!(Value::Array(endpoints), wanted["endpoints"], "{name}");
        assert_eq!(
            (body.ttl.into(), body.time_ms.into()),
            (wanted["ttl"].clone(), wanted["time_ms"].clone())
        );
        let (_, read, proof) = read_answer(&datagram).unwrap();
        assert_eq!((&read, proof.path.len() as u64), (&body, wanted["depth"].as_u64().unwrap()), "{name}");
        // written again it is the same to the byte, the signature too where the batch was of one
        let mut written = Vec::new();
        body.write(&mut written);
        assert_eq!(written.len(), body.written_len());
        let signature = match proof.path.len() {
            0 => signing_key(&vectors).sign(&Tree::over(&[leaf(&written)]).unwrap().root()).unwrap(),
            _ => proof.signature,
        };
        Proof::write(
            proof.key_id,
            proof.index,
            proof.path.len(),
            proof.path.iter(),
            &signature,
            &mut written,
        );
        assert_eq!(written, datagram, "{name}");
    }
}

#[test]
fn whatever_is_cut_or_changed_is_thrown_away() {
    let vectors = vectors();
    let key: PublicKey = vectors["public_key"].as_str().unwrap().parse().unwrap();
    for vector in vectors["responses"].as_array().unwrap().iter().filter(|v| v.get("accept").is_some()) {
        let (datagram, nonce) = (hex(&vector["response"]), hex(&vector["nonce"]).try_into().unwrap());
        for length in 0..datagram.len() {
            assert!(verify(&datagram[..length], &nonce, &[key], None).is_err(), "{length}");
            let _ = Asked::read(&datagram[..length]);
        }
        for place in 0..datagram.len() {
            let mut changed = datagram.clone();
            changed[place] ^= 1 << (place % 8);
            assert!(verify(&changed, &nonce, &[key], None).is_err(), "byte {place}");
        }
    }
}

#[test]
fn a_clock_that_is_far_off_is_seen_where_the_client_trusts_its_own() {
    let vectors = vectors();
    let key = vectors["public_key"].as_str().unwrap().parse().unwrap();
    let vector = &vectors["responses"][0];
    let (datagram, nonce) = (hex(&vector["response"]), hex(&vector["nonce"]).try_into().unwrap());
    let time = vector["accept"]["time_ms"].as_u64().unwrap();
    let at = |now| verify(&datagram, &nonce, &[key], Some(now)).map(|body| body.time_ms);
    assert_eq!((at(time + 300_000), at(time - 300_000)), (Ok(time), Ok(time)));
    let rejected = |ahead_ms| Err(Rejection::Time { ahead_ms });
    assert_eq!((at(time + 300_001), at(time - 300_001)), (rejected(-300_001), rejected(300_001)));
}

#[test]
fn a_batch_of_any_size_is_believed_by_each_of_its_clients() {
    let key = signing_key(&vectors());
    let endpoint = Endpoint { host: Host::name("gw1.example.com").unwrap(), port: 500 };
    for size in [1, 2, 3, 7, 8, 33, 64] {
        let nonce = |i: usize| [i as u8; 16];
        let bodies: Vec<Vec<u8>> = (0..size)
            .map(|i| {
                let endpoints = vec![endpoint.clone()];
                let mut out = Vec::new();
                Body { status: Status::Ok, ttl: 30, nonce: nonce(i), time_ms: 1, endpoints }.write(&mut out);
                out
            })
            .collect();
        let leaves: Vec<_> = bodies.iter().map(|body| leaf(body)).collect();
        let tree = Tree::over(&leaves).unwrap();
        let signature = key.sign(&tree.root()).unwrap();
        for (i, body) in bodies.iter().enumerate() {
            let mut datagram = body.clone();
            Proof::write(key.public().id(), i, tree.depth(), tree.path(i), &signature, &mut datagram);
            assert!(verify(&datagram, &nonce(i), &[*key.public()], None).is_ok(), "{i} of {size}");
            assert!(verify(&datagram, &nonce(i + 1), &[*key.public()], None).is_err());
        }
    }
}
