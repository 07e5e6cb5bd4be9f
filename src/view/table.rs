//! Sockets as a table, or one below the other where the terminal is too narrow for it.

use std::collections::HashSet;
use std::io;

use crate::event::Socket;
use crate::explain::Topic;
use crate::view::describe;
use crate::view::paint::{Page, QUIET, STRONG, harmless, in_style};

const TITLES: [&str; 5] = ["state", "queues", "local", "peer", "held by"];

/// Prints the sockets, and whatever can be said of each. Who holds them is left out where it was not looked up.
pub fn print(page: &mut Page, sockets: &[Socket], with_owners: bool) -> io::Result<()> {
    let rows: Vec<[String; 5]> = sockets.iter().map(|socket| row(socket, with_owners)).collect();
    let mut widths = TITLES.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(textwrap::core::display_width(cell));
        }
    }
    let total: usize = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
    if page.width().is_some_and(|columns| total > columns) {
        return sockets.iter().try_for_each(|socket| print_below_each_other(page, socket));
    }
    let titles = TITLES.map(String::from);
    page.line(&in_style(QUIET, &in_columns(&titles, &widths)), 0)?;
    rows.iter().try_for_each(|row| page.line(&in_columns(row, &widths), 0))
}

/// Explains, once each, the states that these sockets are in.
pub fn explain(page: &mut Page, sockets: &[Socket]) -> io::Result<()> {
    let mut seen = HashSet::new();
    for topic in sockets.iter().map(Topic::of) {
        if seen.insert(topic) {
            page.line(&format!("{}: {}", in_style(STRONG, topic.name()), topic.sentence()), 2)?;
        }
    }
    Ok(())
}

fn row(socket: &Socket, with_owners: bool) -> [String; 5] {
    let queues = if socket.is_listening() {
        format!("accept {}/{}", socket.receive_queue, socket.send_queue)
    } else {
        format!("recv {} send {}", socket.receive_queue, socket.send_queue)
    };
    let owners = with_owners.then(|| describe::owners(socket));
    let held_by = [owners, describe::timer(socket)].into_iter().flatten().collect::<Vec<_>>();
    let end = |end: String| harmless(end.as_bytes());
    [
        describe::state(socket).into(),
        queues,
        end(socket.local.to_string()),
        end(socket.remote.to_string()),
        held_by.join(", "),
    ]
}

fn in_columns(cells: &[String; 5], widths: &[usize; 5]) -> String {
    let mut line = String::new();
    for (index, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        let padding = " ".repeat(width.saturating_sub(textwrap::core::display_width(cell)));
        if index > 0 {
            line.push_str("  ");
        }
        line.push_str(cell);
        line.push_str(&padding);
    }
    line.truncate(line.trim_end().len());
    line
}

fn print_below_each_other(page: &mut Page, socket: &Socket) -> io::Result<()> {
    page.line(&format!("{} {}", in_style(STRONG, describe::state(socket)), describe::ends(socket, None)), 2)?;
    let details = [describe::queues(socket), describe::timer(socket), Some(describe::owners(socket))];
    page.line(&format!("  {}", details.into_iter().flatten().collect::<Vec<_>>().join(", ")), 4)
}
