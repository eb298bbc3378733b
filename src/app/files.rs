use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Watches the certificates, keys and other files that the configuration names (not the configuration
/// itself: a half-finished edit is nobody's wish).
///
/// Looks at them now and then rather than asking the kernel: that holds for links that are turned, for
/// files that are replaced, and for file systems that tell nothing.
#[derive(Clone)]
pub struct WatchedFiles {
    seen: Vec<(PathBuf, Option<Stamp>)>,
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
        let seen = files.into_iter().map(|file| (Stamp::of(&file), file)).map(|(stamp, file)| (file, stamp));
        Self { seen: seen.collect(), changing: false }
    }

    /// The files to watch from now on. Those that were watched before are remembered as they were then.
    pub fn with(self, files: Vec<PathBuf>) -> Self {
        let mut new = Self::new(files);
        for (file, stamp) in &mut new.seen {
            if let Some((_, before)) = self.seen.iter().find(|(known, _)| known == file) {
                *stamp = *before;
            }
        }
        new
    }

    /// Returns when one of them has changed and none has changed for [`PAUSE`] since: a certificate and
    /// its key are written one after the other. May be dropped and called again.
    pub async fn changed(&mut self) {
        loop {
            tokio::time::sleep(PAUSE).await;
            let mut changed = false;
            for (file, seen) in &mut self.seen {
                let now = Stamp::of(file);
                changed |= now != *seen;
                *seen = now;
            }
            if changed {
                self.changing = true;
            } else if std::mem::take(&mut self.changing) {
                return;
            }
        }
    }
}

const PAUSE: Duration = Duration::from_secs(1);

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let meta = std::fs::metadata(file).ok()?;
        Some(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}
