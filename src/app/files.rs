use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// Watches the certificates, keys and other files that the configuration names (not the configuration
/// itself: a half-finished edit is nobody's wish).
///
/// Looks at them now and then rather than asking the kernel: that holds for links that are turned, for
/// files that are replaced, and for file systems that tell nothing.
pub struct WatchedFiles {
    files: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
    changing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl WatchedFiles {
    /// Remembers the files as they are.
    pub fn new(files: Vec<PathBuf>) -> Self {
        let seen = stamps(&files);
        Self { files, seen, changing: false }
    }

    /// Returns when one of them has changed and none has changed for [`PAUSE`] since: a certificate and
    /// its key are written one after the other. May be dropped and called again.
    pub async fn changed(&mut self) {
        loop {
            tokio::time::sleep(PAUSE).await;
            let now = stamps(&self.files);
            if now != self.seen {
                self.seen = now;
                self.changing = true;
            } else if std::mem::take(&mut self.changing) {
                return;
            }
        }
    }
}

const PAUSE: Duration = Duration::from_secs(1);

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| {
        let meta = std::fs::metadata(file).ok()?;
        Some(Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    };
    files.iter().map(stamp).collect()
}
