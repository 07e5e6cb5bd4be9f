//! The last calls of a server that is followed, for whoever asks why it failed.

use std::collections::{BTreeSet, VecDeque};

use crate::event::{Call, Descriptor, End, Event, Named, What, Who};
use crate::view::describe;
use crate::view::notation;
use crate::view::paint::harmless;

/// How many of them are kept, and how many are shown.
const KEPT: usize = 256;
const SHOWN: usize = 8;
/// How long a line may be; a call can have a long text in it.
const LONGEST: usize = 200;

/// The latest calls, in the order in which they returned. Those that have not returned are the last.
#[derive(Default)]
pub struct LastCalls {
    returned: VecDeque<(Who, Line)>,
    entered: Vec<(Who, Call)>,
}

enum Line {
    Call(Box<Call>),
    Text(String),
}

impl LastCalls {
    /// Keeps it if it is a call, or something else that says what happened to a process.
    pub fn take(&mut self, event: Event) {
        let line = match event.what {
            What::Called(call) => return self.entered.push((event.who, call)),
            What::Returned(call) => {
                self.entered.retain(|(_, entered)| entered.id != call.id);
                Line::Call(Box::new(call))
            }
            What::Forked { child: Who::Program { pid, .. }, is_thread } => {
                Line::Text(format!("makes {} {pid}", if is_thread { "thread" } else { "process" }))
            }
            What::Signalled(signal) => Line::Text(format!("gets {}", describe::signal(signal))),
            What::Ended(end) => {
                self.entered.retain(|(who, _)| *who != event.who);
                Line::Text(how_it_ended(end))
            }
            _ => return,
        };
        self.returned.push_back((event.who, line));
        if self.returned.len() > KEPT {
            self.returned.pop_front();
        }
        if self.entered.len() > KEPT {
            self.entered.remove(0);
        }
    }

    /// Whether one of those that have returned has failed with this error: `EADDRINUSE`.
    pub fn has_error(&self, error: &str) -> bool {
        let has_it = |call: &Call| call.outcome.as_ref().is_some_and(|outcome| outcome.error.as_deref() == Some(error));
        self.returned.iter().any(|(_, line)| matches!(line, Line::Call(call) if has_it(call)))
    }

    /// The threads that have read from a connection that came out of accept().
    pub fn readers(&self) -> BTreeSet<u32> {
        let is_accepted = |on: &Descriptor| matches!(on.names, Named::Connected { accepted: true, .. });
        let has_read = |call: &Call| {
            (call.name.starts_with("read") || call.name.starts_with("recv"))
                && call.on.as_ref().is_some_and(is_accepted)
                && call.outcome.as_ref().is_some_and(|outcome| outcome.value > 0)
        };
        let reader = |(who, line): &(Who, Line)| match (who, line) {
            (Who::Program { pid, .. }, Line::Call(call)) if has_read(call) => Some(*pid),
            _ => None,
        };
        self.returned.iter().filter_map(reader).collect()
    }

    /// The last of them as lines: `[server 812] accept4(3<listen :7003>, …) = 4<…>`.
    pub fn lines(&self) -> Vec<String> {
        let waiting = self.entered.iter().rev().take(SHOWN / 2).rev();
        let waiting: Vec<String> =
            waiting.map(|(who, call)| line(who, &format!("{} … has not returned", notation::call(call)))).collect();
        let room = SHOWN - waiting.len();
        let returned = self.returned.iter().rev().take(room).rev().map(|(who, what)| match what {
            Line::Call(call) => {
                line(who, &format!("{} = {}", notation::call(call), notation::result(call).unwrap_or_default()))
            }
            Line::Text(text) => line(who, text),
        });
        returned.chain(waiting).collect()
    }
}

fn line(who: &Who, text: &str) -> String {
    let who = match who {
        Who::Program { role, pid } => format!("{} {pid}", harmless(role.as_bytes())),
        _ => "server".into(),
    };
    let mut line = format!("[{who}] {text}");
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(end);
        line.push('…');
    }
    line
}

/// `exited with code 3`, `was ended by SIGSEGV`.
pub fn how_it_ended(end: End) -> String {
    match end {
        End::Exited(code) => format!("exited with code {code}"),
        End::Killed(signal) => format!("was ended by {}", describe::signal(signal)),
    }
}
