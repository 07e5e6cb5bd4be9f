//! The timeline as one HTML page: lanes from left to right, time downwards, and nothing that it would have to fetch.
//!
//! What comes from outside is text of the page only: it is made harmless and escaped, and never becomes a part of the
//! script or of the style. Those two are constants, and the page's policy names their hashes, so that no other script
//! would run even if one got in.

mod detail;
mod draw;
mod label;
mod layout;
mod links;
mod model;
mod side;
mod table;
mod text;

use std::io;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::event::{Event, What};
use crate::view::paint::harmless;

use draw::Drawing;
use layout::Layout;
use model::{Kind, Model, Thing};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// The hash of the style, as a policy names it: `sha256sum`, in base 64.
const STYLE_HASH: &str = "RkL1EielLicK5Q0Hbu6kDjCfizcDg3u4RknTfm0nxlg=";
/// The hash of the script.
const SCRIPT_HASH: &str = "E2Ji+fKbIF2oqciliweK3vxb4tKAxTg4bFX/QOwYLMo=";

/// The lenses that can be switched off: the checkbox's name, and what it says.
const LENSES: [(&str, &str); 4] =
    [("calls", "Calls"), ("states", "States"), ("segments", "Segments"), ("output", "Output and notes")];

/// What the page says about the recording besides its events.
#[derive(Clone, Default, Debug)]
pub struct About {
    /// The page's title: what was run.
    pub title: String,
    /// The port that tells the two sides of a connection apart.
    pub server_port: Option<u16>,
    /// What could be observed, and why no more: `full: calls, states and segments`.
    pub rung: String,
    /// The version of this command.
    pub version: String,
    /// How many events are not on the page, because there would be too many to look at.
    pub left_out: usize,
}

/// Writes the page.
pub fn write(out: &mut impl io::Write, about: &About, events: &[Event]) -> io::Result<()> {
    out.write_all(page(about, events).into_string().as_bytes())
}

fn page(about: &About, events: &[Event]) -> Markup {
    let model = Model::new(events, about.server_port);
    let layout = Layout::new(&model);
    let links = links::links(&model);
    let drawing = Drawing::new(&model, &layout, &links);
    let title = harmless(about.title.as_bytes());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(about, events, &model, &title))
                main {
                    figure aria-label="Calls, states and segments, from top to bottom in the order of time" {
                        div.top { (controls()) (drawing.head()) }
                        @if events.is_empty() { p.nothing { "Nothing was recorded." } }
                        (drawing.body())
                    }
                    details #events open {
                        summary { "Every event as a table (" (events.len()) ")" }
                        (table::table(events, about.server_port))
                    }
                    (footer(about))
                }
                aside #panel aria-label="Details" { (hints()) }
                @for index in 0..model.things.len() { (detail::detail(&model, &links, index)) }
                template #hints { (hints()) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// What the page may do: run its own script and its own style, and nothing else. Both files are known by their hashes.
fn policy() -> String {
    format!(
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; \
         style-src 'sha256-{STYLE_HASH}'; script-src 'sha256-{SCRIPT_HASH}'"
    )
}

fn header(about: &About, events: &[Event], model: &Model, title: &str) -> Markup {
    let count = |is: fn(&What) -> bool| events.iter().filter(|event| is(&event.what)).count();
    let calls = count(|what| matches!(what, What::Called(_)));
    let segments = count(|what| matches!(what, What::Segment(_)));
    let moves = count(|what| matches!(what, What::Moved(_) | What::Appeared(_) | What::Changed { .. }));
    html! {
        header {
            h1 { (title) }
            p.facts {
                (calls) " calls · " (segments) " segments · " (moves) " changes of state"
                @if let Some(port) = about.server_port { " · server port " (port) }
                @if !about.rung.is_empty() { " · " (harmless(about.rung.as_bytes())) }
            }
            @if about.left_out > 0 {
                p.left-out role="note" {
                    (about.left_out) " more events are not shown here: a picture of all would be too long to read. "
                    "The recording has them."
                }
            }
            (legend(model))
        }
    }
}

/// What the signs mean, as far as they occur, and what may not be concluded from the picture.
fn legend(model: &Model) -> Markup {
    let has = |is: fn(&Kind) -> bool| model.things.iter().any(|thing| is(&thing.kind));
    let is_open = |thing: &Thing| matches!(thing.kind, Kind::Call(_)) && thing.until.is_none();
    html! {
        ul.legend aria-label="Legend" {
            @if has(|kind| matches!(kind, Kind::Call(_))) {
                li { svg width="12" height="18" { rect.bar.l0 x="2" y="1" width="8" height="16" rx="2" {} }
                    "a call, from entry to return" }
            }
            @if model.things.iter().any(is_open) {
                li { svg width="12" height="18" { g.open.l0 { rect.bar x="2" y="1" width="8" height="24" rx="2" {} } }
                    "a call that has not returned" }
            }
            @if has(|kind| matches!(kind, Kind::State(_))) {
                li { (sample_of_state("seen")) "● a state that the kernel’s table showed" }
                li { (sample_of_state("inferred")) "○ one that follows from the segments only" }
            }
            @if has(|kind| matches!(kind, Kind::Segment(..))) {
                li { (sample_of_segment()) "a segment, from its sender; the slope is no duration" }
            }
            li.wide { "Downwards is order, not duration: each row has its own time, and " b { "⋮" }
                " marks a pause of 10 ms or more. Calls of two processes overlap: which of them returned first is not \
                 to be read from their ends." }
        }
    }
}

fn sample_of_state(how: &str) -> Markup {
    html! {
        svg width="24" height="18" {
            g class=(format!("state {how} s-established")) {
                @for class in ["stay", "hatch"] { rect class=(class) x="1" y="2" width="22" height="14" {} }
            }
        }
    }
}

fn sample_of_segment() -> Markup {
    html! {
        svg width="34" height="18" {
            g.segment {
                circle.tail cx="4" cy="5" r="2.5" {}
                line.shaft x1="4" y1="5" x2="30" y2="12" {}
                polygon.tip points="32,12.5 22.4,13.5 24.3,6.9" {}
            }
        }
    }
}

fn controls() -> Markup {
    html! {
        div.controls {
            @for (name, text) in LENSES {
                label { input type="checkbox" id=(format!("lens-{name}")) checked; (text) }
            }
            span.zoom role="group" aria-label="Zoom" {
                button #smaller type="button" aria-label="Smaller" { "−" }
                output #scale { "100 %" }
                button #larger type="button" aria-label="Larger" { "+" }
            }
        }
    }
}

fn hints() -> Markup {
    html! {
        p.kind { "Details" }
        p { "Point at a call, a segment or a state: what belongs to it stays lit, and its details are here." }
        dl.keys {
            dt { kbd { "Tab" } } dd { "to the first, or the next" }
            dt { kbd { "↓" } " " kbd { "↑" } } dd { "next, previous" }
            dt { kbd { "+" } " " kbd { "−" } " " kbd { "0" } } dd { "larger, smaller, as it was" }
            dt { kbd { "Esc" } } dd { "back to everything" }
        }
    }
}

/// The bridge to the tools that show the same.
fn footer(about: &About) -> Markup {
    html! {
        footer {
            @if let Some(port) = about.server_port {
                p { "The same with other tools:" }
                ul {
                    li { code { "ss -tan 'sport = :" (port) " or dport = :" (port) "'" } " for the states" }
                    li { code { "sudo tcpdump -i lo -nn 'tcp port " (port) "'" } " for the segments" }
                    li { code { "strace -f -e trace=network,read,write,close COMMAND" } " for the calls" }
                }
            }
            p.version { "Made by socklab " (harmless(about.version.as_bytes())) "; this page fetches nothing." }
        }
    }
}

#[cfg(test)]
mod tests;
