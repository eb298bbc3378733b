use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Instant;

use vestibule::net::firewall::{Away, Connections, Done, Engine, Firewall, FirewallError, RejectWith, Wall};

use super::fence::{LONG, block, fence};
use super::network::{Tools, alone, run, until};

/// The exit status of `vestibule fence …` here, and what it says and complains of.
pub fn vestibule(arguments: &str) -> (i32, String, String) {
    let program = env!("CARGO_BIN_EXE_vestibule");
    command(&mut Command::new(program), arguments)
}

fn command(command: &mut Command, arguments: &str) -> (i32, String, String) {
    let ended = command.args(arguments.split(' ')).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code().unwrap(), text(ended.stdout), text(ended.stderr))
}

const NOTHING: &str = "Vestibule has set no rules here.\n";

#[test]
fn where_nothing_was_set_nothing_is_there_and_nothing_comes_into_being() {
    let test = "inventory::where_nothing_was_set_nothing_is_there_and_nothing_comes_into_being";
    alone(test, Tools::Iptables, async || {
        assert_eq!(vestibule("fence list"), (0, NOTHING.into(), String::new()));
        assert_eq!(vestibule("fence clear"), (0, NOTHING.into(), String::new()));
        assert_eq!(run("nft list ruleset; cat /proc/net/ip_tables_names /proc/net/ip6_tables_names"), "");
    });
}

#[test]
fn everything_that_was_ever_set_is_listed_and_cleared() {
    let test = "inventory::everything_that_was_ever_set_is_listed_and_cleared";
    alone(test, Tools::Iptables, async || {
        let fence = fence(&["tcp/443", "udp/500"], Connections::New, RejectWith::TcpReset);
        let exempt = ["192.0.2.7".parse().unwrap()];
        let block = block(LONG);
        Firewall::new(Engine::Nftables, fence.clone()).set(Some(&block), &exempt).await.unwrap();
        Firewall::new(Engine::Iptables, fence.clone()).set(Some(&block), &exempt).await.unwrap();
        let to = SocketAddr::from(([10, 77, 0, 1], 443));
        let away = Away { to, until: Instant::now() + LONG, holders: "front-a".into() };
        Wall::default().set(&[away]).await.unwrap();
        run("iptables-legacy -N sslvpn-heartbeat-chain; iptables-legacy -I INPUT -j sslvpn-heartbeat-chain");
        run("iptables-legacy -A INPUT -p tcp --dport 9999 -j DROP; nft add table inet foreign");

        let (status, listed, complaint) = vestibule("fence list");
        assert_eq!((status, complaint.as_str()), (0, ""));
        // seconds pass
        let listed = ["56", "57", "58", "60"]
            .iter()
            .fold(listed, |listed, seconds| listed.replace(&format!("for {seconds} s"), "for 59 s"));
        assert_eq!(listed, LISTED);
        let (status, json, _) = vestibule("fence list --format json");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((status, &json["places"][0]["refused"][0]["holders"]), (0, &"self, front-a".into()));

        let (status, cleared, complaint) = vestibule("fence clear");
        assert_eq!((status, complaint.as_str()), (0, ""));
        assert!(cleared.starts_with(CLEARED), "{cleared}");
        assert_eq!(vestibule("fence list"), (0, NOTHING.into(), String::new()));
        assert!(run("iptables-legacy-save").contains("--dport 9999"));
        assert!(run("nft list tables").contains("foreign"));
    });
}

const LISTED: &str = "\
table inet vestibule (nft)
  refused: tcp/443, for 59 s more, held by self, front-a
  refused: udp/500, for 59 s more, held by self, front-a
  exempt: 127.0.0.0/8, 192.0.2.7, fd09::3
table inet vestibule_front (nft)
  refused: 10.77.0.1:443, for 59 s more, held by front-a
chain sslvpn-heartbeat-chain (iptables-nft)
  refused: tcp/443, for 59 s more, held by self, front-a
  refused: udp/500, for 59 s more, held by self, front-a
  exempt: 127.0.0.0/8, 192.0.2.7/32
chain sslvpn-heartbeat-chain (iptables-legacy)
  nothing is refused
chain sslvpn-heartbeat-chain (ip6tables-nft)
  refused: tcp/443, for 59 s more, held by self, front-a
  refused: udp/500, for 59 s more, held by self, front-a
  exempt: fd09::3/128
";

const CLEARED: &str = "\
removed: table inet vestibule (nft)
removed: table inet vestibule_front (nft)
removed: chain sslvpn-heartbeat-chain (iptables-nft)
removed: chain sslvpn-heartbeat-chain (iptables-legacy)
removed: chain sslvpn-heartbeat-chain (ip6tables-nft)
";

#[test]
fn a_chain_that_another_rule_holds_is_emptied_and_told() {
    alone("inventory::a_chain_that_another_rule_holds_is_emptied_and_told", Tools::Iptables, async || {
        let fence = fence(&["tcp/443"], Connections::New, RejectWith::TcpReset);
        Firewall::new(Engine::Iptables, fence).set(Some(&block(LONG)), &[]).await.unwrap();
        run("iptables -A FORWARD -j sslvpn-heartbeat-chain");
        let (status, cleared, complaint) = vestibule("fence clear");
        assert_eq!(status, 1, "{cleared}{complaint}");
        let told = "error: chain sslvpn-heartbeat-chain (iptables-nft): chain sslvpn-heartbeat-chain of iptables-nft is \
                    empty now, but another rule refers to it; remove that rule first\n";
        assert_eq!(complaint, told);
        assert!(!run("iptables-save; ip6tables-save").contains("REJECT"));
        run("iptables -F FORWARD");
        assert_eq!(vestibule("fence clear").0, 0);
    });
}

/// What `vestibule fence …` says here where nft is this script instead, in a folder of this path.
fn with_nft(script: &str, path: &str, arguments: &str) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let nft = folder.path().join("nft");
    std::fs::write(&nft, format!("#!/bin/sh\n{script}\n")).unwrap();
    run(&format!("chmod 755 {}", nft.display()));
    let mut program = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    program.current_dir(&folder).env("PATH", path.replace("HERE", &folder.path().display().to_string()));
    command(&mut program, arguments)
}

#[test]
fn what_nft_cannot_tell_is_not_taken_for_nothing() {
    let test = "inventory::what_nft_cannot_tell_is_not_taken_for_nothing";
    alone(test, Tools::Iptables, async || {
        let fence = fence(&["tcp/443"], Connections::New, RejectWith::TcpReset);
        Firewall::new(Engine::Nftables, fence).set(Some(&block(LONG)), &[]).await.unwrap();
        let broken = "echo 'nft: libnftables.so.1: cannot open shared object file: No such file or directory' >&2; exit 127";
        // a list of tables says nothing of one that could not be listed itself
        let short = "[ \"$3\" = tables ] && exec echo '{\"nftables\": []}'; echo 'Error: cache: Too many open files' >&2; exit 1";
        for (script, what) in [
            (broken, "libnftables.so.1"),
            (&broken.replace("127", "1"), "libnftables.so.1"),
            (short, "Too many open files"),
            ("echo warning; exec /usr/sbin/nft \"$@\"", "cannot be read"),
        ] {
            let (status, said, complaint) = with_nft(script, "HERE:/usr/bin:/bin", "fence list");
            assert_eq!((status, said.as_str()), (2, ""), "{complaint}");
            assert!(complaint.contains(what), "{complaint}");
        }
        let (status, _, complaint) = with_nft(broken, "HERE:/usr/bin:/bin", "fence clear");
        assert_eq!(status, 1);
        assert!(complaint.contains("table inet vestibule (nft): nft: nft: libnftables.so.1"), "{complaint}");
        assert!(run("nft list tables").contains("vestibule"));
    });
}

#[test]
fn a_program_in_the_folder_it_is_started_in_is_not_run() {
    let test = "inventory::a_program_in_the_folder_it_is_started_in_is_not_run";
    alone(test, Tools::Iptables, async || {
        for path in ["", ".", ":HERE/../no-such-folder", "./:/usr/bin"] {
            let told = with_nft("echo it was run >&2; exit 1", path, "fence list");
            assert_eq!(told, (0, NOTHING.into(), String::new()), "{path:?}");
        }
    });
}

/// A copy of the program where everybody may run it.
fn copy_for_everybody() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let copy = format!("{}/vestibule", folder.path().display());
    let program = env!("CARGO_BIN_EXE_vestibule");
    run(&format!("cp {program} {copy}; chmod 755 {} {copy}", folder.path().display()));
    (folder, copy)
}

const NOBODY: [&str; 5] = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];

#[test]
fn who_may_not_look_is_told_so() {
    alone("inventory::who_may_not_look_is_told_so", Tools::Iptables, async || {
        let (_folder, program) = copy_for_everybody();
        let told = "error: this process may not change the firewall; run it as root, or with \
                    AmbientCapabilities=CAP_NET_ADMIN in its systemd unit (capabilities of its file do not pass on to nft \
                    and iptables)\n";
        let without = ["--bounding-set", "-net_admin"];
        for (who, options) in [("nobody", &NOBODY[..]), ("root without the capability", &without)] {
            for what in ["list", "clear"] {
                let mut someone = Command::new("setpriv");
                someone.args(options).arg(&program);
                let outcome = command(&mut someone, &format!("fence {what}"));
                assert_eq!(outcome, (2, String::new(), told.into()), "{who}");
            }
        }
    });
}

#[test]
fn who_passes_the_capability_on_needs_not_be_root() {
    alone("inventory::who_passes_the_capability_on_needs_not_be_root", Tools::Nft, async || {
        let fence = fence(&["tcp/443"], Connections::New, RejectWith::TcpReset);
        Firewall::new(Engine::Nftables, fence).set(Some(&block(LONG)), &[]).await.unwrap();
        let (_folder, program) = copy_for_everybody();
        let mut nobody = Command::new("setpriv");
        nobody.args(NOBODY).args(["--inh-caps", "+net_admin", "--ambient-caps", "+net_admin"]).arg(program);
        let removed = "removed: table inet vestibule (nft)\n";
        let (_, said, complaint) = command(&mut nobody, "fence clear");
        assert!(said.starts_with(removed), "{said}{complaint}");
        // where the kernel has the older interface at all
        let unseen = "error: only root can see whether iptables-legacy has rules here\n";
        assert!(["", unseen].contains(&complaint.as_str()), "{complaint}");
        assert_eq!(run("nft list tables"), "");
    });
}

#[test]
fn a_table_that_another_program_owns_is_tried_again() {
    alone("inventory::a_table_that_another_program_owns_is_tried_again", Tools::Nft, async || {
        let mut owner =
            Command::new("nft").arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        owner.stdin.as_mut().unwrap().write_all(b"add table inet vestibule { flags owner; }\n").unwrap();
        until("it is there", || run("nft list tables").contains("inet vestibule"));
        let fence = fence(&["tcp/443"], Connections::New, RejectWith::TcpReset);
        let mut firewall = Firewall::new(Engine::Nftables, fence);
        let error = firewall.set(Some(&block(LONG)), &[]).await.unwrap_err();
        let is_told =
            matches!(&error, FirewallError::Failed(said) if said.contains("Operation not permitted"));
        assert!(is_told, "{error:?}");
        // at its end the table goes
        owner.kill().unwrap();
        owner.wait().unwrap();
        assert_eq!(firewall.set(Some(&block(LONG)), &[]).await.unwrap(), Done::Written);
    });
}
