use crate::support::Folder;

#[test]
fn the_help_of_every_command_has_an_example() {
    let folder = Folder::new();
    let commands: [&[&str]; 20] = [
        &[],
        &["serve"],
        &["heartbeat"],
        &["demo"],
        &["check"],
        &["resolve"],
        &["status"],
        &["why"],
        &["drain"],
        &["resume"],
        &["reload"],
        &["ready"],
        &["keepalived"],
        &["fence"],
        &["fence", "list"],
        &["fence", "clear"],
        &["certs"],
        &["certs", "init"],
        &["completions"],
        &["man"],
    ];
    for command in commands {
        let help = folder.run(command.iter().chain(&["--help"]));
        assert_eq!((help.status, help.stderr.as_str()), (0, ""), "{command:?}");
        let example = help.stdout.split_once("\nExample:\n  vestibule ").unwrap_or_else(|| {
            panic!("no example in the help of {command:?}:\n{}", help.stdout);
        });
        let words: Vec<_> = example.1.split_whitespace().take(command.len()).collect();
        // `vestibule reload` is shown after the check that belongs before it
        assert!(words == command || example.1.contains(&format!("vestibule {}", command.join(" "))));
    }
}

#[test]
fn the_help_names_every_command() {
    let help = Folder::new().run(["--help"]).stdout;
    let listed: Vec<_> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        listed,
        [
            "serve",
            "heartbeat",
            "demo",
            "check",
            "resolve",
            "status",
            "why",
            "drain",
            "resume",
            "reload",
            "ready",
            "keepalived",
            "fence",
            "certs",
            "completions",
            "man",
            "help"
        ]
    );
}

#[test]
fn bad_usage_ends_with_2_and_says_what_is_wrong() {
    let folder = Folder::new();
    let cases: [(&[&str], &str); 9] = [
        (&["--bogus"], "error: unexpected argument '--bogus' found"),
        (&["servee"], "error: unrecognized subcommand 'servee'"),
        (&["serve", "--bogus"], "error: unexpected argument '--bogus' found"),
        (&["status", "--format", "xml"], "error: invalid value 'xml' for '--format <FORMAT>'"),
        (
            &["status", "--admin", "127.0.0.1:x"],
            "error: invalid value '127.0.0.1:x' for '--admin <PATH|ADDRESS>': must be the path of the admin \
             socket, or the ip:port of the admin endpoint",
        ),
        (&["check"], "error: the following required arguments were not provided:"),
        (&["demo", "--gateways", "0"], "error: invalid value '0' for '--gateways <N>': 0 is not in 1..=50"),
        (
            &["certs", "init", "--dir", "certs", "--name", "x", "--gateway", "gw1"],
            "error: invalid value 'gw1' for '--gateway <NAME=ADDRESS[,ADDRESS]>': must be NAME=ADDRESS, like \
             gw1=192.168.200.1",
        ),
        (
            &["certs", "init", "--dir", "certs", "--name", "x", "--gateway", "gw1=gw1.example.com"],
            "error: invalid value 'gw1=gw1.example.com' for '--gateway <NAME=ADDRESS[,ADDRESS]>': \
             'gw1.example.com' is not an address; like gw1=192.168.200.1",
        ),
    ];
    for (arguments, complaint) in cases {
        let ended = folder.run(arguments);
        assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{arguments:?}");
        assert_eq!(ended.stderr.lines().next(), Some(complaint), "{arguments:?}");
    }
    let alone = folder.run::<&str>([]);
    assert_eq!((alone.status, alone.stdout.as_str()), (2, ""));
    assert!(alone.stderr.contains("Usage: vestibule <COMMAND>"), "{}", alone.stderr);
    assert_eq!(folder.list(), [""; 0], "bad usage has left something behind");
}

#[test]
fn the_version_is_told() {
    let version = Folder::new().run(["--version"]);
    assert_eq!(version.stdout, concat!("vestibule ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(version.status, 0);
}
