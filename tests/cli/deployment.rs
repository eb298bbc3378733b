//! docs/deployment.md shows the files of config/scenarios as they are, and each of them is one that the binary takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::Folder;

const DOCUMENT: &str = include_str!("../../docs/deployment.md");

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scenarios")
}

/// Every file below a folder, by its path there, with its content.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

/// The files that the document shows, by their paths below config/scenarios.
fn shown() -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for part in DOCUMENT.split("\n[`/").skip(1) {
        let (path, rest) = part.split_once("`](../config/scenarios/").unwrap();
        let (file, rest) = rest.split_once("):\n\n```").unwrap();
        assert!(file.ends_with(&format!("/{path}")), "{file} is not at /{path}");
        let (_, rest) = rest.split_once('\n').unwrap();
        let (content, _) = rest.split_once("```\n").unwrap();
        shown.insert(file.to_owned(), content.to_owned());
    }
    shown
}

/// Of a scenario, the lines of a host's files that are others than on the first host: file, line there, line here.
fn differences(scenario: &str, host: usize) -> Vec<(&'static str, &'static str, &'static str)> {
    let (_, section) = DOCUMENT.split_once(&format!("[`config/scenarios/{scenario}")).unwrap();
    let table = section.lines().skip_while(|line| !line.starts_with("| file |"));
    let rows = table.skip(2).take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<_> =
            line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect();
        (cells[0], cells[1], cells[host])
    });
    rows.collect()
}

#[test]
fn the_document_shows_the_files_as_they_are() {
    let (files, shown) = (files(&scenarios()), shown());
    assert!(shown.len() > 10);
    for (file, content) in &shown {
        assert_eq!(Some(content), files.get(file), "{file}");
    }
    // each of a first host, and of a client, is shown, be it of another scenario that has the same
    for (file, content) in
        files.iter().filter(|(file, _)| !file.contains("/host-2/") && !file.contains("/host-3/"))
    {
        let (_, place) = file.split_once('/').unwrap();
        let is_shown =
            shown.iter().any(|(other, text)| other.ends_with(&format!("/{place}")) && text == content);
        assert!(is_shown, "{file} is not in docs/deployment.md");
    }
}

#[test]
fn the_other_hosts_differ_from_the_first_one_in_the_lines_that_are_told() {
    for (scenario, hosts) in [("failsafe-vrrp", 2), ("load-balancing-dve", 3), ("load-balancing-redirect", 3)]
    {
        let first = files(&scenarios().join(scenario).join("host-1"));
        for host in 2..=hosts {
            let here = files(&scenarios().join(scenario).join(format!("host-{host}")));
            let differences = differences(scenario, host);
            let mut seen = Vec::new();
            for (file, content) in &here {
                let mut expected = String::new();
                for line in first[file].lines() {
                    let other = differences
                        .iter()
                        .find(|(name, there, _)| file.ends_with(&format!("/{name}")) && *there == line);
                    seen.extend(other);
                    expected += other.map_or(line, |(_, _, here)| here);
                    expected.push('\n');
                }
                assert_eq!(&expected, content, "{scenario}, host-{host}: {file}");
            }
            let missing = first.keys().filter(|file| !here.contains_key(*file)).collect::<Vec<_>>();
            let fronts = if host == 3 { vec!["etc/vestibule/config/vestibule.toml"] } else { Vec::new() };
            assert_eq!(missing, fronts);
            let of_use = differences.iter().filter(|(_, there, here)| *here != "–" && there != here);
            let unseen: Vec<_> = of_use.filter(|difference| !seen.contains(difference)).collect();
            assert!(unseen.is_empty(), "{scenario}, host-{host}: {unseen:?}");
        }
    }
}

#[test]
fn every_configuration_loads_with_the_certificates_that_the_document_says_to_make() {
    let (_, command) = DOCUMENT.split_once("$ vestibule certs init").unwrap();
    let (command, _) = command.split_once("\n```").unwrap();
    let folder = Folder::new();
    let words = command.split_whitespace().filter(|word| *word != "\\");
    let made = folder.run(["certs", "init"].into_iter().chain(words));
    assert_eq!(made.status, 0, "{made:?}");
    std::fs::create_dir(folder.join("config")).unwrap();
    let mut count = 0;
    for (file, content) in files(&scenarios()).iter().filter(|(file, _)| file.ends_with(".toml")) {
        let (status, told) = folder.check("config/it.toml", content);
        assert_eq!((status, told.as_str()), (0, "config/it.toml: no errors, no warnings\n"), "{file}");
        count += 1;
    }
    assert_eq!(count, 14);
}
