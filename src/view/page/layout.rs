//! Where everything is: lanes from left to right, rows from top to bottom, all in pixels.

use std::collections::HashMap;
use std::time::Duration;

use crate::event::Endpoint;
use crate::view::page::label;
use crate::view::page::model::{Band, Item, Kind, Lane, Model, Part};
use crate::view::page::side::Side;
use crate::view::page::text::{Line, width};

/// The height of a line of text.
pub const LINE: i32 = 14;
/// How far below a row's top its first base line is.
pub const BASE: i32 = 12;
/// How far below a row's top a bar begins, and a state where no segment tells better.
pub const TOP: i32 = 3;
/// How far a segment's arrow falls on its way.
pub const SLANT: i32 = 10;
/// The width of a bar, and of the column that it stands in.
pub const BAR: (i32, i32) = (8, 14);
/// The time between two rows from which on it is marked.
pub const GAP: Duration = Duration::from_millis(10);

const MARGIN: i32 = 14;
const TIMES: i32 = 74;
const STEP: i32 = 18;
const GAP_HEIGHT: i32 = 26;
/// A row's height is no less than that of a state with its label; the first one also names its socket.
const STATE: (i32, i32) = (18, 31);
/// The height of a part of the picture that is not to be cut when printed: small, so that a page is filled with some.
const PAGE: i32 = 150;
/// The widths of a band, from wide to narrow, each for at most so many columns.
const BANDS: [(usize, i32); 3] = [(3, 96), (6, 62), (usize::MAX, 18)];
/// How many characters a line may have: of a call, of a segment, and of a call where there are no segments.
const COLUMNS: (usize, usize, usize) = (38, 40, 72);

/// An item with its text.
pub struct Placed {
    /// What it is, and how much of it.
    pub item: Item,
    /// Its text.
    pub lines: Vec<Line>,
    /// How far below the row's top it is: for a state, where the state before ends.
    pub below: i32,
}

/// A lane: where it begins, and how wide it is; 0 where there is nothing in it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Span {
    /// Its left end.
    pub x: i32,
    /// Its width.
    pub width: i32,
}

impl Span {
    /// Its right end.
    pub fn end(self) -> i32 {
        self.x + self.width
    }
}

/// Where everything is.
pub struct Layout {
    /// How wide the picture is.
    pub width: i32,
    /// How high it is.
    pub height: i32,
    /// The right end of the times.
    pub times: i32,
    /// The lanes of calls, of the left and of the right side: bars, then text.
    pub calls: [Span; 2],
    /// The lanes of states.
    pub states: [Span; 2],
    /// The lane of the segments.
    pub wire: Span,
    /// The tops of the rows.
    pub tops: Vec<i32>,
    /// The items of each row.
    pub rows: Vec<Vec<Placed>>,
    /// Pauses: where they are marked, and how long they were.
    pub gaps: Vec<(i32, Duration)>,
    /// Where the picture may be cut into pages, its end included.
    pub cuts: Vec<i32>,
}

impl Layout {
    /// Places everything.
    pub fn new(model: &Model) -> Self {
        let mut layout = Self {
            width: 0,
            height: 0,
            times: MARGIN + TIMES - 8,
            calls: [Span::default(); 2],
            states: [Span::default(); 2],
            wire: Span::default(),
            tops: Vec::new(),
            rows: placed(model),
            gaps: Vec::new(),
            cuts: Vec::new(),
        };
        layout.place_lanes(model);
        layout.place_rows(model);
        layout
    }

    fn place_lanes(&mut self, model: &Model) {
        let segments = match self.widest(|lane| lane == Lane::Wire) {
            0 => 24,
            widest => (text_width(widest) + 48).max(240),
        };
        let mut x = MARGIN + TIMES;
        let mut take = |width: i32, gap: i32| {
            let span = Span { x, width };
            x += if width > 0 { width + gap } else { 0 };
            span
        };
        let widths = [Side::Left, Side::Right].map(|side| (self.calls_width(model, side), states_width(model, side)));
        let [(left_calls, left_states), (right_calls, right_states)] = widths;
        let left = [take(left_calls, 14), take(left_states, 0)];
        let wire = take(segments, 0);
        let right = [take(right_states, 14), take(right_calls, 0)];
        (self.calls, self.states) = ([left[0], right[1]], [left[1], right[0]]);
        self.wire = wire;
        self.width = x + MARGIN;
    }

    fn calls_width(&self, model: &Model, side: Side) -> i32 {
        match self.widest(|lane| lane == Lane::Calls(side)) {
            0 => 0,
            widest => bars_width(model, side) + text_width(widest).max(150),
        }
    }

    fn widest(&self, is_meant: impl Fn(Lane) -> bool) -> usize {
        let lines =
            self.rows.iter().flatten().filter(|placed| is_meant(placed.item.lane)).flat_map(|placed| &placed.lines);
        lines.map(width).max().unwrap_or(0)
    }

    fn place_rows(&mut self, model: &Model) {
        let mut free: HashMap<Lane, i32> = HashMap::new();
        let (mut top, mut taken) = (6, Vec::new());
        for (index, row) in self.rows.iter_mut().enumerate() {
            let bottom = free.values().copied().max().unwrap_or(0);
            let pause = match index.checked_sub(1) {
                Some(before) => model.rows[index].at.saturating_sub(model.rows[before].at),
                None => Duration::ZERO,
            };
            if index > 0 {
                top += STEP;
            }
            if pause >= GAP {
                top = top.max(bottom);
                self.gaps.push((top + GAP_HEIGHT / 2, pause));
                taken.push((top, top + GAP_HEIGHT));
                top += GAP_HEIGHT;
            }
            let slopes = slopes(row, model);
            for placed in row.iter_mut() {
                placed.below = below(placed, model, &slopes);
                top = top.max(free.get(&placed.item.lane).copied().unwrap_or(0) - placed.below);
            }
            for placed in row.iter() {
                let bottom = top + placed.below + height(placed, model);
                free.insert(placed.item.lane, bottom);
                taken.push((top + placed.below, bottom - 1));
            }
            taken.push((top, top + STEP - 2));
            self.tops.push(top);
        }
        self.height = free.values().copied().max().unwrap_or(0).max(top + STEP) + 10;
        self.cuts = cuts(taken, self.height);
    }

    /// The left end of the column of a process.
    pub fn bar(&self, model: &Model, process: usize) -> i32 {
        let process = &model.processes[process];
        self.calls[process.side as usize].x + column(process.column, BAR.1)
    }

    /// Where the text of a side's calls begins.
    pub fn text(&self, model: &Model, side: Side) -> i32 {
        self.calls[side as usize].x + bars_width(model, side)
    }

    /// The place of a band.
    pub fn band(&self, model: &Model, band: &Band) -> Span {
        let width = band_width(model, band.side);
        let states = self.states[band.side as usize];
        let from_wire = column(band.column, width + 4);
        let x = match band.side {
            Side::Left => states.end() - width - from_wire,
            Side::Right => states.x + from_wire,
        };
        Span { x, width }
    }
}

/// Cuts the picture into pages, between texts and arrows and never through one.
fn cuts(mut taken: Vec<(i32, i32)>, height: i32) -> Vec<i32> {
    taken.sort_unstable();
    let (mut cuts, mut start, mut bottom) = (Vec::new(), 0, 0);
    let mut latest = None;
    for (top, its_bottom) in taken {
        if top > bottom {
            // Between `bottom` and `top` there is nothing.
            let cut = top - (top - bottom) / 2;
            if cut - start > PAGE {
                let cut = latest.take().unwrap_or(cut);
                cuts.push(cut);
                start = cut;
            }
            latest = Some(cut).filter(|cut| *cut - start > PAGE / 3);
        }
        bottom = bottom.max(its_bottom);
    }
    cuts.push(height);
    cuts
}

fn placed(model: &Model) -> Vec<Vec<Placed>> {
    let has_wire = model.things.iter().any(|thing| thing.lane == Lane::Wire);
    let columns = |lane| match lane {
        Lane::Wire => COLUMNS.1,
        Lane::Calls(_) if has_wire => COLUMNS.0,
        Lane::Calls(_) => COLUMNS.2,
        Lane::Band(band) => usize::try_from((band_width(model, model.bands[band].side) - 12) / 6).unwrap_or(0),
    };
    let place = |item: &Item| {
        let lines = label::lines(&model.things[item.thing], item.part, columns(item.lane));
        Placed { item: *item, lines, below: 0 }
    };
    model.rows.iter().map(|row| row.items.iter().map(place).collect()).collect()
}

/// A segment on this row: its ends, and how far below the row's top its arrow begins and ends.
struct Slope {
    left: Endpoint,
    right: Endpoint,
    at_left: i32,
    at_right: i32,
}

/// How far below a row's top a segment's arrow leaves, by the number of its lines of text.
pub fn tail(lines: usize) -> i32 {
    BASE + 5 + height_of(lines) - LINE
}

fn slopes(row: &[Placed], model: &Model) -> Vec<Slope> {
    let slope = |placed: &Placed| {
        let Kind::Segment(segment, sender) = &model.things[placed.item.thing].kind else { return None };
        let [from, to] = [segment.from, segment.to].map(Endpoint::Inet);
        let tail = tail(placed.lines.len());
        Some(match sender {
            Side::Left => Slope { left: from, right: to, at_left: tail, at_right: tail + SLANT },
            Side::Right => Slope { left: to, right: from, at_left: tail + SLANT, at_right: tail },
        })
    };
    row.iter().filter_map(slope).collect()
}

/// A state begins where the segment that brought it about leaves or arrives.
fn below(placed: &Placed, model: &Model, slopes: &[Slope]) -> i32 {
    let (Lane::Band(band), Kind::State(_)) = (placed.item.lane, &model.things[placed.item.thing].kind) else {
        return 0;
    };
    let band = &model.bands[band];
    let at = slopes.iter().find_map(|slope| match band.side {
        Side::Left if slope.left.is_same_as(band.local) && slope.right.is_same_as(band.remote) => Some(slope.at_left),
        Side::Right if slope.right.is_same_as(band.local) && slope.left.is_same_as(band.remote) => Some(slope.at_right),
        _ => None,
    });
    at.unwrap_or(TOP)
}

/// How much room an item takes in its lane.
pub fn height(placed: &Placed, model: &Model) -> i32 {
    let thing = &model.things[placed.item.thing];
    let lines = placed.lines.len().max(1);
    match &thing.kind {
        Kind::Segment(..) => tail(lines) + SLANT + 5,
        Kind::State(_) if placed.item.part == Part::End => 6,
        Kind::State(stay) if model.bands[stay.band].stays.first() == Some(&placed.item.thing) => STATE.1,
        Kind::State(_) => STATE.0,
        Kind::Call(..) | Kind::Mark(..) => height_of(lines) + 5,
    }
}

/// The width of each band of a side.
pub fn band_width(model: &Model, side: Side) -> i32 {
    let columns = model.band_columns(side);
    BANDS.iter().find(|(most, _)| columns <= *most).map_or(0, |(_, width)| *width)
}

fn states_width(model: &Model, side: Side) -> i32 {
    match model.band_columns(side) {
        0 => 0,
        columns => column(columns, band_width(model, side) + 4) - 4,
    }
}

fn bars_width(model: &Model, side: Side) -> i32 {
    column(model.process_columns(side), BAR.1) + 4
}

fn column(index: usize, width: i32) -> i32 {
    i32::try_from(index).unwrap_or(0) * width
}

/// The height of this many lines.
pub fn height_of(lines: usize) -> i32 {
    column(lines, LINE)
}

/// The width of this many characters in the page's monospaced font, whichever the machine has for it.
pub fn text_width(columns: usize) -> i32 {
    column(columns, 67) / 10 + 2
}
