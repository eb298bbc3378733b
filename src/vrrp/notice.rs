//! What keepalived writes into its fifo, a line for each change (keepalived.conf(5), notify_fifo). Pure.

use super::instance::InstanceName;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// An instance of ours has come to be that.
    State(InstanceName, State),
    /// An instance of ours is no longer kept.
    Deleted(InstanceName),
    /// Another host announces itself as the master of an instance of ours, while this one is.
    Contested(InstanceName),
    /// It is about an instance with another name.
    Foreign(&'a str),
}

/// What keepalived is for an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// This host has the addresses.
    Master,
    /// Another one has them.
    Backup,
    /// It is not fit, or its interface is down.
    Fault,
    /// It stops.
    Stop,
}

impl State {
    /// keepalived's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "MASTER",
            Self::Backup => "BACKUP",
            Self::Fault => "FAULT",
            Self::Stop => "STOP",
        }
    }
}

impl<'a> Notice<'a> {
    /// Reads a line without its end: `INSTANCE "name" STATE priority`. `None` for what says nothing of an instance: groups,
    /// and what other versions may tell.
    pub fn read(line: &'a str) -> Option<Self> {
        let (name, rest) = line.strip_prefix("INSTANCE \"")?.split_once("\" ")?;
        let word = rest.split(' ').next().unwrap_or_default();
        let Ok(ours) = name.parse() else { return Some(Self::Foreign(name)) };
        Some(match word {
            "MASTER" | "MASTER_PRIORITY" => Self::State(ours, State::Master),
            "BACKUP" | "BACKUP_PRIORITY" => Self::State(ours, State::Backup),
            "FAULT" => Self::State(ours, State::Fault),
            "STOP" => Self::State(ours, State::Stop),
            "DELETED" => Self::Deleted(ours),
            "MASTER_RX_LOWER_PRI" => Self::Contested(ours),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_keepalived_are_read() {
        let ours: InstanceName = "vestibule-31-ipv4".parse().unwrap();
        for (line, expected) in [
            ("INSTANCE \"vestibule-31-ipv4\" MASTER 150", Some(Notice::State(ours, State::Master))),
            ("INSTANCE \"vestibule-31-ipv4\" BACKUP 150", Some(Notice::State(ours, State::Backup))),
            ("INSTANCE \"vestibule-31-ipv4\" FAULT 150", Some(Notice::State(ours, State::Fault))),
            ("INSTANCE \"vestibule-31-ipv4\" STOP 150", Some(Notice::State(ours, State::Stop))),
            ("INSTANCE \"vestibule-31-ipv4\" MASTER", Some(Notice::State(ours, State::Master))),
            ("INSTANCE \"vestibule-31-ipv4\" BACKUP_PRIORITY 90", Some(Notice::State(ours, State::Backup))),
            ("INSTANCE \"vestibule-31-ipv4\" DELETED 150", Some(Notice::Deleted(ours))),
            ("INSTANCE \"vestibule-31-ipv4\" MASTER_RX_LOWER_PRI 150", Some(Notice::Contested(ours))),
            ("INSTANCE \"vestibule-31-ipv4\" DANCING 150", None),
            ("INSTANCE \"V\" MASTER 200", Some(Notice::Foreign("V"))),
            ("GROUP \"vestibule\" MASTER 0", None),
            ("INSTANCE vestibule-31-ipv4 MASTER 150", None),
            ("", None),
        ] {
            assert_eq!(Notice::read(line), expected, "{line}");
        }
        let line = "INSTANCE \"vestibule-31-ipv4\" MASTER 150";
        for length in 0..line.len() {
            let read = Notice::read(&line[..length]);
            assert!(read.is_none() || read == Notice::read(line), "cut at {length}: {read:?}");
        }
    }
}
