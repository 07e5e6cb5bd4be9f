//! The line that is being typed: what each key does to it, and how it lies on the screen. No terminal is touched here.

use kit::printable;
use unicode_width::UnicodeWidthChar;

use crate::keys::Key;

/// What stands before the line.
pub const PROMPT: &str = "> ";
/// The longest line that can be typed, in bytes: a frame holds at most 64 KiB, and JSON needs some of it.
pub const LONGEST_LINE: usize = 60 * 1024;
const MOST_REMEMBERED: usize = 100;

/// The line that is being typed, and those that were.
#[derive(Default)]
pub struct Line {
    text: String,
    /// Where the next letter goes: a byte position, never within a character.
    cursor: usize,
    typed: Vec<String>,
    /// How many lines back the arrows have gone; 0 is the line itself.
    back: usize,
    /// The line itself, while an older one is shown in its place.
    kept: String,
}

/// What a key did, beyond changing the line.
#[derive(PartialEq, Eq, Debug)]
pub enum Pressed {
    /// Nothing more.
    Nothing,
    /// The line is finished, and the next one begins.
    Line(String),
    /// Ctrl-D on an empty line.
    End,
    /// Ctrl-C on an empty line; on any other it only lets go of the line.
    Interrupt,
    /// Ctrl-Z.
    Suspend,
    /// Ctrl-L.
    Clear,
}

/// How the line lies on the screen, from the row where its prompt stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// What to print: the prompt and the line, or as much of it as the screen has room for.
    pub text: String,
    /// Row and column of the cursor.
    pub cursor: (usize, usize),
    /// Row and column behind the last character.
    pub end: (usize, usize),
    /// How many bytes of the text are before the cursor.
    before_cursor: usize,
}

impl Layout {
    /// The cursor's row on a screen that has so many columns by now: it is wrapped anew when its window changes its width.
    pub fn row_of_cursor(&self, columns: usize) -> usize {
        let mut place = Place { row: 0, column: 0, columns: columns.max(1) };
        self.text[..self.before_cursor].chars().for_each(|character| place.pass(character));
        // In the last row, a newline of ours has taken the cursor out of a full one.
        place.next().0
    }
}

impl Line {
    /// Does what `key` means.
    pub fn press(&mut self, key: Key) -> Pressed {
        match key {
            Key::Char(character) => self.insert(character),
            Key::Backspace => self.cut(self.before(self.cursor), self.cursor),
            Key::Delete => self.cut(self.cursor, self.after(self.cursor)),
            Key::EndOfInput if self.text.is_empty() => return Pressed::End,
            Key::EndOfInput => self.cut(self.cursor, self.after(self.cursor)),
            Key::Left => self.cursor = self.before(self.cursor),
            Key::Right => self.cursor = self.after(self.cursor),
            Key::WordLeft => self.cursor = self.word_left(),
            Key::WordRight => self.cursor = self.word_right(),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.text.len(),
            Key::Up => self.recall(self.back + 1),
            Key::Down => self.recall(self.back.saturating_sub(1)),
            Key::KillRight => self.text.truncate(self.cursor),
            Key::KillLeft => self.cut(0, self.cursor),
            Key::KillWord => self.cut(self.word_left(), self.cursor),
            Key::Enter => return Pressed::Line(self.finish()),
            Key::Interrupt if self.text.is_empty() => return Pressed::Interrupt,
            Key::Interrupt => self.replace(String::new(), 0),
            Key::Suspend => return Pressed::Suspend,
            Key::Clear => return Pressed::Clear,
        }
        Pressed::Nothing
    }

    /// How it lies on a screen of so many columns and rows.
    pub fn layout(&self, columns: usize, rows: usize) -> Layout {
        let (columns, rows) = (columns.max(1), rows.max(2));
        // One row is left for what arrives. A wide character may leave the last column of each row empty.
        let room = (rows - 1) * (columns - 1).max(1) - PROMPT.len().min(columns - 1);
        let part = self.part_for(room);
        let mut layout = Layout { text: PROMPT.into(), cursor: (0, 0), end: (0, 0), before_cursor: 0 };
        let mut place = Place { row: 0, column: 0, columns };
        PROMPT.chars().for_each(|character| place.pass(character));
        for (position, character) in self.text[part.clone()].char_indices() {
            if part.start + position == self.cursor {
                layout.cursor = place.next();
                layout.before_cursor = layout.text.len();
            }
            for shown in shown(character).chars() {
                layout.text.push(shown);
                place.pass(shown);
            }
        }
        layout.end = place.next();
        if self.cursor == part.end {
            layout.cursor = layout.end;
            layout.before_cursor = layout.text.len();
        }
        layout
    }

    /// As much of the line around the cursor as fits into `room` columns: all of it, as a rule.
    fn part_for(&self, room: usize) -> std::ops::Range<usize> {
        let width = |text: &str| text.chars().map(|character| width(&shown(character))).sum::<usize>();
        if width(&self.text) <= room {
            return 0..self.text.len();
        }
        let (mut start, mut end, mut used) = (self.cursor, self.cursor, 0);
        while start > 0 && used < room / 2 {
            let before = self.before(start);
            used += width(&self.text[before..start]);
            start = before;
        }
        while end < self.text.len() {
            let after = self.after(end);
            used += width(&self.text[end..after]);
            if used > room {
                break;
            }
            end = after;
        }
        start..end
    }

    fn insert(&mut self, character: char) {
        if self.text.len() + character.len_utf8() <= LONGEST_LINE {
            self.text.insert(self.cursor, character);
            self.cursor += character.len_utf8();
        }
    }

    fn cut(&mut self, start: usize, end: usize) {
        self.text.replace_range(start..end, "");
        self.cursor = start;
    }

    fn finish(&mut self) -> String {
        let line = std::mem::take(&mut self.text);
        self.replace(String::new(), 0);
        self.kept.clear();
        if !line.trim().is_empty() && self.typed.last() != Some(&line) {
            self.typed.push(line.clone());
            let surplus = self.typed.len().saturating_sub(MOST_REMEMBERED);
            self.typed.drain(..surplus);
        }
        line
    }

    fn recall(&mut self, back: usize) {
        if back > self.typed.len() || back == self.back {
            return;
        }
        if self.back == 0 {
            self.kept = self.text.clone();
        }
        let text = if back == 0 { self.kept.clone() } else { self.typed[self.typed.len() - back].clone() };
        self.replace(text, back);
    }

    fn replace(&mut self, text: String, back: usize) {
        self.cursor = text.len();
        self.text = text;
        self.back = back;
    }

    /// Where the character before `position` begins, with the accents that stand on it.
    fn before(&self, position: usize) -> usize {
        let mut characters = self.text[..position].char_indices().rev();
        let whole = characters.find(|&(_, character)| !is_accent(character));
        whole.map_or(0, |(start, _)| start)
    }

    fn after(&self, position: usize) -> usize {
        let mut characters = self.text[position..].char_indices().skip(1);
        let next = characters.find(|&(_, character)| !is_accent(character));
        next.map_or(self.text.len(), |(start, _)| position + start)
    }

    fn word_left(&self) -> usize {
        let word = self.text[..self.cursor].trim_end();
        word.char_indices()
            .rev()
            .find(|(_, character)| character.is_whitespace())
            .map_or(0, |(start, space)| start + space.len_utf8())
    }

    fn word_right(&self) -> usize {
        let rest = &self.text[self.cursor..];
        let word = rest.len() - rest.trim_start().len();
        let length = rest[word..].find(char::is_whitespace).unwrap_or(rest.len() - word);
        self.cursor + word + length
    }
}

/// Where the terminal's cursor is while text is printed, with the terminal's own rule for the end of a row.
struct Place {
    row: usize,
    column: usize,
    columns: usize,
}

impl Place {
    fn pass(&mut self, character: char) {
        let width = character.width().unwrap_or(0);
        // A wide character that does not fit any more goes to the next row as a whole.
        if self.column + width > self.columns {
            self.row += 1;
            self.column = 0;
        }
        self.column += width;
    }

    /// Where the next character goes.
    fn next(&self) -> (usize, usize) {
        if self.column >= self.columns { (self.row + 1, 0) } else { (self.row, self.column) }
    }
}

/// What is typed may be pasted, from anywhere: it is shown as what others send is.
fn shown(character: char) -> String {
    printable(character.encode_utf8(&mut [0; 4]).as_bytes())
}

fn width(shown: &str) -> usize {
    shown.chars().map(|character| character.width().unwrap_or(0)).sum()
}

/// A combining character: printed over the one before.
fn is_accent(character: char) -> bool {
    width(&shown(character)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Line {
        let mut line = Line::default();
        for character in text.chars() {
            line.press(Key::Char(character));
        }
        line
    }

    fn pressed(line: &mut Line, keys: &[Key]) -> String {
        for &key in keys {
            line.press(key);
        }
        format!("{}|{}", &line.text[..line.cursor], &line.text[line.cursor..])
    }

    #[test]
    fn letters_go_where_the_cursor_is() {
        let mut line = typed("helo");
        assert_eq!(pressed(&mut line, &[Key::Left, Key::Char('l')]), "hell|o");
        assert_eq!(pressed(&mut line, &[Key::End, Key::Backspace, Key::Home, Key::Delete]), "|ell");
    }

    #[test]
    fn an_accent_goes_with_its_letter() {
        let mut line = typed("ae\u{301}");
        assert_eq!(pressed(&mut line, &[Key::Left]), "a|e\u{301}");
        assert_eq!(pressed(&mut line, &[Key::End, Key::Backspace]), "a|");
    }

    #[test]
    fn words_are_passed_and_taken_away_as_a_whole() {
        let mut line = typed("one two  three");
        assert_eq!(pressed(&mut line, &[Key::WordLeft, Key::WordLeft]), "one |two  three");
        assert_eq!(pressed(&mut line, &[Key::WordRight, Key::KillWord]), "one |  three");
        assert_eq!(pressed(&mut line, &[Key::KillRight]), "one |");
        assert_eq!(pressed(&mut line, &[Key::KillLeft, Key::WordLeft, Key::WordRight]), "|");
    }

    #[test]
    fn the_arrows_bring_back_what_was_typed_and_the_line_that_was_begun() {
        let mut line = typed("one");
        assert_eq!(line.press(Key::Enter), Pressed::Line("one".into()));
        pressed(&mut line, &[Key::Char('2'), Key::Enter, Key::Char('3')]);
        assert_eq!(pressed(&mut line, &[Key::Up]), "2|");
        assert_eq!(pressed(&mut line, &[Key::Up, Key::Up]), "one|");
        assert_eq!(pressed(&mut line, &[Key::Down, Key::Down, Key::Down]), "3|");
    }

    #[test]
    fn ctrl_c_lets_go_of_the_line_first_and_ctrl_d_ends_only_an_empty_one() {
        let mut line = typed("oops");
        assert_eq!(line.press(Key::EndOfInput), Pressed::Nothing);
        assert_eq!(line.press(Key::Interrupt), Pressed::Nothing);
        assert_eq!(line.press(Key::Interrupt), Pressed::Interrupt);
        assert_eq!(line.press(Key::EndOfInput), Pressed::End);
    }

    #[test]
    fn a_line_that_fills_a_row_exactly_goes_on_in_the_next() {
        let layout = typed(&"x".repeat(8)).layout(10, 24);
        assert_eq!((layout.cursor, layout.end), ((1, 0), (1, 0)));
        let layout = typed(&"x".repeat(7)).layout(10, 24);
        assert_eq!((layout.cursor, layout.end), ((0, 9), (0, 9)));
    }

    #[test]
    fn a_wide_character_is_not_cut_by_the_end_of_a_row() {
        // "> " and seven narrow ones leave one column: not enough for 你.
        let mut line = typed("xxxxxxx你");
        assert_eq!(line.layout(10, 24).end, (1, 2));
        line.press(Key::Home);
        assert_eq!(line.layout(10, 24).cursor, (0, 2));
    }

    #[test]
    fn what_could_turn_the_text_around_is_shown_and_takes_the_room_that_it_is_shown_in() {
        let layout = typed("a\u{202e}b").layout(80, 24);
        assert_eq!((layout.text.as_str(), layout.end), ("> a\\u{202e}b", (0, 12)));
    }

    #[test]
    fn of_a_line_longer_than_the_screen_the_part_around_the_cursor_is_shown() {
        let mut line = typed(&"0123456789".repeat(300));
        for key in [Key::End, Key::Home] {
            line.press(key);
            let layout = line.layout(80, 24);
            assert!(layout.end.0 < 23, "{layout:?}");
            assert!(layout.cursor <= layout.end);
        }
        assert_eq!(line.layout(80, 24).cursor, (0, 2));
        for (columns, rows) in [(0, 0), (1, 1), (2, 1), (3, 2)] {
            line.layout(columns, rows);
        }
    }

    #[test]
    fn a_line_grows_no_longer_than_a_frame_can_hold() {
        let line = typed(&"你".repeat(LONGEST_LINE));
        assert!(line.text.len() <= LONGEST_LINE);
    }
}
