//! A front door and an agent that really run, on an address of their own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;

use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Signal, geteuid};
use vestibule::net::pem;
use vestibule::net::tls::{self, Trust};

use crate::support::{
    Ended, Folder, Running, accept_all, free_port, header, http, https, over_tls, own_address, until,
};

/// A folder with a configuration of which everything is on an address that is this test's alone.
pub struct Place {
    pub folder: Folder,
    pub door: SocketAddr,
    pub upgrade: SocketAddr,
    pub admin: SocketAddr,
    pub gateway: SocketAddr,
}

const CONFIG: &str = "v.toml";
const SOCKET: &str = "admin.sock";

impl Place {
    pub fn new() -> Self {
        let address = own_address();
        let gateway = accept_all(address);
        let [door, upgrade, admin] = three_free_ports(address);
        let place = Self { folder: Folder::with_certificates(), door, upgrade, admin, gateway };
        place.configure(&place.config());
        place
    }

    pub fn config(&self) -> String {
        let Self { door, upgrade, admin, gateway, .. } = self;
        format!(
            r#"[node]
name = "front-a"
workers = 1
state_dir = ""
[admin]
listen = "{admin}"
socket = "{SOCKET}"
[health]
interval = "100ms"
timeout = "100ms"
[[listener]]
name = "portal"
address = "{door}"
mode = "redirect"
certificates = [{{ certificate = "certs/portal.pem", key = "certs/portal.key" }}]
[listener.limits]
connections = 100
[[listener]]
name = "portal-http"
address = "{upgrade}"
mode = "https-upgrade"
[listener.limits]
connections = 100
[[gateway]]
name = "gw1"
ssl_endpoint = "gw1.example.com"
[[gateway.check]]
kind = "tcp"
address = "{gateway}"
"#
        )
    }

    pub fn configure(&self, config: &str) {
        self.folder.write(CONFIG, config);
    }

    pub fn serve(&self) -> Running {
        Running::start(self.folder.command(["serve", "-c", CONFIG]))
    }

    /// A front door that answers.
    pub fn ready(&self) -> Running {
        let running = self.serve();
        running.wait_for("the front door is ready");
        running
    }

    pub fn ask(&self, command: &str) -> Ended {
        self.folder.run([command, "--admin", SOCKET])
    }

    /// Where the front door sends people.
    fn location(&self) -> Option<String> {
        header(&https(self.door).0, "location").map(str::to_owned)
    }
}

fn three_free_ports(address: Ipv4Addr) -> [SocketAddr; 3] {
    // held together, so that they differ
    let held = [(); 3].map(|()| TcpListener::bind((address, 0)).unwrap());
    held.map(|listener| listener.local_addr().unwrap())
}

#[test]
fn a_front_door_redirects_and_tells_its_status() {
    let place = Place::new();
    let running = place.ready();

    let (answer, _) = https(place.door);
    assert!(answer.starts_with("HTTP/1.1 302 Found\r\n"), "{answer}");
    assert_eq!(header(&answer, "location"), Some("https://gw1.example.com/"));
    assert_eq!(header(&answer, "cache-control"), Some("no-store"));

    let answer = http(place.upgrade);
    let port = place.door.port();
    assert_eq!(header(&answer, "location"), Some(format!("https://vpn.example.com:{port}/").as_str()));

    let status = place.ask("status");
    assert_eq!((status.status, status.stderr.as_str()), (0, ""));
    let lines: Vec<Vec<_>> = status.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(status.stdout.lines().next(), Some("The only gateway is up."));
    assert_eq!(
        lines[2],
        [
            "GATEWAY", "STATE", "FOR", "NATIVE", "SSL", "SCORE", "TUNNELS", "PENDING", "REPORT", "FENCED",
            "REASON"
        ]
    );
    assert_eq!(lines[3][..2], ["gw1", "up"]);
    assert_eq!(
        lines[5],
        [
            "LISTENER",
            "ADDRESS",
            "MODE",
            "VRRP",
            "AVAILABLE",
            "CONNECTIONS",
            "TUNNELS",
            "REDIRECTS",
            "UNAVAILABLE",
            "VPN"
        ]
    );
    let (door, upgrade) = (place.door.to_string(), place.upgrade.to_string());
    assert_eq!(lines[6][..5], ["portal", &door, "redirect", "-", "1/1"]);
    assert_eq!(lines[7][..5], ["portal-http", &upgrade, "https-upgrade", "-", "1/1"]);
    assert_eq!(lines[8], [""; 0]);
    let name = concat!("front-a ", env!("CARGO_PKG_VERSION"));
    assert!(status.stdout.contains(&format!("  {name} has started\n")), "{}", status.stdout);
    assert!(status.stdout.contains(&format!("\nFront door {name}, started ")), "{}", status.stdout);
    let none = place.folder.run(["status", "--events", "0", "--admin", SOCKET]).stdout;
    assert!(!none.contains("has started"), "{none}");

    // the same over HTTP, for programs
    let admin = place.admin.to_string();
    let status = place.folder.run(["status", "--admin", &admin, "--format", "json"]);
    assert_eq!((status.status, status.stderr.as_str()), (0, ""));
    let document: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(document["summary"], "The only gateway is up.");
    assert_eq!(document["node"]["name"], "front-a");
    assert_eq!(document["gateways"][0]["state"], "up");
    assert_eq!(document["listeners"][0]["redirects"], 1);

    // which front door is meant may stand in the environment
    let mut command = place.folder.command(["status"]);
    command.env("VESTIBULE_ADMIN", SOCKET);
    assert_eq!(Running::start(command).wait().status, 0);

    running.signal(Signal::TERM);
    let ended = running.wait();
    assert_eq!((ended.status, ended.stdout.as_str()), (0, ""));
    assert!(ended.stderr.contains("the front door has stopped"), "{}", ended.stderr);
    assert!(!place.folder.join(SOCKET).exists(), "the socket is still there");
}

#[test]
fn a_gateway_that_is_not_up_makes_status_end_with_1() {
    let place = Place::new();
    let nobody = SocketAddr::from((own_address(), 9));
    place.configure(&place.config().replace(&place.gateway.to_string(), &nobody.to_string()));
    let _running = place.ready();
    // the first bad answer makes a gateway that nobody knows a down one
    until("the gateway never went down", || place.ask("status").stdout.contains("connection refused"));
    let status = place.ask("status");
    assert_eq!((status.status, status.stderr.as_str()), (1, ""));
    assert!(status.stdout.contains("gw1      down"), "{}", status.stdout);
    let (answer, _) = https(place.door);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(header(&answer, "retry-after"), Some("5"));
}

#[test]
fn without_a_front_door_there_is_nobody_to_ask() {
    let folder = Folder::new();
    let nobody = "no front door answers on none.sock; is it running? give --admin PATH or ADDRESS";
    for command in ["status", "reload"] {
        let ended = folder.run([command, "--admin", "none.sock"]);
        assert_eq!((ended.status, ended.stdout.as_str()), (2, ""));
        assert_eq!(ended.stderr, format!("error: {nobody}\n"));
    }
    // a socket that a front door has left behind
    drop(std::os::unix::net::UnixListener::bind(folder.join("none.sock")).unwrap());
    assert_eq!(folder.run(["status", "--admin", "none.sock"]).stderr, format!("error: {nobody}\n"));
    // something else than a front door
    let address = accept_all(own_address());
    let ended = folder.run(["status", "--admin", &address.to_string()]);
    assert_eq!(ended.status, 2);
    let told = format!(
        "error: what answers on {address} does not speak HTTP, or broke off; give --admin PATH or ADDRESS"
    );
    assert!(ended.stderr.starts_with(&told), "{}", ended.stderr);
}

#[test]
fn a_reload_takes_up_what_has_changed() {
    let place = Place::new();
    let running = place.ready();
    assert_eq!(place.location().as_deref(), Some("https://gw1.example.com/"));
    place.configure(&place.config().replace("gw1.example.com", "gw1.example.org"));
    let reload = place.ask("reload");
    assert_eq!(
        (reload.status, reload.stdout.as_str(), reload.stderr.as_str()),
        (0, "the configuration has been reloaded\n", "")
    );
    until("the new configuration is not in force", || {
        place.location().as_deref() == Some("https://gw1.example.org/")
    });
    drop(running);
}

#[test]
fn a_bad_configuration_is_refused_at_a_reload_and_the_old_one_keeps_serving() {
    let place = Place::new();
    let running = place.ready();
    let bad = place.config().replace("gw1.example.com", "gw1.example.org").replace("[health]", "[healht]");
    place.configure(&bad);
    let reload = place.ask("reload");
    assert_eq!((reload.status, reload.stderr.as_str()), (1, ""));
    assert_eq!(
        reload.stdout,
        "v.toml:8:2: error: unknown key 'healht' in the file; did you mean 'health'?\n\
         the new configuration was refused and the old one stays\n"
    );
    running.wait_for("the new configuration is refused, the old one stays");
    assert_eq!(place.location().as_deref(), Some("https://gw1.example.com/"));
    // nor does one bring it down that cannot be put into force
    let taken = TcpListener::bind((place.door.ip(), 0)).unwrap();
    let address = taken.local_addr().unwrap();
    place.configure(&place.config().replace(&place.door.to_string(), &address.to_string()));
    let reload = place.ask("reload");
    assert_eq!(reload.status, 1);
    assert_eq!(
        reload.stdout,
        format!(
            "cannot listen on {address} (portal): address already in use; another program has it: see `ss -ltunp`\n\
             the new configuration was refused and the old one stays\n"
        )
    );
    assert_eq!(place.location().as_deref(), Some("https://gw1.example.com/"));
    // and what is good again is taken again
    place.configure(&place.config());
    assert_eq!(place.ask("reload").status, 0);
}

#[test]
fn a_hangup_reloads_whether_the_configuration_is_good_or_bad() {
    let place = Place::new();
    let running = place.ready();
    place.configure("nonsense");
    running.signal(Signal::HUP);
    running.wait_for("the new configuration is refused, the old one stays");
    assert_eq!(place.location().as_deref(), Some("https://gw1.example.com/"));
    place.configure(&place.config().replace("gw1.example.com", "gw1.example.org"));
    running.signal(Signal::HUP);
    running.wait_for("the configuration has been reloaded");
    until("the new configuration is not in force", || {
        place.location().as_deref() == Some("https://gw1.example.org/")
    });
}

#[test]
fn a_certificate_that_is_replaced_on_disk_is_shown_to_the_next_who_comes() {
    let place = Place::new();
    let running = place.ready();
    let (_, before) = https(place.door);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["vpn.example.com".to_owned()]).unwrap();
    let new = params.self_signed(&key).unwrap();
    // as a tool that renews certificates does: one file after the other, each put into place whole
    for (name, content) in [("portal.pem", new.pem()), ("portal.key", key.serialize_pem())] {
        place.folder.write("certs/new", &content);
        std::fs::rename(place.folder.join("certs/new"), place.folder.join("certs").join(name)).unwrap();
    }
    running.wait_for("the configuration has been reloaded");
    until("the new certificate is never shown", || https(place.door).1 == *new.der());
    assert_ne!(before, *new.der());

    // a certificate without its key changes nothing
    let other = CertificateParams::new(["vpn.example.com".to_owned()]).unwrap();
    let other = other.self_signed(&KeyPair::generate().unwrap()).unwrap();
    place.folder.write("certs/portal.pem", &other.pem());
    running.wait_for("the certificate certs/portal.pem does not match its key certs/portal.key");
    assert_eq!(https(place.door).1, *new.der());
}

#[test]
fn a_second_front_door_on_the_same_socket_is_refused() {
    let place = Place::new();
    let _running = place.ready();
    let second = place.config().replace(&place.admin.to_string(), &format!("{}:9", place.admin.ip()));
    place.folder.write("second.toml", &second);
    let ended = place.folder.run(["serve", "-c", "second.toml"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (2, ""));
    assert_eq!(
        ended.stderr,
        "error: another front door is running on admin.sock; stop it, or give this one another [admin] socket\n"
    );
    assert_eq!(place.ask("status").status, 0, "the first one has lost its socket");
}

#[test]
fn a_second_front_door_does_not_share_the_clients_of_the_first() {
    let place = Place::new();
    let _running = place.ready();
    let [free, ..] = three_free_ports(own_address());
    let second = place.config().replace(&place.admin.to_string(), &free.to_string());
    let second = second.replace(SOCKET, "second.sock");
    place.folder.write("second.toml", &second);
    let ended = place.folder.run(["serve", "-c", "second.toml"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (2, ""));
    let told = format!("error: cannot listen on {} (portal): address already in use", place.door);
    assert!(ended.stderr.starts_with(&told), "{}", ended.stderr);
}

#[test]
fn a_configuration_of_the_other_kind_is_told_as_such() {
    let folder = Folder::with_certificates();
    folder.write("v.toml", "[node]\n[[listener]]\n[[gateway]]\n");
    let ended = folder.run(["heartbeat", "-c", "v.toml"]);
    let told = "error: v.toml is a front door's configuration; run it with: vestibule serve -c v.toml\n";
    assert_eq!((ended.status, ended.stderr.as_str()), (2, told));
    folder.write("h.toml", "[agent]\n[[check]]\n");
    let ended = folder.run(["serve", "-c", "h.toml"]);
    let told =
        "error: h.toml is a heartbeat agent's configuration; run it with: vestibule heartbeat -c h.toml\n";
    assert_eq!((ended.status, ended.stderr.as_str()), (2, told));
}

#[test]
fn an_agent_takes_up_what_has_changed_and_goes_on_when_it_cannot() {
    let folder = Folder::new();
    let [address, ..] = three_free_ports(own_address());
    let config = |name: &str| {
        format!(
            "[agent]\nname = \"{name}\"\nlisten = \"{address}\"\n[[check]]\nkind = \"exec\"\ncommand = [\"true\"]\n"
        )
    };
    folder.write("heartbeat.toml", &config("gw1"));
    let agent = Running::start(folder.command(["heartbeat", "-c", "heartbeat.toml"]));
    agent.wait_for("heartbeat agent starts");
    let says = |name: &str| {
        let told = format!("\"name\":\"{name}\"");
        until("the agent has another name", || report(address).contains(&told));
    };
    says("gw1");
    folder.write("heartbeat.toml", "nonsense");
    agent.signal(Signal::HUP);
    agent.wait_for("the new configuration is refused, the old one stays");
    says("gw1");
    folder.write("heartbeat.toml", &config("gw2"));
    agent.signal(Signal::HUP);
    agent.wait_for("the configuration has been reloaded");
    says("gw2");
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().status, 0);
}

#[test]
fn an_agent_shows_a_certificate_that_is_replaced_on_disk_to_the_next_who_asks() {
    let address = own_address();
    let folder = Folder::new();
    let pairs = [format!("gw1={address}"), format!("renewed={address}")];
    let names = ["certs", "init", "--dir", "certs", "--name", "vpn.example.com", "--front", "front-a"];
    let gateways = ["--gateway", &pairs[0], "--gateway", &pairs[1]];
    assert_eq!(folder.run(names.iter().chain(&gateways)).status, 0);
    let listen = SocketAddr::from((address, 9464));
    folder.write(
        "heartbeat.toml",
        &format!(
            "[agent]\nname = \"gw1\"\nlisten = \"{listen}\"\ncertificate = \"certs/gw1.pem\"\n\
             key = \"certs/gw1.key\"\nclient_ca = \"certs/ca.pem\"\n\
             [[check]]\nkind = \"exec\"\ncommand = [\"true\"]\n"
        ),
    );
    let agent = Running::start(folder.command(["heartbeat", "-c", "heartbeat.toml"]));
    agent.wait_for("heartbeat agent starts");
    let certificate = |name: &str| pem::read_certificates(&folder.join(name)).unwrap().remove(0);
    let shown = |who: Option<&str>| {
        let ours = Trust::Authorities(vec![certificate("certs/ca.pem")]);
        let identity = who.map(|name| {
            let key = pem::read_key(&folder.join(&format!("certs/{name}.key"))).unwrap();
            tls::identity(vec![certificate(&format!("certs/{name}.pem"))], key).unwrap()
        });
        let config = tls::client_config(&ours, identity.as_ref()).unwrap();
        let request = "GET /v1/report HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let (answer, shown) = over_tls(listen, &address.to_string(), config, request.as_bytes());
        answer.starts_with("HTTP/1.1 200 OK\r\n").then_some(shown)
    };
    let [before, renewed] = ["certs/gw1.pem", "certs/renewed.pem"].map(certificate);
    assert_ne!(before, renewed);
    assert_eq!(shown(Some("front-a")), Some(before.clone()));
    for kind in ["pem", "key"] {
        let (from, to) = (format!("certs/renewed.{kind}"), format!("certs/gw1.{kind}"));
        std::fs::rename(folder.join(&from), folder.join(&to)).unwrap();
    }
    agent.wait_for("the configuration has been reloaded");
    until("the new certificate is never shown", || shown(Some("front-a")).as_ref() == Some(&renewed));
    assert_eq!(shown(None), None, "who shows none is still told nothing");

    // a certificate without its key changes nothing
    std::fs::copy(folder.join("certs/front-a.pem"), folder.join("certs/gw1.pem")).unwrap();
    agent.wait_for("the certificate certs/gw1.pem does not match its key certs/gw1.key");
    assert_eq!(shown(Some("front-a")), Some(renewed));
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().status, 0);
}

/// What an agent answers over plain HTTP; nothing as long as it does not.
fn report(address: SocketAddr) -> String {
    use std::io::{Read, Write};
    let mut answer = String::new();
    if let Ok(mut stream) = std::net::TcpStream::connect(address) {
        let _ = stream.write_all(b"GET /v1/report HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

#[test]
fn a_socket_that_a_front_door_has_left_behind_is_no_hindrance() {
    let place = Place::new();
    let running = place.ready();
    running.signal(Signal::KILL);
    drop(running);
    let left = std::fs::symlink_metadata(place.folder.join(SOCKET)).unwrap();
    assert!(left.file_type().is_socket());
    let _running = place.ready();
    assert_eq!(place.ask("status").status, 0);
}

#[test]
fn a_port_that_is_taken_is_told_with_what_to_do() {
    let place = Place::new();
    let taken = place.gateway;
    for (before, what) in [(place.door, "(portal)"), (place.upgrade, "(portal-http)")] {
        place.configure(&place.config().replace(&before.to_string(), &taken.to_string()));
        let ended = place.serve().wait();
        assert_eq!((ended.status, ended.stdout.as_str()), (2, ""));
        assert_eq!(
            ended.stderr,
            format!(
                "error: cannot listen on {taken} {what}: address already in use; another program has it: see \
                 `ss -ltunp`\n"
            )
        );
        assert!(!place.folder.join(SOCKET).exists(), "the socket is still there");
    }
    let config = place.config().replace(&place.admin.to_string(), &taken.to_string());
    place.configure(&config);
    let ended = place.serve().wait();
    assert_eq!(ended.status, 2);
    let told = format!("error: cannot listen on {taken} ([admin] listen): address already in use");
    assert!(ended.stderr.starts_with(&told), "{}", ended.stderr);
}

#[test]
fn a_privileged_port_is_told_with_what_to_do() {
    let first_free = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first_free.trim().parse::<u16>().unwrap() <= 443 {
        // this machine has no privileged ports
        return;
    }
    let place = Place::new();
    let address = SocketAddr::from((place.door.ip(), 443));
    place.configure(&place.config().replace(&place.door.to_string(), &address.to_string()));
    // where a user without rights can read all, and make a socket
    let program = place.folder.join("vestibule");
    let mut command = place.folder.command(["serve", "-c", CONFIG]);
    if geteuid().is_root() {
        std::fs::copy(crate::support::BINARY, &program).unwrap();
        give_to_nobody(place.folder.path());
        let mut as_nobody = std::process::Command::new(&program);
        as_nobody.args(command.get_args()).current_dir(place.folder.path()).uid(NOBODY).gid(NOBODY);
        command = as_nobody;
    }
    let ended = Running::start(command).wait();
    assert_eq!((ended.status, ended.stdout.as_str()), (2, ""));
    assert_eq!(
        ended.stderr,
        format!(
            "error: cannot listen on {address} (portal): permission denied; ports below 1024 need root or \
             CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=)\n"
        )
    );
}

const NOBODY: u32 = 65534;

fn give_to_nobody(path: &std::path::Path) {
    std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give_to_nobody(&entry.unwrap().path());
        }
    }
}

#[test]
fn with_a_bad_configuration_nothing_is_started() {
    let place = Place::new();
    place.configure(&place.config().replace("tcp", "udp"));
    let ended = place.serve().wait();
    assert_eq!((ended.status, ended.stdout.as_str()), (2, ""));
    assert_eq!(
        ended.stderr,
        "v.toml:28:8: error: 'kind' cannot be 'udp'; it is one of 'tcp', 'tls', 'http', 'https'\n\
         error: nothing is started with a configuration that has errors; correct them, then try: vestibule check \
         -c v.toml\n"
    );
    assert_eq!(place.folder.list(), ["certs", "v.toml"]);
    for (command, file) in [("serve", "config/vestibule.toml"), ("heartbeat", "config/heartbeat.toml")] {
        let ended = place.folder.run([command]);
        assert_eq!(ended.status, 2);
        assert_eq!(
            ended.stderr,
            format!(
                "{file}: error: cannot be read: no such file or directory\n\
                 error: nothing is started with a configuration that has errors; correct them, then try: vestibule \
                 check -c {file}\n"
            )
        );
    }
}

#[test]
fn an_agent_answers_the_front_door_that_shows_its_certificate() {
    // the certificates are made for this address
    let address = own_address();
    let folder = Folder::new();
    let gateway = format!("gw1={address}");
    let names = ["--dir", "certs", "--name", "vpn.example.com", "--gateway", &gateway];
    assert_eq!(folder.run(["certs", "init"].iter().chain(&names)).status, 0);
    let (works, port) = (accept_all(address), free_port(address));
    let agent = format!(
        "[agent]\nname = \"gw1\"\nlisten = \"{address}:{port}\"\ncertificate = \"certs/gw1.pem\"\n\
         key = \"certs/gw1.key\"\nclient_ca = \"certs/ca.pem\"\n[[check]]\nkind = \"tcp\"\naddress = \"{works}\"\n\
         [load]\ncapacity = {{ tunnels = 1000 }}\ntunnels = {{ source = \"file\", path = \"tunnels\" }}\n"
    );
    folder.write("heartbeat.toml", &agent);
    folder.write("tunnels", "250\n");
    let [door, admin, _] = three_free_ports(address);
    let front = format!(
        "[node]\nstate_dir = \"\"\n[admin]\nlisten = \"{admin}\"\nsocket = \"{SOCKET}\"\n[[listener]]\nname = \"portal\"\n\
         address = \"{door}\"\n\
         mode = \"redirect\"\ncertificates = [{{ certificate = \"certs/portal.pem\", key = \"certs/portal.key\" }}]\n\
         [health]\ninterval = \"200ms\"\ntimeout = \"200ms\"\n[[gateway]]\nname = \"gw1\"\n\
         ssl_endpoint = \"gw1.example.com\"\nheartbeat = \"https://{address}:{port}\"\n[heartbeat]\n\
         ca = \"certs/ca.pem\"\ncertificate = \"certs/front-a.pem\"\nkey = \"certs/front-a.key\"\n"
    );
    folder.write(CONFIG, &front);

    let agent = Running::start(folder.command(["heartbeat", "-c", "heartbeat.toml"]));
    agent.wait_for("heartbeat agent starts");
    let door = Running::start(folder.command(["serve", "-c", CONFIG]));
    door.wait_for("the front door is ready");
    until("the front door never learns of the tunnels", || {
        let status = folder.run(["status", "--admin", SOCKET]);
        status.status == 0 && status.stdout.contains(" 250/1000 ")
    });

    agent.signal(Signal::INT);
    let ended = agent.wait();
    assert_eq!((ended.status, ended.stdout.as_str()), (0, ""));
    assert!(ended.stderr.contains("heartbeat agent has stopped"), "{}", ended.stderr);
    door.wait_for("gateway is down");
    door.signal(Signal::INT);
    assert_eq!(door.wait().status, 0);
}

#[test]
fn an_agent_whose_port_is_taken_says_so() {
    let folder = Folder::new();
    let taken = accept_all(own_address());
    let agent = format!(
        "[agent]\nname = \"gw1\"\nlisten = \"{taken}\"\n[[check]]\nkind = \"exec\"\ncommand = [\"true\"]\n"
    );
    folder.write("heartbeat.toml", &agent);
    let ended = folder.run(["heartbeat", "-c", "heartbeat.toml"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (2, ""));
    let told =
        format!("error: cannot listen on {taken} ([agent] listen): address already in use; another program");
    assert!(ended.stderr.lines().last().is_some_and(|line| line.starts_with(&told)), "{}", ended.stderr);
}
