use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::counters::{first_number, interfaces_named};
use super::occtl::{self, Sessions};
use super::text::one_line;
use crate::net::command::{CommandError, CommandLine};
use crate::net::words::in_words;

/// Where the number of tunnels, or of pool addresses lent, comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountSource {
    /// Nobody knows it.
    None,
    /// The ocserv whose control socket this is: `occtl` is asked.
    Ocserv {
        /// `occtl-socket-file` of its configuration.
        socket: PathBuf,
    },
    /// Each tunnel has a network interface of its own.
    Interfaces {
        /// How their names begin, like `ppp`.
        prefix: String,
    },
    /// A program that prints the number.
    Command(CommandLine),
    /// A file that holds the number.
    File(PathBuf),
}

/// Why a number is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    #[error("{0}")]
    Command(#[from] CommandError),
    #[error("the program has failed: {0}")]
    Failed(String),
    #[error("the output is longer than {0} bytes")]
    TooLong(usize),
    #[error("there is no such number in the output")]
    NoNumber,
    #[error("the file cannot be read: {}", in_words(.0))]
    File(#[source] io::Error),
    #[error("the file has not been read within {} ms", .0.as_millis())]
    SlowFile(Duration),
    #[error("there is no interface {0}")]
    NoInterface(String),
}

/// Asks ocserv through its control program.
#[derive(Debug)]
pub(super) struct Occtl {
    program: String,
}

impl Default for Occtl {
    fn default() -> Self {
        Self { program: "occtl".to_owned() }
    }
}

impl Occtl {
    /// Another program that answers in the same way.
    #[cfg(test)]
    pub(super) fn named(program: &Path) -> Self {
        Self { program: program.display().to_string() }
    }

    /// How many sessions there are; costs the same whatever their number.
    pub(super) async fn active_sessions(&self, socket: &Path, timeout: Duration) -> Result<u64, Unknown> {
        let status = self.show("status", socket, timeout).await?;
        occtl::active_sessions(&status).ok_or(Unknown::NoNumber)
    }

    /// The same, and how many of them hold an address; costs more the more there are.
    pub(super) async fn sessions(&self, socket: &Path, timeout: Duration) -> Result<Sessions, Unknown> {
        let users = self.show("users", socket, timeout).await?;
        occtl::sessions(&users).ok_or(Unknown::NoNumber)
    }

    async fn show(&self, what: &str, socket: &Path, timeout: Duration) -> Result<Vec<u8>, Unknown> {
        let socket = socket.display().to_string();
        let command = CommandLine::of(&self.program, ["-s", &socket, "-j", "show", what]);
        output(&command, OCCTL_LIMIT, timeout).await
    }
}

/// The number that a program prints.
pub(super) async fn from_command(command: &CommandLine, timeout: Duration) -> Result<u64, Unknown> {
    let output = output(command, NUMBER_LIMIT, timeout).await?;
    first_number(&String::from_utf8_lossy(&output)).ok_or(Unknown::NoNumber)
}

/// The number of interfaces.
pub(super) fn from_interfaces(net_dev: Result<&str, Unknown>, prefix: &str) -> Result<u64, Unknown> {
    interfaces_named(net_dev?, prefix).ok_or(Unknown::NoNumber)
}

/// Reads a number from a file, away from the loop: the file may lie on a disk that does not answer.
#[derive(Debug, Default)]
pub(super) struct FileReader {
    /// A read that was not done in time. No second one is begun as long as it hangs.
    under_way: Option<JoinHandle<io::Result<String>>>,
}

impl FileReader {
    /// Reads the beginning of the file at `path`.
    pub(super) async fn read(&mut self, path: &Path, timeout: Duration) -> Result<u64, Unknown> {
        let path = path.to_owned();
        let reading = self.under_way.get_or_insert_with(|| tokio::task::spawn_blocking(|| beginning(path)));
        let Ok(read) = tokio::time::timeout(timeout, reading).await else {
            return Err(Unknown::SlowFile(timeout));
        };
        self.under_way = None;
        let text = read.map_err(io::Error::other).and_then(|read| read).map_err(Unknown::File)?;
        first_number(&text).ok_or(Unknown::NoNumber)
    }
}

/// 900 bytes a session (see [`occtl`]): a gateway of several thousand sessions.
const OCCTL_LIMIT: usize = 8 * 1024 * 1024;
const NUMBER_LIMIT: usize = 1024;
const DETAIL_LIMIT: usize = 200;

async fn output(command: &CommandLine, limit: usize, timeout: Duration) -> Result<Vec<u8>, Unknown> {
    let finished = command.run(limit, timeout).await?;
    if !finished.status.success() {
        let said = one_line(&finished.text(), DETAIL_LIMIT);
        return Err(Unknown::Failed(if said.is_empty() { finished.ending() } else { said }));
    }
    if finished.stdout.is_cut {
        return Err(Unknown::TooLong(limit));
    }
    Ok(finished.stdout.bytes)
}

fn beginning(path: PathBuf) -> io::Result<String> {
    // opening a FIFO would wait for a writer
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut text = String::new();
    let limit = u64::try_from(NUMBER_LIMIT).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    async fn printed_by(script: &str) -> String {
        let command = CommandLine::new(["sh", "-c", script]).unwrap();
        match from_command(&command, LONG).await {
            Ok(number) => number.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn a_program_prints_the_number_or_the_reason_is_told() {
        assert_eq!(printed_by("echo 312").await, "312");
        assert_eq!(printed_by("echo many").await, "there is no such number in the output");
        assert_eq!(printed_by("echo 312; echo broken >&2; exit 1").await, "the program has failed: 312");
        assert_eq!(printed_by("exit 1").await, "the program has failed: exit status 1");
        let flood = printed_by("head -c 5000 /dev/zero").await;
        assert_eq!(flood, "the output is longer than 1024 bytes");
    }

    #[tokio::test]
    async fn a_file_holds_the_number_or_the_reason_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tunnels");
        let mut reader = FileReader::default();
        let missing = reader.read(&path, LONG).await.unwrap_err();
        assert_eq!(missing.to_string(), "the file cannot be read: no such file or directory");
        std::fs::write(&path, "7\n").unwrap();
        assert_eq!(reader.read(&path, LONG).await.unwrap(), 7);
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(reader.read(&path, LONG).await.is_err());
        let directory = reader.read(directory.path(), LONG).await.unwrap_err();
        assert_eq!(directory.to_string(), "the file cannot be read: it is not a regular file");
    }

    #[tokio::test]
    async fn while_a_read_hangs_no_second_one_is_begun() {
        let (finish, hangs) = std::sync::mpsc::channel::<()>();
        let hanging = tokio::task::spawn_blocking(move || {
            let _ = hangs.recv();
            Ok("5".to_owned())
        });
        let mut reader = FileReader { under_way: Some(hanging) };
        let path = Path::new("/nonexistent/file");
        let slow = reader.read(path, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(slow.to_string(), "the file has not been read within 20 ms");
        drop(finish);
        assert_eq!(reader.read(path, LONG).await.unwrap(), 5);
        assert!(reader.read(path, LONG).await.is_err());
    }

    #[tokio::test]
    async fn an_ocserv_that_is_not_there_is_told_in_the_words_of_occtl() {
        let directory = tempfile::tempdir().unwrap();
        let error = "echo \"error connecting to ocserv socket '$2'\" >&2; exit 1";
        let occtl = Occtl::named(&script(directory.path(), error));
        let unknown = occtl.active_sessions(Path::new("/run/no.socket"), LONG).await.unwrap_err();
        let expected = "the program has failed: error connecting to ocserv socket '/run/no.socket'";
        assert_eq!(unknown.to_string(), expected);
    }

    /// A program of our own that stands in for another.
    fn script(directory: &Path, body: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = directory.join("occtl");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }
}
