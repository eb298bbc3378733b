use std::time::Duration;

use tokio::task::JoinHandle;
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
    /// A look that has begun. On a file system that hangs it never ends, and there is no second one.
    looking: Option<JoinHandle<Vec<SeenFile>>>,
}

impl WatchedFiles {
    /// Watches these from how they were when they were read.
    pub fn new(seen: Vec<SeenFile>) -> Self {
        Self { seen, changing: false, looks: tokio::time::interval(PAUSE), looking: None }
    }

    /// Returns when one of them has changed and none has changed for [`PAUSE`] since: a certificate and
    /// its key are written one after the other. May be dropped and called again: it goes on where it was.
    pub async fn changed(&mut self) {
        loop {
            let looking = match &mut self.looking {
                Some(looking) => looking,
                None => {
                    self.looks.tick().await;
                    let before = self.seen.clone();
                    // on another thread: a file system that hangs must hold up no one else
                    let look = move || before.iter().map(SeenFile::look_again).collect();
                    self.looking.insert(tokio::task::spawn_blocking(look))
                }
            };
            let looked = looking.await;
            self.looking = None;
            let Ok(now) = looked else { continue };
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
