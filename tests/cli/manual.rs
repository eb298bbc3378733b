//! The manual and the completions: of every command, and as the programs that read them want them.

use std::process::Command;

use crate::support::Folder;

/// All commands, and those of commands: the names of the pages say which there are.
fn commands(folder: &Folder) -> Vec<Vec<String>> {
    let written = folder.run(["man", "--dir", "pages/man1"]);
    assert_eq!((written.status, written.stderr.as_str()), (0, ""));
    let mut names: Vec<String> = std::fs::read_dir(folder.join("pages/man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let words = |name: &String| -> Vec<String> {
        name.strip_suffix(".1").unwrap().split('-').skip(1).map(str::to_owned).collect()
    };
    names.iter().map(words).collect()
}

/// Whether a program is there; what it would read is looked at without it, too.
fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
        || Command::new("sh").args(["-c", &format!("command -v {program}")]).status().unwrap().success()
}

fn accepts(program: &str, arguments: &[&str], folder: &Folder) {
    if !is_there(program) {
        eprintln!("left out: there is no {program} here");
        return;
    }
    let output = Command::new(program).args(arguments).current_dir(folder.path()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{program} {arguments:?}: {said:?}");
}

#[test]
fn every_command_has_a_page_with_its_sections() {
    let folder = Folder::new();
    let commands = commands(&folder);
    assert!(commands.len() >= 20, "{commands:?}");
    for command in &commands {
        let words = ["man".to_owned()].into_iter().chain(command.iter().cloned());
        let page = folder.run(words);
        assert_eq!((page.status, page.stderr.as_str()), (0, ""), "{command:?}");
        let name = [&["vestibule".to_owned()], command.as_slice()].concat().join("-");
        let file = std::fs::read_to_string(folder.join(&format!("pages/man1/{name}.1"))).unwrap();
        assert_eq!(page.stdout, file);
        for expected in [
            &format!(".TH {name} 1 "),
            &format!(".SH NAME\n{} \\- ", name.replace('-', "\\-")),
            ".SH SYNOPSIS\n",
            ".SH DESCRIPTION\n",
            ".SH OPTIONS\n",
            ".SH \"EXIT STATUS\"\n",
            ".SH EXAMPLES\n.nf\nvestibule ",
            ".SH \"SEE ALSO\"\n",
        ] {
            assert!(file.contains(expected), "{expected:?} is not in {name}.1:\n{file}");
        }
        let help = folder.run(command.iter().map(String::as_str).chain(["--help"])).stdout;
        let says_no = help.contains("Exit status 1: ") || help.contains("Exit\nstatus 1: ");
        assert_eq!(file.contains("\n.TP\n\\fI1\\fR\n"), says_no, "{name}");
        let example = help.split_once("Example:\n  ").unwrap().1.lines().next().unwrap();
        let written: String = file.replace("\\-", "-").replace("\\\\", "\\").replace("\\*(Aq", "'");
        assert!(written.contains(example), "{example:?} is not in {name}.1:\n{file}");
    }
    let page = |name: &str| std::fs::read_to_string(folder.join(&format!("pages/man1/{name}.1"))).unwrap();
    assert!(page("vestibule-status").contains("VESTIBULE_TOKEN_FILE"), "ENVIRONMENT");
    assert!(page("vestibule-serve").contains("config/vestibule.toml"), "FILES");
    assert!(!page("vestibule-why").contains("Exit status 1"), "it stands in its own section");
}

#[test]
fn what_reads_manuals_finds_no_fault_with_the_pages() {
    let folder = Folder::new();
    for command in commands(&folder) {
        let name = [&["vestibule".to_owned()], command.as_slice()].concat().join("-");
        let page = format!("pages/man1/{name}.1");
        accepts("mandoc", &["-Tlint", "-Werror", &page], &folder);
        accepts("man", &["--warnings=w", "-P", "cat", "-l", &page], &folder);
    }
}

#[test]
fn a_page_that_is_not_there_is_an_error_with_those_that_are() {
    let folder = Folder::new();
    for (words, complaint) in [
        (&["man", "certs", "make"][..], "error: there is no command 'make'; there are: init\n"),
        (&["man", "status", "x"], "error: 'status' has no commands of its own\n"),
    ] {
        let ended = folder.run(words);
        assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr.as_str()), (2, "", complaint));
    }
    folder.write("pages", "");
    let ended = folder.run(["man", "--dir", "pages/man1"]);
    assert_eq!(ended.status, 2);
    assert!(ended.stderr.starts_with("error: pages/man1 cannot be made: "), "{}", ended.stderr);
}

#[test]
fn every_command_and_option_is_completed_in_every_shell() {
    let folder = Folder::new();
    let commands = commands(&folder);
    for shell in ["bash", "zsh", "fish"] {
        let printed = folder.run(["completions", shell]);
        assert_eq!((printed.status, printed.stderr.as_str()), (0, ""), "{shell}");
        folder.write(shell, &printed.stdout);
        for command in &commands {
            let last = command.last().map_or("vestibule", String::as_str);
            assert!(printed.stdout.contains(last), "{shell} does not know {command:?}");
        }
        for option in ["token-file", "vrrp-id", "listener"] {
            assert!(printed.stdout.contains(option), "{shell} does not know --{option}");
        }
        accepts(shell, &["-n", shell], &folder);
    }
    assert_eq!(folder.run(["completions", "tcsh"]).status, 2);
}

#[test]
fn bash_completes_what_is_begun() {
    let folder = Folder::new();
    folder.write("completions", &folder.run(["completions", "bash"]).stdout);
    let complete = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let script = format!(
            "source completions; COMP_WORDS=({}); COMP_CWORD={}; _vestibule vestibule '{}' '{}'; \
             echo \"${{COMPREPLY[@]}}\"",
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let output = Command::new("bash").args(["--norc", "-c", &script]).current_dir(folder.path()).output();
        String::from_utf8(output.unwrap().stdout).unwrap().trim_end().to_owned()
    };
    assert_eq!(complete("vestibule dr"), "drain");
    assert_eq!(complete("vestibule certs i"), "init");
    assert_eq!(complete("vestibule why --li"), "--listener");
    assert_eq!(complete("vestibule why --vpn "), "native ssl");
}
