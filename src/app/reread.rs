use std::sync::Arc;
use std::time::Duration;

use crate::config::Problem;

/// Reads a configuration again.
pub type Reread<T> = Arc<dyn Fn() -> Result<(T, Vec<Problem>), Vec<Problem>> + Send + Sync>;

/// Reads it on another thread, for its files may be many, or far away. The warnings go to the log, the
/// errors back.
pub async fn read_again<T: Send + 'static>(read: &Reread<T>) -> Result<T, Vec<String>> {
    let read = Arc::clone(read);
    let reading = tokio::time::timeout(TIMEOUT, tokio::task::spawn_blocking(move || read()));
    let cannot = |why: String| vec![format!("the configuration cannot be read: {why}")];
    let result = reading.await.map_err(|_| cannot("its files do not answer".into()))?;
    let result = result.map_err(|error| cannot(error.to_string()))?;
    let (settings, warnings) =
        result.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    Ok(settings)
}

/// Tells the log why a configuration was refused.
pub fn tell_refused(problems: &[String]) {
    for problem in problems {
        tracing::error!(problem, "the new configuration is refused, the old one stays");
    }
}

/// Longer than files take that are there; shorter than an administrator's patience.
const TIMEOUT: Duration = Duration::from_secs(5);
