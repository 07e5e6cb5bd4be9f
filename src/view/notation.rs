//! How calls and segments are written: close to strace and to tcpdump, so that whoever can read one can read the other.

use nix::errno::Errno;

use crate::event::{Call, Descriptor, Endpoint, Named, Outcome, Protocol, Segment, SegmentOption, Transport};
use crate::view::describe::write_end;
use crate::view::paint::harmless;

/// The call up to its closing parenthesis: `accept4(3<listen :7003>, 0x7ffd…, [16], SOCK_CLOEXEC)`.
pub fn call(call: &Call) -> String {
    let on = call.on.as_ref().map(descriptor);
    let arguments: Vec<String> =
        on.into_iter().chain(call.arguments.iter().map(|argument| harmless(argument.as_bytes()))).collect();
    format!("{}({})", harmless(call.name.as_bytes()), arguments.join(", "))
}

/// What it returned: `4<127.0.0.1:7003 ← :51234>`, `6`, `-1 EAGAIN (Resource temporarily unavailable)`.
pub fn outcome(outcome: &Outcome) -> String {
    match (&outcome.error, &outcome.made) {
        (Some(error), _) if error.starts_with("ERESTART") => {
            format!("? {} (a signal came; the kernel begins it anew)", harmless(error.as_bytes()))
        }
        (Some(error), _) => {
            let errno = i32::try_from(outcome.value.saturating_neg()).map_or(Errno::UnknownErrno, Errno::from_raw);
            format!("-1 {} ({})", harmless(error.as_bytes()), errno.desc())
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
        Named::Listening(end) => format!("listen {}", end_of(end)),
        Named::Connected { local, remote, accepted, .. } => {
            let arrow = if *accepted { "←" } else { "→" };
            format!("{} {arrow} {}", end_of(local), remote_of(local, remote))
        }
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
