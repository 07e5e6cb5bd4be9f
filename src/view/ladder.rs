//! The ladder: a connection as two lifelines, the client's on the left and the server's on the right, time running down.
//! Segments are arrows between them, states and calls stand in the margins.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anstyle::Style;
use textwrap::core::display_width;

use crate::event::{
    Call, Descriptor, Endpoint, Event, Outcome, Protocol, Segment, Socket, State, Transition, Transport, What, Who,
    canonical,
};
use crate::view::paint::{CLIENT, Page, QUIET, SERVER, STRONG, WIRE, harmless, in_style};
use crate::view::{describe, notation};

/// As wide as this where there is no terminal.
const WIDTH: usize = 120;
/// What is printed narrower than this is broken by the terminal.
const LEAST_WIDTH: usize = 72;
/// `○ SYN-RECEIVED`, and a blank.
const LEAST_MARGIN: usize = 15;
/// The columns between the times and the right edge that the wire gets, lifelines included.
const WIRE_WIDTH: std::ops::RangeInclusive<usize> = 40..=58;
/// A call that returns later than this has a row of its own for its return.
const LATE: Duration = Duration::from_millis(10);
/// Calls that make the kernel send, and do not wait for what the other side answers: their returns tell nothing new.
const SENDING: [&str; 9] =
    ["write", "writev", "send", "sendto", "sendmsg", "sendmmsg", "sendfile", "close", "shutdown"];

const LEGEND: [&str; 2] = [
    "● the kernel's table showed this state   ○ it follows from the segments",
    "A call that ends in … returns later: its return begins with …",
];

/// Prints the ladder of each TCP connection among these events, in the order of their first segments. The port tells
/// which end is the server's; without it that is the end which the first SYN was sent to.
pub fn print(page: &mut Page, events: &[Event], server_port: Option<u16>) -> io::Result<()> {
    let lines = lines(events, server_port, page.width().unwrap_or(WIDTH));
    lines.iter().try_for_each(|line| if line.is_empty() { page.gap() } else { page.line(line, 0) })?;
    page.flush()
}

/// The lines that are printed on a page of this width, with their styles.
pub fn lines(events: &[Event], server_port: Option<u16>, width: usize) -> Vec<String> {
    let width = width.max(LEAST_WIDTH);
    let connections = connections(events, server_port);
    if connections.is_empty() {
        return vec!["No TCP segment was captured: there is no ladder to draw.".into()];
    }
    let mut lines = Vec::new();
    for connection in connections {
        let ladder = Ladder::of(&connection, events);
        let frame = Frame::new(width, &ladder.rows);
        lines.extend(ladder.header(&connection, &frame));
        lines.extend(ladder.rows.iter().map(|row| frame.row(row)));
        lines.push(String::new());
    }
    lines.extend(LEGEND.iter().map(|legend| in_style(QUIET, legend)));
    lines
}

/// The ends of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Connection {
    client: SocketAddr,
    server: SocketAddr,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Side {
    Client,
    Server,
}

impl Connection {
    /// Which side it is that has this end, and the other end as its peer.
    fn side(&self, local: SocketAddr, remote: SocketAddr) -> Option<Side> {
        match (canonical(local), canonical(remote)) {
            ends if ends == (self.client, self.server) => Some(Side::Client),
            ends if ends == (self.server, self.client) => Some(Side::Server),
            _ => None,
        }
    }

    fn side_of(&self, local: &Endpoint, remote: &Endpoint) -> Option<Side> {
        match (local, remote) {
            (Endpoint::Inet(local), Endpoint::Inet(remote)) => self.side(*local, *remote),
            _ => None,
        }
    }

    fn side_of_descriptor(&self, descriptor: &Descriptor) -> Option<Side> {
        let (local, remote) = descriptor.names.ends()?;
        self.side_of(local, remote)
    }
}

fn connections(events: &[Event], server_port: Option<u16>) -> Vec<Connection> {
    let mut seen = HashSet::new();
    let mut connections = Vec::new();
    for segment in events.iter().filter_map(tcp_segment) {
        let (from, to) = (canonical(segment.from), canonical(segment.to));
        if !seen.contains(&(to, from)) && seen.insert((from, to)) {
            let from_server = match server_port {
                Some(port) if (from.port() == port) != (to.port() == port) => from.port() == port,
                _ => segment.flags.syn() && segment.flags.ack(),
            };
            let (client, server) = if from_server { (to, from) } else { (from, to) };
            connections.push(Connection { client, server });
        }
    }
    connections
}

fn tcp_segment(event: &Event) -> Option<&Segment> {
    match &event.what {
        What::Segment(segment) if segment.transport == Transport::Tcp => Some(segment),
        _ => None,
    }
}

/// One line between the lifelines.
#[derive(Debug)]
struct Row {
    at: Duration,
    /// The time is that of the row before.
    is_same_time: bool,
    middle: Middle,
    states: [Option<(State, bool)>; 2],
}

#[derive(Debug)]
enum Middle {
    Nothing,
    Segment {
        from: Side,
        text: String,
    },
    /// What comes behind the arguments is not cut off for lack of room.
    Call {
        of: Side,
        text: String,
        rest: String,
    },
}

struct Ladder {
    rows: Vec<Row>,
    /// The state that each side began in, and the program behind it.
    begins: [Option<State>; 2],
    names: [Option<Name>; 2],
}

/// The program that a side is named after.
struct Name {
    /// Its role or, where a sample showed it first, its own name.
    text: String,
    pid: u32,
}

impl Ladder {
    fn of(connection: &Connection, events: &[Event]) -> Self {
        let calls = Calls::of(connection, events);
        let mut ladder = Self { rows: Vec::new(), begins: [None; 2], names: [None, None] };
        for event in events {
            match &event.what {
                What::Segment(segment) if segment.transport == Transport::Tcp => {
                    ladder.add_segment(connection, event.at, segment);
                }
                What::Moved(transition) => ladder.add_move(connection, event.at, transition),
                What::Appeared(socket) => ladder.add_sampled(connection, event.at, socket, None),
                What::Changed { before, socket } => ladder.add_sampled(connection, event.at, socket, Some(*before)),
                What::Called(call) => ladder.add_entry(&calls, event, call),
                What::Returned(call) => ladder.add_return(&calls, event, call),
                _ => {}
            }
        }
        ladder
    }

    fn add(&mut self, at: Duration, middle: Middle) -> &mut Row {
        let is_same_time = self.rows.last().is_some_and(|row| row.at == at);
        let index = self.rows.len();
        self.rows.push(Row { at, is_same_time, middle, states: [None; 2] });
        &mut self.rows[index]
    }

    fn add_segment(&mut self, connection: &Connection, at: Duration, segment: &Segment) {
        if let Some(from) = connection.side(segment.from, segment.to) {
            self.add(at, Middle::Segment { from, text: segment_text(segment) });
        }
    }

    fn add_move(&mut self, connection: &Connection, at: Duration, transition: &Transition) {
        if let Some(side) = connection.side_of(&transition.local, &transition.remote) {
            self.begins[side as usize].get_or_insert(transition.before);
            if let Some(seen) = &transition.seen {
                self.name_by_socket(side, &seen.socket);
            }
            self.add_state(at, side, transition.after, transition.seen.is_some());
        }
    }

    fn add_sampled(&mut self, connection: &Connection, at: Duration, socket: &Socket, before: Option<State>) {
        if socket.protocol != Protocol::Tcp {
            return;
        }
        if socket.is_listening() {
            let listens_here = |end: &SocketAddr| end.port() == connection.server.port();
            if matches!(&socket.local, Endpoint::Inet(end) if listens_here(end)) {
                self.begins[Side::Server as usize] = Some(State::Listen);
            }
        } else if let Some(side) = connection.side_of(&socket.local, &socket.remote) {
            self.begins[side as usize] = self.begins[side as usize].or(before);
            self.name_by_socket(side, socket);
            self.add_state(at, side, socket.state, true);
        }
    }

    /// A state stands beside the segment that it follows from; otherwise in a row of its own.
    fn add_state(&mut self, at: Duration, side: Side, state: State, is_seen: bool) {
        let beside = |row: &&mut Row| row.at == at && row.states[side as usize].is_none();
        let row = match self.rows.last_mut().filter(beside) {
            Some(row) if !matches!(row.middle, Middle::Call { .. }) => row,
            _ => self.add(at, Middle::Nothing),
        };
        row.states[side as usize] = Some((state, is_seen));
    }

    fn add_entry(&mut self, calls: &Calls, event: &Event, call: &Call) {
        let Some(known) = calls.by_id.get(&call.id) else { return };
        let by = self.name_by_program(known.side, &event.who);
        match known.returned {
            // What it is called on is another socket: the row belongs where this connection comes in.
            Some(_) if known.is_late && known.is_made => {}
            Some(returned) if !known.is_late => {
                let (text, rest) = calls.text(returned);
                self.add(event.at, Middle::Call { of: known.side, text: by + &text, rest });
            }
            _ => {
                let (text, _) = calls.text(call);
                self.add(event.at, Middle::Call { of: known.side, text: by + &text, rest: " …".into() });
            }
        }
    }

    fn add_return(&mut self, calls: &Calls, event: &Event, call: &Call) {
        let Some(known) = calls.by_id.get(&call.id) else { return };
        let by = self.name_by_program(known.side, &event.who);
        if known.is_late || !known.has_entry {
            let after = call.outcome.as_ref().map(|outcome| describe::span(event.at.saturating_sub(outcome.entered)));
            let after = after.map(|after| format!(" after {after}")).unwrap_or_default();
            let (text, rest) = calls.text(call);
            let (text, rest) = (format!("{by}… {text}"), format!("{rest}{after}"));
            self.add(event.at, Middle::Call { of: known.side, text, rest });
        }
    }

    /// What to put before a call of this program: nothing where the side is named after it, otherwise its role.
    fn name_by_program(&mut self, side: Side, who: &Who) -> String {
        let Who::Program { role, pid } = who else { return String::new() };
        let role = harmless(role.as_bytes());
        let name = self.names[side as usize].get_or_insert_with(|| Name { text: role.clone(), pid: *pid });
        if name.pid == *pid {
            return String::new();
        }
        let within = role.strip_prefix(&name.text).and_then(|rest| rest.strip_prefix('/'));
        format!("{}: ", within.unwrap_or(&role))
    }

    fn name_by_socket(&mut self, side: Side, socket: &Socket) {
        if let Some(owner) = socket.owners.first() {
            let name = || Name { text: harmless(owner.name.as_bytes()), pid: owner.pid };
            self.names[side as usize].get_or_insert_with(name);
        }
    }

    /// Who is where, and in which state.
    fn header(&self, connection: &Connection, frame: &Frame) -> Vec<String> {
        let name = |side: Side, otherwise: &str| match &self.names[side as usize] {
            Some(Name { text, pid }) => format!("{text} {pid}"),
            None => otherwise.into(),
        };
        let (client, server) = (name(Side::Client, "client"), name(Side::Server, "server"));
        let left = format!("{client}  {}", connection.client);
        let right = format!("{server}  {}", connection.server);
        let mut names = Line::default();
        names.put(frame.margin_begin, &fit(&left, frame.middle() - frame.margin_begin - 1), CLIENT);
        let right = fit(&right, frame.width - frame.middle() - 1);
        names.put(frame.width - display_width(&right), &right, SERVER);
        let mut states = Line::default();
        frame.put_lifelines(&mut states);
        for side in [Side::Client, Side::Server] {
            if let Some(state) = self.begins[side as usize] {
                frame.put_state(&mut states, side, state.name(), QUIET);
            }
        }
        vec![names.finish(), states.finish()]
    }
}

fn segment_text(segment: &Segment) -> String {
    let text = notation::segment(segment);
    // In front, where no lack of room cuts it off.
    match text.strip_suffix("  ↻ sent again") {
        Some(text) => format!("↻ {text}"),
        None => text,
    }
}

/// The calls that have to do with one connection.
struct Calls<'a> {
    connection: &'a Connection,
    by_id: HashMap<u64, Known<'a>>,
}

struct Known<'a> {
    side: Side,
    has_entry: bool,
    returned: Option<&'a Call>,
    is_late: bool,
    /// Its descriptor is another one: the call has made that of this connection.
    is_made: bool,
}

impl<'a> Calls<'a> {
    fn of(connection: &'a Connection, events: &'a [Event]) -> Self {
        let mut calls = Self { connection, by_id: HashMap::new() };
        let mut entered: HashSet<u64> = HashSet::new();
        // connect() is called on a socket without a peer: what its descriptor is used for next tells.
        let mut connecting: HashMap<(&Who, i32), &'a Call> = HashMap::new();
        for event in events {
            let (What::Called(call) | What::Returned(call)) = &event.what else { continue };
            if matches!(event.what, What::Called(_)) {
                entered.insert(call.id);
            }
            let on = call.on.as_ref();
            let is_unknown = call.name == "connect" && on.is_some_and(|on| on.names.ends().is_none());
            let made = call.outcome.as_ref().and_then(|outcome| outcome.made.as_ref());
            if let Some(side) = [on, made].into_iter().flatten().find_map(|end| connection.side_of_descriptor(end)) {
                let before = on.and_then(|on| connecting.remove(&(&event.who, on.fd)));
                for call in before.into_iter().chain([call]) {
                    calls.note(call, side, entered.contains(&call.id));
                }
            } else if let (true, Some(on)) = (is_unknown, on) {
                connecting.insert((&event.who, on.fd), call);
            } else if let Some(on) = on {
                // The number stands for something else by now.
                connecting.remove(&(&event.who, on.fd));
            }
        }
        calls.judge(events);
        calls
    }

    fn note(&mut self, call: &'a Call, side: Side, has_entry: bool) {
        let is_made = call.name.starts_with("accept");
        let known =
            self.by_id.entry(call.id).or_insert(Known { side, has_entry, returned: None, is_late: false, is_made });
        if call.outcome.is_some() {
            known.returned = Some(call);
        }
    }

    /// Which of them returned late: after a while, or after something came that they may have waited for. The row of
    /// such a call's entry must not tell what was not known by then.
    fn judge(&mut self, events: &[Event]) {
        let sent = |event: &Event| {
            let segment = tcp_segment(event)?;
            Some((event.at, self.connection.side(segment.from, segment.to)?))
        };
        let segments: Vec<(Duration, Side)> = events.iter().filter_map(sent).collect();
        for event in events {
            let What::Returned(call) = &event.what else { continue };
            let entered = call.outcome.as_ref().map(|outcome| outcome.entered);
            if let (Some(known), Some(entered)) = (self.by_id.get_mut(&call.id), entered) {
                let first = segments.partition_point(|(at, _)| *at <= entered);
                let during = segments[first..].iter().take_while(|(at, _)| *at < event.at);
                let has_come = || during.into_iter().any(|(_, from)| known.is_made || *from != known.side);
                let waits = !SENDING.contains(&call.name.as_str());
                known.is_late = event.at.saturating_sub(entered) > LATE || waits && has_come();
            }
        }
    }

    /// The call, and what it returned, as notation writes them; but the descriptor of this connection is only its number,
    /// as the header has the rest.
    fn text(&self, call: &Call) -> (String, String) {
        let descriptor = |descriptor: &Descriptor| match self.connection.side_of_descriptor(descriptor) {
            Some(_) => descriptor.fd.to_string(),
            None => notation::descriptor(descriptor),
        };
        let arguments = call.arguments.iter().map(|argument| harmless(argument.as_bytes()));
        let arguments: Vec<String> = call.on.as_ref().map(descriptor).into_iter().chain(arguments).collect();
        let text = format!("{}({})", harmless(call.name.as_bytes()), arguments.join(", "));
        let rest = match &call.outcome {
            None => String::new(),
            Some(Outcome { error: None, made: Some(made), value, .. }) if i64::from(made.fd) == *value => {
                format!(" = {}", descriptor(made))
            }
            // bind, listen, connect: what the descriptor stands for from then on is to be seen beside it.
            Some(Outcome { error: None, value, .. }) => format!(" = {value}"),
            Some(outcome) => format!(" = {}", notation::outcome(outcome)),
        };
        (text, rest)
    }
}

/// Where everything stands on a page.
struct Frame {
    width: usize,
    margin_begin: usize,
    /// The columns of the two lifelines.
    lifelines: [usize; 2],
}

impl Frame {
    fn new(width: usize, rows: &[Row]) -> Self {
        let time = rows.iter().map(|row| time_text(row.at).len()).max().unwrap_or(0);
        let margin_begin = time + 1;
        let room = width - margin_begin;
        let wire = (room * 45 / 100).clamp(*WIRE_WIDTH.start(), *WIRE_WIDTH.end()).min(room - 2 * LEAST_MARGIN);
        let left = (room - wire) / 2;
        Self { width, margin_begin, lifelines: [margin_begin + left, margin_begin + left + wire - 1] }
    }

    fn middle(&self) -> usize {
        usize::midpoint(self.lifelines[0], self.lifelines[1])
    }

    fn put_lifelines(&self, line: &mut Line) {
        self.lifelines.iter().for_each(|&column| line.put(column, "│", QUIET));
    }

    fn put_state(&self, line: &mut Line, side: Side, text: &str, style: Style) {
        match side {
            Side::Client => line.put(self.lifelines[0] - 1 - display_width(text), text, style),
            Side::Server => line.put(self.lifelines[1] + 2, text, style),
        }
    }

    fn row(&self, row: &Row) -> String {
        let mut line = Line::default();
        if !row.is_same_time {
            let time = time_text(row.at);
            line.put(self.margin_begin - 1 - time.len(), &time, Style::new());
        }
        match &row.middle {
            Middle::Nothing => self.put_lifelines(&mut line),
            Middle::Segment { from, text } => self.put_segment(&mut line, *from, text),
            Middle::Call { of, text, rest } => self.put_call(&mut line, *of, text, rest),
        }
        for (side, state) in [Side::Client, Side::Server].into_iter().zip(row.states) {
            if let Some((state, is_seen)) = state {
                let (mark, style) = if is_seen { ("●", STRONG) } else { ("○", QUIET) };
                self.put_state(&mut line, side, &format!("{mark} {state}"), style);
            }
        }
        line.finish()
    }

    fn put_segment(&self, line: &mut Line, from: Side, text: &str) {
        let [left, right] = self.lifelines;
        let room = right - left - 1;
        let text = fit(text, room - 5);
        let rest = "─".repeat(room - 5 - display_width(&text));
        let (begin, arrow, end) = match from {
            Side::Client => ("├", format!("── {text} {rest}→"), "│"),
            Side::Server => ("│", format!("←─ {text} {rest}─"), "┤"),
        };
        line.put(left, begin, QUIET);
        line.put(left + 1, &arrow, WIRE);
        line.put(right, end, QUIET);
    }

    /// A call begins at the outer edge of its margin, and may run over its own lifeline and the wire, where nothing is.
    fn put_call(&self, line: &mut Line, of: Side, text: &str, rest: &str) {
        /// So much of a call is shown at least: its name.
        const NAME: usize = 12;
        let [left, right] = self.lifelines;
        let (room, style) = match of {
            Side::Client => (right - self.margin_begin - 1, CLIENT),
            Side::Server => (self.width - left - 2, SERVER),
        };
        let rest = fit(rest, room - NAME);
        let text = format!("{}{rest}", fit(text, room - display_width(&rest)));
        let begin = match of {
            Side::Client => self.margin_begin,
            Side::Server => (right + 2).min(self.width - display_width(&text)),
        };
        let end = begin + display_width(&text);
        // A lifeline that it would touch is covered, too.
        for column in [left, right].into_iter().filter(|column| *column + 1 < begin || *column > end) {
            line.put(column, "│", QUIET);
        }
        line.put(begin, &text, style);
    }
}

/// Pieces of one line, each at its column.
#[derive(Default)]
struct Line {
    parts: Vec<(usize, String, Style)>,
}

impl Line {
    fn put(&mut self, column: usize, text: &str, style: Style) {
        self.parts.push((column, text.to_string(), style));
    }

    fn finish(mut self) -> String {
        self.parts.sort_by_key(|(column, ..)| *column);
        let mut line = String::new();
        let mut reached = 0;
        for (column, text, style) in self.parts {
            line.extend(std::iter::repeat_n(' ', column.saturating_sub(reached)));
            line.push_str(&if style == Style::new() { text.clone() } else { in_style(style, &text) });
            reached = column.max(reached) + display_width(&text);
        }
        line
    }
}

fn time_text(at: Duration) -> String {
    format!("{:>9.6}", at.as_secs_f64())
}

/// As much of the text as fits, with `…` for the rest.
fn fit(text: &str, room: usize) -> String {
    if display_width(text) <= room {
        return text.to_string();
    }
    let mut fitting = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += display_width(character.encode_utf8(&mut [0; 4]));
        if used > room {
            break;
        }
        fitting.push(character);
    }
    fitting.truncate(fitting.trim_end_matches([' ', '…']).len());
    fitting.push('…');
    fitting
}

#[cfg(test)]
mod tests;
