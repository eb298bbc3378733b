//! docs/operations.md: its commands are ones that the binary takes, its links lead somewhere, and every alert is in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::serve::Place;
use crate::support::{BINARY, Folder, Running};

const DOCUMENT: &str = include_str!("../../docs/operations.md");

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The blocks of that kind, in their order.
fn blocks(kind: &str) -> impl Iterator<Item = String> {
    let lines = DOCUMENT.lines().map(str::trim_start);
    let mut blocks: Vec<String> = Vec::new();
    let mut inside: Option<bool> = None;
    for line in lines {
        match (inside, line.strip_prefix("```")) {
            (None, Some(language)) => {
                inside = Some(language == kind);
                if language == kind {
                    blocks.push(String::new());
                }
            }
            (Some(_), Some(_)) => inside = None,
            (Some(true), None) => {
                let block = blocks.last_mut().unwrap();
                block.push_str(line);
                block.push('\n');
            }
            _ => {}
        }
    }
    blocks.into_iter()
}

/// Every command of ours that is to be typed, without its prompt and what is done with its output.
fn commands() -> Vec<String> {
    let lines: Vec<String> =
        blocks("console").flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let ours = lines.iter().filter_map(|line| line.strip_prefix("# ").or_else(|| line.strip_prefix("$ ")));
    let ours = ours.filter(|line| line.starts_with("vestibule "));
    ours.map(|line| line.split(" >").next().unwrap().to_owned()).collect()
}

#[test]
fn every_command_is_one_that_a_running_front_door_answers() {
    let place = Place::new();
    let _running = place.ready();
    place.folder.write(
        "agent.toml",
        "[agent]\nname = \"gw1\"\nlisten = \"127.0.0.1:9464\"\n[[check]]\nkind = \"tcp\"\naddress = \"127.0.0.1\"\n",
    );
    let mut seen = BTreeSet::new();
    for command in commands() {
        let here = command
            .replace("/etc/vestibule/config/vestibule.toml", "v.toml")
            .replace("/etc/vestibule/config/heartbeat.toml", "agent.toml");
        let words = ["-c", &format!("exec {here}")];
        // the shell takes the quotes off
        let mut shell = Command::new("sh");
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", Path::new(BINARY).parent().unwrap().display());
        shell
            .args(words)
            .current_dir(place.folder.path())
            .env("PATH", path)
            .env("VESTIBULE_ADMIN", "admin.sock");
        let ended = Running::start(shell).wait();
        let subcommand = command.split_whitespace().nth(1).unwrap().to_owned();
        // 2: it is not understood. 1 is an answer as well: it has no [[vrrp]], and is not root here; and on a machine that is
        // busy the gateway may be down for a moment
        let fits = match subcommand.as_str() {
            "status" | "why" | "ready" => ended.status != 2,
            "keepalived" | "fence" => ended.status != 2 || !ended.stderr.contains("Usage"),
            _ => ended.status == 0,
        };
        assert!(fits, "{command}: {ended:?}");
        seen.insert(subcommand);
    }
    for needed in ["status", "why", "drain", "resume", "reload", "check", "ready", "keepalived", "fence"] {
        assert!(seen.contains(needed), "{needed} is not in the document");
    }
}

#[test]
fn a_certificate_made_by_hand_is_one_that_the_agent_takes() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("left out: openssl is not installed");
        return;
    }
    let folder = Folder::with_certificates();
    let script = blocks("sh").next().unwrap();
    let made = Command::new("sh").args(["-ec", &script]).current_dir(folder.join("certs")).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let (status, told) = folder.check(
        "agent.toml",
        "[agent]\nname = \"gw3\"\nlisten = \"192.168.200.4:9464\"\ncertificate = \"certs/gw3.pem\"\nkey = \"certs/gw3.key\"\n\
         client_ca = \"certs/ca.pem\"\n[[check]]\nkind = \"tcp\"\naddress = \"127.0.0.1\"\n",
    );
    assert_eq!((status, told.as_str()), (0, "agent.toml: no errors, no warnings\n"));
    let verified = Command::new("openssl")
        .args([
            "verify",
            "-purpose",
            "sslserver",
            "-verify_ip",
            "192.168.200.4",
            "-CAfile",
            "ca.pem",
            "gw3.pem",
        ])
        .current_dir(folder.join("certs"))
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn every_alert_says_here_what_to_do() {
    let rules = std::fs::read_to_string(root().join("dashboards/alerts.yml")).unwrap();
    let alerts: BTreeSet<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let sections: BTreeSet<_> = DOCUMENT.lines().filter_map(|line| line.strip_prefix("### Alert ")).collect();
    assert!(!alerts.is_empty());
    assert_eq!(sections, alerts);
}

/// What a heading is linked by.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn anchors(document: &str) -> BTreeSet<String> {
    let headings = document.lines().filter(|line| line.starts_with('#'));
    let headings = headings.map(|line| anchor(line.trim_start_matches('#')));
    let marks = document.split("<a id=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    headings.chain(marks).collect()
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let mut documents: Vec<PathBuf> =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|name| root().join(name)).into();
    let folder = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    documents.extend(folder.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    let mut count = 0;
    for path in &documents {
        let text = std::fs::read_to_string(path).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            count += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} is nowhere", path.display());
            if !place.is_empty() {
                let there = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(there.contains(place), "{}: {link} leads to no heading", path.display());
            }
        }
    }
    assert!(count > 50, "{count}");
}

/// What is written in the program, without what is told of it.
fn sources(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            text.lines().filter(|line| !line.trim_start().starts_with("//")).for_each(|line| {
                all.push_str(line);
                all.push('\n');
            });
        }
    }
}

#[test]
fn what_the_guide_says_is_seen_is_what_the_program_says() {
    let (_, table) = DOCUMENT.split_once("\n| what is seen |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let mut program = String::new();
    sources(&root().join("src"), &mut program);
    let mut count = 0;
    for row in table.lines() {
        let seen = row.split('|').nth(1).unwrap_or_default();
        for quoted in seen.split('"').skip(1).step_by(2) {
            count += 1;
            let words = quoted.trim_end_matches(" …");
            assert!(program.contains(words), "nothing says {quoted:?}");
        }
    }
    assert!(count >= 5, "{count}");
}
