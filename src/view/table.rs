//! Sockets as a table, or one below the other where the terminal is too narrow for it.

use std::io;

use crate::event::Socket;
use crate::explain::Topic;
use crate::view::describe;
use crate::view::paint::{Page, QUIET, STRONG, in_style};

const TITLES: [&str; 5] = ["state", "queues", "local", "peer", "held by"];

/// Prints the sockets, and whatever can be said of each. Who holds them is left out where it was not looked up.
pub fn print(page: &mut Page, sockets: &[Socket], with_owners: bool) -> io::Result<()> {
    let mut cells = Cells::default();
    TITLES.iter().for_each(|title| cells.add(|text| text.push_str(title)));
    for socket in sockets {
        add_row(&mut cells, socket, with_owners);
    }
    let widths = cells.widths();
    let total: usize = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
    if page.width().is_some_and(|columns| total > columns) {
        return sockets.iter().try_for_each(|socket| print_below_each_other(page, socket));
    }
    let mut line = String::new();
    for row in 0..=sockets.len() {
        cells.write_row(row, &widths, &mut line);
        match row {
            0 => page.line(&in_style(QUIET, &line), 0)?,
            _ => page.whole_line(&line)?,
        }
    }
    Ok(())
}

/// The cells of a table, row by row, in one piece of memory: of ten thousand sockets there are fifty thousand.
#[derive(Default)]
struct Cells {
    text: String,
    /// Of each cell, where it ends in the text, and how many columns it takes.
    ends: Vec<(u32, u32)>,
}

impl Cells {
    /// Adds a cell with what is written into it.
    fn add(&mut self, write: impl FnOnce(&mut String)) {
        let begin = self.text.len();
        write(&mut self.text);
        let cell = &self.text[begin..];
        let width = if cell.is_ascii() { cell.len() } else { textwrap::core::display_width(cell) };
        self.ends.push((self.text.len() as u32, width as u32));
    }

    fn widths(&self) -> [usize; TITLES.len()] {
        let mut widths = [0; TITLES.len()];
        for row in self.ends.chunks(TITLES.len()) {
            for (widest, (_, width)) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(*width as usize);
            }
        }
        widths
    }

    /// Writes a row into `line`, in columns, without blanks at its end.
    fn write_row(&self, row: usize, widths: &[usize; TITLES.len()], line: &mut String) {
        line.clear();
        let first = row * TITLES.len();
        let mut begin = first.checked_sub(1).map_or(0, |before| self.ends[before].0 as usize);
        for (&(end, width), widest) in self.ends[first..].iter().zip(widths) {
            line.push_str(&self.text[begin..end as usize]);
            line.extend(std::iter::repeat_n(' ', widest - width as usize + 2));
            begin = end as usize;
        }
        line.truncate(line.trim_end().len());
    }
}

fn add_row(cells: &mut Cells, socket: &Socket, with_owners: bool) {
    cells.add(|text| text.push_str(describe::state(socket)));
    cells.add(|text| {
        let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
        let [receive, send] = &mut digits;
        let (receive, send) = (receive.format(socket.receive_queue), send.format(socket.send_queue));
        match socket.is_listening() {
            true => text.extend(["accept ", receive, "/", send]),
            false => text.extend(["recv ", receive, " send ", send]),
        }
    });
    cells.add(|text| describe::write_end(text, &socket.local));
    cells.add(|text| describe::write_end(text, &socket.remote));
    cells.add(|text| match (with_owners, describe::timer(socket)) {
        (true, Some(timer)) => text.extend([&describe::owners(socket), ", ", &timer]),
        (true, None) => text.push_str(&describe::owners(socket)),
        (false, timer) => text.push_str(&timer.unwrap_or_default()),
    });
}

/// Explains, once each, the states that these sockets are in.
pub fn explain(page: &mut Page, sockets: &[Socket]) -> io::Result<()> {
    // A handful at most: looking through them is faster than any set.
    let mut seen = Vec::new();
    for topic in sockets.iter().map(Topic::of) {
        if !seen.contains(&topic) {
            seen.push(topic);
            page.line(&format!("{}: {}", in_style(STRONG, topic.name()), topic.sentence()), 2)?;
        }
    }
    Ok(())
}

fn print_below_each_other(page: &mut Page, socket: &Socket) -> io::Result<()> {
    page.line(&format!("{} {}", in_style(STRONG, describe::state(socket)), describe::ends(socket, None)), 2)?;
    let details = [describe::queues(socket), describe::timer(socket), Some(describe::owners(socket))];
    page.line(&format!("  {}", details.into_iter().flatten().collect::<Vec<_>>().join(", ")), 4)
}
