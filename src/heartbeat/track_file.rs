use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use super::state::{AgentState, ServiceState};
use crate::net::words::in_words;

/// keepalived's track_file (keepalived.conf(5)): 0 while this gateway is fit to have an address that it shares with another
/// one, 1 while it is not. Nothing in it tells how old it is: an agent that is gone leaves its last word.
pub(super) struct TrackFile {
    path: PathBuf,
    /// What it says, as far as is known.
    says: Option<bool>,
    /// Whether it was told that it cannot be written.
    complained: bool,
}

impl TrackFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, says: None, complained: false }
    }

    /// Keeps it true for as long as there are rounds. What cannot be written is tried again each round.
    pub(super) async fn keep(mut self, state: &mut watch::Receiver<AgentState>) {
        loop {
            let service = state.borrow_and_update().service;
            self.say(is_fit(service)).await;
            if state.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn say(&mut self, fit: bool) {
        if self.says == Some(fit) {
            return;
        }
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || write(&path, fit)).await;
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => {
                let (file, value) = (self.path.display(), i32::from(!fit));
                tracing::info!(%file, value, "keepalived is told whether this gateway is fit");
                (self.says, self.complained) = (Some(fit), false);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!(
                        "keepalived cannot be told that this gateway is {}fit: {} cannot be written: {}",
                        if fit { "" } else { "not " },
                        self.path.display(),
                        in_words(&error)
                    );
                }
            }
        }
    }
}

/// One that drains still is: with the address, the tunnels of all who are on it would go.
fn is_fit(service: ServiceState) -> bool {
    match service {
        ServiceState::Up | ServiceState::Draining => true,
        ServiceState::Down => false,
    }
}

/// Replaces the file whole: keepalived reads it the moment it changes.
fn write(path: &Path, fit: bool) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    // the folder may be a front door's, whose user could lead root anywhere by a link
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(&new)?;
    file.write_all(if fit { b"0\n" } else { b"1\n" })?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::fleet::Load;
    use crate::net::heard::Heard;

    fn state(service: ServiceState) -> AgentState {
        let now = SystemTime::UNIX_EPOCH;
        AgentState { observed: now, service, since: now, checks: Vec::new(), load: Load::default() }
    }

    async fn until(path: &Path, content: &str) {
        for _ in 0..500 {
            if fs::read_to_string(path).is_ok_and(|text| text == content) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{path:?} is not {content:?} after 5 s");
    }

    #[tokio::test]
    async fn the_file_says_whether_the_gateway_is_fit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/for/it");
        let (sender, mut receiver) = watch::channel(state(ServiceState::Down));
        let file = TrackFile::new(path.clone());
        tokio::spawn(async move { file.keep(&mut receiver).await });
        for (service, content) in [
            (ServiceState::Down, "1\n"),
            (ServiceState::Up, "0\n"),
            (ServiceState::Down, "1\n"),
            (ServiceState::Draining, "0\n"),
        ] {
            sender.send_replace(state(service));
            until(&path, content).await;
        }
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing else is left there");
    }

    #[tokio::test]
    async fn no_link_leads_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (folder.path().join("health"), folder.path().join("health.new"));
        let precious = folder.path().join("precious");
        for (fit, content) in [(true, "0\n"), (false, "1\n")] {
            fs::write(&precious, "precious").unwrap();
            std::os::unix::fs::symlink(&precious, &new).unwrap();
            TrackFile::new(path.clone()).say(fit).await;
            assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_told_once_and_tried_again() {
        let heard = Heard::begin();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health");
        // in the way of the new file
        fs::create_dir(folder.path().join("health.new")).unwrap();
        let mut file = TrackFile::new(path.clone());
        file.say(true).await;
        file.say(true).await;
        let lines = heard.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with("WARN keepalived cannot be told that this gateway is fit: "),
            "{lines:?}"
        );
        fs::remove_dir(folder.path().join("health.new")).unwrap();
        file.say(true).await;
        assert_eq!(fs::read_to_string(path).unwrap(), "0\n");
    }
}
