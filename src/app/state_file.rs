use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::state_document;
use crate::fleet::Memory;
use crate::net::words::in_words;

/// Where a front door keeps what outlives its process.
#[derive(Clone, Debug)]
pub struct StateFile {
    /// Why there is none, in the words of a warning.
    folder: Result<PathBuf, Arc<str>>,
}

impl StateFile {
    /// Opens the folder, makes it where it is missing, and reads what is there. Nothing of it stops the start: what
    /// cannot be done is told in one warning. `None`: nothing is kept.
    pub fn open(folder: Option<&Path>) -> (Self, Memory) {
        let Some(folder) = folder else {
            return (Self { folder: Err("[node] state_dir is empty".into()) }, Memory::default());
        };
        if let Err(error) = make(folder) {
            let why = format!("the folder {} cannot be made: {}", folder.display(), in_words(&error));
            tracing::warn!("{why}; drains are forgotten at the end; set [node] state_dir");
            return (Self { folder: Err(why.into()) }, Memory::default());
        }
        (Self { folder: Ok(folder.into()) }, read_or_move_aside(folder))
    }

    /// Whether anything can be kept at all.
    pub fn exists(&self) -> bool {
        self.folder.is_ok()
    }

    /// Replaces the file: whatever happens meanwhile, it is the old one or the new one, and whole. When this returns
    /// it is on the disk.
    ///
    /// # Errors
    /// In words, where it could not be done; then the old one stays.
    pub fn write(&self, memory: &Memory) -> Result<(), Arc<str>> {
        let folder = self.folder.as_ref().map_err(Arc::clone)?;
        let path = folder.join(NAME);
        let bytes = state_document::write(memory).map_err(|error| Arc::from(error.to_string()))?;
        replace(folder, &path, &bytes)
            .map_err(|error| format!("{} cannot be written: {}", path.display(), in_words(&error)).into())
    }
}

const NAME: &str = "state.json";
/// What a process that was killed leaves behind is overwritten by the next one.
const NEXT: &str = "state.json.new";
const BAD: &str = "state.json.bad";
/// A thousand drains are a tenth of it.
const MOST_BYTES: u64 = 1 << 20;

fn make(folder: &Path) -> io::Result<()> {
    // "recursive" takes one that is there, and only a folder
    DirBuilder::new().recursive(true).mode(0o750).create(folder)
}

fn read_or_move_aside(folder: &Path) -> Memory {
    let path = folder.join(NAME);
    let why = match read(&path) {
        Ok(None) => return Memory::default(),
        Ok(Some(bytes)) => match state_document::read(&bytes) {
            Ok(memory) => return memory,
            Err(error) => error.to_string(),
        },
        Err(error) => format!("it cannot be read: {}", in_words(&error)),
    };
    let aside = folder.join(BAD);
    let (path, shown) = (path.as_path(), path.display());
    match fs::rename(path, &aside) {
        Ok(()) => tracing::warn!(
            "drains and failsafe choices of before are not known: {shown}: {why}; it is now {}",
            aside.display()
        ),
        Err(error) => tracing::warn!(
            "drains and failsafe choices of before are not known: {shown}: {why}; nor can it be moved aside: {}",
            in_words(&error)
        ),
    }
    Memory::default()
}

/// `None`: there is no file.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        // a pipe would be waited for
        Ok(metadata) if !metadata.is_file() => return Err(io::Error::other("it is no file")),
        Ok(metadata) if metadata.len() > MOST_BYTES => return Err(io::Error::other("it is too large")),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // it may have been removed since
    make(folder)?;
    let next = folder.join(NEXT);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    // the new name must be on the disk, too
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::fleet::{GatewayName, Remembered, Stamp, Word};

    fn drained(name: &str) -> Memory {
        let (reason, by) = ("new kernel".into(), "uid 0".into());
        let since = SystemTime::UNIX_EPOCH;
        Memory {
            words: vec![Word {
                gateway: GatewayName::new(name),
                stamp: Stamp::new(7).unwrap(),
                drain: Some(Remembered { reason, by, since }),
            }],
            actives: vec![],
        }
    }

    #[test]
    fn what_was_written_last_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("lib/vestibule");
        let (file, before) = StateFile::open(Some(&place));
        assert_eq!(before, Memory::default());
        for name in ["gw1", "gw2"] {
            file.write(&drained(name)).unwrap();
        }
        fs::write(place.join(NEXT), "half of the next o").unwrap();
        assert_eq!(StateFile::open(Some(&place)).1, drained("gw2"));
        file.write(&Memory::default()).unwrap();
        assert_eq!(StateFile::open(Some(&place)).1, Memory::default());
    }

    #[test]
    fn a_file_that_is_damaged_or_none_is_moved_aside_and_the_next_one_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let [path, bad] = [NAME, BAD].map(|name| folder.path().join(name));
        fs::write(&path, "{\"version\": 1, \"drains\": [{").unwrap();
        let (file, memory) = StateFile::open(Some(folder.path()));
        assert_eq!((memory, path.exists()), (Memory::default(), false));
        assert!(fs::read_to_string(&bad).unwrap().starts_with("{\"version\""));
        file.write(&drained("gw1")).unwrap();
        assert_eq!(StateFile::open(Some(folder.path())).1, drained("gw1"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, vec![b' '; MOST_BYTES as usize + 1]).unwrap();
        assert_eq!(StateFile::open(Some(folder.path())).1, Memory::default());
        assert!(!path.exists());
        fs::remove_file(&bad).unwrap();
        // like a pipe, it is no file; opened, that one would be waited for
        fs::create_dir(&path).unwrap();
        assert_eq!(StateFile::open(Some(folder.path())).1, Memory::default());
        assert!(bad.is_dir() && !path.exists());
    }

    #[test]
    fn where_there_is_no_folder_nothing_is_kept_and_it_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let below_a_file = folder.path().join("file/state");
        fs::write(folder.path().join("file"), "").unwrap();
        let (file, memory) = StateFile::open(Some(&below_a_file));
        assert_eq!(memory, Memory::default());
        let why = file.write(&drained("gw1")).unwrap_err();
        assert!(why.contains("cannot be made"), "{why}");
        let (file, _) = StateFile::open(None);
        assert_eq!(&*file.write(&drained("gw1")).unwrap_err(), "[node] state_dir is empty");
    }
}
