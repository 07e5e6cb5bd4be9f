//! The report as a picture: bars for what the models cost, and for the chat. One SVG file, readable on light and on dark pages.

use maud::{Markup, html};

use crate::report::{Line, Report, Row, figure};
use crate::statistics::median;

const WIDTH: f64 = 860.0;
const MARGIN: f64 = 24.0;
/// Where bars begin, and how long the longest one is; its figure stands behind it.
const BARS: f64 = 190.0;
const LONGEST: f64 = 520.0;
/// From one bar to the next, and the bar itself.
const STEP: f64 = 22.0;
const THICKNESS: f64 = 15.0;
/// Above a group of bars, with its heading in it.
const HEADING: f64 = 40.0;
const NOTE_STEP: f64 = 18.0;
/// A note is broken into lines of about so many letters.
const NOTE_WIDTH: usize = 118;

/// Colours that keep their contrast to the paper, in both of its shades; `other` is for what is no lab.
const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 17px; font-weight: 600 }
.heading { font-weight: 600 }
.note { font-size: 12px; fill: #59636e }
.paper { fill: #ffffff }
.lab { fill: #0969da }
.other { fill: #8c959f }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.note { fill: #9198a1 }
.paper { fill: #0d1117 }
.lab { fill: #4493f8 }
.other { fill: #6e7681 }
}";

/// Bars that share one unit and one scale.
struct Group {
    heading: String,
    unit: &'static str,
    bars: Vec<Bar>,
}

struct Bar {
    name: String,
    is_lab: bool,
    /// `None`: it cannot do this.
    value: Option<f64>,
}

/// The tables, and the chat's comparisons, as far as they were measured.
pub fn svg(report: &Report) -> String {
    let tables = report.tables.iter().flat_map(|table| {
        let groups = table.lines.iter().map(|line| group_of_line(line, &table.columns));
        std::iter::once((Some(table.title.trim_end_matches(": lab").to_owned()), Vec::new()))
            .chain(groups.map(|group| (None, vec![group])))
    });
    let chat: Vec<Group> = report.rows.iter().filter(|row| is_chat(row)).map(group_of_row).collect();
    let chat_title =
        (!chat.is_empty()).then(|| (Some("The chat, against a C server of the same model".to_owned()), chat));
    let mut top = MARGIN;
    let mut drawn = Vec::new();
    for (title, groups) in tables.chain(chat_title) {
        if let Some(title) = title {
            drawn.push(text("title", MARGIN, top + 16.0, &title));
            top += 24.0;
        }
        for group in &groups {
            drawn.push(draw(group, top));
            top += group.height();
        }
    }
    top += 2.0 * NOTE_STEP;
    for note in report.notes.iter().filter(|note| is_circumstance(note)).flat_map(|note| wrap(note)) {
        drawn.push(text("note", MARGIN, top, &note));
        top += NOTE_STEP;
    }
    let height = top + MARGIN;
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(WIDTH) height=(height) viewBox=(format!("0 0 {WIDTH} {height}"))
            role="img" aria-label="What each model costs, and the chat: the figures of docs/performance.md as bars" {
            style { (maud::PreEscaped(STYLE)) }
            rect class="paper" width="100%" height="100%" {}
            @for part in &drawn { (part) }
        }
    };
    picture.into_string() + "\n"
}

/// The machine and how it was measured; how busy the cores were is for the table's readers.
fn is_circumstance(note: &str) -> bool {
    !note.contains("how busy")
}

fn is_chat(row: &Row) -> bool {
    row.what.starts_with("chat: ") && row.reference.is_some()
}

fn group_of_line(line: &Line, columns: &[&str]) -> Group {
    let bars = columns.iter().zip(&line.cells).map(|(name, cell)| Bar {
        name: format!("lab {name}"),
        is_lab: true,
        value: cell.as_ref().map(|figures| median(figures)),
    });
    Group { heading: line.what.clone(), unit: line.unit, bars: bars.collect() }
}

fn group_of_row(row: &Row) -> Group {
    let own = Bar { name: "lab 7".into(), is_lab: true, value: Some(median(&row.figures)) };
    let other = row.reference.as_ref().map(|(name, figures)| Bar {
        name: (*name).into(),
        is_lab: false,
        value: Some(median(figures)),
    });
    let heading = row.what.trim_start_matches("chat: ").to_owned();
    Group { heading, unit: row.unit, bars: std::iter::once(own).chain(other).collect() }
}

impl Group {
    fn height(&self) -> f64 {
        HEADING + STEP * self.bars.len() as f64
    }
}

fn draw(group: &Group, top: f64) -> Markup {
    let most = group.bars.iter().filter_map(|bar| bar.value).fold(0.0, f64::max);
    let better = if group.unit == "/s" { "longer is better" } else { "shorter is better" };
    html! {
        (text("heading", MARGIN, top + 30.0, &group.heading))
        text.note x=(WIDTH - MARGIN) y=(top + 30.0) text-anchor="end" { (better) }
        @for (index, bar) in group.bars.iter().enumerate() {
            @let y = top + HEADING + STEP * index as f64;
            text x=(BARS - 10.0) y=(y + 12.0) text-anchor="end" { (bar.name) }
            @match bar.value {
                Some(value) => {
                    @let length = if most > 0.0 { (LONGEST * value / most).max(1.0) } else { 1.0 };
                    rect class=(if bar.is_lab { "lab" } else { "other" })
                        x=(BARS) y=(y) width=(format!("{length:.1}")) height=(THICKNESS) rx="2" {}
                    (text("", BARS + length + 8.0, y + 12.0, &figure(value, group.unit)))
                },
                None => (text("note", BARS, y + 12.0, "not for more than one client")),
            }
        }
    }
}

fn text(class: &str, x: f64, y: f64, words: &str) -> Markup {
    html! { text class=[(!class.is_empty()).then_some(class)] x=(format!("{x:.1}")) y=(y) { (words) } }
}

fn wrap(note: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in note.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= NOTE_WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Table;

    #[test]
    fn every_figure_stands_in_the_picture_and_what_cannot_be_done_says_so() {
        let cells = vec![None, Some(vec![1.0, 2.0, 3.0]), Some(vec![4000.0])];
        let line = Line { what: "64 clients <together>".into(), unit: "/s", cells };
        let table = Table {
            title: "Models: lab".into(),
            columns: vec!["1 alone", "3 processes", "6 epoll"],
            lines: vec![line],
        };
        let row = Row {
            what: "chat: 100 clients, deliveries".into(),
            unit: "/s",
            figures: vec![8.0],
            reference: Some(("C", vec![9.0])),
            goal: None,
        };
        let notes = vec!["A machine.".into(), "chat: how busy the cores were".into()];
        let report = Report { tables: vec![table], rows: vec![row], notes, ..Report::default() };
        let svg = svg(&report);
        for part in
            ["2.00 /s", "4000 /s", "8.00 /s", "9.00 /s", "not for more", "64 clients &lt;together&gt;", "A machine."]
        {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        assert!(!svg.contains("how busy"));
    }

    #[test]
    fn a_long_note_is_broken_between_words() {
        let lines = wrap(&"word ".repeat(100));
        assert!(lines.len() > 3 && lines.iter().all(|line| line.chars().count() <= NOTE_WIDTH));
    }
}
