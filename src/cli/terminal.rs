use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;

use rustix::io::{Errno, write};
use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize,
    tcsetattr,
};

use crate::admin::screen::Size;

/// A terminal as a screen that is drawn on, until this is dropped: then it is as it was before, what stood on it included.
/// That holds for a panic, too.
pub struct Terminal<I: AsFd, O: AsFd> {
    input: I,
    output: O,
    /// As it was; `None`: no keys come from a terminal.
    modes: Option<Termios>,
    /// It has been given back for now.
    is_away: Cell<bool>,
}

/// The other screen, without a cursor; what is too long for a line is cut.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
/// The screen as it was.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// What comes from here on is to be shown at once, where the terminal knows how.
const BEGIN: &str = "\x1b[?2026h";
/// Now.
const END: &str = "\x1b[?2026l";

/// What is taken where a terminal does not know its own size.
const USUAL: Size = Size { columns: 80, rows: 24 };

impl<I: AsFd, O: AsFd> Terminal<I, O> {
    /// Takes over the terminal at `output`, and its keys at `input`, if that is one.
    pub fn enter(input: I, output: O) -> io::Result<Self> {
        let modes = if isatty(&input) { Some(tcgetattr(&input)?) } else { None };
        let terminal = Self { input, output, modes, is_away: Cell::new(false) };
        terminal.take()?;
        Ok(terminal)
    }

    /// Whether keys come from it.
    pub fn has_keys(&self) -> bool {
        self.modes.is_some()
    }

    /// How large it is now.
    pub fn size(&self) -> Size {
        match tcgetwinsize(&self.output) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
            }
            _ => USUAL,
        }
    }

    /// Draws these lines over what is there, in one piece, so that nothing flickers.
    pub fn draw(&self, lines: &[String]) -> io::Result<()> {
        let rows = self.size().rows;
        let mut frame = String::from(BEGIN);
        for (i, line) in lines.iter().take(rows).enumerate() {
            // what was there goes first: after a line that is full the cursor stands on its last character
            frame.push_str(&format!("\x1b[{};1H\x1b[K{line}", i + 1));
        }
        if lines.len() < rows {
            frame.push_str(&format!("\x1b[{};1H\x1b[J", lines.len() + 1));
        }
        frame.push_str(END);
        self.write(frame.as_bytes())
    }

    /// Gives the terminal back, until it is [taken again](Self::take_again).
    pub fn leave(&self) {
        if !self.is_away.replace(true) {
            self.give_back();
        }
    }

    /// Takes it over as at first.
    pub fn take_again(&self) -> io::Result<()> {
        self.is_away.set(false);
        self.take()
    }

    /// Whether it is this program's turn at it.
    pub fn is_ours(&self) -> bool {
        is_ours(&self.output)
    }

    fn take(&self) -> io::Result<()> {
        if let Some(modes) = &self.modes {
            let mut modes = modes.clone();
            // keys come one by one and are not shown; those that are signals stay signals
            modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(&self.input, OptionalActions::Now, &modes)?;
        }
        self.write(ENTER)
    }

    fn give_back(&self) {
        // nobody is there to be told, where the terminal is gone
        let _ = self.write(LEAVE);
        if let Some(modes) = &self.modes {
            let _ = tcsetattr(&self.input, OptionalActions::Now, modes);
        }
    }

    fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match write(&self.output, bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl<I: AsFd, O: AsFd> Drop for Terminal<I, O> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Whether it is this program's turn at a terminal, and not that of a shell, say, which has it go on in the background.
pub fn is_ours(terminal: impl AsFd) -> bool {
    // one that controls nobody is anybody's
    tcgetpgrp(terminal).map_or(true, |group| group == getpgrp())
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rustix::fs::{Mode, OFlags, open};
    use rustix::io::read;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Winsize, tcsetwinsize};

    use super::*;

    /// The two ends of a terminal.
    fn pair() -> (OwnedFd, OwnedFd) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal = open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        (master, terminal)
    }

    fn modes(terminal: &OwnedFd) -> (LocalModes, u8) {
        let modes = tcgetattr(terminal).unwrap();
        (modes.local_modes, modes.special_codes[SpecialCodeIndex::VMIN])
    }

    /// What has come out of the terminal, once it is as much as expected.
    fn written(master: &OwnedFd, expected: &[u8]) -> String {
        let mut all = Vec::new();
        while all.len() < expected.len() {
            let mut bytes = [0; 4096];
            let count = read(master, &mut bytes).unwrap();
            all.extend_from_slice(&bytes[..count]);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn the_terminal_is_as_before_also_after_a_panic() {
        let (master, terminal) = pair();
        let before = modes(&terminal);
        let end = catch_unwind(AssertUnwindSafe(|| {
            let screen = Terminal::enter(&terminal, &terminal).unwrap();
            assert!(!modes(&terminal).0.intersects(LocalModes::ICANON | LocalModes::ECHO));
            assert!(modes(&terminal).0.contains(LocalModes::ISIG), "Ctrl-C stays a signal");
            screen.draw(&["one".into(), "two".into()]).unwrap();
            std::panic::resume_unwind(Box::new("broken"));
        }));
        assert!(end.is_err());
        assert_eq!(modes(&terminal), before);
        let frame = format!("{BEGIN}\x1b[1;1H\x1b[Kone\x1b[2;1H\x1b[Ktwo\x1b[3;1H\x1b[J{END}");
        let expected = [ENTER, frame.as_bytes(), LEAVE].concat();
        assert_eq!(written(&master, &expected).as_bytes(), expected);
    }

    #[test]
    fn it_is_given_back_while_the_program_is_stopped() {
        let (master, terminal) = pair();
        let before = modes(&terminal);
        let screen = Terminal::enter(&terminal, &terminal).unwrap();
        screen.leave();
        assert_eq!(modes(&terminal), before);
        screen.take_again().unwrap();
        assert_ne!(modes(&terminal), before);
        screen.leave();
        drop(screen);
        assert_eq!(modes(&terminal), before);
        let expected = [ENTER, LEAVE, ENTER, LEAVE].concat();
        assert_eq!(written(&master, &expected).as_bytes(), expected);
    }

    #[test]
    fn keys_come_one_by_one() {
        let (master, terminal) = pair();
        let screen = Terminal::enter(&terminal, &terminal).unwrap();
        assert!(screen.has_keys());
        write(&master, b"q").unwrap();
        let mut key = [0];
        assert_eq!(read(&terminal, &mut key), Ok(1), "without a newline");
        assert_eq!(key, *b"q");
    }

    #[test]
    fn its_size_is_its_own_or_the_usual_one() {
        let (_master, terminal) = pair();
        let screen = Terminal::enter(&terminal, &terminal).unwrap();
        assert_eq!(screen.size(), USUAL);
        let size = Winsize { ws_row: 10, ws_col: 40, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        assert_eq!(screen.size(), Size { columns: 40, rows: 10 });
    }
}
