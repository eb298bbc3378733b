//! The Unix socket that the command line talks to.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// The file of a Unix socket; removed when dropped, unless another has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Why there is no admin socket. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers on it.
    #[error("another front door is running on {}; stop it, or give this one another [admin] socket", .0.display())]
    InUse(PathBuf),
    /// Somebody keeps its directory locked.
    #[error("the directory {} stays locked by another program; try again, or set another [admin] socket", .0.display())]
    Locked(PathBuf),
    /// Something else has that name.
    #[error("{} exists and is not a socket; move it away, or set another [admin] socket", .0.display())]
    NotASocket(PathBuf),
    /// The kernel takes no longer one (unix(7)).
    #[error("{} is too long for a socket, which has room for {MAX_PATH} bytes; set another [admin] socket", .0.display())]
    TooLong(PathBuf),
    /// Its directory is missing and cannot be made.
    #[error("the directory {} cannot be made; make it, or set another [admin] socket", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Any other fault.
    #[error("the admin socket {} cannot be opened; check the permissions of its directory", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Opens the socket, readable and writable for its owner and group alone. Makes its directory where that is
/// missing, and takes the place of a socket on which nobody answers any more. Must be called within a tokio
/// runtime.
///
/// # Errors
/// Above all [`SocketError::InUse`] if a front door answers there.
pub fn bind(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    if path.as_os_str().len() > MAX_PATH {
        return Err(SocketError::TooLong(path.into()));
    }
    let directory = directory_of(path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(|source| SocketError::Directory { path: directory.into(), source })?;
    // Of two that start at the same moment, the later must not remove the new socket of the earlier.
    let _turn = take_turn(directory, PATIENCE)?;
    clear_away_stale(path)?;
    listen(path).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => SocketError::InUse(path.into()),
        _ => SocketError::Bind { path: path.into(), source },
    })
}

/// sun_path without its terminating zero.
const MAX_PATH: usize = 107;
const MODE: u32 = 0o660;
const BACKLOG: i32 = 64;
/// For how long another one's turn is waited out; nothing else is done at the start meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Holds the directory's lock until dropped. Where directories cannot be locked there is no turn to take.
///
/// The lock is the directory's and not the socket's own, for that would need a file more, and such a file
/// cannot be removed without a race of its own. A turn is over in a moment, so it is waited for.
fn take_turn(directory: &Path, patience: Duration) -> Result<Option<File>, SocketError> {
    let Ok(file) = File::open(directory) else { return Ok(None) };
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(_)) => return Ok(None),
            Err(TryLockError::WouldBlock) if started.elapsed() < patience => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Err(SocketError::Locked(directory.into())),
        }
    }
}

fn clear_away_stale(path: &Path) -> Result<(), SocketError> {
    let bind_error = |source| SocketError::Bind { path: path.into(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(bind_error(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.into()));
        }
        Ok(_) => {}
    }
    if answers(path).map_err(bind_error)? {
        return Err(SocketError::InUse(path.into()));
    }
    fs::remove_file(path).map_err(bind_error)
}

fn answers(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // with a full backlog the kernel would make us wait; EAGAIN then says that somebody is there
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(false),
            io::ErrorKind::WouldBlock => Ok(true),
            _ => Err(error),
        },
    }
}

fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let socket = bind_closed(path)?;
    let metadata = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.into(), device: metadata.dev(), inode: metadata.ino() };
    // the umask may have taken away more than was meant
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = std::os::unix::net::UnixListener::from(OwnedFd::from(socket));
    Ok((UnixListener::from_std(listener)?, file))
}

/// Binds with no more permissions than [`MODE`]. Linux gives the file the mode of the socket that is bound,
/// less the umask; setting it before leaves no moment in which anyone could connect.
fn bind_closed(path: &Path) -> io::Result<Socket> {
    let socket = File::from(OwnedFd::from(Socket::new(Domain::UNIX, Type::STREAM, None)?));
    socket.set_permissions(Permissions::from_mode(MODE))?;
    let socket = Socket::from(OwnedFd::from(socket));
    socket.bind(&SockAddr::unix(path)?)?;
    Ok(socket)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the admin socket stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn nobody_else_can_connect_from_the_first_moment_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let _socket = bind_closed(&path).unwrap();
        assert_eq!(mode(&path) & !MODE, 0, "{:o}", mode(&path));
    }

    #[tokio::test]
    async fn the_socket_is_for_owner_and_group_and_goes_with_its_guard() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/vestibule/admin.sock");
        let (listener, file) = bind(&path).unwrap();
        assert_eq!(mode(&path), 0o660);
        let (_client, accepted) = tokio::join!(tokio::net::UnixStream::connect(&path), listener.accept());
        accepted.unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_on_which_somebody_answers_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let (_listener, _file) = bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert!(matches!(error, SocketError::InUse(_)));
        assert!(error.to_string().starts_with("another front door is running on "));
        tokio::net::UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_front_door_too_busy_to_accept_is_still_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let socket = bind_closed(&path).unwrap();
        socket.listen(0).unwrap();
        let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert!(matches!(bind(&path), Err(SocketError::InUse(_))));
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_its_old_guard_leaves_the_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let (old_listener, old_file) = bind(&path).unwrap();
        drop(old_listener);
        // keeps the old inode in use, so that the new file cannot get its number
        fs::hard_link(&path, directory.path().join("kept")).unwrap();
        let (_listener, _file) = bind(&path).unwrap();
        drop(old_file);
        tokio::net::UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn front_doors_with_sockets_in_one_directory_do_not_get_in_each_others_way() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Handle::current();
        let path = |n| directory.path().join(format!("{n}.sock"));
        let start = std::sync::Barrier::new(8);
        let bind_at_once = |n: u32| {
            let _inside = runtime.enter();
            start.wait();
            bind(&path(n)).map(drop)
        };
        thread::scope(|scope| {
            let binding: Vec<_> = (0..8).map(|n| scope.spawn(move || bind_at_once(n))).collect();
            for bound in binding {
                bound.join().unwrap().unwrap();
            }
        });
    }

    #[tokio::test]
    async fn of_many_that_want_one_socket_one_gets_it() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Handle::current();
        let path = directory.path().join("admin.sock");
        // left behind: the others must not take the winner's for this one
        drop(bind_closed(&path).unwrap());
        let start = std::sync::Barrier::new(8);
        let bind_at_once = || {
            let _inside = runtime.enter();
            start.wait();
            bind(&path)
        };
        let results: Vec<_> = thread::scope(|scope| {
            let binding: Vec<_> = (0..8).map(|_| scope.spawn(bind_at_once)).collect();
            binding.into_iter().map(|bound| bound.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(SocketError::InUse(_)))));
        tokio::net::UnixStream::connect(&path).await.unwrap();
    }

    #[test]
    fn a_directory_that_stays_locked_is_not_waited_for_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let taken = take_turn(directory.path(), Duration::ZERO).unwrap();
        assert!(taken.is_some());
        let refused = take_turn(directory.path(), 2 * PAUSE).unwrap_err();
        assert!(refused.to_string().contains("stays locked by another program"), "{refused}");
        drop(taken);
        assert!(take_turn(directory.path(), Duration::ZERO).unwrap().is_some());
    }

    #[tokio::test]
    async fn what_is_not_a_socket_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_is_refused_with_the_reason() {
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(MAX_PATH)));
        assert!(matches!(bind(&long), Err(SocketError::TooLong(_))));
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let below_a_file = directory.path().join("file/admin.sock");
        assert!(matches!(bind(&below_a_file), Err(SocketError::Directory { .. })));
    }
}
