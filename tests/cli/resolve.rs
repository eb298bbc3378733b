//! `vestibule resolve` against front doors that are played here.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use serde_json::{Value, json};
use vestibule::dve::{Accept, Asked, Body, Proof, Request, SigningKey, Status, Tree, leaf};
use vestibule::fleet::{Endpoint, Vpn, VrrpId};

use crate::serve::Place;
use crate::support::{Ended, Folder, Running, own_address, until};

/// A front door that answers each request with what its part says, given the request and how many came before.
pub struct Server {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Request>>>,
}

pub fn play(part: impl FnMut(&Request, usize) -> Vec<Vec<u8>> + Send + 'static) -> Server {
    play_at((own_address(), 0).into(), part)
}

fn play_at(
    address: SocketAddr,
    mut part: impl FnMut(&Request, usize) -> Vec<Vec<u8>> + Send + 'static,
) -> Server {
    let socket = UdpSocket::bind(address).unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut datagram = [0; 2000];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            assert_eq!(length, 576);
            assert!(datagram[24..length].iter().all(|byte| *byte == 0), "padding");
            let Some(Asked::Request(request)) = Asked::read(&datagram[..length]) else {
                panic!("not a request")
            };
            let before = shared.lock().unwrap().len();
            let answers = part(&request, before);
            shared.lock().unwrap().push(request);
            answers.iter().for_each(|answer| {
                // a client that has what it wants is gone
                let _ = socket.send_to(answer, from);
            });
        }
    });
    Server { address, asked }
}

impl Server {
    fn times_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn key(seed: u8) -> SigningKey {
    // Ed25519 in PKCS #8 (RFC 8410 §7)
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend([seed; 32]);
    SigningKey::from_pkcs8(&der).unwrap()
}

/// The public keys of `key(1)` and `key(2)`.
pub const KEY: &str = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
const OTHER_KEY: &str = "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394";

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

fn body(request: &Request, status: Status, ttl: u16, endpoints: &[&str]) -> Body {
    let endpoints = endpoints.iter().map(|text| Endpoint::parse(text, 500).unwrap()).collect();
    Body { status, ttl, nonce: request.nonce, time_ms: now_ms(), endpoints }
}

/// The answer to one of many that are signed at once.
fn signed(bodies: &[Body], place: usize, key: &SigningKey) -> Vec<u8> {
    let written = bodies.iter().map(|body| {
        let mut bytes = Vec::new();
        body.write(&mut bytes);
        bytes
    });
    let written: Vec<Vec<u8>> = written.collect();
    let leaves: Vec<_> = written.iter().map(|bytes| leaf(bytes)).collect();
    let tree = Tree::over(&leaves).unwrap();
    let signature = key.sign(&tree.root()).unwrap();
    let mut datagram = written[place].clone();
    Proof::write(key.public().id(), place, tree.depth(), tree.path(place), &signature, &mut datagram);
    datagram
}

pub fn says(request: &Request, status: Status, ttl: u16, endpoints: &[&str]) -> Vec<u8> {
    signed(&[body(request, status, ttl, endpoints)], 0, &key(1))
}

fn truth(request: &Request) -> Vec<u8> {
    says(request, Status::Ok, 30, &["192.0.2.1", "[2001:db8::2]:4500", "gw3.example.com"])
}

fn truthful() -> Server {
    play(|request, _| vec![truth(request)])
}

fn with_status(status: Status) -> Server {
    play(move |request, _| vec![says(request, status, 7, &[])])
}

fn silent() -> Server {
    play(|_, _| vec![])
}

/// A place where nobody listens.
fn refusing() -> SocketAddr {
    let address = own_address();
    // nobody else takes the port of an address that is this test's own
    UdpSocket::bind((address, 0)).unwrap().local_addr().unwrap()
}

fn resolve(servers: &[SocketAddr], more: &[&str]) -> Ended {
    let servers = servers.iter().map(ToString::to_string).collect::<Vec<_>>();
    let servers = servers.iter().flat_map(|server| ["--server", server]);
    Folder::new().run(["resolve", "--key", KEY].into_iter().chain(servers).chain(more.iter().copied()))
}

#[track_caller]
fn assert_ended(ended: &Ended, status: i32, stdout: &str, stderr: &str) {
    assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr.as_str()), (status, stdout, stderr));
}

#[test]
fn it_prints_the_best_endpoint_or_all_or_everything_for_programs() {
    let server = truthful();
    assert_ended(&resolve(&[server.address], &[]), 0, "192.0.2.1:500\n", "");
    let all = resolve(&[server.address], &["--all"]);
    assert_ended(&all, 0, "192.0.2.1:500\n[2001:db8::2]:4500\ngw3.example.com:500\n", "");
    let json = resolve(&[server.address], &["--format", "json"]);
    let document: Value = serde_json::from_str(&json.stdout).unwrap();
    let wanted = json!({
        "endpoints": [
            { "endpoint": "192.0.2.1:500", "host": "192.0.2.1", "port": 500 },
            { "endpoint": "[2001:db8::2]:4500", "host": "2001:db8::2", "port": 4500 },
            { "endpoint": "gw3.example.com:500", "host": "gw3.example.com", "port": 500 },
        ],
        "ttl_seconds": 30,
        "server": server.address.to_string(),
    });
    assert_eq!((json.status, document), (0, wanted));
    assert_eq!(server.times_asked(), 3, "once each time");
}

#[test]
fn it_asks_what_it_is_told_to() {
    let server = play(|request, _| {
        let all = ["192.0.2.1", "[2001:db8::2]:4500", "gw3.example.com"];
        vec![says(request, Status::Ok, 30, &all)]
    });
    for (more, vpn, vrrp_id, accept, named) in [
        (&[][..], Vpn::Native, 0, Accept::ANY, "192.0.2.1:500\n"),
        (&["--vpn", "ssl", "--vrrp-id", "31"], Vpn::Ssl, 31, Accept::ANY, "192.0.2.1:500\n"),
        (&["-4", "--vrrp-id", "255"], Vpn::Native, 255, Accept::IPV4, "192.0.2.1:500\n"),
        (&["-6", "--vpn", "native"], Vpn::Native, 0, Accept::IPV6, "[2001:db8::2]:4500\n"),
        (&["-46"], Vpn::Native, 0, Accept::IPV4.and(Accept::IPV6), "192.0.2.1:500\n"),
    ] {
        // also of a server that names what was not asked for
        assert_ended(&resolve(&[server.address], more), 0, named, "");
        let asked = server.asked.lock().unwrap().last().copied().unwrap();
        assert_eq!((asked.vpn, asked.vrrp_id, asked.accept), (vpn, VrrpId::new(vrrp_id), accept), "{more:?}");
    }
    let asked = server.asked.lock().unwrap();
    assert!(asked.iter().enumerate().all(|(i, one)| asked[..i].iter().all(|other| one.nonce != other.nonce)));
}

#[test]
fn whatever_is_false_is_thrown_away_and_the_true_answer_is_waited_for() {
    let mut earlier = Vec::new();
    let server = play(move |request, before| {
        let real = truth(request);
        if before == 0 {
            // an exchange before this one
            earlier = real.clone();
            return vec![real];
        }
        let lie = |status, endpoints: &[&str]| body(request, status, 30, endpoints);
        let evil = ["203.0.113.66"];
        let mut forged = signed(&[lie(Status::Ok, &evil)], 0, &key(1));
        *forged.last_mut().unwrap() ^= 1;
        let mut changed = real.clone();
        changed[39] ^= 1;
        let misplaced = {
            let mut datagram = signed(&[lie(Status::Ok, &evil), lie(Status::Standby, &[])], 0, &key(1));
            let at = datagram.len() - 64 - 32 - 1;
            datagram[at] = 1;
            datagram
        };
        let stale = Body { time_ms: now_ms() - 301_000, ..lie(Status::Ok, &evil) };
        let mut other_magic = real.clone();
        other_magic[3] = b'2';
        let mut bad = vec![
            vec![],
            vec![0; 2000],
            forged,
            changed,
            misplaced,
            other_magic,
            earlier.clone(),
            request.write().to_vec(),
            signed(&[lie(Status::Ok, &evil)], 0, &key(2)),
            signed(&[lie(Status::Standby, &[])], 0, &key(2)),
            signed(&[lie(Status::Unsupported, &[])], 0, &key(2)),
            signed(&[lie(Status::Malformed, &[])], 0, &key(2)),
            signed(&[stale], 0, &key(1)),
            [&real[..], &[0]].concat(),
            [&real[..], &[0; 1000]].concat(),
        ];
        bad.extend([1, 23, 24, 33, 40, 100, real.len() - 64, real.len() - 1].map(|n| real[..n].to_vec()));
        match before {
            // all of this to the first request of the second exchange, and the truth to its second
            1 => bad,
            _ => bad.into_iter().chain([real]).collect(),
        }
    });
    assert_eq!(resolve(&[server.address], &[]).stdout, "192.0.2.1:500\n");
    let ended = resolve(&[server.address], &["--all"]);
    assert_ended(&ended, 0, "192.0.2.1:500\n[2001:db8::2]:4500\ngw3.example.com:500\n", "");
    assert_eq!(server.times_asked(), 3);
}

#[test]
fn a_late_answer_to_the_first_request_is_a_true_one() {
    let mut first = None;
    let server = play(move |request, before| {
        let first = *first.get_or_insert(*request);
        if before == 2 { vec![truth(&first)] } else { vec![] }
    });
    assert_ended(&resolve(&[server.address], &[]), 0, "192.0.2.1:500\n", "");
    assert_eq!(server.times_asked(), 3);
}

#[test]
fn what_was_said_to_one_server_is_no_answer_by_another() {
    let overheard = Arc::new(Mutex::new(None));
    let hears = Arc::clone(&overheard);
    let silent = play(move |request, _| {
        *hears.lock().unwrap() = Some(*request);
        vec![]
    });
    let other = play(move |_, _| vec![truth(&overheard.lock().unwrap().unwrap())]);
    let ended = resolve(&[silent.address, other.address], &[]);
    let (a, b) = (silent.address, other.address);
    let told = format!(
        "error: {a}: no answer (3 tries); {b}: no answer (3 tries; 3 thrown away: answers to other requests)\n"
    );
    assert_ended(&ended, 1, "", &told);
}

#[test]
fn a_true_answer_from_elsewhere_is_not_even_seen() {
    let address = own_address();
    let asked = UdpSocket::bind((address, 0)).unwrap();
    let server = asked.local_addr().unwrap();
    std::thread::spawn(move || {
        let elsewhere = UdpSocket::bind((address, 0)).unwrap();
        let mut datagram = [0; 2000];
        while let Ok((length, from)) = asked.recv_from(&mut datagram) {
            let Some(Asked::Request(request)) = Asked::read(&datagram[..length]) else { continue };
            elsewhere.send_to(&truth(&request), from).unwrap();
        }
    });
    let ended = resolve(&[server], &[]);
    assert_ended(&ended, 1, "", &format!("error: {server}: no answer (3 tries)\n"));
}

#[test]
fn the_next_server_is_asked_when_one_is_of_no_help() {
    let good = truthful();
    for (first, times) in
        [(silent(), 3), (with_status(Status::Standby), 1), (with_status(Status::Unavailable), 1)]
    {
        assert_ended(&resolve(&[first.address, good.address], &[]), 0, "192.0.2.1:500\n", "");
        assert_eq!(first.times_asked(), times);
    }
    assert_ended(&resolve(&[refusing(), good.address], &[]), 0, "192.0.2.1:500\n", "");
    let ended = resolve(&[good.address], &["--server", "front-a.invalid"]);
    assert_ended(&ended, 0, "192.0.2.1:500\n", "");
    let good = good.address.to_string();
    let asked = ["resolve", "--key", KEY, "--server", "front-a.invalid", "--server", &good];
    assert_ended(&Folder::new().run(asked), 0, "192.0.2.1:500\n", "");
}

#[test]
fn each_servers_failure_is_told_when_none_has_helped() {
    let (quiet, nobody) = (silent().address, refusing());
    let (standby, full) = (with_status(Status::Standby).address, with_status(Status::Unavailable).address);
    let told = format!("{quiet}: no answer (3 tries); {nobody}: connection refused; {standby}: standby");
    let ended = resolve(&[quiet, nobody, standby], &["--", "sh", "-c", "echo {endpoint}"]);
    assert_ended(&ended, 1, "", &format!("error: {told}\n"));
    let ended = resolve(&[standby, full], &[]);
    let told =
        format!("no gateway is available now; ask again in 7 s ({standby}: standby; {full}: unavailable)");
    assert_ended(&ended, 1, "", &format!("error: {told}\n"));
    let ended = Folder::new().run(["resolve", "--key", KEY, "--server", "front-a.invalid"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (1, ""));
    let told = "error: front-a.invalid:4463: the name cannot be resolved: ";
    assert!(ended.stderr.starts_with(told), "{}", ended.stderr);
}

#[test]
fn a_server_that_was_being_started_again_is_asked_once_more_when_no_other_helps() {
    let (refusing, standby) = (refusing(), with_status(Status::Standby));
    let asked_next = Arc::clone(&standby.asked);
    let starts = std::thread::spawn(move || {
        until("the next one was never asked", || !asked_next.lock().unwrap().is_empty());
        play_at(refusing, |request, _| vec![truth(request)])
    });
    let ended = resolve(&[refusing, standby.address], &[]);
    assert_ended(&ended, 0, "192.0.2.1:500\n", "");
    assert_eq!((standby.times_asked(), starts.join().unwrap().times_asked()), (1, 1));
}

#[test]
fn who_is_told_that_there_will_be_no_answer_does_not_ask_again() {
    let good = truthful();
    for (status, code, told) in [
        (
            Status::Unsupported,
            1,
            "unsupported: there is no gateway for this kind of VPN with this VRRP ID; asking again will not help",
        ),
        (Status::Malformed, 2, "does not understand the request; it speaks another version of the protocol"),
    ] {
        let server = with_status(status);
        let ended = resolve(&[server.address, good.address], &[]);
        assert_ended(&ended, code, "", &format!("error: {}: {told}\n", server.address));
        assert_eq!((server.times_asked(), good.times_asked()), (1, 0));
    }
}

#[test]
fn clocks_that_are_apart_are_named_as_the_reason_and_can_be_passed_over() {
    for (behind_ms, told) in [(7_200_500, "120 min behind"), (-7_200_500, "120 min ahead of")] {
        let server = play(move |request, _| {
            let said = body(request, Status::Ok, 30, &["192.0.2.1"]);
            let time_ms = said.time_ms.checked_add_signed(-behind_ms).unwrap();
            vec![signed(&[Body { time_ms, ..said }], 0, &key(1))]
        });
        let told = format!(
            "error: {}: its clock is {told} this host's; set the clock that is wrong, or use --ignore-clock\n",
            server.address
        );
        assert_ended(&resolve(&[server.address], &[]), 1, "", &told);
        assert_ended(&resolve(&[server.address], &["--ignore-clock"]), 0, "192.0.2.1:500\n", "");
    }
}

#[test]
fn answers_that_were_signed_together_are_believed() {
    for size in [2, 3, 64] {
        let server = play(move |request, _| {
            let mut bodies = vec![body(request, Status::Standby, 0, &[]); size];
            bodies[size - 1] = body(request, Status::Ok, 30, &["192.0.2.1"]);
            vec![signed(&bodies, size - 1, &key(1))]
        });
        assert_ended(&resolve(&[server.address], &[]), 0, "192.0.2.1:500\n", "");
    }
}

#[test]
fn a_command_is_run_with_the_endpoint_filled_in_and_its_end_is_the_end() {
    let server = play(|request, _| vec![says(request, Status::Ok, 30, &["[2001:db8::2]:4500"])]);
    let run = |command: &[&str]| resolve(&[server.address], &[&["--"], command].concat());
    let ended = run(&["printf", "%s|", "{endpoint}", "https://{endpoint}/", "{host}", "x{port}", "{}", "-v"]);
    let printed = "[2001:db8::2]:4500|https://[2001:db8::2]:4500/|2001:db8::2|x4500|{}|-v|";
    assert_ended(&ended, 0, printed, "");
    assert_ended(&run(&["sh", "-c", "echo $0 >&2; exit 7", "{host}"]), 7, "", "2001:db8::2\n");
    let told = "error: no-such-program cannot be run: no such file or directory\n";
    assert_ended(&run(&["no-such-program", "{endpoint}"]), 2, "", told);
    let asked = server.times_asked();
    let told = "error: the command names neither {endpoint} nor {host}; write one of them where the gateway's \
                address belongs\n";
    assert_ended(&run(&["openconnect", "{port}"]), 2, "", told);
    assert_eq!(server.times_asked(), asked, "nobody is asked for nothing");
}

#[test]
fn a_command_takes_the_place_of_this_program() {
    let server = truthful();
    let folder = Folder::new();
    let address = server.address.to_string();
    let arguments =
        ["resolve", "--server", &address, "--key", KEY, "--", "env", "GATEWAY={host}", "sleep", "{port}"];
    let running = Running::start(folder.command(arguments));
    until("it never became the command", || running.program() == "sleep");
}

#[test]
fn any_of_several_keys_is_good_and_a_file_may_hold_several() {
    let (mine, others) = (
        truthful(),
        play(|request, _| vec![signed(&[body(request, Status::Ok, 30, &["192.0.2.9"])], 0, &key(2))]),
    );
    let folder = Folder::new();
    folder.write("both.pem", &[pem(KEY), pem(OTHER_KEY)].concat());
    for keys in [&["--key", KEY, "--key", OTHER_KEY][..], &["--key", "both.pem"]] {
        for (server, named) in [(&mine, "192.0.2.1:500\n"), (&others, "192.0.2.9:500\n")] {
            let address = server.address.to_string();
            let asked = ["resolve", "--server", &address];
            assert_ended(&folder.run(asked.iter().chain(keys)), 0, named, "");
        }
    }
    let ended = resolve(&[others.address], &[]);
    let told = format!(
        "error: {}: no answer (3 tries; 3 thrown away: signed by a key that is not known here); --key must be the \
         public key of these front doors (dve.pub)\n",
        others.address
    );
    assert_ended(&ended, 1, "", &told);
}

/// A public key as OpenSSL writes it.
fn pem(hex: &str) -> String {
    let spki = "302a300506032b6570032100".to_owned() + hex;
    let bytes: Vec<_> =
        (0..spki.len()).step_by(2).map(|i| u8::from_str_radix(&spki[i..i + 2], 16).unwrap()).collect();
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // 44 bytes: fourteen times three, and two that are left
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..=three.len() {
            text.push(digits[(bits >> (18 - 6 * place)) as usize & 63].into());
        }
    }
    format!("-----BEGIN PUBLIC KEY-----\n{text}=\n-----END PUBLIC KEY-----\n")
}

#[test]
fn the_key_that_certs_init_makes_is_read_in_both_forms() {
    let folder = Folder::with_certificates();
    let der = pem_to_pkcs8(&std::fs::read_to_string(folder.join("certs/dve.key")).unwrap());
    let signs = Arc::new(SigningKey::from_pkcs8(&der).unwrap());
    let server = play(move |request, _| vec![signed(&[body(request, Status::Ok, 1, &["gw1"])], 0, &signs)]);
    let address = server.address.to_string();
    let ended = folder.run(["resolve", "--server", &address, "--key", "certs/dve.pub"]);
    assert_ended(&ended, 0, "gw1:500\n", "");
    let private = folder.run(["resolve", "--server", &address, "--key", "certs/dve.key"]);
    let told = "error: --key certs/dve.key holds a private key, which is for its owner alone; give the public one: \
                openssl pkey -in FILE -pubout\n";
    assert_ended(&private, 2, "", told);
}

fn pem_to_pkcs8(pem: &str) -> Vec<u8> {
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject;
    PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap().secret_pkcs8_der().to_vec()
}

#[test]
fn bad_usage_is_refused_before_anybody_is_asked() {
    let folder = Folder::with_certificates();
    let server = truthful();
    let address = server.address.to_string();
    folder.write("text", "just text");
    folder.write("rsa.pem", "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n");
    for (server, key, more, complaint) in [
        (
            address.as_str(),
            &KEY[1..],
            &[][..],
            format!(
                "error: --key {} is neither 64 hex digits nor a file that can be read (no such file or directory); \
                 give what `vestibule certs init` has told, or its dve.pub",
                &KEY[1..]
            ),
        ),
        (&address, "text", &[], "error: --key text holds no public key".into()),
        (&address, "certs/ca.pem", &[], "error: --key certs/ca.pem holds no public key".into()),
        (
            &address,
            "rsa.pem",
            &[],
            "error: --key rsa.pem is not an Ed25519 public key: 64 hex digits, or a PEM file (openssl pkey -in \
             dve.key -pubout)"
                .into(),
        ),
        (
            "front a",
            KEY,
            &[],
            "error: invalid value 'front a' for '--server <HOST[:PORT]>': the host must be an address or a host \
             name (letters, digits, hyphens and dots)"
                .into(),
        ),
        (
            "::1",
            KEY,
            &[],
            "error: invalid value '::1' for '--server <HOST[:PORT]>': an IPv6 address must stand in brackets, \
             like [2001:db8::1]:443"
                .into(),
        ),
        (
            &address,
            KEY,
            &["--vrrp-id", "0"],
            "error: invalid value '0' for '--vrrp-id <N>': 0 is not in 1..=255".into(),
        ),
        (
            &address,
            KEY,
            &["--watch", "--", "echo", "{endpoint}"],
            "error: the argument '--watch' cannot be used with '[COMMAND]...'".into(),
        ),
    ] {
        let asked = ["resolve", "--server", server, "--key", key];
        let ended = folder.run(asked.iter().chain(more));
        assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{ended:?}");
        assert_eq!(ended.stderr.lines().next(), Some(complaint.as_str()));
    }
    assert_eq!(server.times_asked(), 0);
}

#[test]
fn an_ipv6_front_door_is_asked_as_well() {
    let server = play_at((Ipv6Addr::LOCALHOST, 0).into(), |request, _| vec![truth(request)]);
    assert_ended(&resolve(&[server.address], &[]), 0, "192.0.2.1:500\n", "");
    // by its name, whichever of its addresses answers
    let server = play_at((Ipv4Addr::LOCALHOST, 0).into(), |request, _| vec![truth(request)]);
    let name = format!("localhost:{}", server.address.port());
    let ended = Folder::new().run(["resolve", "--key", KEY, "--server", &name]);
    assert_ended(&ended, 0, "192.0.2.1:500\n", "");
}

/// Answers by turns: a gateway; the same; another; none; silence; another kind of none.
fn fickle() -> Server {
    play(|request, before| match before {
        0 | 1 => vec![says(request, Status::Ok, 0, &["192.0.2.1", "192.0.2.2"])],
        2 => vec![says(request, Status::Ok, 0, &["192.0.2.2", "192.0.2.1"])],
        3 => vec![says(request, Status::Unavailable, 0, &[])],
        4..7 => vec![],
        7 => vec![says(request, Status::Ok, 0, &["192.0.2.3"])],
        _ => vec![says(request, Status::Ok, 600, &["192.0.2.3"])],
    })
}

fn watch(server: &Server, more: &[&str]) -> Running {
    let address = server.address.to_string();
    let arguments = ["resolve", "--server", &address, "--key", KEY, "--watch"];
    Running::start(Folder::new().command(arguments.iter().chain(more)))
}

#[test]
fn watching_prints_a_line_when_the_best_endpoint_changes_and_asks_no_more_than_once_a_second() {
    let server = fickle();
    let (began, running) = (Instant::now(), watch(&server, &[]));
    let lines = "192.0.2.1:500\n192.0.2.2:500\n-\n192.0.2.3:500\n";
    until("the last line never came", || running.stdout() == lines);
    // four pauses of a second, one of silence and one after it
    assert!(began.elapsed() > Duration::from_secs(10), "{:?}", began.elapsed());
    until("it was never asked for the last time", || server.times_asked() == 9);
    running.signal(Signal::TERM);
    let address = server.address;
    let told = format!(
        "error: no gateway is available now; ask again in 0 s ({address}: unavailable)\nerror: {address}: no answer \
         (3 tries)\n"
    );
    assert_ended(&running.wait(), 0, lines, &told);
}

#[test]
fn watching_for_programs_prints_a_document_on_each_line() {
    let server = play(|request, before| match before {
        0 => vec![says(request, Status::Unavailable, 1, &[])],
        1 | 2 => vec![says(request, Status::Ok, 1, &["192.0.2.1", "192.0.2.2"])],
        _ => vec![says(request, Status::Ok, 600, &["192.0.2.1", "192.0.2.3"])],
    });
    let running = watch(&server, &["--format", "json"]);
    until("the third line never came", || running.stdout().lines().count() == 3);
    running.signal(Signal::INT);
    let ended = running.wait();
    assert_eq!(ended.status, 0);
    let documents: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let address = server.address.to_string();
    let error = format!("no gateway is available now; ask again in 1 s ({address}: unavailable)");
    assert_eq!(documents[0], json!({ "endpoints": [], "retry_seconds": 1, "error": error }));
    assert_eq!(documents[1]["endpoints"][1]["endpoint"], "192.0.2.2:500");
    assert_eq!(documents[1]["ttl_seconds"], 1);
    assert_eq!(
        documents[2]["endpoints"][1]["endpoint"], "192.0.2.3:500",
        "all of it is printed, and watched"
    );
}

#[test]
fn watching_ends_when_there_is_nothing_to_wait_for() {
    let unsupported = with_status(Status::Unsupported);
    let ended = watch(&unsupported, &[]).wait();
    assert_eq!((ended.status, ended.stdout.as_str(), unsupported.times_asked()), (1, "", 1));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);

    // nobody reads any more, and nothing changes that would be printed
    let server = play(|request, _| vec![says(request, Status::Ok, 1, &["192.0.2.1"])]);
    let address = server.address.to_string();
    let arguments = ["resolve", "--server", &address, "--key", KEY, "--watch"];
    let folder = Folder::new();
    let mut command = folder.command(arguments);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    until("it never asked", || server.times_asked() > 0);
    drop(child.stdout.take());
    until("it never ended", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_real_front_door_sends_native_clients_to_the_gateway_that_is_up() {
    let place = Place::new();
    let dve = refusing();
    let config = place.config().replace(
        "ssl_endpoint = \"gw1.example.com\"\n",
        "ssl_endpoint = \"gw1.example.com\"\nnative_endpoint = \"[2001:db8::1]:4500\"\n",
    );
    place.configure(&format!(
        "{config}[dve]\nlisten = [\"{dve}\"]\nkeys = [\"certs/dve.key\"]\nttl = \"1s\"\n"
    ));
    let running = place.ready();
    let dve = dve.to_string();
    let ask = |more: &[&str]| {
        let asked = ["resolve", "--server", &dve, "--key", "certs/dve.pub"];
        place.folder.run(asked.iter().chain(more))
    };
    until("the gateway never came up", || ask(&[]).status == 0);
    assert_ended(&ask(&[]), 0, "[2001:db8::1]:4500\n", "");
    assert_ended(&ask(&["--vpn", "ssl", "--", "echo", "{endpoint}"]), 0, "gw1.example.com:443\n", "");
    let told = format!("error: no gateway is available now; ask again in 3 s ({dve}: unavailable)\n");
    assert_ended(&ask(&["-4"]), 1, "", &told);
    assert!(ask(&["--vrrp-id", "9"]).stderr.contains(": unsupported: "));

    let watching = ["resolve", "--server", &dve, "--key", "certs/dve.pub", "--watch"];
    let watching = Running::start(place.folder.command(watching));
    until("it never printed the gateway", || watching.stdout() == "[2001:db8::1]:4500\n");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().status, 0);
    watching.wait_for("connection refused");
    watching.signal(Signal::TERM);
    assert_eq!(watching.wait().stdout, "[2001:db8::1]:4500\n", "the gateway may be there all the same");
}
