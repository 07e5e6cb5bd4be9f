//! The timeline: one line per event, in the order in which they were seen, each with its time and its owner.

use std::collections::HashSet;
use std::io;

use crate::event::{Event, Socket, State, What, Who};
use crate::explain::Topic;
use crate::view::describe;
use crate::view::paint::{KERNEL, OWN, Page, QUIET, SERVER, STRONG, harmless, in_style};

/// Where the text of an event begins: behind the time and the owner.
const INDENT: usize = 24;
/// More changes than this in one sample are counted, not listed.
const CROWD: usize = 24;

/// Prints events, and explains what appears for the first time.
pub struct Timeline {
    page: Page,
    server_port: Option<u16>,
    explained: HashSet<Topic>,
}

impl Timeline {
    /// On standard output. The port tells the two sides of a connection apart.
    pub fn new(server_port: Option<u16>) -> Self {
        Self { page: Page::stdout(), server_port, explained: HashSet::new() }
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

    /// Prints one event.
    pub fn print(&mut self, event: &Event) -> io::Result<()> {
        self.print_one(event)?;
        self.page.flush()
    }

    fn print_one(&mut self, event: &Event) -> io::Result<()> {
        let (label, style) = match event.who {
            Who::Kernel => ("[kernel]".into(), KERNEL),
            Who::Socklab => ("[socklab]".into(), OWN),
            Who::Program { role, pid } => (format!("[{role} {pid}]"), SERVER),
        };
        let time = format!("{:>8.3}", event.at.as_secs_f64());
        let owner = in_style(style, &format!("{label:<14}"));
        self.page.line(&format!("{time} {owner} {}", self.text(&event.what)), INDENT)?;
        match explainable(&event.what).map(Topic::of) {
            Some(topic) if self.explained.insert(topic) => self.explain(topic),
            _ => Ok(()),
        }
    }

    fn explain(&mut self, topic: Topic) -> io::Result<()> {
        let margin = " ".repeat(self.page.width().map_or(INDENT, |width| INDENT.min(width / 4)));
        let text = format!("{margin}{}: {}", topic.name(), topic.sentence());
        self.page.line(&in_style(QUIET, &text), INDENT)
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
            What::Crowd(counts) => format!("… and in the same sample: {counts}"),
            What::Said(line) => harmless(line),
            What::Note(note) => note.clone(),
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

fn explainable(what: &What) -> Option<&Socket> {
    match what {
        What::Appeared(socket) | What::Changed { socket, .. } => Some(socket),
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
