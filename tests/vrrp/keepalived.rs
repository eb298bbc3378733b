//! With the real keepalived, on two hosts where one is needed: this namespace, and another one.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use vestibule::fleet::VrrpId;
use vestibule::vrrp::{Fitness, Instance, Plan, Role, own_addresses};

use crate::Follower;
use crate::namespace::{alone, ip, is_there};

const BINARY: &str = env!("CARGO_BIN_EXE_vestibule");

/// Within this, whatever it is.
const LONG: Duration = Duration::from_secs(15);

fn instance(vrrp_id: i64, addresses: &[&str], peers: &[&str]) -> Instance {
    Instance {
        vrrp_id: VrrpId::new(vrrp_id).unwrap(),
        role: Role::Master,
        interface: "d0".into(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
        advertisement_interval: Duration::from_millis(100),
        preempt: false,
        notify_fifo: None,
    }
}

/// Another host at the other end of the link.
struct Neighbour(Child);

impl Neighbour {
    /// This host has 10.0.0.1 on d0, that one 10.0.0.2 on d0.
    fn beside() -> Self {
        let child = Command::new("unshare").args(["-n", "sleep", "1000"]).spawn().unwrap();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let place = format!("/proc/{}/ns/net", child.id());
        until("there is another namespace", || std::fs::read_link(&place).is_ok_and(|ns| ns != own));
        let neighbour = Self(child);
        ip("link set lo up");
        ip("link add d0 type veth peer name d1");
        ip(&format!("link set d1 netns {} name d0", neighbour.0.id()));
        ip("addr add 10.0.0.1/24 dev d0");
        ip("link set d0 up");
        for words in ["ip link set lo up", "ip addr add 10.0.0.2/24 dev d0", "ip link set d0 up"] {
            assert!(neighbour.command(words).status().unwrap().success(), "{words}");
        }
        neighbour
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.0.id().to_string(), "-n"]).args(words.split(' '));
        command
    }

    fn has(&self, address: &str) -> bool {
        let told = self.command("ip -o addr show dev d0").output().unwrap();
        String::from_utf8(told.stdout).unwrap().contains(&format!(" {address}/"))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has(address: &str) -> bool {
    let told = Command::new("ip").args(["-o", "addr", "show", "dev", "d0"]).output().unwrap();
    String::from_utf8(told.stdout).unwrap().contains(&format!(" {address}/"))
}

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "not within {LONG:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

async fn soon(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "not within {LONG:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A running keepalived.
struct Keepalived {
    child: Child,
    folder: PathBuf,
    name: String,
}

impl Keepalived {
    fn start(mut command: Command, folder: &Path, name: &str, config: &str) -> Self {
        let place = |end: &str| folder.join(format!("{name}.{end}"));
        std::fs::write(place("conf"), config).unwrap();
        for end in ["pid", "vpid"] {
            let _ = std::fs::remove_file(place(end));
        }
        command.args(["--dont-fork", "--vrrp", "--log-console", "--log-detail"]);
        command.arg("-f").arg(place("conf")).arg("-p").arg(place("pid")).arg("-r").arg(place("vpid"));
        let log = std::fs::File::create(place("log")).unwrap();
        command.stderr(log.try_clone().unwrap()).stdout(log).stdin(Stdio::null());
        Self { child: command.spawn().unwrap(), folder: folder.to_owned(), name: name.to_owned() }
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }

    /// All of its processes at once.
    fn kill(mut self) {
        self.kill_all();
    }

    fn kill_all(&mut self) {
        let vrrp = std::fs::read_to_string(self.folder.join(format!("{}.vpid", self.name)));
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
        if let Some(pid) = vrrp.ok().and_then(|text| text.trim().parse().ok()).and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            self.kill_all();
        }
    }
}

/// What is written for these on this host; whatever is asked for its fitness says yes.
fn written(instances: &[Instance]) -> String {
    let d0 = vec!["10.0.0.1/24".parse().unwrap(), "2001:db8::1/64".parse().unwrap()];
    let plan = Plan {
        node: "front-a",
        instances,
        fitness: Fitness::FrontDoor,
        fifo_owner: None,
        own: &BTreeMap::from([("d0".to_owned(), d0)]),
        program: Path::new("/bin/true"),
        config: Path::new("/etc/vestibule.toml"),
    };
    plan.write().unwrap().text
}

#[test]
fn keepalived_takes_whatever_is_written() {
    if !is_there("keepalived") {
        return;
    }
    alone("keepalived::keepalived_takes_whatever_is_written", async || {
        crate::interface();
        ip("addr add 10.0.0.1/24 dev d0");
        let folder = tempfile::tempdir().unwrap();
        let fifo = Some(folder.path().join("fifo"));
        let (four, six) = ("10.0.0.100/24", "2001:db8::100/64");
        let many: Vec<_> = (10..60).map(|i| format!("10.0.0.{i}/24")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let mut all = Vec::new();
        for addresses in [&[four][..], &[six], &[six, "fe80::31/64"], &[four, six, "10.0.0.101/32"], &many] {
            for peers in [&[][..], &["10.0.0.2"], &["2001:db8::2"], &["10.0.0.2", "10.0.0.3", "2001:db8::2"]]
            {
                all.push(vec![instance(31, addresses, peers)]);
            }
        }
        for (role, preempt) in [(Role::Master, true), (Role::Backup, true), (Role::Backup, false)] {
            let outside =
                Instance { role, preempt, ..instance(1, &[four, six], &["10.0.0.2", "2001:db8::2"]) };
            let slow = Duration::from_millis(40_950);
            let inside = instance(255, &["192.168.200.3/24"], &[]);
            let inside = Instance { role, preempt, advertisement_interval: slow, ..inside };
            all.push(vec![Instance { notify_fifo: fifo.clone(), ..outside }, inside]);
        }
        for instances in all {
            let text = written(&instances);
            let file = folder.path().join("keepalived.conf");
            std::fs::write(&file, &text).unwrap();
            let tried = Command::new("keepalived").arg("-t").arg("-f").arg(&file).output().unwrap();
            let said = String::from_utf8_lossy(&[tried.stdout, tried.stderr].concat()).into_owned();
            assert!(tried.status.success() && said.is_empty(), "{:?}\n{said}\n{text}", tried.status);
        }
    });
}

#[test]
fn the_addresses_of_an_interface_are_known() {
    alone("keepalived::the_addresses_of_an_interface_are_known", async || {
        crate::interface();
        ip("addr add 10.0.0.1/24 dev d0");
        ip("addr add 10.0.0.9/32 dev d0");
        ip("addr add 10.1.0.1/24 dev d1");
        let own = own_addresses(&["d0", "d1", "d2"]).await.unwrap();
        let words = |name: &str| -> Vec<_> {
            let four = own[name].iter().filter(|network| network.addr().is_ipv4());
            four.map(ToString::to_string).collect()
        };
        assert_eq!(
            (words("d0"), words("d1")),
            (vec!["10.0.0.1/24".into(), "10.0.0.9/32".into()], vec!["10.1.0.1/24".into()])
        );
        assert!(!own.contains_key("d2"));
    });
}

#[test]
fn what_keepalived_decides_is_followed() {
    if !is_there("keepalived") {
        return;
    }
    alone("keepalived::what_keepalived_decides_is_followed", async || {
        let neighbour = Neighbour::beside();
        let folder = tempfile::tempdir().unwrap();
        let address = "10.0.0.100";
        let fifo = folder.path().join("fifo");
        let own = Instance { notify_fifo: Some(fifo), ..instance(31, &["10.0.0.100/24"], &["10.0.0.2"]) };
        let other = Instance { role: Role::Backup, notify_fifo: None, ..own.clone() };
        let other = Instance { peers: vec!["10.0.0.1".parse().unwrap()], ..other };
        let other = written(&[other]).replace("unicast_src_ip 10.0.0.1", "unicast_src_ip 10.0.0.2");
        let (own_config, path) = (written(std::slice::from_ref(&own)), folder.path());
        let here = || Keepalived::start(Command::new("keepalived"), path, "here", &own_config);
        let there = || Keepalived::start(neighbour.command("keepalived"), path, "there", &other);

        let follower = Follower::of(std::slice::from_ref(&own));
        let reason =
            || follower.reported.borrow().first().map(|report| report.reason.clone()).unwrap_or_default();
        let says = |words: &str| reason() == words;
        let active = || follower.standing.is_active();

        let first = here();
        soon("it is master", || active() && says("10.0.0.100 is here; keepalived says MASTER")).await;
        let second = there();
        soon("the other one is there", || path.join("there.vpid").exists()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(active() && !neighbour.has(address));

        first.stop();
        soon("it has stopped", || says("10.0.0.100 is not here; keepalived says STOP") && !active()).await;
        soon("the other one has taken over", || neighbour.has(address)).await;

        let first = here();
        soon("it is backup", || says("10.0.0.100 is not here; keepalived says BACKUP") && !active()).await;

        second.kill();
        soon("it has taken over", || active() && says("10.0.0.100 is here; keepalived says MASTER")).await;
        assert!(neighbour.has(address), "a keepalived that was killed leaves its address");

        // on top of what it has left
        let second = there();
        soon("the other one has begun anew", || !neighbour.has(address)).await;
        assert!(active());

        first.kill();
        soon("the other one has taken over", || neighbour.has(address)).await;
        soon("it was seen", || says("10.0.0.100 is here; keepalived has said nothing")).await;
        let conflict = || follower.reported.borrow()[0].conflict.clone().unwrap_or_default();
        assert!(conflict().contains("was left here by a keepalived that was killed"), "{}", conflict());
        let first = here();
        soon("it begins anew as backup", || !active() && !has(address)).await;
        assert!(neighbour.has(address));

        // the address is put here by hand
        ip("addr add 10.0.0.100/24 dev d0");
        soon("it is seen", || says("10.0.0.100 is here; keepalived says BACKUP")).await;
        assert!(!active() && conflict().contains("though keepalived says that it is not"));
        ip("addr del 10.0.0.100/24 dev d0");
        soon("it is seen", || says("10.0.0.100 is not here; keepalived says BACKUP")).await;

        // nobody hears the other one any more
        ip("link set d0 down");
        soon("the link is down", || says("10.0.0.100 is not here; keepalived says FAULT")).await;
        drop((first, second));
    });
}

#[test]
fn a_keepalived_that_reads_its_configuration_again_is_what_it_was() {
    if !is_there("keepalived") {
        return;
    }
    alone("keepalived::a_keepalived_that_reads_its_configuration_again_is_what_it_was", async || {
        crate::interface();
        ip("addr add 10.0.0.1/24 dev d0");
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let own =
            Instance { notify_fifo: Some(fifo.clone()), ..instance(31, &["10.0.0.100/24"], &["10.0.0.2"]) };
        let config = written(std::slice::from_ref(&own));
        // one that keepalived has made it takes away, and makes another one
        let keepalived = Keepalived::start(Command::new("keepalived"), folder.path(), "here", &config);
        soon("keepalived has made the fifo", || fifo.exists()).await;
        let follower = Follower::of(&[own]);
        let report = || follower.reported.borrow().first().cloned();
        let is_master = || {
            let says = |report: vestibule::vrrp::Report| {
                report.reason == "10.0.0.100 is here; keepalived says MASTER"
            };
            report().is_some_and(says)
        };
        soon("it is master", is_master).await;
        for _ in 0..3 {
            kill_process(Pid::from_child(&keepalived.child), Signal::HUP).unwrap();
            let end = Instant::now() + Duration::from_millis(1500);
            while Instant::now() < end {
                let report = report();
                assert!(is_master() && report.as_ref().unwrap().conflict.is_none(), "{report:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        keepalived.stop();
        soon("it is heard still", || report().unwrap().reason.ends_with("keepalived says STOP")).await;
    });
}

#[test]
fn what_keepalived_says_where_nobody_hears_it_does_not_count() {
    alone("keepalived::what_keepalived_says_where_nobody_hears_it_does_not_count", async || {
        crate::interface();
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let own = Instance { notify_fifo: Some(fifo.clone()), ..instance(31, &["10.0.0.100/24"], &[]) };
        let follower = Follower::of(&[own]);
        let says = |words: &str| {
            follower.reported.borrow().first().is_some_and(|report| report.reason.ends_with(words))
        };
        soon("there is a fifo", || fifo.exists()).await;
        let mut keepalived = std::fs::File::options().read(true).write(true).open(&fifo).unwrap();
        std::io::Write::write_all(&mut keepalived, b"INSTANCE \"vestibule-31-ipv4\" BACKUP 240\n").unwrap();
        soon("it is backup", || says("keepalived says BACKUP")).await;
        std::fs::remove_file(&fifo).unwrap();
        soon("nobody is heard any more", || says("keepalived has said nothing")).await;
        ip("addr add 10.0.0.100/24 dev d0");
        soon("the address alone tells", || follower.standing.is_active()).await;
        drop(keepalived);
    });
}

#[test]
fn another_host_that_claims_the_address_is_seen() {
    if !is_there("keepalived") || !is_there("nft") {
        return;
    }
    alone("keepalived::another_host_that_claims_the_address_is_seen", async || {
        let neighbour = Neighbour::beside();
        let folder = tempfile::tempdir().unwrap();
        let fifo = Some(folder.path().join("fifo"));
        let own = Instance { notify_fifo: fifo, ..instance(31, &["10.0.0.100/24"], &["10.0.0.2"]) };
        let other = instance(31, &["10.0.0.100/24"], &["10.0.0.1"]);
        let other = written(&[Instance { role: Role::Backup, ..other }]);
        let other = other.replace("unicast_src_ip 10.0.0.1", "unicast_src_ip 10.0.0.2");
        let own_config = written(std::slice::from_ref(&own));
        let follower = Follower::of(&[own]);
        let conflict = || follower.reported.borrow().first().and_then(|report| report.conflict.clone());
        // that one hears nothing
        let deaf = "table inet t { chain i { type filter hook input priority 0; ip saddr 10.0.0.1 drop; }; }";
        assert!(neighbour.command("nft").arg(deaf).status().unwrap().success());
        let _here = Keepalived::start(Command::new("keepalived"), folder.path(), "here", &own_config);
        soon("it is master", || follower.standing.is_active()).await;
        assert_eq!(conflict(), None);
        let there = neighbour.command("keepalived");
        let _there = Keepalived::start(there, folder.path(), "there", &other);
        soon("the other one claims it", || conflict().is_some()).await;
        assert_eq!(conflict().unwrap(), "10.0.0.100 (vrrp_id 31) is claimed by another host as well");
        assert!(follower.standing.is_active(), "it has the higher priority");
    });
}

/// Ends the process with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn keepalived_conf(config: &Path) -> String {
    let output = Command::new(BINARY).args(["keepalived", "-c"]).arg(config).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_fifo_that_keepalived_makes_is_whose_the_folder_is() {
    if !is_there("keepalived") {
        return;
    }
    alone("keepalived::a_fifo_that_keepalived_makes_is_whose_the_folder_is", async || {
        crate::interface();
        ip("addr add 10.0.0.1/24 dev d0");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let fifo = path.join("run/fifo");
        std::fs::create_dir(path.join("run")).unwrap();
        // one whom every machine knows, in place of vestibule
        std::os::unix::fs::chown(path.join("run"), Some(1), Some(1)).unwrap();
        let config = path.join("vestibule.toml");
        std::fs::write(
            &config,
            format!(
                "[node]\nname = \"front-a\"\n[admin]\nsocket = \"admin.sock\"\n\
                 [[listener]]\nname = \"portal\"\naddress = \"10.0.0.100:443\"\nmode = \"passthrough\"\n\
                 [[gateway]]\nname = \"gw1\"\nssl_endpoint = \"127.0.0.1:1\"\n[[gateway.check]]\nkind = \"tcp\"\n\
                 [[vrrp]]\nvrrp_id = 31\nrole = \"master\"\ninterface = \"d0\"\naddresses = [\"10.0.0.100/24\"]\n\
                 advertisement_interval = \"100ms\"\nnotify_fifo = \"{}\"\n",
                fifo.display()
            ),
        )
        .unwrap();
        let conf = keepalived_conf(&config);
        let word = conf.lines().find_map(|line| line.trim().strip_prefix("vrrp_notify_fifo ")).unwrap();
        assert_eq!(word, format!("{} daemon", fifo.display()));
        let conf = conf.replace(BINARY, "/bin/true");
        let keepalived = Keepalived::start(Command::new("keepalived"), path, "here", &conf);
        until("keepalived has made it", || std::fs::metadata(&fifo).is_ok_and(|fifo| fifo.uid() == 1));
        assert_eq!(std::fs::metadata(&fifo).unwrap().mode() & 0o777, 0o600);
        // root may look into it as well
        let own = Instance { notify_fifo: Some(fifo.clone()), ..instance(31, &["10.0.0.100/24"], &[]) };
        let follower = Follower::of(&[own]);
        let reason = || follower.reported.borrow().first().map(|report| report.reason.clone());
        soon("it is master", || follower.standing.is_active()).await;
        keepalived.stop();
        soon("it has told so", || reason().is_some_and(|reason| reason.ends_with("keepalived says STOP")))
            .await;
    });
}

#[test]
fn an_address_leaves_a_front_door_that_is_killed_at_once() {
    if !is_there("keepalived") {
        return;
    }
    alone("keepalived::an_address_leaves_a_front_door_that_is_killed_at_once", async || {
        let neighbour = Neighbour::beside();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = path.join("vestibule.toml");
        let (port, shown) = (gateway.local_addr().unwrap().port(), path.display());
        std::fs::write(
            &config,
            format!(
                "[node]\nname = \"front-a\"\n[admin]\nsocket = \"admin.sock\"\n\
                 [[listener]]\nname = \"portal\"\naddress = \"10.0.0.100:443\"\nmode = \"passthrough\"\n\
                 [[gateway]]\nname = \"gw1\"\nssl_endpoint = \"127.0.0.1:{port}\"\n\
                 [[gateway.check]]\nkind = \"tcp\"\n\
                 [[vrrp]]\nvrrp_id = 31\nrole = \"master\"\ninterface = \"d0\"\naddresses = [\"10.0.0.100/24\"]\n\
                 peers = [\"10.0.0.2\"]\nadvertisement_interval = \"100ms\"\nnotify_fifo = \"{shown}/fifo\"\n"
            ),
        )
        .unwrap();
        let other = instance(31, &["10.0.0.100/24"], &["10.0.0.1"]);
        let other = written(&[Instance { role: Role::Backup, ..other }]);
        let other = other.replace("unicast_src_ip 10.0.0.1", "unicast_src_ip 10.0.0.2");
        let serve = || {
            let mut command = Command::new(BINARY);
            Process(command.args(["serve", "-c"]).arg(&config).stdout(Stdio::null()).spawn().unwrap())
        };
        let mut front = serve();
        let conf = keepalived_conf(&config);
        assert!(conf.contains("unicast_src_ip 10.0.0.1\n"), "{conf}");
        let _here = Keepalived::start(Command::new("keepalived"), path, "here", &conf);
        soon("it is master", || has("10.0.0.100")).await;
        let mut there = Keepalived::start(neighbour.command("keepalived"), path, "there", &other);
        let status = || {
            let mut ask = Command::new(BINARY);
            let ask = ask.args(["status", "--format", "json", "--admin"]).arg(path.join("admin.sock"));
            String::from_utf8(ask.output().unwrap().stdout).unwrap()
        };
        soon("the status says so", || status().contains("keepalived says MASTER")).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut took = Vec::new();
        for _ in 0..3 {
            let killed = Instant::now();
            drop(front);
            soon("the other one has it", || neighbour.has("10.0.0.100")).await;
            took.push(killed.elapsed());
            front = serve();
            soon("it is ready", || status().contains("\"available\": true")).await;
            // nobody is driven out, so it has to be given back
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(!has("10.0.0.100"));
            there.stop();
            soon("it is master again", || has("10.0.0.100")).await;
            there = Keepalived::start(neighbour.command("keepalived"), path, "there", &other);
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(has("10.0.0.100") && !neighbour.has("10.0.0.100"));
        }
        took.sort();
        println!("from the end of the front door to its address on the other host: {took:?}");
        assert!(took[0] < Duration::from_millis(500), "{took:?}");
        drop((front, there, gateway));
    });
}

#[test]
fn a_gateway_that_is_not_fit_gives_the_address_up() {
    if !is_there("keepalived") {
        return;
    }
    alone("keepalived::a_gateway_that_is_not_fit_gives_the_address_up", async || {
        crate::interface();
        ip("addr add 10.0.0.1/24 dev d0");
        let folder = tempfile::tempdir().unwrap();
        let (path, shown) = (folder.path(), folder.path().display());
        let config = path.join("heartbeat.toml");
        std::fs::write(
            &config,
            format!(
                "[agent]\nname = \"gw1\"\nlisten = \"127.0.0.1:9464\"\n[health]\ninterval = \"100ms\"\ntimeout = \"100ms\"\n\
                 [[check]]\nkind = \"exec\"\ncommand = [\"test\", \"-e\", \"{shown}/works\"]\n\
                 [vrrp]\ntrack_file = \"{shown}/health\"\n\
                 [[vrrp.instance]]\nvrrp_id = 41\nrole = \"master\"\ninterface = \"d0\"\n\
                 addresses = [\"10.0.0.100/24\"]\nadvertisement_interval = \"100ms\"\n"
            ),
        )
        .unwrap();
        let health = || std::fs::read_to_string(path.join("health")).unwrap_or_default().trim().to_owned();
        let keepalived =
            Keepalived::start(Command::new("keepalived"), path, "here", &keepalived_conf(&config));
        // before the agent has said anything
        soon("there is a file", || health() == "1").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!has("10.0.0.100"));
        let mut agent = Command::new(BINARY);
        let agent =
            Process(agent.args(["heartbeat", "-c"]).arg(&config).stdout(Stdio::null()).spawn().unwrap());
        for works in [true, false, true] {
            match works {
                true => std::fs::write(path.join("works"), "").unwrap(),
                false => std::fs::remove_file(path.join("works")).unwrap(),
            }
            soon("the address follows", || has("10.0.0.100") == works).await;
            assert_eq!(health(), if works { "0" } else { "1" });
        }
        drop(agent);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(has("10.0.0.100"), "an agent that is gone leaves its last word");
        keepalived.stop();
    });
}

#[test]
fn keepalived_takes_what_is_made_of_the_scenarios_and_the_document_shows_it() {
    if !is_there("keepalived") {
        return;
    }
    alone(
        "keepalived::keepalived_takes_what_is_made_of_the_scenarios_and_the_document_shows_it",
        async || {
            ip("link add eth0 type veth peer name eth1");
            let folder = tempfile::tempdir().unwrap();
            let init = "certs init --name vpn.example.com --front front-a --front front-b --gateway gw1=192.0.2.1 \
                    --gateway gw2=192.0.2.2 --dir";
            let mut certs = Command::new(BINARY);
            certs.args(init.split_whitespace()).arg(folder.path().join("certs")).stdout(Stdio::null());
            assert!(certs.status().unwrap().success());
            std::fs::create_dir(folder.path().join("config")).unwrap();
            let made = |scenario: &str, host: &str, file: &str, addresses: [&str; 2]| {
                for (address, interface) in addresses.iter().zip(["eth0", "eth1"]) {
                    ip(&format!("addr flush dev {interface}"));
                    ip(&format!("addr add {address}/24 dev {interface}"));
                    ip(&format!("link set {interface} up"));
                }
                let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scenarios").join(scenario);
                let config = folder.path().join("config").join(file);
                std::fs::copy(source.join(host).join("etc/vestibule/config").join(file), &config).unwrap();
                let made = Command::new(BINARY).args(["keepalived", "-c"]).arg(&config).output().unwrap();
                assert_eq!(String::from_utf8_lossy(&made.stderr), "", "{scenario}, {host}");
                let tried = folder.path().join("keepalived.conf");
                std::fs::write(&tried, &made.stdout).unwrap();
                let said = Command::new("keepalived").arg("-t").arg("-f").arg(&tried).output().unwrap();
                let words = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
                assert!(said.status.success() && words.is_empty(), "{scenario}, {host}: {words}");
                let folder = folder.path().join("config").display().to_string();
                let text = String::from_utf8(made.stdout).unwrap();
                text.replace(&folder, "/etc/vestibule/config").replace(BINARY, "/usr/local/bin/vestibule")
            };
            let first = made("failsafe-vrrp", "host-1", "heartbeat.toml", ["10.1.1.1", "192.168.200.1"]);
            let document = include_str!("../../docs/deployment.md");
            let (_, shown) = document.split_once("```keepalived\n").unwrap();
            let (shown, _) = shown.split_once("```\n").unwrap();
            // whose the fifo's folder is on this machine is another thing
            let nobodys = |text: &str| text.replace("/keepalived.fifo vestibule\n", "/keepalived.fifo\n");
            assert_eq!(nobodys(shown), nobodys(&first));
            made("failsafe-vrrp", "host-2", "heartbeat.toml", ["10.1.1.2", "192.168.200.2"]);
            let own = ["62.168.1.201", "192.168.200.1"];
            let text = made("load-balancing-redirect", "host-1", "vestibule.toml", own);
            assert!(text.contains("    unicast_src_ip 62.168.1.201\n"), "{text}");
            made("load-balancing-redirect", "host-2", "vestibule.toml", ["62.168.1.202", "192.168.200.2"]);
        },
    );
}
