//! The picture itself, as SVG: a head with the lanes' names, and below it one part for each page when printed.

use maud::{Markup, html};

use crate::event::{Endpoint, What};
use crate::view::describe;
use crate::view::page::label::{self, name_of};
use crate::view::page::layout::{BAR, BASE, LINE, Layout, Placed, SLANT, TOP, band_width, height_of, tail};
use crate::view::page::model::{Band, Evidence, Interval, Kind, Lane, Model, Part, Process, Stay, Thing};
use crate::view::page::side::Side;
use crate::view::page::text::{self, Ink, wrap};
use crate::view::paint::harmless;

/// How many processes of a side the head names.
const NAMED: usize = 6;
/// How many characters of a process's name the head has room for.
const NAME: usize = 28;
/// A state that lasts longer than this on the picture is named again.
const AGAIN: i32 = 600;
/// A band narrower than this has no room for a word.
const WORD: i32 = 60;

/// Draws what the model holds, where the layout puts it.
pub struct Drawing<'a> {
    model: &'a Model<'a>,
    layout: &'a Layout,
    links: &'a [Vec<usize>],
    /// Where each thing begins and ends.
    extents: Vec<(i32, i32)>,
}

impl<'a> Drawing<'a> {
    /// Prepares the drawing.
    pub fn new(model: &'a Model<'a>, layout: &'a Layout, links: &'a [Vec<usize>]) -> Self {
        let mut extents = vec![(0, layout.height); model.things.len()];
        for (top, placed) in layout.tops.iter().zip(&layout.rows) {
            placed.iter().for_each(|placed| extend(&mut extents, model, *top, placed));
        }
        Self { model, layout, links, extents }
    }

    /// How much room an item takes in its lane, from top to bottom.
    #[cfg(test)]
    pub fn place_of(&self, top: i32, placed: &Placed) -> (i32, i32) {
        let from = top + placed.below;
        (from, from + super::layout::height(placed, self.model))
    }

    /// The names of the lanes and of the processes in them.
    pub fn head(&self) -> Markup {
        let layout = self.layout;
        let [left, right] = [Side::Left, Side::Right].map(|side| self.named(side));
        let height = 26 + height_of(left.len().max(right.len()));
        let view = format!("0 0 {} {height}", layout.width);
        html! {
            svg.head viewBox=(view) width=(layout.width) height=(height) aria-hidden="true" {
                text.time x=(layout.times) y="15" { "s" }
                @for (side, named) in [(Side::Left, left), (Side::Right, right)] {
                    @let (calls, states) = (layout.calls[side as usize], layout.states[side as usize]);
                    @let who = self.whose(side);
                    @if calls.width > 0 { text.title x=(calls.x) y="15" { (who) "calls" } }
                    @if states.width > 0 {
                        text.title.middle x=(states.x + states.width / 2) y="15" { (who) "state" }
                    }
                    @for (below, process) in named.into_iter().enumerate() {
                        (self.name(process, height_of(below), height))
                    }
                }
                @if layout.wire.width > 100 {
                    text.title.middle x=(layout.wire.x + layout.wire.width / 2) y="15" { "segments" }
                }
            }
        }
    }

    /// What a side's lanes are called: a program that is alone is no client.
    fn whose(&self, side: Side) -> &'static str {
        let role = if side == Side::Left { "client " } else { "server " };
        let has_role = self.model.processes.iter().any(|process| process.role.starts_with(role.trim_end()));
        let is_alone = [self.layout.calls, self.layout.states].iter().all(|lanes| lanes[1 - side as usize].width == 0);
        if is_alone && !has_role { "" } else { role }
    }

    /// The first process of each of the first columns of a side.
    fn named(&self, side: Side) -> Vec<usize> {
        let is_in = |column| move |process: &Process| process.side == side && process.column == column;
        let first = |column| self.model.processes.iter().position(is_in(column));
        let most = if self.layout.calls[side as usize].width > 0 { NAMED } else { 0 };
        (0..most).filter_map(first).collect()
    }

    fn name(&self, process: usize, below: i32, height: i32) -> Markup {
        let (x, y) = (self.layout.bar(self.model, process) + BAR.0 / 2, 33 + below);
        let process = &self.model.processes[process];
        let name = wrap(&[(Ink::Plain, &name_in_head(process))], NAME, 1);
        html! {
            g class=(format!("lens-calls {}", shade(process))) {
                path.flag d=(format!("M{x} {height}V{}h7", y - 4)) {}
                @for line in name { (text::draw(&line, "process", x + 10, y)) }
            }
        }
    }

    /// All the rest, from top to bottom.
    pub fn body(&self) -> Markup {
        let mut from = 0;
        html! {
            (hatching())
            @for (index, cut) in self.layout.cuts.iter().enumerate() {
                (self.page(index + 1, std::mem::replace(&mut from, *cut), *cut))
            }
        }
    }

    fn page(&self, number: usize, from: i32, until: i32) -> Markup {
        let layout = self.layout;
        let is_here = |y: i32| from <= y && y < until;
        let view = format!("0 {from} {} {}", layout.width, until - from);
        html! {
            svg.body viewBox=(view) width=(layout.width) height=(until - from) role="group"
                aria-label=(format!("Part {number} of the timeline")) {
                @for (row, top) in layout.tops.iter().enumerate().filter(|(_, top)| is_here(**top)) {
                    line.rule x1=(layout.times + 6) x2=(layout.width) y1=(top) y2=(top) {}
                    text.time x=(layout.times) y=(top + BASE) {
                        (format!("{:.6}", self.model.rows[row].at.as_secs_f64()))
                    }
                }
                @for (y, pause) in layout.gaps.iter().filter(|(y, _)| is_here(*y)) {
                    line.gap x1=(layout.times + 6) x2=(layout.width) y1=(y) y2=(y) {}
                    text.pause x=(layout.times) y=(y + 4) { "⋮ " (describe::span(*pause)) }
                }
                @for (index, process) in self.model.processes.iter().enumerate() {
                    (self.life(index, process, from, until))
                }
                @for (index, thing) in self.model.things.iter().enumerate() {
                    @let (begins, ends) = self.extents[index];
                    @if is_here(begins) {
                        (self.thing(index, thing, from, until))
                    } @else if begins < from && ends > from {
                        g class=(format!("part {}", self.class(thing))) data-of=(index) aria-hidden="true" {
                            (self.shape(index, thing, from, until))
                        }
                    }
                }
            }
        }
    }

    /// The time of a process, from the first to the last that was seen of it.
    fn life(&self, index: usize, process: &Process, from: i32, until: i32) -> Markup {
        let (first, last) = process.rows;
        let middle = |row: usize| self.layout.tops[row] + 8;
        let end = last.map_or(self.layout.height, middle);
        let (top, bottom) = (middle(first).max(from), end.min(until));
        let x = self.layout.bar(self.model, index) + BAR.0 / 2;
        html! {
            @if top < bottom && self.layout.calls[process.side as usize].width > 0 {
                line class=(format!("life lens-calls {}", shade(process))) x1=(x) x2=(x) y1=(top) y2=(bottom) {}
            }
        }
    }

    fn class(&self, thing: &Thing) -> String {
        match &thing.kind {
            Kind::Call(interval) => {
                let open = if thing.rows.1.is_none() { " open" } else { "" };
                format!("call lens-calls {}{open}", shade(&self.model.processes[interval.process]))
            }
            Kind::Segment(segment, _) => {
                let bare = segment.length == 0 && !segment.flags.syn() && !segment.flags.fin();
                let weight = match segment.flags.rst() {
                    true => " reset",
                    false if bare => " bare",
                    false => "",
                };
                let again = if segment.retransmitted { " again" } else { "" };
                format!("segment lens-segments{weight}{again}")
            }
            Kind::State(stay) => {
                let how = if matches!(stay.evidence, Evidence::Inferred(_)) { "inferred" } else { "seen" };
                format!("state lens-states {how} s-{}", stay.state.name().to_lowercase())
            }
            Kind::Mark(what, process) => {
                let lens = match (what, thing.lane) {
                    (_, Lane::Band(_)) => "lens-states",
                    (What::Forked { .. } | What::Started { .. } | What::Ended(_), _) => "lens-calls",
                    _ => "lens-output",
                };
                let shade = process.map_or("", |process| shade(&self.model.processes[process]));
                format!("mark {lens} {shade}")
            }
        }
    }

    fn thing(&self, index: usize, thing: &Thing, from: i32, until: i32) -> Markup {
        let with: Vec<String> = self.links[index].iter().map(usize::to_string).collect();
        html! {
            g id=(format!("t{index}")) class=(format!("thing {}", self.class(thing))) tabindex="0" role="button"
                aria-label=(describe_thing(self.model, thing)) aria-controls="panel" data-with=(with.join(" ")) {
                (self.shape(index, thing, from, until))
            }
        }
    }

    /// As much of a thing as lies on one page.
    fn shape(&self, index: usize, thing: &Thing, from: i32, until: i32) -> Markup {
        let (begins, ends) = self.extents[index];
        let (top, bottom) = (begins.max(from), ends.min(until));
        let rows = [Some(thing.rows.0), thing.rows.1.filter(|row| *row != thing.rows.0)];
        let here = rows.into_iter().flatten().filter(|row| (from..until).contains(&self.layout.tops[*row]));
        let here = here.flat_map(|row| self.layout.rows[row].iter().map(move |placed| (self.layout.tops[row], placed)));
        let mut here = here.filter(|(_, placed)| placed.item.thing == index);
        match &thing.kind {
            Kind::Call(interval) => html! {
                @let (x, over) = (self.layout.bar(self.model, interval.process), beyond(begins, ends, from, until));
                rect.bar x=(x) y=(top - over.0) width=(BAR.0) height=(bottom - top + over.0 + over.1) rx="2" {}
                @for (row, placed) in here { (self.beside_bar(interval.process, row, placed)) }
            },
            Kind::Segment(_, sender) => html! {
                @if let Some((row, placed)) = here.next() { (self.arrow(*sender, row, placed)) }
            },
            Kind::State(stay) => self.state(index, stay, (top, bottom), beyond(begins, ends, from, until)),
            Kind::Mark(what, process) => html! {
                @if let Some((row, placed)) = here.next() { (self.mark(what, *process, row, placed)) }
            },
        }
    }

    fn beside_bar(&self, process: usize, row: i32, placed: &Placed) -> Markup {
        let bar = self.layout.bar(self.model, process) + BAR.0;
        let x = self.layout.text(self.model, self.model.processes[process].side);
        html! {
            @if x - bar > BAR.1 {
                line.tick x1=(bar + 1) x2=(x - 3) y1=(row + BASE - 4) y2=(row + BASE - 4) {}
            }
            (hit(x - 4, row, self.widest(placed) + 8, placed.lines.len()))
            (lines(placed, "code", x, row))
        }
    }

    fn widest(&self, placed: &Placed) -> i32 {
        super::layout::text_width(placed.lines.iter().map(text::width).max().unwrap_or(0))
    }

    fn arrow(&self, sender: Side, row: i32, placed: &Placed) -> Markup {
        let wire = self.layout.wire;
        let (start, end) = match sender {
            Side::Left => (wire.x + 3, wire.end() - 2),
            Side::Right => (wire.end() - 3, wire.x + 2),
        };
        let (leaves, arrives) = (row + tail(placed.lines.len()), row + tail(placed.lines.len()) + SLANT);
        html! {
            rect.hit x=(wire.x + 2) y=(row) width=(wire.width - 4) height=(arrives - row + 4) rx="3" {}
            line.shaft x1=(start) y1=(leaves) x2=(end) y2=(arrives) {}
            circle.tail cx=(start) cy=(leaves) r="2.5" {}
            polygon.tip points=(tip((start, leaves), (end, arrives))) {}
            (lines(placed, "code middle", wire.x + wire.width / 2, row))
        }
    }

    fn state(&self, index: usize, stay: &Stay, (top, bottom): (i32, i32), over: (i32, i32)) -> Markup {
        let band = &self.model.bands[stay.band];
        let place = self.layout.band(self.model, band);
        let is_first = over.0 == 0 && band.stays.first() == Some(&index);
        let (y, height) = (top - over.0, (bottom - top).max(1) + over.0 + over.1);
        let columns = usize::try_from((place.width - 8) / 6).unwrap_or(0);
        let base = top + if is_first { 26 } else { 13 };
        let name = if columns < 14 { short(stay.name) } else { stay.name };
        let is_inferred = matches!(stay.evidence, Evidence::Inferred(_));
        let circle = if is_inferred { "○" } else { "●" };
        html! {
            rect.stay x=(place.x) y=(y) width=(place.width) height=(height) {}
            @if is_inferred { rect.hatch x=(place.x) y=(y) width=(place.width) height=(height) {} }
            @if place.width >= WORD {
                @if is_first {
                    @for line in wrap(&[(Ink::Plain, &name_of_band(band))], columns, 1) {
                        (text::draw(&line, "end", place.x + 5, top + 12))
                    }
                }
                @if bottom - base >= 2 && self.is_named_here(index, stay.band, (top, bottom)) {
                    text.word x=(place.x + 5) y=(base) {
                        @if columns >= 14 { tspan.how { (circle) " " } }
                        (name)
                    }
                }
            } @else if bottom - top > 90 && self.is_named_here(index, stay.band, (top, bottom)) {
                @let columns = usize::try_from((bottom - top - 14) / 7).unwrap_or(0);
                @let label = format!("{circle} {name} {}", name_of_band(band));
                g transform=(format!("translate({} {}) rotate(90)", place.x + place.width / 2 - 3, top + 7)) {
                    @for line in wrap(&[(Ink::Plain, &label)], columns, 1) { (text::draw(&line, "word", 0, 0)) }
                }
            }
        }
    }

    /// Whether a part of a state has its name at its top: the first one has, and of those below one now and then.
    fn is_named_here(&self, index: usize, band: usize, (top, bottom): (i32, i32)) -> bool {
        let begins = self.extents[index].0;
        let is_due = (top - begins) / AGAIN != (bottom - begins) / AGAIN;
        let first = self.layout.tops.partition_point(|row| *row < top - LINE);
        let below = self.layout.tops[first..].iter().zip(&self.layout.rows[first..]);
        let mut near = below.take_while(|(row, _)| **row < top + LINE * 2).flat_map(|(_, placed)| placed);
        top == begins || is_due && !near.any(|placed| placed.item.lane == Lane::Band(band))
    }

    fn mark(&self, what: &What, process: Option<usize>, row: i32, placed: &Placed) -> Markup {
        match (placed.item.lane, process) {
            (Lane::Band(band), _) => self.mark_in_band(&self.model.bands[band], row, placed),
            (_, Some(process)) => self.mark_of_process(what, process, row, placed),
            _ => {
                let wire = self.layout.wire;
                let height = height_of(placed.lines.len()) + 2;
                html! {
                    rect.note x=(wire.x + 8) y=(row) width=(wire.width - 16) height=(height) rx="3" {}
                    rect.hit x=(wire.x + 8) y=(row) width=(wire.width - 16) height=(height) rx="3" {}
                    (lines(placed, "code middle", wire.x + wire.width / 2, row))
                }
            }
        }
    }

    fn mark_in_band(&self, band: &Band, row: i32, placed: &Placed) -> Markup {
        let place = self.layout.band(self.model, band);
        let has_room = band_width(self.model, band.side) >= WORD;
        html! {
            (hit(place.x + 2, row, place.width - 4, placed.lines.len()))
            circle.dot cx=(place.x + if has_room { 8 } else { place.width / 2 }) cy=(row + BASE - 4) r="2.5" {}
            @if has_room { (lines(placed, "small", place.x + 14, row)) }
        }
    }

    fn mark_of_process(&self, what: &What, process: usize, row: i32, placed: &Placed) -> Markup {
        let middle = |process: usize| self.layout.bar(self.model, process) + BAR.0 / 2;
        let (x, y) = (middle(process), row + BASE - 4);
        let is_child = |child: &&Process| match what {
            What::Forked { child: who, .. } => name_of(who) == format!("{} {}", child.role, child.pid),
            _ => false,
        };
        let child = self.model.processes.iter().position(|child| child.maker == Some(process) && is_child(&child));
        let class = if matches!(what, What::Said(_) | What::Typed(_)) { "code said" } else { "code" };
        let text = self.layout.text(self.model, self.model.processes[process].side);
        html! {
            @if let Some(child) = child {
                path.fork d=(format!("M{x} {y}H{}", middle(child))) {}
                circle.dot cx=(middle(child)) cy=(y) r="3" {}
            }
            @match what {
                What::Ended(_) => { path.over d=(format!("M{} {y}h8", x - 4)) {} },
                What::Said(_) | What::Typed(_) => { circle.ring cx=(x) cy=(y) r="3" {} },
                _ => { circle.dot cx=(x) cy=(y) r="3" {} },
            }
            (hit(text - 4, row, self.widest(placed) + 8, placed.lines.len()))
            (lines(placed, class, text, row))
        }
    }
}

/// A process's name in the head. Of a long one the end is left: that tells it from others.
fn name_in_head(process: &Process) -> String {
    let name = format!("{} {}", process.role, process.pid);
    match name.chars().count().checked_sub(NAME) {
        Some(over @ 1..) => std::iter::once('…').chain(name.chars().skip(over + 1)).collect(),
        _ => name,
    }
}

/// Notes where a part of a thing begins, and where it ends.
fn extend(extents: &mut [(i32, i32)], model: &Model, top: i32, placed: &Placed) {
    let at = top + placed.below;
    let height = height_of(placed.lines.len().max(1));
    let extent = &mut extents[placed.item.thing];
    match (&model.things[placed.item.thing].kind, placed.item.part) {
        (Kind::Call(..), Part::Begin) => extent.0 = top + TOP,
        (Kind::Call(..), Part::End) => extent.1 = top + BASE,
        (Kind::Call(..), Part::Whole) => *extent = (top + TOP, top + height),
        (Kind::State(stay), Part::Begin) => {
            extent.0 = at;
            // Where one state begins, the one before it ends.
            let stays = &model.bands[stay.band].stays;
            let before = stays.iter().take_while(|before| **before != placed.item.thing).last();
            before.into_iter().for_each(|before| extents[*before].1 = at);
        }
        (Kind::State(_), _) => extent.1 = at,
        (Kind::Segment(..) | Kind::Mark(..), _) => *extent = (top, top + height),
    }
}

/// By how much a shape goes on above and below the part of the picture that it is drawn in: enough to hide its outline.
fn beyond(begins: i32, ends: i32, from: i32, until: i32) -> (i32, i32) {
    (if begins < from { 6 } else { 0 }, if ends > until { 6 } else { 0 })
}

/// One of a few colours of its side.
fn shade(process: &Process) -> &'static str {
    const SHADES: [[&str; 4]; 2] = [["l0", "l1", "l2", "l3"], ["r0", "r1", "r2", "r3"]];
    SHADES[process.side as usize][process.column % 4]
}

fn hit(x: i32, row: i32, width: i32, lines: usize) -> Markup {
    html! { rect.hit x=(x) y=(row) width=(width) height=(height_of(lines) + 3) rx="3" {} }
}

fn lines(placed: &Placed, class: &str, x: i32, row: i32) -> Markup {
    html! {
        @for (index, line) in placed.lines.iter().enumerate() {
            (text::draw(line, class, x, row + BASE + height_of(index)))
        }
    }
}

/// The head of an arrow: a triangle whose point is at the end.
fn tip((x, y): (i32, i32), (to_x, to_y): (i32, i32)) -> String {
    const LENGTH: f64 = 9.0;
    const HALF: f64 = 3.6;
    let (dx, dy) = (f64::from(to_x - x), f64::from(to_y - y));
    let length = dx.hypot(dy).max(1.0);
    let (dx, dy) = (dx / length, dy / length);
    let (back_x, back_y) = (f64::from(to_x) - LENGTH * dx, f64::from(to_y) - LENGTH * dy);
    let corner = |half: f64| format!("{:.1},{:.1}", back_x - half * dy, back_y + half * dx);
    format!("{to_x},{to_y} {} {}", corner(HALF), corner(-HALF))
}

/// The pattern that lies over what is inferred only.
fn hatching() -> Markup {
    html! {
        svg.patterns width="0" height="0" aria-hidden="true" {
            defs {
                pattern id="hatching" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect.stripe width="2.4" height="6" {}
                }
            }
        }
    }
}

/// A connection is named after its client's end, a listening socket after its own.
fn name_of_band(band: &Band) -> String {
    let end = if band.side == Side::Left || band.is_listening { band.local } else { band.remote };
    match end {
        Endpoint::Inet(address) => format!(":{}", address.port()),
        Endpoint::Path(path) => path.rsplit('/').next().unwrap_or(path).to_string(),
        Endpoint::Unnamed => "unix".into(),
    }
}

/// As `ss` abbreviates them, and shorter.
fn short(name: &'static str) -> &'static str {
    match name {
        "ESTABLISHED" => "ESTAB",
        "SYN-RECEIVED" => "SYN-RCVD",
        "FIN-WAIT-1" => "FIN-W-1",
        "FIN-WAIT-2" => "FIN-W-2",
        "CLOSE-WAIT" => "CL-WAIT",
        "TIME-WAIT" => "TIME-W",
        "UNCONNECTED" => "UNCONN",
        name => name,
    }
}

/// A thing in a line: who, and what.
pub fn describe_thing(model: &Model, thing: &Thing) -> String {
    let what = match &thing.kind {
        Kind::Call(Interval { call, .. }) => {
            let outcome = crate::view::notation::result(call);
            let outcome = outcome.map_or("has not returned".into(), |outcome| format!("= {outcome}"));
            format!("{}: {} {outcome}", name_of(thing.who), crate::view::notation::call(call))
        }
        Kind::Segment(segment, _) => {
            format!("{} → {}: {}", segment.from, segment.to, crate::view::notation::segment(segment))
        }
        Kind::State(stay) => {
            let how = if matches!(stay.evidence, Evidence::Inferred(_)) { "inferred" } else { "seen" };
            let mut end = String::new();
            describe::write_end(&mut end, model.bands[stay.band].local);
            format!("{end}: {} ({how})", stay.name)
        }
        Kind::Mark(what, _) => {
            let (verb, rest) = label::mark(what);
            format!("{}: {verb}{rest}", name_of(thing.who))
        }
    };
    harmless(what.as_bytes())
}
