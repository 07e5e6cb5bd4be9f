//! Every event once, as a row of a table: what the picture shows, for whoever cannot see it or has no script.

use maud::{Markup, html};

use crate::event::{Event, Socket, Transition, What};
use crate::view::page::label::{self, name_of};
use crate::view::paint::harmless;
use crate::view::{describe, notation};

/// The table.
pub fn table(events: &[Event], server_port: Option<u16>) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { "time (s)" } th scope="col" { "who" } th scope="col" { "what" } } }
            tbody {
                @for event in events {
                    tr {
                        td.when { (format!("{:.6}", event.at.as_secs_f64())) }
                        td.who { (harmless(name_of(&event.who).as_bytes())) }
                        td { (harmless(words(&event.what, server_port).as_bytes())) }
                    }
                }
            }
        }
    }
}

fn words(what: &What, server_port: Option<u16>) -> String {
    let ends = |socket: &Socket| describe::ends(socket, server_port);
    match what {
        What::Appeared(socket) => format!("{}  new → {}{}", ends(socket), describe::state(socket), held(socket)),
        What::Changed { before, socket } => {
            format!("{}  {before} → {}{}", ends(socket), describe::state(socket), held(socket))
        }
        What::Accepted(socket) => format!("{}  accepted{}", ends(socket), held(socket)),
        What::Queued { before, socket } => {
            let (now, most) = (socket.receive_queue, socket.send_queue);
            format!("{}  accept queue {before}/{most} → {now}/{most}", ends(socket))
        }
        What::Lying(socket) => match describe::queues(socket) {
            Some(queues) => format!("{}  {queues}: not read or not acknowledged", ends(socket)),
            None => format!("{}  recv-q and send-q are empty again", ends(socket)),
        },
        What::Gone(socket) => format!("{}  {} → gone", ends(socket), describe::state(socket)),
        What::Moved(transition) => moved(transition, server_port),
        What::Called(call) => format!("{} …", notation::call(call)),
        What::Returned(call) => {
            format!("{} = {}", notation::call(call), notation::result(call).unwrap_or("?".into()))
        }
        What::Segment(segment) => format!("{} → {}  {}", segment.from, segment.to, notation::segment(segment)),
        _ => {
            let (verb, rest) = label::mark(what);
            format!("{verb}{rest}")
        }
    }
}

fn held(socket: &Socket) -> String {
    let parts = [describe::queues(socket), describe::timer(socket), Some(describe::owners(socket))];
    parts.into_iter().flatten().map(|part| format!("  {part}")).collect()
}

fn moved(transition: &Transition, server_port: Option<u16>) -> String {
    let Transition { local, remote, before, after, because, seen } = transition;
    let ends = describe::pair(local, remote, server_port);
    let how = match seen {
        Some(seen) => format!("seen in the sample at {:.6}", seen.at.as_secs_f64()),
        None => "inferred only".into(),
    };
    format!("{ends}  {before} → {after}  because of {because}; {how}")
}
