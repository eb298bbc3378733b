use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::state_file::StateFile;
use crate::fleet::Memory;

/// Writes what outlives this process, beside the keeper, who never waits for a disk. What changes while something is
/// being written goes into the next writing together.
pub struct StateWriter {
    file: StateFile,
    wishes: watch::Receiver<Wish>,
    outcomes: watch::Sender<Outcome>,
    /// A writing that has taken too long.
    late: Option<Writing>,
}

type Writing = JoinHandle<Result<(), Arc<str>>>;

/// The keeper's end of it.
#[derive(Debug)]
pub struct StateDesk {
    wishes: watch::Sender<Wish>,
    outcomes: watch::Receiver<Outcome>,
}

#[derive(Clone, Debug)]
struct Wish {
    number: u64,
    memory: Memory,
}

/// How far what was wished for has come.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// That wish and all before it have been dealt with.
    pub number: u64,
    /// Why the last of them is not on the disk.
    pub failure: Option<Arc<str>>,
}

fn too_slow() -> Arc<str> {
    format!("the disk has not taken it within {} seconds", PATIENCE.as_secs()).into()
}

/// For one writing.
const PATIENCE: Duration = Duration::from_secs(5);
/// After that what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(10);

impl StateWriter {
    /// A writer and the desk to it. `found`: what the file holds.
    pub fn new(file: StateFile, found: Memory) -> (Self, StateDesk) {
        let (wish_sender, wishes) = watch::channel(Wish { number: 0, memory: found });
        let (outcomes, outcome_receiver) = watch::channel(Outcome { number: 0, failure: None });
        let desk = StateDesk { wishes: wish_sender, outcomes: outcome_receiver };
        (Self { file, wishes, outcomes, late: None }, desk)
    }

    /// Works until the keeper is gone and his last wish has been dealt with.
    pub async fn run(mut self) {
        loop {
            let failed = self.outcomes.borrow().failure.is_some();
            tokio::select! {
                changed = self.wishes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN), if failed && self.file.exists() => {}
            }
            let Wish { number, memory } = self.wishes.borrow_and_update().clone();
            let failure = self.write(memory).await.err();
            self.tell(failure.as_deref());
            self.outcomes.send_replace(Outcome { number, failure });
        }
    }

    async fn write(&mut self, memory: Memory) -> Result<(), Arc<str>> {
        // never two at a time: the older one could come last
        if let Some(before) = self.late.take() {
            let _ = self.patiently(before).await;
            if self.late.is_some() {
                return Err(too_slow());
            }
        }
        let file = self.file.clone();
        self.patiently(tokio::task::spawn_blocking(move || file.write(&memory))).await
    }

    async fn patiently(&mut self, mut writing: Writing) -> Result<(), Arc<str>> {
        match tokio::time::timeout(PATIENCE, &mut writing).await {
            Ok(done) => done.unwrap_or_else(|error| Err(error.to_string().into())),
            Err(_) => {
                self.late = Some(writing);
                Err(too_slow())
            }
        }
    }

    /// The first failure, and the end of it. Where nothing is kept, that has been told at the start.
    fn tell(&self, failure: Option<&str>) {
        let failed = self.outcomes.borrow().failure.is_some();
        match failure {
            Some(reason) if !failed && self.file.exists() => tracing::warn!(
                reason,
                "drains and failsafe choices could not be stored: what has changed is forgotten at the end; it is tried again"
            ),
            None if failed => tracing::info!("drains and failsafe choices are stored again"),
            _ => {}
        }
    }
}

impl StateDesk {
    /// Has this written, unless it was the last wish, and tells its number.
    pub fn wish(&self, memory: Memory) -> u64 {
        self.wishes.send_if_modified(|wish| {
            let is_new = wish.memory != memory;
            if is_new {
                *wish = Wish { number: wish.number.saturating_add(1), memory };
            }
            is_new
        });
        self.wishes.borrow().number
    }

    /// How far they have come.
    pub fn outcome(&self) -> Outcome {
        self.outcomes.borrow().clone()
    }

    /// Returns when they have come further.
    pub async fn progress(&mut self) {
        if self.outcomes.changed().await.is_err() {
            // the writer is gone, which is seen elsewhere
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::GatewayName;

    fn active(name: &str) -> Memory {
        Memory { words: vec![], actives: vec![(None, GatewayName::new(name))] }
    }

    #[tokio::test]
    async fn the_last_wish_is_on_the_disk_when_it_is_told_so_and_when_the_keeper_goes() {
        let folder = tempfile::tempdir().unwrap();
        let open = || StateFile::open(Some(folder.path()));
        let (file, found) = open();
        let (writer, mut desk) = StateWriter::new(file, found);
        let writer = tokio::spawn(writer.run());
        assert_eq!(desk.wish(Memory::default()), 0, "that is there already");
        for name in ["gw1", "gw2", "gw3"] {
            desk.wish(active(name));
        }
        while desk.outcome().number < 3 {
            desk.progress().await;
        }
        assert_eq!((desk.outcome().failure, open().1), (None, active("gw3")));
        desk.wish(active("gw4"));
        drop(desk);
        writer.await.unwrap();
        assert_eq!(open().1, active("gw4"));
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("state");
        let (file, found) = StateFile::open(Some(&place));
        std::fs::remove_dir(&place).unwrap();
        std::fs::write(&place, "").unwrap();
        let (writer, mut desk) = StateWriter::new(file, found);
        let writer = tokio::spawn(writer.run());
        desk.wish(active("gw1"));
        desk.progress().await;
        let Outcome { number, failure } = desk.outcome();
        assert!(
            number == 1 && failure.as_deref().is_some_and(|why| why.contains("state.json")),
            "{failure:?}"
        );
        std::fs::remove_file(&place).unwrap();
        tokio::time::pause();
        tokio::time::advance(AGAIN).await;
        tokio::time::resume();
        while desk.outcome().failure.is_some() {
            desk.progress().await;
        }
        assert_eq!(StateFile::open(Some(&place)).1, active("gw1"));
        drop(desk);
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_disk_that_hangs_is_told_and_one_writing_at_a_time_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let (file, found) = StateFile::open(Some(folder.path()));
        let (mut writer, _desk) = StateWriter::new(file, found);
        // the paused clock would stand still while a blocking task runs
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let hanging = tokio::spawn(async move {
            let _ = released.await;
            Ok(())
        });
        tokio::time::pause();
        assert_eq!(writer.patiently(hanging).await, Err(too_slow()));
        for _ in 0..3 {
            assert_eq!(writer.write(active("gw1")).await, Err(too_slow()));
            assert!(writer.late.is_some());
        }
        tokio::time::resume();
        release.send(()).unwrap();
        assert_eq!(writer.write(active("gw2")).await, Ok(()));
        assert_eq!(StateFile::open(Some(folder.path())).1, active("gw2"));
    }
}
