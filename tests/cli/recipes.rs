//! docs/recipes.md does what it says, with clients that only tell how they were called.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use vestibule::dve::Status;

use crate::resolve::{KEY, play, says};
use crate::support::{BINARY, Ended, Folder, Running};

const RECIPES: &str = include_str!("../../docs/recipes.md");

/// Every shell script of the recipes, in their order.
fn scripts() -> Vec<&'static str> {
    RECIPES.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// What a script prints when a front door names this endpoint, and after that nothing any more.
fn run(script: &str, endpoint: &'static str) -> (Folder, String) {
    let (folder, ended) = run_in(Folder::new(), script, Some(endpoint));
    assert_eq!(ended.status, 0, "{ended:?}");
    (folder, ended.stdout)
}

fn run_in(folder: Folder, script: &str, endpoint: Option<&'static str>) -> (Folder, Ended) {
    let server = play(move |request, before| match (endpoint, before) {
        (Some(endpoint), 0) => vec![says(request, Status::Ok, 1, &[endpoint])],
        _ => vec![says(request, Status::Unsupported, 0, &[])],
    });
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    for client in ["openconnect", "swanctl", "openvpn", "wg", "wg-quick"] {
        let path = folder.join("bin").join(client);
        // `wg show office peers` is asked for a key
        let answers = "#!/bin/sh\ncase $1 in show) echo PEER ;; *) echo \"${0##*/} $*\" ;; esac\n";
        std::fs::write(&path, answers).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    // it is there already where the folder has seen a script before
    let _ = std::os::unix::fs::symlink(BINARY, folder.join("bin/vestibule"));
    folder.write("wireguard.conf", "[Peer]\nEndpoint = none\nAllowedIPs = 10.0.0.0/8\n");
    let script = [
        ("front-a.example.com", server.address.to_string().as_str()),
        ("/etc/vestibule/dve.pub", KEY),
        ("/run/vestibule-office.conf", "swanctl.conf"),
        ("/etc/wireguard/office.conf", "wireguard.conf"),
    ]
    .iter()
    .fold(script.to_owned(), |script, (shown, here)| script.replace(shown, here));
    let mut command = Command::new("sh");
    let path = format!("{}:/usr/bin:/bin", folder.join("bin").display());
    command.args(["-c", &script]).current_dir(folder.path()).env("PATH", path);
    let ended = Running::start(command).wait();
    (folder, ended)
}

#[test]
fn every_recipe_hands_the_endpoint_to_its_client() {
    let scripts = scripts();
    let printed =
        |endpoint| -> Vec<String> { scripts.iter().map(|script| run(script, endpoint).1).collect() };
    assert_eq!(
        printed("192.0.2.1"),
        [
            "192.0.2.1:500\n",
            "openconnect --reconnect-timeout 30 192.0.2.1:500\n",
            "swanctl --load-conns\nswanctl --initiate --child office\n",
            "openvpn --config /etc/openvpn/client/office.conf --connect-retry-max 3 --remote 192.0.2.1 500\n",
            "wg-quick up office\n",
            "wg set office peer PEER endpoint 192.0.2.1:500\n",
        ]
    );
    let of_ipv6 = printed("[2001:db8::2]:4500");
    assert!(of_ipv6[1].ends_with(" [2001:db8::2]:4500\n") && of_ipv6[3].ends_with(" 2001:db8::2 4500\n"));
}

#[test]
fn the_files_of_strongswan_and_wireguard_get_the_endpoint() {
    let (folder, _) = run(scripts()[2], "[2001:db8::2]:4500");
    let read = |folder: &Folder, name| std::fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(read(&folder, "swanctl.conf"), "remote_addrs = 2001:db8::2\nremote_port = 4500\n");
    let (folder, ended) = run_in(folder, scripts()[2], None);
    assert_eq!((ended.status, ended.stdout.as_str()), (1, ""), "without an answer it connects nowhere");
    let kept = "remote_addrs = 2001:db8::2\nremote_port = 4500\n";
    assert_eq!(read(&folder, "swanctl.conf"), kept, "what was known last stays");
    let (folder, _) = run(scripts()[4], "[2001:db8::2]:51820");
    let wanted = "[Peer]\nEndpoint = [2001:db8::2]:51820\nAllowedIPs = 10.0.0.0/8\n";
    assert_eq!(read(&folder, "wireguard.conf"), wanted);
}
