//! A run that is watched, and everything that was written about it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use socklab::event::{Endpoint, Event, Protocol, Segment, Socket, State, Transition, Transport, What};
use socklab::record::{Header, Reader};
use testkit::process::{Directory, as_user, binary, run};

/// Who watches: ourselves and, where we are root, somebody without any privilege.
pub fn users() -> Vec<Option<u32>> {
    if nix::unistd::geteuid().is_root() { vec![None, Some(65534)] } else { vec![None] }
}

/// Lab 1's server and client as command lines.
pub fn commands() -> (String, String) {
    let path = |name: &str| binary(name).display().to_string();
    (format!("{} --port {{port}}", path("lab1-server")), format!("{} 127.0.0.1 {{port}}", path("lab1-client")))
}

pub struct Watched {
    directory: Directory,
    pub header: Header,
    pub events: Vec<Event>,
    pub stdout: String,
}

impl Watched {
    /// Lab 1's server, and its client, which is typed a line.
    pub fn lab_1(user: Option<u32>) -> Self {
        Self::with("lab1-server", "--port {port}", "lab1-client", user)
    }

    /// Lab 2's server for IPv6 and IPv4, and its client over IPv4.
    pub fn dual_stack() -> Self {
        Self::with("lab2-server", "--family dual --port {port}", "lab2-client", None)
    }

    fn with(server: &str, arguments: &str, client: &str, user: Option<u32>) -> Self {
        let directory = Directory::new();
        let out = directory.path().join("out");
        fs::create_dir(&out).unwrap();
        fs::set_permissions(&out, fs::Permissions::from_mode(0o777)).unwrap();
        let program = |name: &str| directory.copy_of(name).display().to_string();
        let server = format!("{} {arguments}", program(server));
        let client = format!("{} 127.0.0.1 {{port}}", program(client));
        let mut command = Command::new(program("socklab"));
        command.args(["watch", "--server", &server, "--client", &client, "--type", "hello\\n"]);
        for (option, name) in
            [("--html", "run.html"), ("--pcapng", "run.pcapng"), ("--json", "run.jsonl"), ("--record", "run.record")]
        {
            command.arg(option).arg(out.join(name));
        }
        if let Some(user) = user {
            as_user(&mut command, user);
        }
        let ended = run(&mut command);
        let stdout = String::from_utf8(ended.stdout).unwrap();
        assert_eq!(ended.code, Some(0), "{stdout}\n{}", ended.stderr);
        let (header, events) = read(&out.join("run.record"));
        Self { directory, header, events, stdout }
    }

    /// A file that was written.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("out").join(name)
    }

    /// Its TCP segments, each with its time.
    pub fn segments(&self) -> impl Iterator<Item = (Duration, &Segment)> {
        self.events.iter().filter_map(|event| match &event.what {
            What::Segment(segment) if segment.transport == Transport::Tcp => Some((event.at, &**segment)),
            _ => None,
        })
    }

    /// The client's end of the first connection.
    pub fn client_end(&self) -> SocketAddr {
        self.segments().next().unwrap().1.from
    }
}

/// A recording.
pub fn read(file: &Path) -> (Header, Vec<Event>) {
    let mut reader = Reader::open(BufReader::new(File::open(file).unwrap())).unwrap();
    let events = reader.by_ref().map(Result::unwrap).collect();
    (reader.header().clone(), events)
}

/// A line of ss, `ss ESTAB 5 0 127.0.0.1:7000 127.0.0.1:51234`, as [`in_a_line`] writes it.
pub fn of_ss(line: &str) -> Option<String> {
    let words: Vec<&str> = line.strip_prefix("ss ")?.split_whitespace().collect();
    let [state, received, sent, local, remote, ..] = words[..] else { panic!("{line}") };
    Some(match state {
        "LISTEN" => format!("LISTEN {received} {sent} {local}"),
        "ESTAB" => format!("ESTABLISHED {received} {sent} {local} {remote}"),
        other => panic!("{other} in {line}"),
    })
}

fn in_a_line(socket: &Socket) -> String {
    let Socket { state, local, remote, receive_queue, send_queue, .. } = socket;
    match state {
        State::Listen => format!("{state} {receive_queue} {send_queue} {local}"),
        _ => format!("{state} {receive_queue} {send_queue} {local} {remote}"),
    }
}

/// The TCP sockets as the last of these events leave them.
pub fn sockets_at(events: &[Event]) -> Vec<String> {
    let mut sockets: BTreeMap<(Endpoint, Endpoint), Socket> = BTreeMap::new();
    for event in events {
        match &event.what {
            What::Appeared(socket)
            | What::Changed { socket, .. }
            | What::Queued { socket, .. }
            | What::Accepted(socket)
            | What::Lying(socket)
            | What::Moved(Transition { seen: Some(socklab::event::Seen { socket, .. }), .. }) => {
                sockets.insert((socket.local.clone(), socket.remote.clone()), socket.clone());
            }
            What::Gone(socket) => drop(sockets.remove(&(socket.local.clone(), socket.remote.clone()))),
            _ => {}
        }
    }
    sockets.values().filter(|socket| socket.protocol == Protocol::Tcp).map(in_a_line).collect()
}
