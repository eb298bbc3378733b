//! Running the binary in a folder of its own, and asking what runs.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use vestibule::net::tls::{self, Trust};

/// A temporary folder in which the binary runs, so that paths in its texts are short and always the same.
pub struct Folder(tempfile::TempDir);

/// How a command has ended and what it has printed.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A folder with `certs/`, as `vestibule certs init` makes it for the example configurations.
    pub fn with_certificates() -> Self {
        let folder = Self::new();
        let made = folder.run(CERTS_INIT);
        assert_eq!(made.status, 0, "{made:?}");
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.join(name), content).unwrap();
    }

    /// Every file and folder in it.
    pub fn list(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        command.env_remove("VESTIBULE_ADMIN").env_remove("COLUMNS").env("NO_COLOR", "1");
        command
    }

    /// Runs a command that ends by itself.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ended {
        Running::start(self.command(arguments)).wait()
    }

    /// What `check` prints of a configuration with this content, and its exit status.
    pub fn check(&self, name: &str, content: &str) -> (i32, String) {
        self.write(name, content);
        let Ended { status, stdout, stderr } = self.run(["check", "-c", name]);
        assert_eq!(stderr, "");
        (status, stdout)
    }
}

pub const BINARY: &str = env!("CARGO_BIN_EXE_vestibule");

/// What the example configurations say is to be called.
pub const CERTS_INIT: [&str; 14] = [
    "certs",
    "init",
    "--dir",
    "certs",
    "--name",
    "vpn.example.com",
    "--name",
    "62.168.1.203",
    "--front",
    "front-a",
    "--gateway",
    "gw1=192.168.200.1",
    "--gateway",
    "gw2=192.168.200.2",
];

/// For anything that is to happen soon.
pub const LONG: Duration = Duration::from_secs(20);

/// A process that is gone when this is dropped, however the test ends.
pub struct Running {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// What a process has printed so far.
struct Output {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Output::read(child.stdout.take().unwrap());
        let stderr = Output::read(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// The same where standard output is not for us to read.
    pub fn start_with_stdout(mut command: Command, stdout: impl Into<Stdio>) -> Self {
        let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = Output::read(child.stderr.take().unwrap());
        Self { child, stdout: Output::read(std::io::empty()), stderr }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The name of the program that it is now.
    pub fn program(&self) -> String {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", self.child.id())).unwrap();
        name.trim_end().to_owned()
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self) -> Ended {
        let mut status = None;
        until("it never ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        let code = status.code().unwrap_or_else(|| panic!("{status}: {}", self.stderr()));
        Ended { status: code, stdout: self.stdout.all(), stderr: self.stderr.all() }
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text.lock().unwrap().clone()
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text.lock().unwrap().clone()
    }

    /// Waits until it has printed this to standard error.
    pub fn wait_for(&self, words: &str) {
        self.wait_for_times(words, 1);
    }

    /// Waits until it has printed this to standard error so often.
    pub fn wait_for_times(&self, words: &str, times: usize) {
        let started = Instant::now();
        while self.stderr().matches(words).count() < times {
            assert!(started.elapsed() < LONG, "it never said {words:?}:\n{}", self.stderr());
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // an error means that it has ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    fn read(stream: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                shared.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, reader: Some(reader) }
    }

    /// Everything, once its process has ended.
    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text.lock().unwrap().clone()
    }
}

/// Polls until the condition holds.
pub fn until(complaint: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LONG, "{complaint}");
        std::thread::sleep(PAUSE);
    }
}

const PAUSE: Duration = Duration::from_millis(10);

/// An address of loopback that no other test, and no other run of the tests, uses: two processes cannot get
/// into each other's way over ports.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [.., high, low] = std::process::id().to_be_bytes();
    // 127.0.0.0 to 127.63.255.255 are left to everyone else
    Ipv4Addr::new(127, 64 | (high & 63), low, number)
}

/// A port on which nobody listens.
pub fn free_port(address: Ipv4Addr) -> u16 {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

/// Takes connections and closes them, as long as the tests run: enough for a check of kind `tcp`.
pub fn accept_all(address: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let local = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    local
}

/// `GET /` on a connection of its own over HTTP/1.1: the answer's head and body as they came.
pub fn http(address: SocketAddr) -> String {
    exchange(&mut connect(address), GET)
}

/// The same over TLS, with the certificate that was shown.
pub fn https(address: SocketAddr) -> (String, CertificateDer<'static>) {
    over_tls(address, "vpn.example.com", tls::client_config(&Trust::Anyone, None).unwrap(), GET)
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: vpn.example.com\r\nConnection: close\r\n\r\n";

/// Any bytes over TLS, and what comes until the other side closes.
pub fn over_tls(
    address: SocketAddr,
    name: &str,
    config: Arc<ClientConfig>,
    request: &[u8],
) -> (String, CertificateDer<'static>) {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, connect(address));
    let answer = exchange(&mut stream, request);
    let shown = stream.conn.peer_certificates().unwrap()[0].clone().into_owned();
    (answer, shown)
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, LONG).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// Sends bytes and reads until the other side closes.
pub fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> String {
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // what came before a connection that ends without close_notify is the answer all the same
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A header of an answer.
pub fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().take_while(|line| !line.is_empty()).find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}
