//! Gateways taken out by order, and what outlives the front door's process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid};

use crate::serve::Place;
use crate::support::{Ended, LONG, accept_all, header, https, own_address, until};

/// The folder for what outlives the process is in the test's own.
fn place() -> Place {
    let place = Place::new();
    place.configure(&place.config().replace("state_dir = \"\"", "state_dir = \"state\""));
    place
}

fn run(place: &Place, words: &[&str]) -> Ended {
    place.folder.run(words.iter().chain(&["--admin", "admin.sock"]))
}

fn state(place: &Place) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(place.folder.join("state/state.json")).unwrap()).unwrap()
}

fn shown(place: &Place) -> serde_json::Value {
    let status = run(place, &["status", "--format", "json"]);
    serde_json::from_str(&status.stdout).unwrap()
}

#[test]
fn a_drained_gateway_stays_so_over_a_reload_a_restart_and_a_kill() {
    let place = place();
    let mut running = place.ready();
    let who = format!("uid {}", geteuid().as_raw());

    let drained = run(&place, &["drain", "gw1", "--reason", "new kernel"]);
    assert_eq!((drained.status, drained.stderr.as_str()), (0, ""));
    assert_eq!(drained.stdout, "gw1 takes no newcomers; its tunnels stay (state: draining)\n");
    running.wait_for("gateway is drained by order");
    let log = running.stderr();
    let line = log.lines().find(|line| line.contains("gateway is drained by order")).unwrap();
    assert!(line.contains(&who) && line.contains("new kernel"), "{line}");
    assert_eq!(state(&place)["drains"][0]["reason"], "new kernel");
    assert!(https(place.door).0.starts_with("HTTP/1.1 503"));

    let ways: [&dyn Fn(&crate::support::Running); 3] = [
        &|_| assert_eq!(run(&place, &["reload"]).status, 0),
        &|running| running.signal(Signal::TERM),
        &|running| running.signal(Signal::KILL),
    ];
    for (i, way) in ways.into_iter().enumerate() {
        way(&running);
        if i > 0 {
            drop(running);
            running = place.ready();
            running.wait_for("gateway stays drained, as it was before");
        }
        let document = shown(&place);
        assert_eq!(document["gateways"][0]["state"], "draining", "{i}");
        let drain = &document["gateways"][0]["drain"];
        assert_eq!((&drain["who"], &drain["reason"]), (&who.as_str().into(), &"new kernel".into()));
        assert!(https(place.door).0.starts_with("HTTP/1.1 503"), "{i}");
    }

    let resumed = run(&place, &["resume", "gw1"]);
    assert_eq!((resumed.status, resumed.stdout.as_str()), (0, "gw1 takes newcomers again\n"));
    assert_eq!(state(&place)["drains"].as_array().unwrap().len(), 0);
    assert!(https(place.door).0.starts_with("HTTP/1.1 302"));
    drop(running);
    let _running = place.ready();
    assert_eq!(shown(&place)["gateways"][0]["state"], "up");
}

#[test]
fn an_unknown_gateway_is_exit_status_1_and_a_wrong_reason_2() {
    let place = place();
    let _running = place.ready();
    for command in ["drain", "resume"] {
        let ended = run(&place, &[command, "gw 9/ä"]);
        assert_eq!((ended.status, ended.stderr.as_str()), (1, ""), "{command}");
        assert_eq!(ended.stdout, "there is no gateway of that name; there are: gw1\n");
    }
    let ended = run(&place, &["drain", "gw1", "--reason", "two\nlines"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (2, ""));
    let words = "error: 'reason' must have at most 200 characters, none of them a control character\n";
    assert_eq!(ended.stderr, words);
    assert!(!place.folder.join("state/state.json").exists(), "nothing has changed");
}

/// An order over the socket; whether it was answered with 200.
fn drain(place: &Place, reason: u32) -> bool {
    let Ok(mut stream) = UnixStream::connect(place.folder.join("admin.sock")) else { return false };
    let body = format!("{{\"reason\": \"{reason}\"}}");
    let request = format!(
        "POST /api/v1/gateways/gw1/drain HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_end(&mut answer).is_ok()
        && answer.starts_with(b"HTTP/1.1 200 ")
        && String::from_utf8_lossy(&answer).contains("\"stored\":true")
}

#[test]
fn killed_at_any_moment_the_file_is_whole_and_has_what_was_answered_last() {
    let place = place();
    // what the orders say: the last one given, the last one answered, and how many were
    let (mut asked, mut answered, mut total) = (0, 0, 0);
    for round in 0..12_u64 {
        let running = place.ready();
        if answered > 0 {
            assert_eq!(shown(&place)["gateways"][0]["state"], "draining");
        }
        let answers = AtomicU64::new(0);
        let (answers, killed) = (&answers, &running);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // after none to three answers, at another moment of the next order each time
                let started = Instant::now();
                while answers.load(Ordering::Relaxed) < round % 4 && started.elapsed() < LONG {
                    std::thread::yield_now();
                }
                std::thread::sleep(Duration::from_micros(350 * round));
                killed.signal(Signal::KILL);
            });
            loop {
                asked += 1;
                if !drain(&place, asked) {
                    break;
                }
                answered = asked;
                total += 1;
                answers.fetch_add(1, Ordering::Relaxed);
            }
        });
        let stored = std::fs::read_to_string(place.folder.join("state/state.json")).ok();
        let Some(stored) = stored else {
            assert_eq!(answered, 0, "killed before the first one");
            continue;
        };
        let document: serde_json::Value = serde_json::from_str(&stored).unwrap();
        let reason: u32 = document["drains"][0]["reason"].as_str().unwrap().parse().unwrap();
        assert!(
            (answered..=asked).contains(&reason),
            "round {round}: {answered} was answered, {reason} is there"
        );
        // it is in force from now on, though it was not answered
        answered = reason;
        drop(running);
    }
    assert!(total >= 18, "only {total} orders were answered in all");
    assert!(!place.folder.join("state/state.json.bad").exists());
}

#[test]
fn a_damaged_file_is_moved_aside_and_a_folder_that_cannot_be_made_stops_nobody() {
    let place = place();
    std::fs::create_dir(place.folder.join("state")).unwrap();
    place.folder.write("state/state.json", "{\"version\": 1, \"dra");
    let running = place.ready();
    let log = running.stderr();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    let [warning] = warnings.as_slice() else { panic!("{log}") };
    assert!(warning.contains("state/state.json: it is damaged: EOF while parsing"), "{warning}");
    assert!(warning.contains("it is now ") && warning.ends_with("state/state.json.bad"), "{warning}");
    drop(running);

    place.configure(&place.config().replace("state_dir = \"\"", "state_dir = \"v.toml/state\""));
    let running = place.ready();
    let log = running.stderr();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    let [warning] = warnings.as_slice() else { panic!("{log}") };
    assert!(warning.contains("v.toml/state cannot be made: not a directory"), "{warning}");
    let drained = run(&place, &["drain", "gw1"]);
    assert_eq!(drained.status, 0, "{drained:?}");
    assert!(
        drained
            .stderr
            .starts_with("warning: this is in force, and forgotten when the front door ends: the folder "),
        "{drained:?}"
    );
    assert!(https(place.door).0.starts_with("HTTP/1.1 503"));
}

#[test]
fn a_failsafe_choice_without_failback_outlives_a_kill() {
    let place = place();
    let address = own_address();
    let first = TcpListener::bind((address, 0)).unwrap();
    let first_address = first.local_addr().unwrap();
    drop(first);
    let gateway = |name: &str, check: SocketAddr| {
        format!(
            "[[gateway]]\nname = \"{name}\"\nssl_endpoint = \"{name}.example.com\"\n[[gateway.check]]\nkind = \"tcp\"\n\
             address = \"{check}\"\n"
        )
    };
    let config = place.config().replace("state_dir = \"\"", "state_dir = \"state\"");
    let (head, _) = config.split_once("[[gateway]]").unwrap();
    let gateways = gateway("gw1", first_address) + &gateway("gw2", accept_all(address));
    place.configure(&format!("{head}{gateways}[balance]\nmode = \"failsafe\"\nfailback = false\n"));
    let location = || header(&https(place.door).0, "location").map(str::to_owned);
    let second = Some("https://gw2.example.com/".to_owned());

    let running = place.ready();
    until("the second one is never active", || location() == second);
    running.wait_for("gw2 is active now: it is the first one that can be");
    let listener = TcpListener::bind(first_address).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    until("the first one is never up", || shown(&place)["gateways"][0]["state"] == "up");
    assert_eq!(location(), second);
    until("it is never stored", || place.folder.join("state/state.json").exists());
    let stored = serde_json::json!([{ "vrrp_id": null, "gateway": "gw2" }]);
    until("it is never stored", || state(&place)["active_gateways"] == stored);
    running.signal(Signal::KILL);
    drop(running);

    let running = place.ready();
    for _ in 0..20 {
        assert_eq!(location(), second);
    }
    let table = run(&place, &["status"]).stdout;
    let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(table.starts_with("All 2 gateways are up; gw2 is active.\n"), "{table}");
    assert_eq!(rows[2][5], "ROLE", "{table}");
    assert_eq!((rows[3][5], rows[4][5]), ("standby", "active"), "{table}");
    assert_eq!(run(&place, &["drain", "gw2"]).status, 0);
    assert_eq!(location(), Some("https://gw1.example.com/".into()));
    running.wait_for("gw1 is active now: gw2 is draining: by order");
}
