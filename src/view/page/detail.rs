//! The details of each thing, for the panel beside the picture.

use maud::{Markup, html};

use crate::event::{Call, Endpoint, Flags, Segment, SegmentOption, Socket, State, Transport, What};
use crate::explain::Topic;
use crate::view::page::draw::describe_thing;
use crate::view::page::label::name_of;
use crate::view::page::model::{Evidence, Interval, Kind, Model, Stay, Thing};
use crate::view::paint::harmless;
use crate::view::{describe, notation};

/// More things than this that belong to one are counted only.
const RELATED: usize = 12;

/// The rows of a list: a term, and what there is to say about it.
type Rows = Vec<(&'static str, String)>;

/// The details of the thing with this index: a template, of which the panel shows a copy when it is looked at.
pub fn detail(model: &Model, links: &[Vec<usize>], index: usize) -> Markup {
    let thing = &model.things[index];
    let related = &links[index];
    html! {
        template id=(format!("d{index}")) {
            p.kind { (kind(thing)) }
            h2 { (title(model, thing)) }
            dl {
                @for (term, text) in rows(model, thing) {
                    dt { (term) }
                    dd { (harmless(text.as_bytes())) }
                }
            }
            @if let Some(sentence) = explanation(thing) { p.meaning { (sentence) } }
            @if !related.is_empty() {
                h3 { "Belongs to it" }
                ul {
                    @for other in related.iter().take(RELATED) {
                        li { a href=(format!("#t{other}")) { (describe_thing(model, &model.things[*other])) } }
                    }
                    @if related.len() > RELATED { li { "and " (related.len() - RELATED) " more" } }
                }
            }
        }
    }
}

fn kind(thing: &Thing) -> &'static str {
    match &thing.kind {
        Kind::Call(..) => "System call",
        Kind::Segment(segment, _) if segment.transport == Transport::Udp => "UDP datagram",
        Kind::Segment(..) => "TCP segment",
        Kind::State(_) => "State",
        Kind::Mark(What::Said(_) | What::Typed(_), _) => "Line",
        Kind::Mark(What::Note(_), _) => "Note",
        Kind::Mark(What::Accepted(_) | What::Queued { .. } | What::Lying(_), _) => "Queue",
        Kind::Mark(..) => "Event",
    }
}

fn title(model: &Model, thing: &Thing) -> String {
    match &thing.kind {
        Kind::Call(Interval { call, .. }) => harmless(format!("{}()", call.name).as_bytes()),
        Kind::Segment(segment, _) => harmless(notation::segment(segment).as_bytes()),
        Kind::State(stay) => stay.name.into(),
        Kind::Mark(..) => describe_thing(model, thing),
    }
}

fn explanation(thing: &Thing) -> Option<&'static str> {
    match &thing.kind {
        Kind::State(Stay { evidence: Evidence::Sampled(socket), .. }) => Some(Topic::of(socket).sentence()),
        Kind::State(stay) => Some(Topic::State(stay.state).sentence()),
        _ => None,
    }
}

fn time(at: std::time::Duration) -> String {
    format!("{:.6} s", at.as_secs_f64())
}

fn end(end: &Endpoint) -> String {
    let mut text = String::new();
    describe::write_end(&mut text, end);
    text
}

fn rows(model: &Model, thing: &Thing) -> Rows {
    match &thing.kind {
        Kind::Call(Interval { call, .. }) => of_call(thing, call),
        Kind::Segment(segment, _) => of_segment(thing, segment),
        Kind::State(stay) => of_state(model, thing, stay),
        Kind::Mark(what, _) => {
            let mut rows = vec![("who", name_of(thing.who)), ("at", time(thing.at))];
            if let What::Accepted(socket) | What::Queued { socket, .. } | What::Lying(socket) = what {
                rows.push(("socket", describe::ends(socket, None)));
                add_socket(&mut rows, socket);
            }
            rows
        }
    }
}

fn of_call(thing: &Thing, call: &Call) -> Rows {
    let mut rows = vec![("process", name_of(thing.who)), ("entered", time(thing.at))];
    match thing.until {
        Some(until) => {
            rows.push(("returned", time(until)));
            rows.push(("took", describe::span(until.saturating_sub(thing.at))));
        }
        None => rows.push(("returned", "not before the end of the recording".into())),
    }
    rows.extend(call.on.as_ref().map(|on| ("called on", notation::descriptor(on))));
    rows.extend(call.arguments.iter().map(|argument| ("argument", argument.clone())));
    rows.extend(notation::result(call).map(|result| ("result", result)));
    rows.push(("manual", format!("man 2 {}", call.name)));
    rows
}

fn of_segment(thing: &Thing, segment: &Segment) -> Rows {
    let mut rows = vec![
        ("at", time(thing.at)),
        ("from", segment.from.to_string()),
        ("to", segment.to.to_string()),
        ("data", format!("{} bytes", segment.length)),
        ("packet", format!("{} bytes, from its IP header on", segment.packet_length)),
    ];
    if segment.transport == Transport::Udp {
        return rows;
    }
    rows.push(("flags", flags(segment.flags)));
    rows.push(("seq", format!("{} relative, {} absolute", segment.relative_seq, segment.seq)));
    if segment.flags.ack() {
        rows.push(("ack", format!("{} relative, {} absolute", segment.relative_ack, segment.ack)));
    }
    rows.push(("next seq", format!("{} absolute", segment.sequence_end())));
    rows.push(("window", window(segment)));
    rows.extend(segment.options.iter().map(|option| (term(option), meaning(option))));
    if segment.retransmitted {
        rows.push(("again", "all that it carries was sent before".into()));
    }
    rows
}

fn flags(flags: Flags) -> String {
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set = NAMES.iter().enumerate().filter(|(bit, _)| flags.0 >> bit & 1 == 1);
    let names: Vec<&str> = set.map(|(_, name)| *name).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// The window in bytes. That of a segment with SYN is never scaled (RFC 7323, section 2.2).
fn window(segment: &Segment) -> String {
    match segment.window_scale {
        _ if segment.flags.syn() => format!("{} bytes: never scaled in a SYN", segment.window),
        Some(bits) => {
            let bytes = u64::from(segment.window) << bits.min(14);
            format!("{bytes} bytes: {} shifted by {bits} bits", segment.window)
        }
        None => format!("{}, its scale unknown: the handshake was not seen", segment.window),
    }
}

fn term(option: &SegmentOption) -> &'static str {
    match option {
        SegmentOption::Timestamps(..) => "timestamps",
        _ => "option",
    }
}

fn meaning(option: &SegmentOption) -> String {
    match option {
        SegmentOption::Mss(size) => format!("{}: segments may carry {size} bytes", notation::option(option)),
        SegmentOption::WindowScale(bits) => {
            format!("{}: its windows are to be shifted by {bits} bits", notation::option(option))
        }
        SegmentOption::SackPermitted => format!("{}: selective acknowledgements are welcome", notation::option(option)),
        _ => notation::option(option),
    }
}

fn of_state(model: &Model, thing: &Thing, stay: &Stay) -> Rows {
    let band = &model.bands[stay.band];
    let mut rows = vec![("own end", end(band.local))];
    if !band.is_listening {
        rows.push(("other end", end(band.remote)));
    }
    rows.push(("since", time(thing.at)));
    rows.extend(thing.until.map(|until| ("until", time(until))));
    let before = stay.before.filter(|before| *before != State::Closed);
    rows.extend(before.map(|before| ("before", before.name().into())));
    match &stay.evidence {
        Evidence::Sampled(socket) => {
            rows.push(("known by", "a sample of the kernel's table: it began after the sample before".into()));
            add_socket(&mut rows, socket);
        }
        Evidence::Seen(transition, seen) => {
            rows.push(("because of", transition.because.clone()));
            rows.push(("known by", format!("the segments, and a sample at {}", time(seen.at))));
            add_socket(&mut rows, &seen.socket);
        }
        Evidence::Inferred(transition) => {
            rows.push(("because of", transition.because.clone()));
            rows.push(("known by", "the segments only: no sample shows it".into()));
        }
    }
    rows
}

fn add_socket(rows: &mut Rows, socket: &Socket) {
    rows.extend(describe::queues(socket).map(|queues| ("queues", queues)));
    rows.extend(describe::timer(socket).map(|timer| ("timer", timer)));
    rows.push(("held by", describe::owners(socket)));
}
