//! The units of config/systemd, as systemd itself reads them.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{BINARY, Folder};

const UNITS: [&str; 4] =
    ["vestibule.service", "vestibule.socket", "vestibule-heartbeat.service", "vestibule-fence-local.conf"];

/// Where nothing is to be left out.
const REQUIRED: &str = "VESTIBULE_TESTS_REQUIRE_ROOT";

fn unit(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/systemd").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// A folder with the units, which start the binary that is tested. `None`, and why, where systemd is not installed.
fn installed(test: &str) -> Option<Folder> {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        assert!(
            std::env::var_os(REQUIRED).is_none(),
            "{test}: systemd is not installed, and {REQUIRED} is set"
        );
        eprintln!("{test}: left out: systemd is not installed");
        return None;
    }
    let folder = Folder::new();
    for name in UNITS {
        folder.write(name, &unit(name).replace("/usr/local/bin/vestibule", BINARY));
    }
    std::fs::create_dir(folder.join("vestibule.service.d")).unwrap();
    Some(folder)
}

/// What systemd-analyze says of a unit, and whether it is content.
fn analyze(folder: &Folder, words: &[&str]) -> (bool, String) {
    let output = Command::new("systemd-analyze").args(words).current_dir(folder.path()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let Some(folder) = installed("systemd_understands_every_line_of_the_units") else { return };
    let verify =
        ["verify", "--man=no", "vestibule.service", "vestibule.socket", "vestibule-heartbeat.service"];
    assert_eq!(analyze(&folder, &verify), (true, String::new()));
    std::fs::rename(
        folder.join("vestibule-fence-local.conf"),
        folder.join("vestibule.service.d/fence-local.conf"),
    )
    .unwrap();
    assert_eq!(analyze(&folder, &verify), (true, String::new()));
    // that it would be told, also of the drop-in
    folder.write("vestibule.socket", &unit("vestibule.socket").replace("FreeBind", "FreeBound"));
    folder.write("vestibule.service.d/fence-local.conf", "[Service]\nAmbientRights=all\n");
    let (_, told) = analyze(&folder, &verify);
    assert!(told.contains("FreeBound") && told.contains("AmbientRights"), "{told}");
}

#[test]
fn the_services_are_shut_in_and_stay_so() {
    let Some(folder) = installed("the_services_are_shut_in_and_stay_so") else { return };
    // of 100; what is left is the network, and of the agent that it is root
    for (service, most) in [("vestibule.service", 17), ("vestibule-heartbeat.service", 26)] {
        let threshold = |most: u32| {
            let most = format!("--threshold={most}");
            analyze(&folder, &["security", "--offline=yes", "--no-pager", &most, service])
        };
        let (within, told) = threshold(most);
        assert!(within, "{service}: {told}");
        assert!(!threshold(5).0, "it is not the threshold that decides");
    }
}

#[test]
fn each_front_door_has_no_more_rights_than_it_needs() {
    let rights = |name: &str| {
        let text = unit(name);
        let lines = text.lines().filter(|line| !line.starts_with('#') && line.contains("Capabilit"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let only =
        |right: &str| [format!("AmbientCapabilities={right}"), format!("CapabilityBoundingSet={right}")];
    assert_eq!(rights("vestibule.service"), only("CAP_NET_BIND_SERVICE"));
    assert_eq!(rights("vestibule-fence-local.conf"), only("CAP_NET_ADMIN"));
}

#[test]
fn the_socket_unit_has_the_addresses_of_the_example() {
    let example = include_str!("../../config/vestibule.toml");
    let text = unit("vestibule.socket");
    let addresses = text.lines().filter_map(|line| line.strip_prefix("Listen")?.split_once('='));
    let addresses: Vec<_> = addresses.map(|(_, address)| address).collect();
    assert_eq!(addresses.len(), 5);
    for address in addresses {
        assert!(example.contains(&format!("\"{address}\"")), "{address}");
    }
}
