//! Very many small segments over a loopback interface of their own, and `socklab segments` that is to see them all.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cores::Cores;
use crate::server::{end, end_with_this_process};

/// Datagrams of one byte that are sent at a steady rate, and how many a second.
pub const DATAGRAMS: u32 = 300_000;
/// The rate at which nothing may be lost.
pub const PER_SECOND: u32 = 100_000;
/// Between two looks at the clock so many are sent.
const AT_ONCE: u32 = 50;
/// Connections that carry one byte at a time, in turn, and how many bytes in all.
const CONNECTIONS: usize = 8;
const BYTES: usize = 300_000;

/// What became of a flood.
pub struct Flooded {
    /// How many segments there were.
    pub sent: u64,
    /// How many of them the command printed.
    pub shown: u64,
    /// From the first one to the last.
    pub took: Duration,
}

/// Datagrams at a steady rate.
pub fn datagrams(socklab: &Path, cores: Cores) -> io::Result<Flooded> {
    in_own_network(|| {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        sender.connect(receiver.local_addr()?)?;
        let watch = Watch::start(socklab, cores)?;
        let started = Instant::now();
        for number in 0..DATAGRAMS {
            if number % AT_ONCE == 0 {
                let due = started + Duration::from_secs(1) * number / PER_SECOND;
                while Instant::now() < due {
                    std::hint::spin_loop();
                }
            }
            sender.send(b".")?;
        }
        let took = started.elapsed();
        Ok(Flooded { sent: DATAGRAMS.into(), shown: watch.stop()?, took })
    })
}

/// Bytes over several TCP connections, each in a segment of its own, as fast as one thread writes and reads them.
pub fn bytes(socklab: &Path, cores: Cores) -> io::Result<Flooded> {
    in_own_network(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let watch = Watch::start(socklab, cores)?;
        let before = segments_sent()?;
        let started = Instant::now();
        let mut connections = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            let client = TcpStream::connect(listener.local_addr()?)?;
            client.set_nodelay(true)?;
            connections.push((client, listener.accept()?.0));
        }
        for number in 0..BYTES {
            let (client, server) = &mut connections[number % CONNECTIONS];
            client.write_all(b".")?;
            server.read_exact(&mut [0])?;
        }
        let took = started.elapsed();
        let sent = segments_sent()? - before;
        let shown = watch.stop()?;
        Ok(Flooded { sent, shown, took })
    })
}

/// How many TCP segments the kernel has sent in this thread's network, those included that it sent again.
fn segments_sent() -> io::Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let column = |name: &str| {
        let found = names.split(' ').zip(values.split(' ')).find(|(its_name, _)| *its_name == name);
        found.and_then(|(_, value)| value.parse::<u64>().ok())
    };
    let (first, again) = (column("OutSegs"), column("RetransSegs"));
    first.zip(again).map(|(first, again)| first + again).ok_or_else(|| io::Error::other("no counters in net/snmp"))
}

/// A running `socklab segments`, on the programs' core. It is ended with this value.
struct Watch {
    process: Child,
    stderr: BufReader<ChildStderr>,
}

impl Watch {
    /// Returns when it captures. What it prints goes to /dev/null, but is printed.
    fn start(socklab: &Path, cores: Cores) -> io::Result<Self> {
        let mut command = Command::new(socklab);
        command.args(["segments", "--json"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        end_with_this_process(&mut command, Signal::SIGTERM);
        let mut process = cores.start_program(|| command.spawn())??;
        let stderr = process.stderr.take().ok_or_else(|| io::Error::other("there is a pipe"))?;
        let mut watch = Self { process, stderr: BufReader::new(stderr) };
        let mut line = String::new();
        watch.stderr.read_line(&mut line)?;
        if line.starts_with("Capturing") { Ok(watch) } else { Err(io::Error::other(line)) }
    }

    /// How many it has shown: it says so at its end.
    fn stop(mut self) -> io::Result<u64> {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGINT)?;
        let mut said = String::new();
        self.stderr.read_to_string(&mut said)?;
        let shown = said.lines().find_map(|line| line.split_once(" shown")?.0.parse().ok());
        shown.ok_or_else(|| io::Error::other(said))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let target = Pid::from_raw(self.process.id().cast_signed());
        end(&mut self.process, Signal::SIGTERM, target);
    }
}

/// Runs `work` in a thread that has a network of its own; processes that it starts are in there too. Root only.
fn in_own_network<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: unshare has no preconditions on memory; CLONE_NEWNET concerns the calling thread alone.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            raise_loopback()?;
            work()
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}

fn raise_loopback() -> io::Result<()> {
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("ip link set lo up: {status}"))) }
}
