//! Sets up the log.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

use crate::config::{LogFormat, LogSettings};

/// Sends the log to standard error, through a thread of its own: a terminal or a journal that does not read
/// holds nobody up. What is still on its way is written when the guard is dropped.
pub fn start(settings: LogSettings) -> WorkerGuard {
    let (writer, guard) = NonBlocking::new(std::io::stderr());
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let log = fmt()
        .with_writer(writer)
        .with_max_level(LevelFilter::from_level(settings.level))
        .with_target(false)
        .with_ansi(colour);
    let result = match settings.format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).try_init(),
    };
    // only a program that has set up a log of its own gets here twice; it keeps that one
    drop(result);
    guard
}
