//! Lines of text for the picture: broken where a lane ends, each part in its own ink.

use maud::{Markup, html};

use crate::view::paint::harmless;

/// What a part of a line is, which decides its look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ink {
    /// The name of a call.
    Name,
    /// Ordinary text.
    Plain,
    /// What a call returned.
    Result,
    /// An error that it returned.
    Error,
    /// What may be overlooked.
    Quiet,
}

impl Ink {
    fn class(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Plain => "plain",
            Self::Result => "result",
            Self::Error => "error",
            Self::Quiet => "quiet",
        }
    }
}

/// A line: its parts, from left to right.
pub type Line = Vec<(Ink, String)>;

/// How many columns of a monospaced font a character takes.
fn columns_of(character: char) -> usize {
    textwrap::core::display_width(character.encode_utf8(&mut [0; 4]))
}

/// How many columns a line takes.
pub fn width(line: &Line) -> usize {
    line.iter().map(|(_, text)| textwrap::core::display_width(text)).sum()
}

/// Breaks text into lines of at most `columns`, at spaces where there are any; what is beyond `most` lines becomes `…`.
///
/// The parts are made harmless here.
pub fn wrap(parts: &[(Ink, &str)], columns: usize, most: usize) -> Vec<Line> {
    let mut lines: Vec<Vec<(Ink, char)>> = Vec::new();
    let mut line: Vec<(Ink, char)> = Vec::new();
    let mut taken = 0;
    for (ink, text) in parts {
        for character in harmless(text.as_bytes()).chars() {
            let more = columns_of(character);
            if taken + more > columns && !line.is_empty() {
                let rest = if character == ' ' { Vec::new() } else { cut_at_space(&mut line, columns) };
                lines.push(std::mem::replace(&mut line, rest));
                taken = line.iter().map(|(_, character)| columns_of(*character)).sum();
            }
            if !(character == ' ' && line.is_empty() && !lines.is_empty()) {
                line.push((*ink, character));
                taken += more;
            }
        }
    }
    lines.push(line);
    shorten(&mut lines, columns, most);
    lines.into_iter().map(into_parts).collect()
}

/// Takes the last word off a full line. A word that leaves most of the line empty is broken instead: behind a `|` of
/// flags or a `/` of a path, where there is one.
fn cut_at_space(line: &mut Vec<(Ink, char)>, columns: usize) -> Vec<(Ink, char)> {
    let last = |wanted: &[char]| line.iter().rposition(|(_, character)| wanted.contains(character));
    let far_enough = |place: &usize| *place >= columns / 3;
    if let Some(space) = last(&[' ']).filter(far_enough) {
        let rest = line.split_off(space + 1);
        line.truncate(space);
        return rest;
    }
    let part = last(&['|', '/']).filter(far_enough);
    part.map_or_else(Vec::new, |part| line.split_off(part + 1))
}

fn shorten(lines: &mut Vec<Vec<(Ink, char)>>, columns: usize, most: usize) {
    if lines.len() <= most {
        return;
    }
    lines.truncate(most);
    let Some(last) = lines.last_mut() else { return };
    let mut taken: usize = last.iter().map(|(_, character)| columns_of(*character)).sum();
    while taken + 1 > columns {
        let Some((_, character)) = last.pop() else { break };
        taken -= columns_of(character);
    }
    last.push((Ink::Quiet, '…'));
}

fn into_parts(line: Vec<(Ink, char)>) -> Line {
    let mut parts = Line::new();
    for (ink, character) in line {
        match parts.last_mut() {
            Some((last, text)) if *last == ink => text.push(character),
            _ => parts.push((ink, character.into())),
        }
    }
    parts
}

/// A line as an SVG text whose base line begins at `x`, `y`.
pub fn draw(line: &Line, class: &str, x: i32, y: i32) -> Markup {
    html! {
        text class=(class) x=(x) y=(y) {
            @for (ink, text) in line {
                @match ink {
                    Ink::Plain => { (text) },
                    _ => { tspan class=(ink.class()) { (text) } },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| line.iter().map(|(_, text)| text.as_str()).collect()).collect()
    }

    #[test]
    fn a_line_is_broken_at_a_space_and_a_word_that_is_too_long_anywhere() {
        assert_eq!(plain(&wrap(&[(Ink::Plain, "one two three")], 8, 9)), ["one two", "three"]);
        assert_eq!(plain(&wrap(&[(Ink::Plain, "abcdefghij")], 4, 9)), ["abcd", "efgh", "ij"]);
        assert_eq!(plain(&wrap(&[(Ink::Plain, "a bcdefghij")], 6, 9)), ["a bcde", "fghij"]);
        assert_eq!(plain(&wrap(&[(Ink::Plain, "abcd efgh")], 4, 9)), ["abcd", "efgh"]);
    }

    #[test]
    fn flags_and_paths_are_broken_between_their_parts() {
        assert_eq!(plain(&wrap(&[(Ink::Plain, "SOCK_A|SOCK_B|SOCK_C")], 15, 9)), ["SOCK_A|SOCK_B|", "SOCK_C"]);
        assert_eq!(plain(&wrap(&[(Ink::Plain, "a /usr/lib/program x")], 11, 9)), ["a /usr/lib/", "program x"]);
        assert_eq!(plain(&wrap(&[(Ink::Plain, "a/bcdefghijklmnop")], 9, 9)), ["a/bcdefgh", "ijklmnop"]);
    }

    #[test]
    fn no_line_is_wider_than_it_may_be_whatever_its_characters() {
        for text in ["你好你好你好", "e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}", "a\x1b[2J\u{202e}b c d"] {
            for line in wrap(&[(Ink::Name, text), (Ink::Plain, text)], 5, 4) {
                assert!(width(&line) <= 5, "{line:?}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_becomes_an_ellipsis() {
        assert_eq!(
            plain(&wrap(&[(Ink::Plain, "one two three four")], 9, 2)),
            ["one two", "three…"].map(String::from).to_vec()
        );
        assert_eq!(plain(&wrap(&[(Ink::Plain, "abcdefgh")], 4, 1)), ["abc…"]);
    }

    #[test]
    fn a_part_keeps_its_ink_across_lines() {
        let lines = wrap(&[(Ink::Name, "read"), (Ink::Plain, "(4, 16) "), (Ink::Result, "= 6")], 8, 9);
        assert_eq!(lines[0], [(Ink::Name, "read".into()), (Ink::Plain, "(4,".into())]);
        assert_eq!(lines[1], [(Ink::Plain, "16) ".to_string()), (Ink::Result, "= 6".into())]);
    }
}
