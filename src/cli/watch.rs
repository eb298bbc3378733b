use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::process::{Signal, getpid, kill_process};
use time::OffsetDateTime;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::output;
use super::status::ask;
use super::terminal::{Terminal, is_ours};
use crate::admin::client::Client;
use crate::admin::screen::View;

/// Shows how things stand on the terminal, until `q` is pressed or a signal ends it. The terminal is left as it was.
pub async fn live(client: &Client, gateway: Option<String>, events: usize) -> anyhow::Result<()> {
    let mut signals = Ends::new()?;
    let (mut resized, mut stopped) =
        (signal(SignalKind::window_change())?, signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?);
    let terminal = Terminal::enter(io::stdin(), io::stdout())?;
    let (_kept, mut keys) = keys(terminal.has_keys())?;
    let (told, mut news) = watch::channel(View { gateway, ..View::default() });
    let mut asking = std::pin::pin!(keep_asking(client, &told));
    let mut redraw = tokio::time::interval(SECOND);
    let style = output::style();
    loop {
        let view = news.borrow_and_update().clone();
        terminal.draw(&view.lines(OffsetDateTime::now_utc(), events, terminal.size(), style))?;
        tokio::select! {
            () = signals.any() => return Ok(()),
            () = &mut asking => return Ok(()),
            _ = news.changed() => {}
            // ages grow though nobody tells anything
            _ = redraw.tick() => {}
            _ = resized.recv() => {}
            _ = stopped.recv() => {
                terminal.leave();
                loop {
                    kill_process(getpid(), Signal::STOP)?;
                    if terminal.is_ours() {
                        break;
                    }
                    // who ends what is stopped has it go on for that (kill %1), and the terminal is the shell's
                    if timeout(MOMENT, signals.any()).await.is_ok() {
                        return Ok(());
                    }
                }
                terminal.take_again()?;
            }
            key = keys.recv() => {
                if key.is_some_and(|key| key.eq_ignore_ascii_case(&b'q')) {
                    return Ok(());
                }
            }
        }
    }
}

/// So soon a signal is known of that has come before; and so long it is waited for another look at whose turn it is.
const MOMENT: Duration = Duration::from_millis(100);

/// How often the front door is asked.
const SECOND: Duration = Duration::from_secs(1);

/// Asks once a second. It does not end: one that is started again is worth waiting for.
async fn keep_asking(client: &Client, told: &watch::Sender<View>) {
    loop {
        let answer = ask(client).await;
        told.send_modify(|view| match answer {
            Ok(status) => {
                view.status = Some(status);
                view.silent = None;
            }
            Err(error) => {
                let since = view.silent.take().map_or_else(OffsetDateTime::now_utc, |(since, _)| since);
                view.silent = Some((since, error.to_string()));
            }
        });
        tokio::time::sleep(SECOND).await;
    }
}

/// The keys that are pressed; none come any more where the terminal is gone, which is told by a signal. Who receives keeps the
/// sender, so that the end of the keys is not that of the view.
fn keys(are_there: bool) -> io::Result<(mpsc::Sender<u8>, mpsc::Receiver<u8>)> {
    let (pressed, keys) = mpsc::channel(16);
    let kept = pressed.clone();
    if !are_there {
        return Ok((kept, keys));
    }
    // to wait for a terminal, a thread is what there is: one that is given up with the process
    std::thread::Builder::new().name("keys".into()).spawn(move || {
        let mut key = [0];
        loop {
            let stdin = io::stdin();
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None) {
                // to read what is typed for another one would stop this program, also one that is being ended
                Ok(_) if !is_ours(&stdin) => {
                    std::thread::sleep(MOMENT);
                    continue;
                }
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return,
            }
            match read(&stdin, &mut key) {
                Ok(1..) if key.iter().all(|key| pressed.blocking_send(*key).is_ok()) => {}
                Err(Errno::INTR) => {}
                _ => return,
            }
        }
    })?;
    Ok((kept, keys))
}

/// The signals that end it.
struct Ends([Signals; 4]);

impl Ends {
    fn new() -> io::Result<Self> {
        let [interrupt, terminate, hangup, quit] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()]
                .map(signal);
        Ok(Self([interrupt?, terminate?, hangup?, quit?]))
    }

    /// Returns when one comes.
    async fn any(&mut self) {
        let Self([interrupt, terminate, hangup, quit]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
