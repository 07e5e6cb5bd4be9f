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
