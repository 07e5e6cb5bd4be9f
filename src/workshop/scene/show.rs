//! What a scene prints: everybody by the name of their role, so that a run looks like the run before. Ports that the kernel
//! chose and process ids are different each time, and are left out.

use std::collections::BTreeSet;
use std::fs;

use super::known::Known;
use super::measure::{Held, Picture};
use super::place::TMP;
use crate::event::{Call, Descriptor, Endpoint, Event, Named, Segment, Socket, What, Who};
use crate::sys::descriptor;
use crate::view::{describe, notation};

/// More sockets than these nobody reads one by one.
const MOST: usize = 40;

/// The sockets, one a line; those that are alike are counted.
pub fn states(picture: &Picture, known: &Known, roles: &[String]) -> Vec<String> {
    let mut rows: Vec<(usize, bool, [String; 3])> =
        picture.sockets.iter().map(|held| row(held, picture, known, roles)).collect();
    let names = Names::new(known);
    rows.extend(picture.unix.iter().map(|held| unix_row(held, &names, roles)));
    rows.sort();
    let mut counted: Vec<([String; 3], usize)> = Vec::new();
    for (_, _, row) in rows {
        match counted.last_mut() {
            Some((last, count)) if *last == row => *count += 1,
            _ => counted.push((row, 1)),
        }
    }
    let widest = |column: usize| counted.iter().map(|(row, _)| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (widest(0), widest(1));
    let line = |([ends, state, rest], count): &([String; 3], usize)| {
        let mut line = format!("{ends:<first$}  {state:<second$}  {rest}").trim_end().to_owned();
        if *count > 1 {
            line.push_str(&format!("  × {count}"));
        }
        line
    };
    let mut lines: Vec<String> = counted.iter().take(MOST).map(line).collect();
    if counted.len() > MOST {
        lines.push(format!("… and {} more", counted.len() - MOST));
    }
    if lines.is_empty() {
        lines.push("no socket".into());
    }
    lines
}

/// A socket: its place in the list, its ends, its state, and the rest.
fn row(held: &Held, picture: &Picture, known: &Known, roles: &[String]) -> (usize, bool, [String; 3]) {
    let socket = &held.socket;
    let owner = role_at(held, picture, known);
    let place = roles.iter().position(|role| owner.split('/').next() == Some(role)).unwrap_or(roles.len());
    let ends = if socket.is_listening() {
        owner
    } else {
        let others = picture.sockets.iter().find(|other| is_other_end(&other.socket, socket));
        let peer = match others {
            Some(other) => role_at(other, picture, known),
            None => known.owner_of(&socket.remote, &socket.local).unwrap_or("nobody").into(),
        };
        let arrow = if known.serves(&socket.local) { "←" } else { "→" };
        format!("{owner} {arrow} {peer}")
    };
    let mut rest: Vec<String> = describe::queues(socket).into_iter().collect();
    rest.push(holders(held));
    (place, !socket.is_listening(), [ends, describe::state(socket).into(), rest.join("  ")])
}

/// The same of a Unix socket: most clients of one have no name, and a peer is known by what it is connected to.
fn unix_row(held: &Held, names: &Names, roles: &[String]) -> (usize, bool, [String; 3]) {
    let Held { socket, by } = held;
    let owner = by.first().map_or("nobody", |(role, _)| role.as_str());
    let place = roles.iter().position(|role| owner.split('/').next() == Some(role)).unwrap_or(roles.len());
    let mut rest: Vec<String> = describe::queues(socket).into_iter().collect();
    rest.push(holders(held));
    let (local, remote) = (socket.local.to_string(), socket.remote.to_string());
    let ends = match socket.is_listening() {
        true => format!("{owner} at {local}"),
        false if socket.local == Endpoint::Unnamed => format!("{owner} → {remote}"),
        false => format!("{owner} at {local} ← {remote}"),
    };
    (place, !socket.is_listening(), [names.in_place(&ends), describe::state(socket).into(), rest.join("  ")])
}

fn is_other_end(one: &Socket, other: &Socket) -> bool {
    !one.is_listening() && one.local.is_same_as(&other.remote) && one.remote.is_same_as(&other.local)
}

/// Whose socket it is: who holds it, who had it, or who listens where it came in.
fn role_at(held: &Held, picture: &Picture, known: &Known) -> String {
    let socket = &held.socket;
    if socket.is_listening() {
        return held.by.first().map_or_else(|| "nobody".into(), |(role, _)| role.clone());
    }
    if let Some(role) = known.owner_of(&socket.local, &socket.remote) {
        return role.into();
    }
    let listener = picture
        .sockets
        .iter()
        .find(|other| other.socket.is_listening() && other.socket.local.port() == socket.local.port());
    match listener.and_then(|listener| listener.by.first()) {
        Some((role, _)) => role.clone(),
        None => "nobody".into(),
    }
}

/// `server fd 4, server/child 1 fd 4`.
fn holders(held: &Held) -> String {
    if held.by.is_empty() {
        return match held.socket.waits_for_accept() {
            true => "no process: not accepted yet".into(),
            false => "no process".into(),
        };
    }
    let mut named: Vec<String> = held.by.iter().map(|(role, fd)| format!("{role} fd {fd}")).collect();
    named.sort();
    named.join(", ")
}

/// The processes, each with its descriptors of sockets and of what waits for them.
pub fn processes(known: &Known) -> Vec<String> {
    let mut lines = Vec::new();
    for (role, pid) in known.processes() {
        let mut fds: Vec<(i32, String)> = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(what) = stands_for(pid, fd, known) {
                fds.push((fd, what));
            }
        }
        fds.sort();
        let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        let fds: Vec<String> = fds.into_iter().map(|(fd, what)| format!("{fd}<{what}>")).collect();
        let threads = if threads > 1 { format!("{threads} threads  ") } else { String::new() };
        let fds = if fds.is_empty() { "no socket".into() } else { fds.join(" ") };
        lines.push(format!("{role}  {threads}{fds}"));
    }
    for (role, end) in &known.ends {
        lines.push(format!("{role}  {}", crate::workshop::watch::how_it_ended(*end)));
    }
    lines
}

/// What a descriptor stands for, if it is a socket or waits for some.
fn stands_for(pid: u32, fd: i32, known: &Known) -> Option<String> {
    let names = descriptor::look_at(pid, fd).ok()?;
    if matches!(&names, Named::Other(name) if !name.starts_with("socket:[") && !name.starts_with("anon_inode:[event")) {
        return None;
    }
    let shown = notation::descriptor(&Descriptor { fd, names });
    let inside = shown.split_once('<').map_or(shown.as_str(), |(_, rest)| rest.trim_end_matches('>'));
    Some(Names::new(known).in_place(inside))
}

/// What is called otherwise each time that a scene is played, and what is said instead.
pub struct Names {
    /// Who is meant by a port that the kernel has chosen.
    ports: Vec<(u16, String)>,
    /// The directory for files.
    directory: Option<String>,
}

impl Names {
    /// Of the connections that are known: those ports at which nobody listens.
    pub fn new(known: &Known) -> Self {
        let connected = known.connections.iter().filter(|ours| !known.serves(&ours.local));
        let connected = connected.filter_map(|ours| Some((ours.local.port()?, &ours.role)));
        let mut ports: Vec<(u16, String)> = Vec::new();
        for (port, role) in connected.chain(known.lost.iter().map(|(port, role)| (*port, role))) {
            if !ports.iter().any(|(named, _)| *named == port) {
                ports.push((port, role.clone()));
            }
        }
        Self { ports, directory: known.directory.as_ref().map(|path| path.display().to_string()) }
    }

    /// The text with `:client` in the place of `:51234`, `{tmp}` in that of the directory, and pipes without their inodes.
    pub fn in_place(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (port, role) in &self.ports {
            text = text.replace(&format!(":{port}"), &format!(":{role}"));
        }
        if let Some(directory) = &self.directory {
            text = text.replace(directory, TMP);
        }
        without_inodes(&text)
    }
}

/// `pipe` in the place of `pipe:[3945044]`.
fn without_inodes(text: &str) -> String {
    let mut parts = text.split("pipe:[");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        match rest.strip_prefix(']').filter(|_| rest.len() < part.len()) {
            Some(rest) => whole.extend(["pipe", rest]),
            None => whole.extend(["pipe:[", part]),
        }
    }
    whole
}

/// The calls among these events, by role, each as it was entered and what it returned.
pub fn calls(events: &[Event], names: &Names, roles: &[String]) -> Vec<String> {
    let mut by_role: Vec<(usize, String, Vec<String>)> = Vec::new();
    let mut returned: BTreeSet<u64> = BTreeSet::new();
    for event in events {
        if let What::Returned(call) = &event.what {
            returned.insert(call.id);
        }
    }
    for event in events {
        let Who::Program { role, .. } = &event.who else { continue };
        let line = match &event.what {
            What::Returned(call) if !is_restarted(call) => {
                format!("{} = {}", notation::call(call), notation::result(call).unwrap_or("?".into()))
            }
            What::Called(call) if !returned.contains(&call.id) => format!("{} …", notation::call(call)),
            What::Forked { child: Who::Program { role, .. }, is_thread } => {
                format!("{} = {role}", if *is_thread { "a new thread" } else { "fork" })
            }
            What::Signalled(signal) => format!("gets {}", describe::signal(*signal)),
            _ => continue,
        };
        let line = names.in_place(&line);
        match by_role.iter_mut().find(|(_, its, _)| its == role) {
            Some((_, _, lines)) => lines.push(line),
            None => {
                let place = roles.iter().position(|known| role.split('/').next() == Some(known));
                by_role.push((place.unwrap_or(roles.len()), role.clone(), vec![line]));
            }
        }
    }
    by_role.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    let line = |(_, role, lines): &(usize, String, Vec<String>)| {
        lines.iter().map(|line| format!("{role}  {line}")).collect::<Vec<_>>()
    };
    let lines: Vec<String> = by_role.iter().flat_map(line).collect();
    if lines.is_empty() { vec!["no call".into()] } else { lines }
}

/// The kernel begins it anew by itself: what the program sees is the call that goes on.
fn is_restarted(call: &Call) -> bool {
    let error = call.outcome.as_ref().and_then(|outcome| outcome.error.as_deref());
    error.is_some_and(|error| error.starts_with("ERESTART"))
}

/// The segments among these events.
pub fn segments(events: &[Event], known: &Known) -> Vec<String> {
    let mut lines = Vec::new();
    for event in events {
        if let What::Segment(segment) = &event.what {
            lines.push(format!("{}  {}", ends(segment, known), notation::segment(segment)));
        }
    }
    if lines.is_empty() { vec!["no segment".into()] } else { lines }
}

fn ends(segment: &Segment, known: &Known) -> String {
    let name = |local: Endpoint, remote: Endpoint| match known.owner_of(&local, &remote) {
        Some(role) => role.to_owned(),
        None if known.serves(&local) => "server".into(),
        None => "(a socket that is gone)".into(),
    };
    let (from, to) = (Endpoint::Inet(segment.from), Endpoint::Inet(segment.to));
    format!("{} → {}", name(from.clone(), to.clone()), name(to, from))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_is_called_otherwise_each_time_is_called_the_same() {
        let mut known = Known::default();
        let end = |text: &str| Endpoint::Inet(text.parse().unwrap());
        known.owns("client", &end("127.0.0.1:51234"), &end("127.0.0.1:7000"));
        known.lost.insert(40002, "late".into());
        known.directory = Some(PathBuf::from("/tmp/socklab-a1B2c3"));
        let names = Names::new(&known);
        assert_eq!(names.in_place("poll([3<→ :7000>, 0<pipe:[3945044]>])"), "poll([3<→ :7000>, 0<pipe>])");
        assert_eq!(
            names.in_place("3<127.0.0.1:51234 → :7000> 4<TCP 127.0.0.1:40002>"),
            "3<127.0.0.1:client → :7000> 4<TCP 127.0.0.1:late>"
        );
        assert_eq!(names.in_place("bind(3<UNIX>, /tmp/socklab-a1B2c3/echo)"), "bind(3<UNIX>, {tmp}/echo)");
        for other in ["pipe:[]", "pipe:[12", "pipe:[x]", "a pipe"] {
            assert_eq!(names.in_place(other), other);
        }
    }
}
