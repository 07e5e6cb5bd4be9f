use std::io::{self, BufRead, BufReader, IsTerminal, Read, Stdin};

/// The longest piece of a line that is handed on at once, in bytes.
const PIECE: u64 = 16 * 1024;

/// What is typed, line by line, or what a file or pipe holds in its place. First used in lab 1's client.
///
/// Any bytes will do, not only text. A line longer than 16 KiB comes in pieces, so that memory stays bounded.
pub struct Keyboard {
    input: BufReader<Stdin>,
    line: Vec<u8>,
}

impl Default for Keyboard {
    fn default() -> Self {
        Self { input: BufReader::new(io::stdin()), line: Vec::new() }
    }
}

impl Keyboard {
    /// Whether a person types here.
    pub fn is_terminal(&self) -> bool {
        io::stdin().is_terminal()
    }

    /// The next line with its newline; `None` after Ctrl-D (the end of a file) or a line that says `Done`.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        let starts_a_line = self.line.last().is_none_or(|&last| last == b'\n');
        self.line.clear();
        let length = self.input.by_ref().take(PIECE).read_until(b'\n', &mut self.line)?;
        let done = starts_a_line && matches!(self.line.trim_ascii_end(), b"Done");
        Ok((length > 0 && !done).then_some(&self.line))
    }
}

/// The lines of what is typed, for a client that may not sleep at the keyboard and calls read(2) itself. First used in lab 5.
///
/// They are those of [`Keyboard`]: any bytes will do, and a line that says `Done` is the end.
#[derive(Default)]
pub struct TypedLines {
    /// The beginning of a line whose end has not been typed yet, at most 16 KiB of it.
    begun: Vec<u8>,
    /// Whether the beginning of that line has been handed on already, as it was too long to be kept.
    is_piece: bool,
    has_ended: bool,
}

impl TypedLines {
    /// Adds `bytes`, and appends the lines that are whole with them to `lines`.
    pub fn put(&mut self, bytes: &[u8], lines: &mut Vec<u8>) {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.begun.extend_from_slice(line);
            let is_whole = line.ends_with(b"\n");
            if is_whole || self.begun.len() >= PIECE as usize {
                self.hand_on(lines);
                self.is_piece = !is_whole;
            }
            if self.has_ended {
                return;
            }
        }
    }

    /// No more is typed. The last line needs no newline.
    pub fn end(&mut self, lines: &mut Vec<u8>) {
        self.hand_on(lines);
        self.has_ended = true;
    }

    /// Whether the end has come: what is typed after it is nobody's.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn hand_on(&mut self, lines: &mut Vec<u8>) {
        if !self.is_piece && self.begun.trim_ascii_end() == b"Done" {
            self.has_ended = true;
        } else {
            lines.extend_from_slice(&self.begun);
        }
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_handed_on_when_they_are_whole_and_done_ends_them_however_it_was_cut() {
        let (mut typed, mut lines) = (TypedLines::default(), Vec::new());
        typed.put(b"a\nNot Done\nb", &mut lines);
        assert_eq!(lines, b"a\nNot Done\n");
        for byte in b"\nDone\nnobody's" {
            typed.put(&[*byte], &mut lines);
        }
        assert_eq!((lines.as_slice(), typed.has_ended()), (&b"a\nNot Done\nb\n"[..], true));
    }

    #[test]
    fn a_last_line_needs_no_newline_and_a_long_one_comes_in_pieces() {
        let (mut typed, mut lines) = (TypedLines::default(), Vec::new());
        let long = vec![b'x'; 40 * 1024];
        typed.put(&long, &mut lines);
        typed.put(b"Done\nlast", &mut lines);
        typed.end(&mut lines);
        assert_eq!(lines, [&long[..], b"Done\nlast"].concat());
    }
}
