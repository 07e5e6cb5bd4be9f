//! A server under measurement: started, found by its port, ended.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cores::Cores;
use crate::usage::Tree;

/// How long a server may take to listen, and how long to end.
const PATIENCE: Duration = Duration::from_secs(5);
const GLANCE: Duration = Duration::from_millis(2);
/// No answer from a server may take longer than this.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A server program, and what it is called in the report.
pub struct Program {
    /// Short: `socklab`, `C`, `Python`.
    pub name: &'static str,
    /// The file to execute.
    pub file: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// A running server. It ends with this value.
pub struct Server {
    process: Child,
    address: SocketAddr,
}

impl Program {
    /// Starts the server on the programs' core, and waits until it listens.
    ///
    /// Its output goes to /dev/null: a reader of the log would take part in the measurement. So the port is not read from
    /// the log but looked up in /proc.
    pub fn start(&self, cores: Cores) -> io::Result<Server> {
        let mut command = Command::new(&self.file);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null());
        end_with_this_process(&mut command, Signal::SIGTERM);
        let process = cores.start_program(|| command.spawn())??;
        // Before it is known to listen, so that it is ended in any case.
        let mut server = Server { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) };
        let port = server.wait_for_port()?;
        server.address.set_port(port);
        Ok(server)
    }
}

impl Server {
    /// Connects to the server. A read that takes ten seconds is an error.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let connection = TcpStream::connect(self.address)?;
        connection.set_read_timeout(Some(ANSWER_LIMIT))?;
        connection.set_write_timeout(Some(ANSWER_LIMIT))?;
        Ok(connection)
    }

    /// Its process, and those that it has forked.
    pub fn tree(&self) -> Tree {
        Tree::of(Pid::from_raw(self.process.id().cast_signed()))
    }

    fn wait_for_port(&mut self) -> io::Result<u16> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(port) = listening_port(self.process.id())? {
                return Ok(port);
            }
            if let Some(status) = self.process.try_wait()? {
                return Err(io::Error::other(format!("it ended before it listened: {status}")));
            }
            thread::sleep(GLANCE);
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "it does not listen"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let target = Pid::from_raw(self.process.id().cast_signed());
        end(&mut self.process, Signal::SIGTERM, target);
    }
}

/// Sends `signal` to `target` (a process or, negative, a process group) and waits for `process`; after five seconds, kills.
pub fn end(process: &mut Child, signal: Signal, target: Pid) {
    let _ = kill(target, signal);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if !matches!(process.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(GLANCE);
    }
    let _ = kill(target, Signal::SIGKILL);
    let _ = process.wait();
}

/// Has the kernel send `signal` to the new process when this one ends, however it does (prctl(2), PR_SET_PDEATHSIG).
pub fn end_with_this_process(command: &mut Command, signal: Signal) {
    let ask = move || {
        // SAFETY: PR_SET_PDEATHSIG takes one integer, a signal's number, and touches no memory of ours.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec only prctl and a look at errno happen, both safe there; nothing is allocated.
    unsafe { command.pre_exec(ask) };
}

/// The port of the process's first IPv4 socket in LISTEN; `None` if it has none yet.
fn listening_port(pid: u32) -> io::Result<Option<u16>> {
    let inodes = socket_inodes(pid)?;
    let table = fs::read_to_string("/proc/net/tcp")?;
    Ok(table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // proc(5): sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode; state 0A is LISTEN.
        let &[_, local, _, "0A", _, _, _, _, _, inode, ..] = &fields[..] else { return None };
        let (_, port) = local.rsplit_once(':')?;
        inodes.iter().any(|own| own == inode).then(|| u16::from_str_radix(port, 16).ok())?
    }))
}

/// The inode numbers of the sockets that a process has open. A descriptor that is closed meanwhile is passed over.
fn socket_inodes(pid: u32) -> io::Result<Vec<String>> {
    let links = fs::read_dir(format!("/proc/{pid}/fd"))?.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let inode_of = |link: PathBuf| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    Ok(links.filter_map(inode_of).collect())
}
