use std::os::unix::fs::PermissionsExt;

use crate::support::{CERTS_INIT, Folder};

#[test]
fn certs_init_makes_what_a_farm_needs_and_names_each_file() {
    let folder = Folder::new();
    let made = folder.run(CERTS_INIT);
    assert_eq!((made.status, made.stderr.as_str()), (0, ""));
    let lines: Vec<_> = made.stdout.lines().collect();
    assert_eq!(
        lines[..11],
        [
            "certs/ca.pem       the private authority; trust this on front doors, gateways and trial clients",
            "certs/ca.key       signs further certificates; keep it away from all of these hosts",
            "certs/portal.pem   the listeners of all front doors show this",
            "certs/portal.key   its key, on all front doors",
            "certs/front-a.pem  front door front-a shows this to the agents",
            "certs/front-a.key  its key, on front-a alone",
            "certs/gw1.pem      the agent on gateway gw1 shows this",
            "certs/gw1.key      its key, on gw1 alone",
            "certs/gw2.pem      the agent on gateway gw2 shows this",
            "certs/gw2.key      its key, on gw2 alone",
            "certs/dve.key      front doors sign DVE answers with this; the same on all of them",
        ]
    );
    let (told, key) = lines[11].split_once(" --key ").unwrap();
    assert_eq!(told, "certs/dve.pub      clients check DVE answers with this:");
    assert!(key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{key:?}");
    assert_eq!(lines.len(), 12);

    for line in lines {
        let path = line.split_whitespace().next().unwrap();
        let mode = std::fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777;
        if path.ends_with(".key") {
            assert_eq!(mode, 0o600, "{path} can be read by others");
        } else {
            assert_eq!(mode & 0o022, 0, "{path} can be written by others");
        }
    }
}

#[test]
fn certs_init_overwrites_nothing() {
    let folder = Folder::with_certificates();
    let key = std::fs::read(folder.join("certs/ca.key")).unwrap();
    let again = folder.run(CERTS_INIT);
    assert_eq!(
        (again.status, again.stdout.as_str(), again.stderr.as_str()),
        (1, "", "error: certs/ca.pem exists already; move it away, or give another --dir\n")
    );
    assert_eq!(std::fs::read(folder.join("certs/ca.key")).unwrap(), key);

    // one file in the way, and none of the others is made
    let folder = Folder::new();
    std::fs::create_dir(folder.join("certs")).unwrap();
    folder.write("certs/gw2.key", "mine");
    let again = folder.run(CERTS_INIT);
    assert_eq!(again.status, 1);
    assert_eq!(again.stderr, "error: certs/gw2.key exists already; move it away, or give another --dir\n");
    assert_eq!(std::fs::read_dir(folder.join("certs")).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(folder.join("certs/gw2.key")).unwrap(), "mine");
}

#[test]
fn certs_init_that_makes_no_sense_ends_with_2_and_makes_nothing() {
    let folder = Folder::new();
    let ended = folder.run(["certs", "init", "--dir", "certs", "--name", "vpn example"]);
    assert_eq!(ended.status, 2);
    assert_eq!(
        ended.stderr,
        "error: no certificates were made: 'vpn example' is neither a host name nor an address\n"
    );
    assert_eq!(folder.list(), [""; 0]);
    folder.write("file", "");
    let ended = folder.run(["certs", "init", "--dir", "file/certs", "--name", "vpn.example.com"]);
    assert_eq!(ended.status, 2);
    assert_eq!(
        ended.stderr,
        "error: no certificates were made: file/certs cannot be written: not a directory\n"
    );
    assert_eq!(folder.list(), ["file"]);
}
