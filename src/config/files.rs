//! Reading the files that a configuration consists of.

use std::cell::{OnceCell, RefCell};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_spanned::Spanned;
use toml::de::DeTable;

use super::problem::{Problem, Problems, Severity, Span};
use super::schema;
use super::section::Section;
use crate::dve::{NotAKey, SigningKey};
use crate::net::certificate::CertificateFacts;
use crate::net::pem::{self, PemError};
use crate::net::tls::{self, Identity};

/// Whose configuration a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A front door's.
    Front,
    /// A heartbeat agent's.
    Agent,
}

/// Tells by its tables whose configuration a file is; what is neither is taken for a front door's.
pub fn kind_of(path: &Path) -> Kind {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let (table, _) = DeTable::parse_recoverable(&text);
    let has = |key: &str| table.get_ref().contains_key(key);
    let agent = ["agent", "check", "load"].into_iter().filter(|key| has(key)).count();
    let front = ["node", "admin", "listener", "gateway", "balance", "heartbeat"]
        .into_iter()
        .filter(|key| has(key))
        .count();
    if agent > front { Kind::Agent } else { Kind::Front }
}

/// Reads the file at `path`, has `read` make something of it, and returns that with the warnings, or
/// every problem if there is an error among them.
pub fn load<T>(
    path: &Path,
    schema: &'static schema::File,
    read: impl FnOnce(Section<'_>, &Files<'_>) -> Option<T>,
) -> Result<(T, Vec<Problem>), Vec<Problem>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot be read: {}", crate::net::words::in_words(&error));
            let file = path.to_path_buf();
            return Err(vec![Problem { severity: Severity::Error, file, line: 0, column: 0, message }]);
        }
    };
    let problems = Problems::new(path, &text);
    let (table, syntax) = DeTable::parse_recoverable(&text);
    if !syntax.is_empty() {
        for error in syntax {
            let span = error.span().unwrap_or(0..0);
            let mut message = error.message().lines().collect::<Vec<_>>().join("; ");
            if message == "duplicate key"
                && let Some(key) = text.get(span.clone())
            {
                message = format!("duplicate key '{key}'; each key and each [table] stands once");
            }
            problems.error(&span, message);
        }
        return Err(problems.into_list());
    }
    let files = Files::new(path, &problems);
    let result = read(Section::root(schema.root, &table, &problems), &files);
    let problems = problems.into_list();
    match result {
        Some(result) if problems.iter().all(|p| p.severity != Severity::Error) => Ok((result, problems)),
        _ => Err(problems),
    }
}

/// A file as it was when somebody last looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenFile {
    path: PathBuf,
    /// Device, inode, size, and when content or permissions changed; `None` if it was not there.
    stamp: Option<(u64, u64, u64, i64, i64)>,
}

impl SeenFile {
    /// Looks at a file.
    pub fn look(path: PathBuf) -> Self {
        let stamp =
            std::fs::metadata(&path).ok().map(|m| (m.dev(), m.ino(), m.size(), m.ctime(), m.ctime_nsec()));
        Self { path, stamp }
    }

    /// Looks at the same file again.
    pub fn look_again(&self) -> Self {
        Self::look(self.path.clone())
    }

    /// Which file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A certificate of our own.
pub struct Own {
    /// The chain with its key, and what its first certificate says.
    pub shown: (Identity, CertificateFacts),
    /// The key as it stood in its file.
    pub key: PrivateKeyDer<'static>,
}

/// The files that a configuration names, found from the folder it stands in.
pub struct Files<'a> {
    base: PathBuf,
    problems: &'a Problems<'a>,
    read: RefCell<Vec<SeenFile>>,
    system_authorities: OnceCell<Arc<RootCertStore>>,
}

impl<'a> Files<'a> {
    fn new(path: &'a Path, problems: &'a Problems<'a>) -> Self {
        let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self { base, problems, read: RefCell::default(), system_authorities: OnceCell::new() }
    }

    /// Where problems are noted.
    pub fn problems(&self) -> &'a Problems<'a> {
        self.problems
    }

    /// The path as seen from the configuration's folder.
    pub fn resolve(&self, named: &str) -> PathBuf {
        self.base.join(named)
    }

    /// The files read so far, the configuration itself not among them.
    pub fn seen(&self) -> Vec<SeenFile> {
        self.read.borrow().clone()
    }

    /// A short text, such as a token, without white space around it.
    pub fn text(&self, path: &Path) -> std::io::Result<String> {
        self.look_at(path);
        Ok(std::fs::read_to_string(path)?.trim().to_owned())
    }

    /// The certificates in a PEM file.
    pub fn certificates(&self, named: &Spanned<String>) -> Option<Vec<CertificateDer<'static>>> {
        let path = self.note(named);
        pem::read_certificates(&path).map_err(|error| self.pem_problem(named, &path, &error)).ok()
    }

    /// The machine's own authorities, read when first asked for.
    pub fn system_authorities(&self, span: &Span) -> Option<Arc<RootCertStore>> {
        if let Some(authorities) = self.system_authorities.get() {
            return Some(Arc::clone(authorities));
        }
        let authorities = self.problems.take(span, tls::system_authorities())?;
        Some(Arc::clone(self.system_authorities.get_or_init(|| authorities)))
    }

    /// A certificate chain with its key, and what the first certificate says.
    pub fn identity(&self, certificate: &Spanned<String>, key: &Spanned<String>) -> Option<Own> {
        let chain = self.certificates(certificate);
        let key_path = self.note(key);
        let private = pem::read_key(&key_path).map_err(|error| self.pem_problem(key, &key_path, &error)).ok();
        let chain = chain?;
        let facts = match chain.first().map(CertificateFacts::of) {
            Some(Ok(facts)) => facts,
            _ => {
                let path = self.resolve(certificate.get_ref());
                let message = format!("{} does not hold an X.509 certificate", path.display());
                self.problems.error(&certificate.span(), message);
                return None;
            }
        };
        self.warn_of_dates(certificate, &facts);
        let private = private?;
        match tls::identity(chain, private.clone_key()) {
            Ok(identity) => Some(Own { shown: (identity, facts), key: private }),
            Err(tls::TlsError::KeyMismatch) => {
                let shown = self.resolve(certificate.get_ref());
                let message = format!(
                    "the certificate {} does not match its key {}",
                    shown.display(),
                    key_path.display()
                );
                self.problems.error(&key.span(), message);
                None
            }
            Err(error) => {
                self.problems.error(&key.span(), format!("{}: {error}", key_path.display()));
                None
            }
        }
    }

    /// A key that signs DVE answers.
    pub fn signing_key(&self, named: &Spanned<String>) -> Option<SigningKey> {
        let path = self.note(named);
        let key = pem::read_key(&path).map_err(|error| self.pem_problem(named, &path, &error)).ok()?;
        let key = match &key {
            PrivateKeyDer::Pkcs8(der) => SigningKey::from_pkcs8(der.secret_pkcs8_der()),
            _ => Err(NotAKey::Private),
        };
        let told = |error| self.problems.error(&named.span(), format!("{} {error}", path.display()));
        key.map_err(told).ok()
    }

    fn note(&self, named: &Spanned<String>) -> PathBuf {
        let path = self.resolve(named.get_ref());
        self.look_at(&path);
        path
    }

    /// Remembers how the file is before it is read: a change in between is then seen as one.
    fn look_at(&self, path: &Path) {
        let mut read = self.read.borrow_mut();
        if !read.iter().any(|seen| seen.path == path) {
            read.push(SeenFile::look(path.to_path_buf()));
        }
    }

    fn pem_problem(&self, named: &Spanned<String>, path: &Path, error: &PemError) {
        let cause = match error {
            PemError::Read(cause) => format!(": {}", crate::net::words::in_words(cause)),
            PemError::Malformed(cause) => match cause.to_string() {
                words if words.contains(' ') => format!(": {words}"),
                // base64 errors come as the bare name of a variant, InvalidCharacter(33)
                _ => ": what stands between BEGIN and END is damaged".to_owned(),
            },
            PemError::Missing(_) | PemError::Private | PemError::TooLong => String::new(),
        };
        self.problems.error(&named.span(), format!("{} {error}{cause}", path.display()));
    }

    /// Dates are read from the wall clock here, and only to warn.
    fn warn_of_dates(&self, named: &Spanned<String>, facts: &CertificateFacts) {
        let now = std::time::SystemTime::now();
        let path = self.resolve(named.get_ref());
        let warn = |what: String| {
            self.problems.warning(&named.span(), format!("the certificate {} {what}", path.display()));
        };
        let days = |duration: Duration| match duration.as_secs() / 86_400 {
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        };
        match facts.not_after.duration_since(now) {
            Err(past) => warn(format!("expired {} ago; clients will refuse it", days(past.duration()))),
            Ok(left) if left < EXPIRY_WARNING => warn(format!("expires in {}", days(left))),
            Ok(_) => {}
        }
        if facts.not_before > now {
            warn("is not valid yet; is this machine's clock right?".into());
        }
    }
}

const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 86_400);
