//! The server under test: its port, its log, its descriptors and its memory.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(20);
/// Of the log's lines so many are kept, to be shown when something was wrong.
const KEPT: usize = 20;

/// A running server. It is killed with this value, if it has not ended by then.
pub struct Server {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
    log: Arc<Mutex<Log>>,
}

/// What it has printed.
#[derive(Default)]
struct Log {
    slow_consumers: u64,
    last: VecDeque<String>,
}

impl Server {
    /// Starts it and waits for `listening on`.
    pub fn start(file: &Path, arguments: &[OsString]) -> io::Result<Self> {
        let mut command = Command::new(file);
        command.args(["--port", "0"]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let stdout = process.stdout.take().ok_or_else(|| io::Error::other("there is a pipe"))?;
        let log = Arc::new(Mutex::new(Log::default()));
        let (tell, told) = mpsc::channel();
        let written = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("listening on ") {
                    let _ = tell.send(address.trim().parse());
                }
                let mut log = written.lock().unwrap_or_else(PoisonError::into_inner);
                log.slow_consumers += u64::from(line.contains("SLOW_CONSUMER"));
                log.last.push_back(line);
                if log.last.len() > KEPT {
                    log.last.pop_front();
                }
            }
        });
        let mut server = Self { process, address: SocketAddr::from(([127, 0, 0, 1], 0)), log };
        let address = told.recv_timeout(PATIENCE).map_err(|_| io::Error::other("the server does not listen"))?;
        server.address = address.map_err(io::Error::other)?;
        Ok(server)
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> io::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.process.id()))?.count())
    }

    /// Waits until it has `wanted` descriptors open, some seconds at most; returns how many it has.
    pub fn descriptors_back_to(&self, wanted: usize) -> io::Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let open = self.descriptors()?;
            if open <= wanted || Instant::now() > deadline {
                return Ok(open);
            }
            thread::sleep(GLANCE);
        }
    }

    /// KiB of memory of its own, `Private_Dirty` in smaps_rollup.
    pub fn memory(&self) -> io::Result<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:")?.trim().strip_suffix(" kB"));
        line.and_then(|kib| kib.parse().ok()).ok_or_else(|| io::Error::other("no Private_Dirty in smaps_rollup"))
    }

    /// Whether it has ended, and how.
    pub fn has_ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// SIGTERM; `None` if it does not end within ten seconds.
    pub fn terminate(&mut self) -> io::Result<Option<ExitStatus>> {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(GLANCE);
        }
        Ok(None)
    }

    /// How many lines of its log speak of SLOW_CONSUMER.
    pub fn slow_consumers(&self) -> u64 {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).slow_consumers
    }

    /// The end of its log.
    pub fn last_lines(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).last.iter().cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
