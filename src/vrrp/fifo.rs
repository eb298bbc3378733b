//! The fifo that keepalived tells its decisions through.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::io::Errno;
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::time::{Instant, sleep_until};

use crate::net::words::in_words;

/// What keepalived writes, line by line. The fifo is made where it is missing, and opened again when another one stands in its
/// place: a keepalived that has made it itself takes it away when it ends.
pub struct Fifo {
    path: PathBuf,
    open: Option<Open>,
    /// What was read and is not a whole line yet.
    rest: Vec<u8>,
    /// Whether what comes up to the next end of a line belongs to one that is too long.
    skips: bool,
    /// When it is time to look whether the file is still the same, or to try to open it again.
    look: Instant,
    /// What was told last of why it cannot be read.
    complaint: String,
    /// When it is told that whoever has written is gone, unless somebody has it open for writing until then.
    parting: Option<(Instant, Event)>,
}

struct Open {
    receiver: Receiver,
    identity: (u64, u64),
}

/// What comes out of a fifo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A line, without its end.
    Line(String),
    /// Whoever has written has closed it, and has not come back: it has ended, in order or not.
    Closed,
    /// Another file is in its place, which nobody writes to: whoever has written may do so still, where nobody hears it.
    Lost,
}

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
enum FifoError {
    #[error("it is no fifo; move it away, or set another 'notify_fifo'")]
    NotAFifo,
    #[error(
        "others than its owner may write to it, or it is somebody else's; remove it, and it is made anew"
    )]
    Foreign,
    #[error("{}", in_words(.0))]
    Io(#[from] io::Error),
}

impl Fifo {
    /// Nothing is opened yet.
    pub fn new(path: PathBuf) -> Self {
        let (open, rest, look) = (None, Vec::new(), Instant::now());
        Self { path, open, rest, skips: false, look, complaint: String::new(), parting: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What comes next; waits for as long as nothing does, and where it cannot be read. May be abandoned.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(line) = self.line() {
                return Event::Line(line);
            }
            if let Some((until, event)) = &self.parting {
                let (is_over, event) = (Instant::now() >= *until, event.clone());
                if self.is_written_to() {
                    self.parting = None;
                } else if is_over {
                    self.parting = None;
                    return event;
                } else {
                    tokio::time::sleep(BREATH).await;
                }
                continue;
            }
            let Some(open) = &self.open else {
                sleep_until(self.look).await;
                self.look = Instant::now() + PAUSE;
                self.try_open();
                continue;
            };
            let is_replaced = tokio::select! {
                _ = open.receiver.readable() => false,
                () = sleep_until(self.look) => {
                    self.look = Instant::now() + PAUSE;
                    if identity(&self.path).ok() == Some(open.identity) {
                        continue;
                    }
                    true
                }
            };
            let mut chunk = [0; 4096];
            let read = if is_replaced {
                // whoever takes it away when he ends has said so before, and that may not have been read yet
                rustix::io::read(&open.receiver, &mut chunk).map_err(io::Error::from)
            } else {
                open.receiver.try_read(&mut chunk)
            };
            match read {
                Ok(length) if length > 0 => {
                    self.rest.extend_from_slice(chunk.get(..length).unwrap_or_default());
                    if is_replaced {
                        self.look = Instant::now();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if is_replaced {
                        self.part(Event::Lost);
                    }
                }
                // keepalived closes it when it reads its configuration again, too, and says nothing anew then
                Ok(_) | Err(_) => self.part(Event::Closed),
            }
        }
    }

    /// The next whole line that was read.
    fn line(&mut self) -> Option<String> {
        loop {
            let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') else {
                if self.rest.len() > LONGEST_LINE {
                    self.rest.clear();
                    self.skips = true;
                }
                return None;
            };
            let line: Vec<u8> = self.rest.drain(..=end).take(end).collect();
            if !std::mem::take(&mut self.skips) && line.len() <= LONGEST_LINE {
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
        }
    }

    /// Opens it again at once, so that the next one who writes is seen as another.
    fn part(&mut self, event: Event) {
        self.close();
        self.parting = Some((Instant::now() + GRACE, event));
    }

    fn close(&mut self) {
        self.open = None;
        self.rest.clear();
        self.skips = false;
        self.look = Instant::now();
    }

    /// Whether anybody has it open for writing. It is opened where it is not, or where another one stands in its place.
    fn is_written_to(&mut self) -> bool {
        let is_same = |open: &Open| identity(&self.path).ok() == Some(open.identity);
        if !self.open.as_ref().is_some_and(is_same) {
            self.close();
            self.try_open();
        }
        let Some(open) = &self.open else { return false };
        let mut chunk = [0; 4096];
        // without a writer it is at its end
        match rustix::io::read(&open.receiver, &mut chunk) {
            Ok(length) => {
                self.rest.extend_from_slice(chunk.get(..length).unwrap_or_default());
                length > 0
            }
            Err(error) => error == Errno::AGAIN,
        }
    }

    fn try_open(&mut self) {
        match open(&self.path) {
            Ok(open) => {
                self.open = Some(open);
                if !std::mem::take(&mut self.complaint).is_empty() {
                    tracing::info!(fifo = %self.path.display(), "what keepalived decides can be read now");
                }
            }
            Err(error) => {
                let words = error.to_string();
                if self.complaint != words {
                    tracing::warn!(
                        "what keepalived decides cannot be read from {}, and the addresses of this host alone tell \
                         whether it is active: {words}",
                        self.path.display()
                    );
                    self.complaint = words;
                }
            }
        }
    }
}

/// Opened for reading alone, so that the end of whoever writes is seen.
fn open(path: &Path) -> Result<Open, FifoError> {
    let identity = match identity(path) {
        Err(FifoError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
            }
            mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).map_err(io::Error::from)?;
            self::identity(path)?
        }
        known => known?,
    };
    Ok(Open { receiver: OpenOptions::new().open_receiver(path)?, identity })
}

/// Of a fifo that nobody else can write to: device and inode.
fn identity(path: &Path) -> Result<(u64, u64), FifoError> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.file_type().is_fifo() {
        return Err(FifoError::NotAFifo);
    }
    // whose folder it is might put another one there at any time; so it is where root looks into a service's folder
    let folder = path.parent().map(fs::metadata).transpose()?.map(|folder| folder.uid());
    let own = [Some(0), Some(rustix::process::geteuid().as_raw()), folder].contains(&Some(metadata.uid()));
    if !own || metadata.mode() & 0o022 != 0 {
        return Err(FifoError::Foreign);
    }
    Ok((metadata.dev(), metadata.ino()))
}

/// Between two looks at the file, and two attempts to open it.
const PAUSE: Duration = Duration::from_secs(1);

/// For so long keepalived may have it closed while it reads its configuration again: that takes a moment.
const GRACE: Duration = Duration::from_secs(1);

/// Between two looks whether it has opened it again.
const BREATH: Duration = Duration::from_millis(20);

/// Longer than any that keepalived writes: the name of an instance, a word and a number.
const LONGEST_LINE: usize = 512;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::net::heard::Heard;

    async fn soon(fifo: &mut Fifo) -> Event {
        tokio::time::timeout(Duration::from_secs(10), fifo.next()).await.unwrap()
    }

    async fn nothing(fifo: &mut Fifo) {
        tokio::time::timeout(Duration::from_millis(100), fifo.next()).await.unwrap_err();
    }

    /// As keepalived opens it.
    fn writer(path: &Path) -> fs::File {
        fs::File::options().read(true).write(true).open(path).unwrap()
    }

    fn line(words: &str) -> Event {
        Event::Line(words.to_owned())
    }

    #[tokio::test]
    async fn lines_come_as_they_are_written_and_the_end_of_the_writer_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/fifo");
        let mut fifo = Fifo::new(path.clone());
        nothing(&mut fifo).await;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for _ in 0..3 {
            let mut keepalived = writer(&path);
            keepalived.write_all(b"one\ntw").unwrap();
            assert_eq!(soon(&mut fifo).await, line("one"));
            nothing(&mut fifo).await;
            keepalived.write_all(b"o\n\nfour").unwrap();
            assert_eq!(soon(&mut fifo).await, line("two"));
            assert_eq!(soon(&mut fifo).await, line(""));
            drop(keepalived);
            assert_eq!(soon(&mut fifo).await, Event::Closed);
            nothing(&mut fifo).await;
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_takes_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let mut fifo = Fifo::new(path.clone());
        nothing(&mut fifo).await;
        let mut keepalived = writer(&path);
        for _ in 0..100 {
            keepalived.write_all(&[b'x'; 4096]).unwrap();
            nothing(&mut fifo).await;
            assert!(fifo.rest.capacity() <= 16 * 1024, "{}", fifo.rest.capacity());
        }
        keepalived.write_all(b"x\nshort\n\xff\n").unwrap();
        assert_eq!(soon(&mut fifo).await, line("short"));
        assert_eq!(soon(&mut fifo).await, line("\u{fffd}"));
    }

    #[tokio::test]
    async fn another_one_in_its_place_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let mut fifo = Fifo::new(path.clone());
        nothing(&mut fifo).await;
        fs::remove_file(&path).unwrap();
        // as keepalived does where there is none
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let mut keepalived = writer(&path);
        keepalived.write_all(b"here\n").unwrap();
        assert_eq!(soon(&mut fifo).await, line("here"));
        // one that is taken away is made anew
        fs::remove_file(&path).unwrap();
        drop(keepalived);
        assert_eq!(soon(&mut fifo).await, Event::Closed);
        nothing(&mut fifo).await;
        assert!(path.exists());
    }

    #[tokio::test]
    async fn what_is_no_fifo_of_ours_is_told_once() {
        let heard = Heard::begin();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        fs::write(&path, "INSTANCE\n").unwrap();
        let mut fifo = Fifo::new(path.clone());
        tokio::time::timeout(Duration::from_millis(2500), fifo.next()).await.unwrap_err();
        let lines = heard.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("it is no fifo; move it away"), "{lines:?}");
        fs::remove_file(&path).unwrap();
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
        tokio::time::timeout(Duration::from_millis(1500), fifo.next()).await.unwrap_err();
        assert!(heard.lines().concat().contains("others than its owner may write to it"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        tokio::time::timeout(Duration::from_millis(1500), fifo.next()).await.unwrap_err();
        assert!(heard.lines().concat().contains("can be read now"));
    }
}
