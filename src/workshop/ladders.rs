//! The ladders of a run, which are printed when all of it is known.

use std::io;

use crate::event::Event;
use crate::view::ladder;
use crate::view::paint::{Page, QUIET, in_style};

/// How many events the ladders are drawn from. More rungs than these nobody climbs.
const MOST: usize = 5_000;

/// The events that ladders are drawn from, kept until the end.
#[derive(Default, Debug)]
pub struct Ladders {
    events: Vec<Event>,
    left_out: u64,
}

impl Ladders {
    /// Keeps one event, or counts it where there are too many already.
    pub fn event(&mut self, event: &Event) {
        if self.events.len() < MOST {
            self.events.push(event.clone());
        } else {
            self.left_out += 1;
        }
    }

    /// Prints a ladder for each connection, and says where it is not all of it.
    pub fn print(&self, page: &mut Page, server_port: Option<u16>) -> io::Result<()> {
        ladder::print(page, &self.events, server_port)?;
        if self.left_out > 0 {
            let all = self.events.len() as u64 + self.left_out;
            let text = format!("drawn from the first {} of {all} events", self.events.len());
            page.line(&in_style(QUIET, &text), 2)?;
        }
        page.flush()
    }
}
