//! How calls and segments are written: close to strace and to tcpdump, so that whoever can read one can read the other.

use std::net::Ipv4Addr;

use nix::errno::Errno;

use crate::event::{Call, Descriptor, Endpoint, Named, Outcome, Protocol, Segment, SegmentOption, Transport, Waited};
use crate::view::describe::write_end;
use crate::view::paint::harmless;

/// How many of the descriptors that a call waits for are shown.
const WAITED: usize = 8;

/// The call up to its closing parenthesis: `accept4(3<listen :7003>, 0x7ffd…, [16], SOCK_CLOEXEC)`.
pub fn call(call: &Call) -> String {
    format!("{}({})", harmless(call.name.as_bytes()), arguments(call).join(", "))
}

/// Its arguments, the descriptor in front; those that it waits for with what they stand for.
pub fn arguments(call: &Call) -> Vec<String> {
    let on = call.on.as_ref().map(descriptor);
    let mut arguments: Vec<String> = call.arguments.iter().map(|argument| harmless(argument.as_bytes())).collect();
    match (call.name.as_str(), call.waits.as_slice()) {
        ("poll" | "ppoll", waits @ [_, ..]) => {
            if let Some(list) = arguments.first_mut() {
                let more = if waits.len() > WAITED || list.ends_with("…]") { ", …" } else { "" };
                let waits: Vec<String> = waits
                    .iter()
                    .take(WAITED)
                    .map(|waited| {
                        format!("{} {}", brief(&waited.on), harmless(waited.asked.as_bytes())).trim_end().to_string()
                    })
                    .collect();
                *list = format!("[{}{more}]", waits.join(", "));
            }
        }
        // Its operation, the descriptor, and what is asked for: nothing is asked for what is taken off the list.
        ("epoll_ctl", [waited]) if arguments.len() >= 2 => {
            arguments.truncate(1);
            arguments.push(descriptor(&waited.on));
            arguments.extend(Some(harmless(waited.asked.as_bytes())).filter(|asked| !asked.is_empty()));
        }
        // Once it has returned it is said behind it who is ready.
        (name, _) if name.starts_with("epoll_") && name.contains("wait") && arguments.len() > 1 && names_all(call) => {
            arguments.remove(0);
        }
        _ => {}
    }
    on.into_iter().chain(arguments).collect()
}

/// Whether for all that epoll_wait(2) has named it is known what they stand for; before it returns nothing is named.
fn names_all(call: &Call) -> bool {
    match &call.outcome {
        None => true,
        Some(outcome) => outcome.value <= 0 || !call.waits.is_empty(),
    }
}

/// What a call returned, and for one that waits who is ready: `2 ready: 4<← :51234> POLLIN, 6<← :51236> POLLIN`.
pub fn result(call: &Call) -> Option<String> {
    let outcome = call.outcome.as_ref()?;
    let came: Vec<&Waited> = call.waits.iter().filter(|waited| !waited.came.is_empty()).collect();
    if outcome.value <= 0 || came.is_empty() {
        return Some(self::outcome(outcome));
    }
    let more =
        if usize::try_from(outcome.value).is_ok_and(|count| count > came.len().min(WAITED)) { ", …" } else { "" };
    let ready = |waited: &&Waited| format!("{} {}", brief(&waited.on), harmless(waited.came.as_bytes()));
    let ready: Vec<String> = came.iter().take(WAITED).map(ready).collect();
    Some(format!("{} ready: {}{more}", outcome.value, ready.join(", ")))
}

/// A descriptor among others: `3<listen>`, `4<← :51234>`, where the whole names would be too long for a line.
fn brief(on: &Descriptor) -> String {
    match &on.names {
        Named::Listening(_) => format!("{}<listen>", on.fd),
        Named::Connected { local, remote, accepted, .. } => {
            let arrow = if *accepted { "←" } else { "→" };
            format!("{}<{arrow} {}>", on.fd, remote_of(local, remote))
        }
        _ => descriptor(on),
    }
}

/// What it returned: `4<127.0.0.1:7003 ← :51234>`, `6`, `-1 EAGAIN (Resource temporarily unavailable)`.
pub fn outcome(outcome: &Outcome) -> String {
    match (&outcome.error, &outcome.made) {
        (Some(error), _) if error.starts_with("ERESTART") => {
            format!("? {} (a signal came)", harmless(error.as_bytes()))
        }
        (Some(error), _) => {
            let errno = i32::try_from(outcome.value.saturating_neg()).map_or(Errno::UnknownErrno, Errno::from_raw);
            format!("-1 {} ({})", harmless(error.as_bytes()), errno.desc())
        }
        // bind, listen, connect: the descriptor stays, and stands for something else.
        (None, Some(made)) if i64::from(made.fd) != outcome.value => {
            format!("{}, now {}", outcome.value, descriptor(made))
        }
        (None, Some(made)) => descriptor(made),
        (None, None) => outcome.value.to_string(),
    }
}

/// `3<listen :7003>`, `4<127.0.0.1:7003 ← :51234>`: the number, and what it stands for.
pub fn descriptor(descriptor: &Descriptor) -> String {
    format!("{}<{}>", descriptor.fd, named(&descriptor.names))
}

fn named(names: &Named) -> String {
    match names {
        Named::Unbound(protocol) => protocol_name(*protocol).into(),
        Named::Bound(protocol, end) => format!("{} {}", protocol_name(*protocol), end_of(end)),
        Named::Listening(end) => format!("listen {}", short_end(end)),
        Named::Connected { local, remote, accepted, .. } => {
            let arrow = if *accepted { "←" } else { "→" };
            format!("{} {arrow} {}", end_of(local), remote_of(local, remote))
        }
        // Not `anon_inode:[eventpoll]`, which is longer than what there is to say about it.
        Named::Other(name) if name == "anon_inode:[eventpoll]" => "epoll".into(),
        Named::Other(name) if name == "anon_inode:[signalfd]" => "signalfd".into(),
        Named::Other(name) => harmless(name.as_bytes()),
    }
}

/// The name of a protocol, as short as it gets.
pub fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::UnixStream => "UNIX",
        Protocol::UnixDatagram => "UNIX-DGRAM",
        Protocol::UnixSeqpacket => "UNIX-SEQPACKET",
    }
}

/// `:7003` on 127.0.0.1, where the labs listen; any other address is shown.
fn short_end(end: &Endpoint) -> String {
    match end {
        Endpoint::Inet(address) if address.ip() == Ipv4Addr::LOCALHOST => format!(":{}", address.port()),
        _ => end_of(end),
    }
}

fn end_of(end: &Endpoint) -> String {
    let mut text = String::new();
    write_end(&mut text, end);
    text
}

/// The far end, its address left out where it is that of the near end.
pub fn remote_of(local: &Endpoint, remote: &Endpoint) -> String {
    match (local, remote) {
        (Endpoint::Inet(local), Endpoint::Inet(remote)) if local.ip() == remote.ip() => format!(":{}", remote.port()),
        _ => end_of(remote),
    }
}

/// A segment in tcpdump's notation, its numbers relative: `S seq 0 win 64240 <mss 1460,sackOK,ws 7>`.
///
/// What repeats in every segment is left out: the timestamps, and the sequence number of a segment without data.
pub fn segment(segment: &Segment) -> String {
    if segment.transport == Transport::Udp {
        return format!("UDP length {}", segment.length);
    }
    let mut text = format!("{:<2}", segment.flags);
    let first = segment.relative_seq;
    match segment.length {
        0 if segment.flags.syn() || segment.flags.fin() || segment.flags.rst() => {
            text.push_str(&format!(" seq {first}"));
        }
        0 => {}
        length => text.push_str(&format!(" seq {first}:{}", first.wrapping_add(length))),
    }
    if segment.flags.ack() {
        text.push_str(&format!(" ack {}", segment.relative_ack));
    }
    text.push_str(&format!(" win {}", segment.window));
    if segment.length > 0 {
        text.push_str(&format!(" length {}", segment.length));
    }
    let options: Vec<String> = segment.options.iter().filter(|option| !repeats(option)).map(option).collect();
    if !options.is_empty() {
        text.push_str(&format!(" <{}>", options.join(",")));
    }
    if segment.retransmitted {
        text.push_str("  ↻ sent again");
    }
    text
}

fn repeats(option: &SegmentOption) -> bool {
    matches!(option, SegmentOption::Timestamps(..))
}

/// An option: `mss 1460`, `sackOK`, `ws 7`, `sack 1:1461`, `TS val 12 ecr 7`.
pub fn option(option: &SegmentOption) -> String {
    match option {
        SegmentOption::Mss(size) => format!("mss {size}"),
        SegmentOption::WindowScale(bits) => format!("ws {bits}"),
        SegmentOption::SackPermitted => "sackOK".into(),
        SegmentOption::Sack(blocks) => {
            let blocks: Vec<String> = blocks.iter().map(|(first, behind)| format!("{first}:{behind}")).collect();
            format!("sack {}", blocks.join(" "))
        }
        SegmentOption::Timestamps(value, echo) => format!("TS val {value} ecr {echo}"),
        SegmentOption::Other(kind, bytes) => format!("option {kind} of {} bytes", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn end(text: &str) -> Endpoint {
        Endpoint::Inet(text.parse().unwrap())
    }

    fn waited(fd: i32, names: Named, asked: &str, came: &str) -> Waited {
        Waited { on: Descriptor { fd, names }, asked: asked.into(), came: came.into() }
    }

    fn accepted(fd: i32, asked: &str, came: &str) -> Waited {
        let (local, remote) = (end("127.0.0.1:7005"), end("127.0.0.1:51234"));
        waited(fd, Named::Connected { protocol: Protocol::Tcp, local, remote, accepted: true }, asked, came)
    }

    fn made(name: &str, arguments: &[&str], on: Option<Descriptor>, waits: Vec<Waited>, value: Option<i64>) -> Call {
        let outcome = value.map(|value| Outcome { entered: Duration::ZERO, value, error: None, made: None });
        let arguments = arguments.iter().map(|&argument| argument.into()).collect();
        Call { id: 1, name: name.into(), arguments, on, waits, outcome }
    }

    fn written(of: &Call) -> String {
        format!("{} = {}", call(of), result(of).unwrap_or("?".into()))
    }

    #[test]
    fn poll_says_what_each_descriptor_stands_for_and_who_is_ready() {
        let waits = |came: &str| {
            vec![waited(3, Named::Listening(end("127.0.0.1:7005")), "POLLIN", ""), accepted(4, "POLLIN", came)]
        };
        let poll =
            |came, value| made("poll", &["[{3, POLLIN}, {4, POLLIN}]", "no time limit"], None, waits(came), value);
        let asked = "poll([3<listen> POLLIN, 4<← :51234> POLLIN], no time limit) = ";
        assert_eq!(written(&poll("", None)), format!("{asked}?"));
        assert_eq!(written(&poll("", Some(0))), format!("{asked}0"));
        assert_eq!(written(&poll("POLLIN|POLLHUP", Some(1))), format!("{asked}1 ready: 4<← :51234> POLLIN|POLLHUP"));
    }

    #[test]
    fn of_very_many_descriptors_the_first_ones_are_written() {
        let many = (0..16).map(|fd| accepted(fd, "POLLIN", "POLLIN")).collect();
        let text = written(&made("poll", &["[{0, POLLIN}, …]", "0 ms"], None, many, Some(900)));
        assert!(text.contains("7<← :51234> POLLIN, …], 0 ms) = 900 ready: 0<"), "{text}");
        assert!(text.ends_with("7<← :51234> POLLIN, …"), "{text}");
    }

    #[test]
    fn epoll_is_written_with_what_stands_behind_the_numbers() {
        let list = Descriptor { fd: 5, names: Named::Other("anon_inode:[eventpoll]".into()) };
        let ctl = |operation, asked: &str| {
            let arguments = [operation, "4", "{EPOLLIN, 4}"];
            written(&made("epoll_ctl", &arguments, Some(list.clone()), vec![accepted(4, asked, "")], Some(0)))
        };
        let add = "epoll_ctl(5<epoll>, EPOLL_CTL_ADD, 4<127.0.0.1:7005 ← :51234>, EPOLLIN) = 0";
        assert_eq!(ctl("EPOLL_CTL_ADD", "EPOLLIN"), add);
        assert_eq!(ctl("EPOLL_CTL_DEL", ""), "epoll_ctl(5<epoll>, EPOLL_CTL_DEL, 4<127.0.0.1:7005 ← :51234>) = 0");
        let wait = |arguments: &[&str], waits, value| {
            written(&made("epoll_wait", arguments, Some(list.clone()), waits, value))
        };
        assert_eq!(wait(&["…", "no time limit"], Vec::new(), None), "epoll_wait(5<epoll>, no time limit) = ?");
        let named = wait(&["[{EPOLLIN, 4}]", "no time limit"], vec![accepted(4, "", "EPOLLIN")], Some(1));
        assert_eq!(named, "epoll_wait(5<epoll>, no time limit) = 1 ready: 4<← :51234> EPOLLIN");
        // Nobody knows what it stands for: then it is written as the kernel has it.
        let unknown = wait(&["[{EPOLLIN, 9}]", "0 ms"], Vec::new(), Some(1));
        assert_eq!(unknown, "epoll_wait(5<epoll>, [{EPOLLIN, 9}], 0 ms) = 1");
    }
}
