//! The programs that change the firewall.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities, capability_is_in_ambient_set};

use super::engine::FirewallError;
use super::label::one_line;
use crate::net::command::{CommandError, CommandLine, Finished};

/// A program that is installed here.
#[derive(Clone, Debug)]
pub struct Program {
    name: &'static str,
    path: PathBuf,
}

/// What the programs that this process starts may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Nothing here.
    None,
    /// Change the firewall.
    Network,
    /// That, and write where only root may.
    Root,
}

impl Program {
    /// Looks for it on the path, and where programs for administrators are, which is not on everybody's path.
    pub fn find(name: &'static str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(SBIN.map(PathBuf::from));
        // what lies in the folder that we happen to be started in is none of the host's programs
        let mut paths = folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(name));
        paths.find(|path| path.is_file()).map(|path| Self { name, path })
    }

    /// The same, as an error where it is not there.
    pub fn require(name: &'static str, package: &str) -> Result<Self, FirewallError> {
        Self::find(name).ok_or_else(|| {
            FirewallError::Unusable(format!("{name} is not installed; install the package {package}"))
        })
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it and takes what it says, whether it has done what it was asked for or not.
    pub async fn ask(&self, arguments: &[&str], input: &str) -> Result<Finished, FirewallError> {
        let command = CommandLine::of(self.path.to_string_lossy(), arguments.iter().copied());
        command.run_with(input.as_bytes(), LIMIT, TIMEOUT).await.map_err(|error| self.has_not_run(error))
    }

    /// Runs it; that it does not do what it is asked for is an error.
    pub async fn run(&self, arguments: &[&str], input: &str) -> Result<Finished, FirewallError> {
        let finished = self.ask(arguments, input).await?;
        if finished.status.success() { Ok(finished) } else { Err(self.refused(&finished)) }
    }

    /// Why it has not done what it was asked for.
    pub fn refused(&self, finished: &Finished) -> FirewallError {
        self.refused_to(Rights::of_children(), finished)
    }

    fn refused_to(&self, rights: Rights, finished: &Finished) -> FirewallError {
        let said = String::from_utf8_lossy(&finished.stderr.bytes);
        let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
        match rights {
            Rights::None if says(&["Operation not permitted", "Permission denied"]) => {
                return FirewallError::not_allowed();
            }
            // the lock of the older iptables
            Rights::Network if says(&["Permission denied"]) => {
                let text = format!("{}: {}; run it as root", self.name, one_line(&said));
                return FirewallError::Unusable(text);
            }
            // it is something else: a table that another program owns, a host that is shut off further
            Rights::None | Rights::Network | Rights::Root => {}
        }
        if says(&["JSON support not compiled"]) {
            let text = "is built without JSON; install the package nftables of a distribution that has it";
            return FirewallError::Unusable(format!("{} {text}", self.name));
        }
        if says(&["Protocol not supported"]) {
            return FirewallError::Unusable(format!(
                "the kernel has nothing that {} could talk to",
                self.name
            ));
        }
        let said = one_line(&said);
        let said = if said.is_empty() { finished.ending() } else { said };
        FirewallError::Failed(format!("{}: {said}", self.name))
    }

    fn has_not_run(&self, error: CommandError) -> FirewallError {
        if error.is_shortage() {
            return FirewallError::Shortage(error);
        }
        FirewallError::Failed(format!("{}: {error}", self.name))
    }
}

impl Rights {
    /// Children of root have what root has; those of others what is ambient, and not what the file of this process
    /// was given.
    pub fn of_children() -> Self {
        let admin = CapabilitySet::NET_ADMIN;
        if geteuid().is_root() {
            let has = capabilities(None).is_ok_and(|sets| sets.effective.contains(admin));
            return if has { Self::Root } else { Self::None };
        }
        if capability_is_in_ambient_set(admin) == Ok(true) { Self::Network } else { Self::None }
    }
}

const SBIN: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];
/// More than any of our tables, and than the rules for incoming packets on all but the strangest hosts.
const LIMIT: usize = 4 << 20;
/// It takes some milliseconds; iptables waits for others for two seconds by itself.
const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Program, [String; 2]) {
        (Program::find("sh").unwrap(), ["-c".to_owned(), script.to_owned()])
    }

    async fn error_of(script: &str) -> FirewallError {
        let (shell, [option, script]) = shell(script);
        shell.run(&[&option, &script], "input").await.unwrap_err()
    }

    #[test]
    fn what_is_not_installed_is_told_with_the_package_that_has_it() {
        let error = Program::require("no-such-program", "nftables").unwrap_err();
        assert_eq!(error.to_string(), "no-such-program is not installed; install the package nftables");
        assert!(matches!(error, FirewallError::Unusable(_)));
    }

    #[tokio::test]
    async fn what_would_fail_again_is_told_from_what_may_not() {
        let not_permitted = "Operation not permitted (you must be root)";
        let denied = "Fatal: can't open lock file: Permission denied";
        for (rights, said, expected) in [
            (Rights::None, not_permitted, Err("AmbientCapabilities=CAP_NET_ADMIN")),
            (Rights::None, denied, Err("AmbientCapabilities=CAP_NET_ADMIN")),
            (Rights::Network, not_permitted, Ok("sh: Operation not permitted (you must be root)")),
            (
                Rights::Network,
                denied,
                Err("sh: Fatal: can't open lock file: Permission denied; run it as root"),
            ),
            (Rights::Root, not_permitted, Ok("sh: Operation not permitted (you must be root)")),
            (Rights::Root, denied, Ok("sh: Fatal: can't open lock file: Permission denied")),
        ] {
            let (shell, [option, script]) = shell(&format!("echo \"{said}\" >&2; exit 1"));
            let finished = shell.ask(&[&option, &script], "").await.unwrap();
            match (shell.refused_to(rights, &finished), expected) {
                (FirewallError::Unusable(text), Err(expected)) if text.contains(expected) => {}
                (FirewallError::Failed(text), Ok(expected)) if text == expected => {}
                (error, _) => panic!("{said} with {rights:?}: {error:?}"),
            }
        }
        let error = error_of("echo 'Error: syntax error'; echo 'Error: no\n  ^^^' >&2; exit 1").await;
        assert!(matches!(&error, FirewallError::Failed(text) if text == "sh: Error: no ^^^"), "{error}");
        let error = error_of("exit 3").await;
        assert_eq!(error.to_string(), "sh: exit status 3");
    }
}
