//! The kernel as a witness of every change of state: its tracepoint sock:inet_sock_set_state, which only root may read.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use socklab::event::State;
use testkit::process::Directory;

const EVENT: &str = "sock/inet_sock_set_state";

/// One change, at this time of CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub at: Duration,
    pub before: State,
    pub after: State,
}

/// The tracing file system, mounted for as long as this lives.
pub struct Tracing(Directory);

impl Tracing {
    /// Mounts it; or says why there is none.
    pub fn mount() -> Result<Self, String> {
        let directory = Directory::new();
        let mounted = Command::new("mount").args(["-t", "tracefs", "nodev"]).arg(directory.path()).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            return Err("tracefs cannot be mounted; that takes root".into());
        }
        let tracing = Self(directory);
        match tracing.0.path().join("events").join(EVENT).exists() {
            true => Ok(tracing),
            false => Err(format!("the kernel has no tracepoint {EVENT}")),
        }
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// A buffer of its own for the events of one test.
pub struct Tracer {
    place: PathBuf,
    _tracing: Tracing,
}

impl Tracer {
    /// Records the changes of sockets with a local or remote port in this range, from now on.
    pub fn start(ports: std::ops::Range<u16>) -> Self {
        let tracing = Tracing::mount().unwrap();
        let place = tracing.0.path().join(format!("instances/socklab-{}", std::process::id()));
        fs::create_dir(&place).unwrap();
        let tracer = Self { place, _tracing: tracing };
        let within = |name: &str| format!("({name} >= {} && {name} < {})", ports.start, ports.end);
        tracer.set("trace_clock", "mono");
        tracer.set("buffer_size_kb", "16384");
        tracer.set(&format!("events/{EVENT}/filter"), &format!("{} || {}", within("sport"), within("dport")));
        tracer.set(&format!("events/{EVENT}/enable"), "1");
        tracer
    }

    fn set(&self, name: &str, value: &str) {
        fs::write(self.place.join(name), value).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Everything until now, by own end and other end, times counted from `zero` on.
    pub fn finish(self, zero: Duration) -> HashMap<(SocketAddr, SocketAddr), Vec<Change>> {
        let mut changes: HashMap<_, Vec<Change>> = HashMap::new();
        let trace = fs::read_to_string(self.place.join("trace")).unwrap();
        assert!(!trace.contains("LOST"), "the buffer is too small");
        for line in trace.lines().filter(|line| line.contains("inet_sock_set_state:")) {
            if let Some((ends, change)) = parse(line, zero) {
                changes.entry(ends).or_default().push(change);
            }
        }
        changes.values_mut().for_each(|changes| changes.sort_by_key(|change| change.at));
        changes
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.place);
    }
}

/// `NAME-PID [CPU] FLAGS SECONDS.MICROS: inet_sock_set_state: family=AF_INET … oldstate=TCP_CLOSE newstate=TCP_SYN_SENT`.
fn parse(line: &str, zero: Duration) -> Option<((SocketAddr, SocketAddr), Change)> {
    let (head, fields) = line.split_once(": inet_sock_set_state: ").unwrap();
    let fields: HashMap<&str, &str> = fields.split(' ').filter_map(|field| field.split_once('=')).collect();
    let (seconds, micros) = head.rsplit_once(' ').unwrap().1.split_once('.').unwrap();
    let at = Duration::new(seconds.parse().unwrap(), micros.parse::<u32>().unwrap() * 1000);
    let v6 = fields["family"] == "AF_INET6";
    let end = |address: &str, port: &str| -> SocketAddr {
        let address: IpAddr = fields[address].parse().unwrap();
        SocketAddr::new(address.to_canonical(), fields[port].parse().unwrap())
    };
    let local = end(if v6 { "saddrv6" } else { "saddr" }, "sport");
    let remote = end(if v6 { "daddrv6" } else { "daddr" }, "dport");
    let change =
        Change { at: at.checked_sub(zero)?, before: state(fields["oldstate"]), after: state(fields["newstate"]) };
    // A listening socket, the copy of it that becomes a connection and has no peer yet, a client without a port yet.
    // And a close() after shutdown() changes nothing.
    (local.port() != 0 && remote.port() != 0 && change.before != change.after).then_some(((local, remote), change))
}

fn state(name: &str) -> State {
    match name {
        "TCP_ESTABLISHED" => State::Established,
        "TCP_SYN_SENT" => State::SynSent,
        "TCP_SYN_RECV" | "TCP_NEW_SYN_RECV" => State::SynReceived,
        "TCP_FIN_WAIT1" => State::FinWait1,
        "TCP_FIN_WAIT2" => State::FinWait2,
        "TCP_TIME_WAIT" => State::TimeWait,
        "TCP_CLOSE" => State::Closed,
        "TCP_CLOSE_WAIT" => State::CloseWait,
        "TCP_LAST_ACK" => State::LastAck,
        "TCP_LISTEN" => State::Listen,
        "TCP_CLOSING" => State::Closing,
        other => panic!("{other}"),
    }
}
