use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::Signal;

use vestibule::net::tls::{Trust, client_config};

use crate::support::{Folder, Running, connect, exchange, header, https, over_tls, until};

/// Demos share loopback and its usual ports: two that start at the same moment may both find one free.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The word that follows these ones in what the demo has printed.
fn after<'a>(text: &'a str, words: &str) -> &'a str {
    let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("{words:?} is not in:\n{text}"));
    rest.split_whitespace().next().unwrap()
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("https://").trim_end_matches('/').parse().unwrap()
}

#[test]
fn the_demo_introduces_itself_answers_and_leaves_nothing_behind() {
    let _turn = one_at_a_time();
    let folder = Folder::new();
    let mut command = folder.command(["demo", "--gateways", "2"]);
    // what it would put elsewhere, it would put here
    command.env("TMPDIR", folder.path()).env("HOME", folder.path());
    let demo = Running::start(command);
    demo.wait_for("the front door is ready");
    let text = demo.stdout();
    assert!(
        text.starts_with(
            "A front door and 2 gateways on this machine, with certificates made just now. Ctrl-C ends it all.\n"
        ),
        "{text}"
    );
    assert!(
        text.ends_with("\nTheir loads move: ask again and again. Below is the front door's log.\n\n"),
        "{text}"
    );

    // each of its proposals works as it stands
    let door = address(after(&text, "curl -k -i "));
    let (answer, _) = https(door);
    assert!(answer.starts_with("HTTP/1.1 302 Found\r\n"), "{answer}");
    let location = header(&answer, "location").unwrap();
    let gateways = [after(&text, "Gateway gw1"), after(&text, "Gateway gw2")];
    assert!(gateways.contains(&location), "{location} is none of {gateways:?}");
    assert_eq!(after(&text, "curl -k -L "), format!("https://{door}/"));
    let (page, _) = https(address(location));
    assert!(page.contains("You have reached gw"), "{page}");
    // a session for who has none, by which the proxy finds back to this gateway
    assert!(header(&page, "set-cookie").unwrap().starts_with("webvpncontext="), "{page}");
    let session = b"GET / HTTP/1.1\r\nHost: x\r\nCookie: a=b; webvpncontext=1\r\nConnection: close\r\n\r\n";
    let anyone = client_config(&Trust::Anyone, None).unwrap();
    let (page, _) = over_tls(address(location), "localhost", anyone, session);
    assert!(page.contains("You have reached gw"), "{page}");
    assert_eq!(header(&page, "set-cookie"), None, "{page}");

    let proxy = address(after(&text, "Through a proxy, by turns       curl -k "));
    assert_eq!(after(&text, "curl -k -b jar -c jar "), format!("https://{proxy}/"));
    let passthrough = address(after(&text, "With TLS passed through         curl -k "));

    let admin = after(&text, "status --admin ").to_owned();
    until("the gateways never came up", || folder.run(["status", "--admin", &admin]).status == 0);
    let status = folder.run(["status", "--admin", &admin]);
    let listeners: Vec<Vec<_>> = status
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("LISTENER"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().take(3).collect())
        .collect();
    // by turns, and with the session that the first page has opened back to where that was
    let (first, second) = (https(proxy).0, https(proxy).0);
    let page = |answer: &str| {
        answer.split("You have reached ").nth(1).unwrap().split('<').next().unwrap().to_owned()
    };
    assert_ne!(page(&first), page(&second));
    let session = header(&first, "set-cookie").unwrap().split(';').next().unwrap();
    let session = format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {session}\r\nConnection: close\r\n\r\n");
    for _ in 0..3 {
        let anyone = client_config(&Trust::Anyone, None).unwrap();
        assert_eq!(page(&over_tls(proxy, "localhost", anyone, session.as_bytes()).0), page(&first));
    }
    // always the same one, and the certificate is the gateway's
    assert_eq!(page(&https(passthrough).0), page(&https(passthrough).0));
    let [door, proxy, passthrough] = [door, proxy, passthrough].map(|address| address.to_string());
    let expected = [["portal", &door, "redirect"], ["proxy", &proxy, "proxy"]];
    assert_eq!(listeners[..2], expected, "{}", status.stdout);
    let dve = after(&text, "resolve --server ");
    let expected = [["passthrough", &passthrough, "passthrough"], ["dve", dve, "dve"]];
    assert_eq!(listeners[2..], expected, "{}", status.stdout);
    let key = after(&text, &format!("resolve --server {dve} --key "));
    let resolved = folder.run(["resolve", "--server", dve, "--key", key]);
    assert_eq!((resolved.status, resolved.stderr.as_str()), (0, ""));
    assert_eq!(resolved.stdout.lines().count(), 1, "{resolved:?}");
    let why = folder.run(["why", "--admin", after(&text, "why --admin ")]);
    assert_eq!((why.status, why.stderr.as_str()), (0, ""));
    // two of them may have the same load
    let (_, why) = why.stdout.split_once(" would be chosen: it ").unwrap();
    assert!(why.contains(" the lowest load"), "{why}");
    let metrics = after(&text, "Metrics                         curl ");
    assert_eq!(metrics, format!("http://{admin}/metrics"));
    assert_eq!(after(&text, "See the farm "), format!("http://{admin}/"));
    let token = after(&text, "takes the token ").trim_end_matches(')');
    let form = format!("token={token}&reason=a+trial");
    let order = format!(
        "POST /gateways/gw1/drain HTTP/1.1\r\nHost: {admin}\r\nOrigin: http://{admin}\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n{form}",
        form.len()
    );
    let page = exchange(&mut connect(admin.parse().unwrap()), order.as_bytes());
    assert!(page.contains("this is in force"), "{page}");
    let status = folder.run(["status", "--admin", &admin]);
    assert!(status.stdout.contains("a trial"), "{}", status.stdout);

    demo.signal(Signal::INT);
    let ended = demo.wait();
    assert_eq!((ended.status, ended.stdout), (0, text));
    assert!(ended.stderr.contains("the front door has stopped"), "{}", ended.stderr);
    assert_eq!(folder.list(), [""; 0]);
}

#[test]
fn two_demos_do_not_get_into_each_others_way() {
    let _turn = one_at_a_time();
    let folder = Folder::new();
    let start = || {
        let demo = Running::start(folder.command(["demo", "--gateways", "1"]));
        demo.wait_for("the front door is ready");
        demo
    };
    let (one, other) = (start(), start());
    let doors = [&one, &other].map(|demo| address(after(&demo.stdout(), "curl -k -i ")));
    assert_ne!(doors[0], doors[1]);
    for (demo, door) in [one, other].into_iter().zip(doors) {
        let (answer, _) = https(door);
        assert!(answer.starts_with("HTTP/1.1 302 Found\r\n"), "{answer}");
        demo.signal(Signal::TERM);
        assert_eq!(demo.wait().status, 0);
    }
}
