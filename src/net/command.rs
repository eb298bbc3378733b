//! Other programs, run for no longer than a given time and read no further than a given length.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};

use super::words::in_words;

/// A program with its arguments. It is run as it stands, without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    program: String,
    arguments: Vec<String>,
}

/// No program was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must name a program")]
pub struct NoProgram;

impl CommandLine {
    /// Takes a program, found on the path if it has no slash, and its arguments.
    pub fn new(words: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, NoProgram> {
        let mut words = words.into_iter().map(Into::into);
        let program = words.next().filter(|program| !program.is_empty()).ok_or(NoProgram)?;
        Ok(Self::of(program, words))
    }

    /// A program that is known by name.
    pub fn of(program: impl Into<String>, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { program: program.into(), arguments: arguments.into_iter().map(Into::into).collect() }
    }

    /// Runs it to its end, or for `timeout` at most; then it is killed with everything it has started.
    /// Of each of its two outputs `limit` bytes are kept; what is longer is read and thrown away. It has no
    /// input.
    pub async fn run(&self, limit: usize, timeout: Duration) -> Result<Finished, CommandError> {
        self.run_with(&[], limit, timeout).await
    }

    /// The same with `input` as its input.
    pub async fn run_with(
        &self,
        input: &[u8],
        limit: usize,
        timeout: Duration,
    ) -> Result<Finished, CommandError> {
        let mut child = tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(CommandError::Start)?;
        let mut group = Group::of(&child);
        let Ok(finished) = tokio::time::timeout(timeout, finish(&mut child, &mut group, input, limit)).await
        else {
            drop(group);
            // it has been killed, so this is only as long as the kernel takes; it leaves no zombie
            let _ = tokio::time::timeout(REAP, child.wait()).await;
            return Err(CommandError::Timeout(timeout));
        };
        finished.map_err(CommandError::Wait)
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status, or the signal that ended it.
    pub status: ExitStatus,
    /// What it said.
    pub stdout: Output,
    /// What it complained of.
    pub stderr: Output,
}

/// One output of a program.
#[derive(Debug, Default)]
pub struct Output {
    /// Its beginning.
    pub bytes: Vec<u8>,
    /// Whether there was more.
    pub is_cut: bool,
}

/// Why a program has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It does not start.
    #[error("cannot be run: {}", in_words(.0))]
    Start(#[source] io::Error),
    /// It did not end in time, and has been killed.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// How it ended cannot be found out.
    #[error("cannot be waited for: {}", in_words(.0))]
    Wait(#[source] io::Error),
}

impl CommandError {
    /// Whether this host lacked what it takes to run anything, so that it says nothing of what was asked.
    pub fn is_shortage(&self) -> bool {
        let Self::Start(error) = self else { return false };
        let error = error.raw_os_error().map(Errno::from_raw_os_error);
        matches!(error, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN))
    }
}

impl Finished {
    /// The first output that holds anything, as text: what the program said, else what it complained of.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.stdout.bytes);
        if text.trim().is_empty() { String::from_utf8_lossy(&self.stderr.bytes).into() } else { text.into() }
    }

    /// How it ended, in words.
    pub fn ending(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        }
    }
}

/// How long a killed program may take to be gone.
const REAP: Duration = Duration::from_millis(200);
/// How long the outputs of an ended program are read if something it has started keeps them open.
const LEFTOVERS: Duration = Duration::from_millis(50);

/// A program and what it has started; killed when dropped before the program has ended.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Once the program has been waited for, its number may be another's.
    fn has_ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // an error means that it has just ended by itself
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

async fn finish(child: &mut Child, group: &mut Group, input: &[u8], limit: usize) -> io::Result<Finished> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let stdin = child.stdin.take();
    let (mut stdout, mut stderr) = (Output::default(), Output::default());
    let status = {
        let reading = async {
            // a program that wants no more of its input says so by its exit status
            let _ = tokio::join!(write(stdin, input), stdout.fill(out, limit), stderr.fill(err, limit));
        };
        let mut reading = std::pin::pin!(reading);
        let (status, is_read) = tokio::select! {
            biased;
            _ = &mut reading => (child.wait().await, true),
            status = child.wait() => (status, false),
        };
        group.has_ended();
        if !is_read {
            let _ = tokio::time::timeout(LEFTOVERS, reading).await;
        }
        status?
    };
    Ok(Finished { status, stdout, stderr })
}

/// Writes all of it and closes it, so that the program sees its end.
async fn write(stdin: Option<ChildStdin>, input: &[u8]) -> io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    stdin.write_all(input).await?;
    stdin.shutdown().await
}

impl Output {
    async fn fill(&mut self, from: Option<impl AsyncRead + Unpin>, limit: usize) {
        let Some(mut from) = from else { return };
        let mut buffer = [0; 8 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let wanted = length.min(limit.saturating_sub(self.bytes.len()));
            self.bytes.extend_from_slice(buffer.get(..wanted).unwrap_or_default());
            self.is_cut |= wanted < length;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> CommandLine {
        CommandLine::new(["sh", "-c", script]).unwrap()
    }

    #[test]
    fn a_command_line_names_a_program() {
        assert_eq!(CommandLine::new(Vec::<String>::new()), Err(NoProgram));
        assert_eq!(CommandLine::new(["", "x"]), Err(NoProgram));
    }

    #[tokio::test]
    async fn what_a_program_says_goes_before_what_it_complains_of() {
        let finished = shell("echo one; echo two >&2; exit 3").run(100, LONG).await.unwrap();
        assert_eq!((finished.text().as_str(), finished.ending().as_str()), ("one\n", "exit status 3"));
        let finished = shell("echo two >&2; kill -9 $$").run(100, LONG).await.unwrap();
        assert_eq!((finished.text().as_str(), finished.ending().as_str()), ("two\n", "ended by signal 9"));
    }

    #[tokio::test]
    async fn a_flood_of_output_is_read_to_its_end_and_not_kept() {
        let finished = shell("head -c 1000000 /dev/zero").run(1000, LONG).await.unwrap();
        assert_eq!((finished.stdout.bytes.len(), finished.stdout.is_cut), (1000, true));
        assert!(finished.status.success());
    }

    #[tokio::test]
    async fn a_program_reads_its_input_to_the_end_however_long_it_is() {
        let input = vec![b'x'; 1_000_000];
        let finished = shell("wc -c").run_with(&input, 100, LONG).await.unwrap();
        assert_eq!(finished.text().trim(), "1000000");
        // one that does not read it ends all the same
        let finished = shell("exit 3").run_with(&input, 100, LONG).await.unwrap();
        assert_eq!(finished.ending(), "exit status 3");
    }

    #[tokio::test]
    async fn a_program_has_no_input() {
        let finished = shell("cat; echo done").run(100, LONG).await.unwrap();
        assert_eq!(finished.text(), "done\n");
    }

    /// Whether a process exists, as a zombie or alive.
    fn exists(pid: &str) -> bool {
        std::path::Path::new("/proc").join(pid.trim()).exists()
    }

    /// Whether a process runs. What has lost its parent is reaped by the system, some time later.
    fn runs(pid: &str) -> bool {
        let stat = std::fs::read_to_string(std::path::Path::new("/proc").join(pid.trim()).join("stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn until(condition: impl Fn() -> bool) -> bool {
        let started = Instant::now();
        while !condition() {
            if started.elapsed() > LONG {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    #[tokio::test]
    async fn at_the_deadline_a_program_is_gone_with_everything_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let pids = directory.path().join("pids");
        let script = format!("sleep 1000 & echo $$ $! > {}; wait", pids.display());
        let command = shell(&script);
        let run = command.run(100, Duration::from_millis(300));
        assert!(matches!(run.await, Err(CommandError::Timeout(_))));
        let pids = std::fs::read_to_string(pids).unwrap();
        let (shell, sleep) = pids.split_once(' ').unwrap();
        assert!(!exists(shell), "the program is still there, if only as a zombie");
        assert!(until(|| !runs(sleep)).await, "what the program started is still there");
    }

    #[tokio::test]
    async fn a_program_that_nobody_waits_for_any_more_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let pids = directory.path().join("pids");
        let script = format!("sleep 1000 & echo $! > {}; wait", pids.display());
        let command = shell(&script);
        tokio::select! {
            _ = command.run(100, LONG) => panic!("it ended by itself"),
            appeared = until(|| std::fs::read_to_string(&pids).is_ok_and(|pid| pid.ends_with('\n'))) => {
                assert!(appeared);
            }
        }
        let pid = std::fs::read_to_string(&pids).unwrap();
        assert!(until(|| !runs(&pid)).await);
    }

    #[tokio::test]
    async fn a_program_that_leaves_something_behind_has_ended_all_the_same() {
        let started = Instant::now();
        let finished = shell("sleep 3 & echo started").run(100, LONG).await.unwrap();
        assert_eq!(finished.text(), "started\n");
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told_in_plain_words() {
        let command = CommandLine::new(["/nonexistent/program"]).unwrap();
        let error = command.run(100, LONG).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot be run: no such file or directory");
        assert!(!error.is_shortage());
        assert!(CommandError::Start(io::Error::from_raw_os_error(24)).is_shortage());
    }
}
