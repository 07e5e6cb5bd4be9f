//! The timeline: one line per event, in the order in which they were seen, each with its time and its owner.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::event::{Call, End, Event, Segment, Socket, State, Transition, What, Who};
use crate::explain::Topic;
use crate::view::paint::{KERNEL, OWN, Page, QUIET, STRONG, WIRE, harmless, in_style, of_role};
use crate::view::{describe, notation};

/// A call that returns later than this has a line of its own for its return, whatever comes in between.
const LATE: Duration = Duration::from_millis(100);
/// How wide an owner is, and the blanks around it.
const OWNER: usize = 16;
/// More changes than this in one sample are counted, not listed.
const CROWD: usize = 24;

/// Prints events, and explains what appears for the first time.
pub struct Timeline {
    page: Page,
    server_port: Option<u16>,
    explained: HashSet<Topic>,
    /// A call whose entry is not printed yet: if its return comes next, both make one line.
    entered: Option<(Event, Call)>,
    decimals: usize,
    explains: bool,
    printed: u64,
}

impl Timeline {
    /// On standard output. The port tells the two sides of a connection apart.
    pub fn new(server_port: Option<u16>) -> Self {
        Self::on(Page::stdout(), server_port)
    }

    /// On a page of one's own.
    pub fn on(page: Page, server_port: Option<u16>) -> Self {
        Self { page, server_port, explained: HashSet::new(), entered: None, decimals: 3, explains: true, printed: 0 }
    }

    /// With times in microseconds, as calls and segments need it, and without sentences in between.
    pub fn in_microseconds(mut self) -> Self {
        self.decimals = 6;
        self.explains = false;
        self
    }

    /// The page it prints on, for what is no event.
    pub fn page(&mut self) -> &mut Page {
        &mut self.page
    }

    /// The port on which the server turned out to listen.
    pub fn set_server_port(&mut self, port: Option<u16>) {
        self.server_port = port;
    }

    /// Prints the events of one sample. Of very many, the first ones are listed and the rest are counted.
    pub fn print_all(&mut self, mut events: Vec<Event>) -> io::Result<()> {
        if events.len() > CROWD {
            let rest = events.split_off(CROWD / 2);
            if let Some(first) = rest.first() {
                events.push(Event { what: What::Crowd(counted(&rest)), ..first.clone() });
            }
        }
        events.iter().try_for_each(|event| self.print_one(event))?;
        self.page.flush()
    }

    /// Prints these events, each of them.
    pub fn print_events(&mut self, events: &[Event]) -> io::Result<()> {
        events.iter().try_for_each(|event| self.print_one(event))?;
        self.page.flush()
    }

    /// Prints one event.
    pub fn print(&mut self, event: &Event) -> io::Result<()> {
        self.print_one(event)?;
        self.page.flush()
    }

    /// Prints one event, to be seen when the page is flushed.
    pub fn put(&mut self, event: &Event) -> io::Result<()> {
        self.print_one(event)
    }

    fn print_one(&mut self, event: &Event) -> io::Result<()> {
        self.printed += 1;
        match &event.what {
            What::Called(call) => {
                self.show_entered()?;
                self.entered = Some((event.clone(), call.clone()));
                return Ok(());
            }
            What::Returned(call) if self.comes_next(event.at, call) => {
                let entered = self.entered.take().map_or(event.at, |(event, _)| event.at);
                return self.print_line(&Event { at: entered, ..event.clone() }, &returned(call));
            }
            What::Returned(call) => {
                self.show_entered()?;
                return self.print_line(event, &returned_late(event.at, call));
            }
            _ => self.show_entered()?,
        }
        self.print_line(event, &self.text(&event.what))?;
        match explainable(&event.what) {
            Some(topic) if self.explains && self.explained.insert(topic) => self.explain(topic),
            _ => Ok(()),
        }
    }

    /// How many events were printed by now.
    pub fn printed(&self) -> u64 {
        self.printed
    }

    /// Whether this is the return of the call whose entry is not printed yet, and came soon after it.
    fn comes_next(&self, at: Duration, call: &Call) -> bool {
        let is_it = |(entry, entered): &(Event, Call)| entered.id == call.id && at.saturating_sub(entry.at) <= LATE;
        self.entered.as_ref().is_some_and(is_it)
    }

    /// Prints the entry of a call that still waits, when all that happened until then is printed.
    ///
    /// The same lines come out as when the events are printed without a pause.
    pub fn show_waiting(&mut self, until: Duration) -> io::Result<()> {
        match &self.entered {
            Some((entry, _)) if until.saturating_sub(entry.at) > LATE => self.show_entered(),
            _ => Ok(()),
        }
    }

    /// Prints the entry of a call that has not returned by now.
    pub fn show_entered(&mut self) -> io::Result<()> {
        match self.entered.take() {
            Some((event, call)) => {
                self.print_line(&event, &format!("{} …", notation::call(&call)))?;
                self.page.flush()
            }
            None => Ok(()),
        }
    }

    fn print_line(&mut self, event: &Event, text: &str) -> io::Result<()> {
        let (label, style) = match &event.who {
            Who::Kernel => ("[kernel]".into(), KERNEL),
            Who::Wire => ("[wire]".into(), WIRE),
            Who::Socklab => ("[socklab]".into(), OWN),
            Who::Program { role, pid } => (format!("[{} {pid}]", harmless(role.as_bytes())), of_role(role)),
        };
        let time = format!("{:>1$.2$}", event.at.as_secs_f64(), self.decimals + 5, self.decimals);
        let owner = format!("{label:<14}");
        // Spares the page to take it out again, which is worth it for a flood of segments.
        let owner = if self.page.is_in_colour() { in_style(style, &owner) } else { owner };
        let indent = self.indent();
        self.page.line(&format!("{time} {owner} {text}"), indent)
    }

    fn explain(&mut self, topic: Topic) -> io::Result<()> {
        let indent = self.indent();
        let margin = " ".repeat(self.page.width().map_or(indent, |width| indent.min(width / 4)));
        let text = format!("{margin}{}: {}", topic.name(), topic.sentence());
        self.page.line(&in_style(QUIET, &text), indent)
    }

    /// Where the text of an event begins: behind the time and the owner.
    fn indent(&self) -> usize {
        self.decimals + 5 + OWNER
    }

    fn text(&self, what: &What) -> String {
        let ends = |socket: &Socket| describe::ends(socket, self.server_port);
        match what {
            What::Appeared(socket) => {
                let state = in_style(STRONG, describe::state(socket));
                format!("{}  new → {state}{}", ends(socket), details(socket))
            }
            What::Changed { before, socket } => {
                let state = in_style(STRONG, describe::state(socket));
                format!("{}  {before} → {state}{}", ends(socket), details(socket))
            }
            What::Accepted(socket) => {
                format!("{}  accepted: out of the accept queue, into {}", ends(socket), describe::owners(socket))
            }
            What::Queued { before, socket } => {
                let (now, most) = (socket.receive_queue, socket.send_queue);
                // Linux lets one connection more in than listen() asked for.
                let full = if now > most { "  (full: the next SYN is not answered)" } else { "" };
                format!("{}  accept queue {before}/{most} → {now}/{most}{full}", ends(socket))
            }
            What::Lying(socket) => match describe::queues(socket) {
                Some(queues) => format!("{}  {queues}: {}", ends(socket), why_lying(socket)),
                None => format!("{}  recv-q and send-q are empty again", ends(socket)),
            },
            What::Gone(socket) => format!("{}  {} → gone", ends(socket), describe::state(socket)),
            What::Crowd(counts) => format!("… and in the same sample: {}", harmless(counts.as_bytes())),
            What::Said(line) => harmless(line),
            What::Typed(line) => format!("typed: {}", harmless(line)),
            What::Note(note) => harmless(note.as_bytes()),
            What::Moved(transition) => moved(transition, self.server_port),
            What::Called(call) => format!("{} …", notation::call(call)),
            What::Returned(call) => returned(call),
            What::Segment(segment) => {
                format!("{}  {}", segment_ends(segment, self.server_port), notation::segment(segment))
            }
            What::Started { command } => format!("starts: {}", harmless(command.join(" ").as_bytes())),
            What::Forked { child, is_thread } => {
                let kind = if *is_thread { "thread" } else { "process" };
                format!("a new {kind}: {}", harmless(name_of(child).as_bytes()))
            }
            What::Signalled(signal) => format!("gets {}", describe::signal(*signal)),
            What::Ended(End::Exited(code)) => format!("has ended, exit code {code}"),
            What::Ended(End::Killed(signal)) => format!("was ended by {}", describe::signal(*signal)),
        }
    }
}

/// What comes after a state: queues, timer and owners, as far as there are any.
fn details(socket: &Socket) -> String {
    let parts = [describe::queues(socket), describe::timer(socket), Some(describe::owners(socket))];
    parts.into_iter().flatten().map(|part| format!("  {part}")).collect()
}

fn why_lying(socket: &Socket) -> &'static str {
    match (socket.receive_queue, socket.state) {
        (0, _) => "bytes that the other side has not acknowledged",
        (1, State::CloseWait) => "the peer's FIN, which counts for one, and which nobody has read yet",
        (_, _) if socket.waits_for_accept() => "bytes that wait for accept() and read()",
        (_, State::CloseWait) => "bytes, and behind them the end of file, that nobody reads",
        _ => "bytes that wait for read()",
    }
}

/// `accept4(3<listen :7003>) = 4<127.0.0.1:7003 ← :51234>`.
fn returned(call: &Call) -> String {
    format!("{} = {}", notation::call(call), notation::result(call).unwrap_or("?".into()))
}

/// The return of a call whose entry was printed some lines before.
fn returned_late(at: Duration, call: &Call) -> String {
    let took = call.outcome.as_ref().map_or(Duration::ZERO, |outcome| at.saturating_sub(outcome.entered));
    format!("… {}  after {}", returned(call), describe::span(took))
}

/// `client :51234 → server :7003`.
fn segment_ends(segment: &Segment, server_port: Option<u16>) -> String {
    let name = |end: SocketAddr, other: SocketAddr| match server_port {
        Some(port) if end.port() == port => "server".to_string(),
        Some(port) if other.port() == port => format!("client :{}", end.port()),
        _ => end.to_string(),
    };
    format!("{} → {}", name(segment.from, segment.to), name(segment.to, segment.from))
}

/// With `●` where the kernel's table showed the new state, and `○` where it follows from the segments only.
fn moved(transition: &Transition, server_port: Option<u16>) -> String {
    let Transition { local, remote, before, after, because, seen } = transition;
    let mark = if seen.is_some() { "●" } else { "○" };
    let ends = describe::pair(local, remote, server_port);
    let style = if seen.is_some() { STRONG } else { QUIET };
    let after = in_style(style, after.name());
    let details = match seen {
        Some(seen) => details(&seen.socket),
        None => format!("  ({})", harmless(because.as_bytes())),
    };
    format!("{mark} {ends}  {before} → {after}{details}")
}

fn name_of(who: &Who) -> String {
    match who {
        Who::Program { role, pid } => format!("{role} {pid}"),
        Who::Kernel => "the kernel".into(),
        Who::Wire => "the wire".into(),
        Who::Socklab => "socklab".into(),
    }
}

fn explainable(what: &What) -> Option<Topic> {
    match what {
        What::Appeared(socket) | What::Changed { socket, .. } => Some(Topic::of(socket)),
        What::Moved(Transition { seen: Some(seen), .. }) => Some(Topic::of(&seen.socket)),
        What::Moved(Transition { after, .. }) if *after != State::Closed => Some(Topic::State(*after)),
        _ => None,
    }
}

/// `12 × new → ESTABLISHED, 3 × gone`.
fn counted(events: &[Event]) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for event in events {
        let kind = match &event.what {
            What::Appeared(socket) => format!("new → {}", describe::state(socket)),
            What::Changed { before, socket } => format!("{before} → {}", describe::state(socket)),
            What::Gone(_) => "gone".into(),
            What::Accepted(_) => "accepted".into(),
            What::Queued { .. } => "accept queue changed".into(),
            _ => "other changes".into(),
        };
        match counts.iter_mut().find(|(counted, _)| *counted == kind) {
            Some((_, count)) => *count += 1,
            None => counts.push((kind, 1)),
        }
    }
    let lines: Vec<String> = counts.into_iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
    lines.join(", ")
}
