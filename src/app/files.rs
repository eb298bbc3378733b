use std::time::Duration;

use tokio::time::Interval;

use crate::config::SeenFile;

/// Watches the certificates, keys and other files that the configuration names (not the configuration
/// itself: a half-finished edit is nobody's wish).
///
/// Looks at them now and then rather than asking the kernel: that holds for links that are turned, for
/// files that are replaced, and for file systems that tell nothing.
pub struct WatchedFiles {
    seen: Vec<SeenFile>,
    changing: bool,
    looks: Interval,
}

impl WatchedFiles {
    /// Watches these from how they were when they were read.
    pub fn new(seen: Vec<SeenFile>) -> Self {
        Self { seen, changing: false, looks: tokio::time::interval(PAUSE) }
    }

    /// Returns when one of them has changed and none has changed for [`PAUSE`] since: a certificate and
    /// its key are written one after the other. May be dropped and called again: when the next look is due
    /// is remembered.
    pub async fn changed(&mut self) {
        loop {
            self.looks.tick().await;
            let before = self.seen.clone();
            // a file system that hangs must hold up no one else
            let look = move || before.iter().map(SeenFile::look_again).collect::<Vec<_>>();
            let Ok(now) = tokio::task::spawn_blocking(look).await else { continue };
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
