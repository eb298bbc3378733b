//! Sets up the log.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{LogFormat, LogSettings};

/// Sends the log to standard error, through a thread of its own: a terminal or a journal that does not read
/// holds nobody up. What is still on its way is written when the guard is dropped.
///
/// Only our own events are told, at any level: a library may tell all that a client has sent.
pub fn start(settings: LogSettings) -> WorkerGuard {
    let (writer, guard) = NonBlocking::new(std::io::stderr());
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), settings.level);
    let lines = fmt::layer().with_writer(writer).with_target(false).with_ansi(colour);
    let result = match settings.format {
        LogFormat::Text => tracing_subscriber::registry().with(lines.with_filter(ours)).try_init(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            tracing_subscriber::registry().with(lines.with_filter(ours)).try_init()
        }
    };
    // only a program that has set up a log of its own gets here twice; it keeps that one
    drop(result);
    guard
}
