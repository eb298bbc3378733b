use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::make::{Made, MakeError, Request, make};

/// A file that has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub path: PathBuf,
    /// What it is for, in a few words.
    pub purpose: String,
}

/// Why nothing has been written.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// The request makes no sense.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// Nothing is ever overwritten.
    #[error("{} exists already; move it away, or give another --dir", .0.display())]
    Exists(PathBuf),
    /// A file or the directory cannot be made.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Makes everything in `request` and writes it into `dir`, which is made if it is missing: all files or
/// none. Private keys are readable for their owner alone.
pub fn init(dir: &Path, request: &Request) -> Result<Vec<Written>, CertsError> {
    let files = files(&make(request, SystemTime::now())?);
    for file in &files {
        let path = dir.join(&file.name);
        // also what a dangling link has in its place
        if path.symlink_metadata().is_ok() {
            return Err(CertsError::Exists(path));
        }
    }
    let mut undo = Undo::default();
    undo.make_directories(dir).map_err(|source| CertsError::Write { path: dir.into(), source })?;
    let mut written = Vec::new();
    for file in files {
        let path = dir.join(&file.name);
        undo.create(&path, &file).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => CertsError::Exists(path.clone()),
            _ => CertsError::Write { path: path.clone(), source },
        })?;
        written.push(Written { path, purpose: file.purpose });
    }
    undo.keep();
    Ok(written)
}

struct NewFile {
    name: String,
    content: String,
    mode: u32,
    purpose: String,
}

const PUBLIC: u32 = 0o644;
const SECRET: u32 = 0o600;

fn files(made: &Made) -> Vec<NewFile> {
    let file = |name: String, content: &str, mode, purpose: String| {
        let content = content.into();
        NewFile { name, content, mode, purpose }
    };
    let mut pairs = vec![
        (
            "ca",
            &made.authority,
            "the private authority; trust this on front doors, gateways and trial clients".to_owned(),
            "signs further certificates; keep it away from all of these hosts".to_owned(),
        ),
        (
            "portal",
            &made.portal,
            "the listeners of all front doors show this".into(),
            "its key, on all front doors".into(),
        ),
    ];
    for (name, pair) in &made.fronts {
        let purpose = format!("front door {name} shows this to the agents");
        pairs.push((name, pair, purpose, format!("its key, on {name} alone")));
    }
    for (name, pair) in &made.gateways {
        let purpose = format!("the agent on gateway {name} shows this");
        pairs.push((name, pair, purpose, format!("its key, on {name} alone")));
    }
    let mut files = Vec::new();
    for (name, pair, certificate, key) in pairs {
        files.push(file(format!("{name}.pem"), &pair.certificate_pem, PUBLIC, certificate));
        files.push(file(format!("{name}.key"), &pair.key_pem, SECRET, key));
    }
    let secret = "front doors sign DVE answers with this; the same on all of them".to_owned();
    files.push(file("dve.key".into(), &made.dve.key_pem, SECRET, secret));
    let public = format!("clients check DVE answers with this: --key {}", made.dve.public_hex());
    files.push(file("dve.pub".into(), &made.dve.public_pem, PUBLIC, public));
    files
}

/// What to remove again unless all goes well; the newest last.
#[derive(Default)]
struct Undo {
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Undo {
    fn make_directories(&mut self, dir: &Path) -> io::Result<()> {
        let missing: Vec<_> =
            dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists()).collect();
        for directory in missing.into_iter().rev() {
            fs::create_dir(directory)?;
            self.directories.push(directory.into());
        }
        Ok(())
    }

    fn create(&mut self, path: &Path, new: &NewFile) -> io::Result<()> {
        // create_new is O_EXCL: it follows no link and takes over no file
        let mut file = OpenOptions::new().write(true).create_new(true).mode(new.mode).open(path)?;
        self.files.push(path.into());
        file.write_all(new.content.as_bytes())?;
        file.sync_all()
    }

    fn keep(mut self) {
        self.files.clear();
        self.directories.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        // nobody is left to be told when this fails too; the first failure is what is reported
        for file in self.files.iter().rev() {
            let _ = fs::remove_file(file);
        }
        for directory in self.directories.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::certs::Named;
    use crate::net::{pem, tls};

    fn request() -> Request {
        Request {
            server_names: vec!["vpn.example.com".into()],
            fronts: vec![Named { name: "front-a".into(), addresses: vec![] }],
            gateways: vec![Named { name: "gw1".into(), addresses: vec![] }],
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_file_is_written_with_its_purpose_and_keys_are_for_the_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("new/certs");
        let written = init(&dir, &request()).unwrap();
        let told: Vec<_> =
            written.iter().map(|w| w.path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        let expected = [
            "ca.pem",
            "ca.key",
            "portal.pem",
            "portal.key",
            "front-a.pem",
            "front-a.key",
            "gw1.pem",
            "gw1.key",
            "dve.key",
            "dve.pub",
        ];
        assert_eq!(told, expected);
        assert!(written.iter().all(|w| !w.purpose.is_empty()));
        assert_eq!(names(&dir).len(), expected.len());
        for name in expected.iter().filter(|name| name.ends_with(".key")) {
            let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, SECRET, "{name}");
        }
        for name in ["ca", "portal", "front-a", "gw1"] {
            let chain = pem::read_certificates(&dir.join(format!("{name}.pem"))).unwrap();
            tls::identity(chain, pem::read_key(&dir.join(format!("{name}.key"))).unwrap()).unwrap();
        }
    }

    #[test]
    fn nothing_is_written_where_any_of_the_files_exists() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("gw1.key"), "precious").unwrap();
        let error = init(dir.path(), &request()).unwrap_err();
        assert!(error.to_string().contains("gw1.key exists already"), "{error}");
        assert_eq!(names(dir.path()), ["gw1.key"]);
        assert_eq!(fs::read_to_string(dir.path().join("gw1.key")).unwrap(), "precious");
    }

    #[test]
    fn a_dangling_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        symlink(dir.path().join("elsewhere"), dir.path().join("dve.key")).unwrap();
        assert!(matches!(init(dir.path(), &request()), Err(CertsError::Exists(_))));
        assert_eq!(names(dir.path()), ["dve.key"]);
    }

    #[test]
    fn a_failure_half_way_removes_what_was_written() {
        let parent = tempfile::tempdir().unwrap();
        // so deep that "/ca.key" still fits in the longest path that Linux takes and "/portal.pem" does not
        let mut dir = parent.path().to_owned();
        while dir.as_os_str().len() < 4085 {
            dir.push("x".repeat((4085 - dir.as_os_str().len() - 1).clamp(1, 200)));
        }
        let error = init(&dir, &request()).unwrap_err();
        assert!(matches!(&error, CertsError::Write { path, .. } if path.ends_with("portal.pem")));
        assert_eq!(names(parent.path()), [""; 0], "the directories are gone too");
    }

    #[test]
    fn a_request_that_makes_no_sense_leaves_no_trace() {
        let parent = tempfile::tempdir().unwrap();
        let error = init(&parent.path().join("certs"), &Request::default()).unwrap_err();
        assert!(matches!(error, CertsError::Make(MakeError::NoServerName)));
        assert_eq!(names(parent.path()), [""; 0]);
    }
}
