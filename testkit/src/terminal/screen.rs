//! What a terminal has shown, and how expected text is looked for in it: pure functions over bytes.

/// Stands before and after a prompt of ours. "Record separator": no program prints it, and no terminal acts on it.
pub(super) const MARK: u8 = 0x1e;
/// Distinguishes our prompt from any other use of [`MARK`].
pub(super) const NAME: &str = "socklab-prompt";
/// More than a prompt of ours ever has between its marks.
const LONGEST_PROMPT: usize = 64;

/// The shell was at its prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prompt {
    /// The number that stands in the prompt.
    pub number: u32,
    /// How the command before it ended.
    pub status: i32,
    /// How much text had been shown by then.
    pub position: usize,
}

/// The text of a terminal, without prompts, escape sequences and carriage returns.
#[derive(Default)]
pub(super) struct Screen {
    pub text: Vec<u8>,
    pub prompts: Vec<Prompt>,
    /// Nothing has the terminal open any more: nothing will be shown.
    pub closed: bool,
    state: State,
}

#[derive(Default)]
enum State {
    #[default]
    Text,
    Escape,
    /// ESC [ …, ended by a byte from @ to ~.
    Control,
    /// ESC ] …, ended by BEL or by ESC \.
    Title,
    Prompt(Vec<u8>),
}

impl Screen {
    pub fn show(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.state = match std::mem::take(&mut self.state) {
                State::Text => match byte {
                    b'\x1b' => State::Escape,
                    MARK => State::Prompt(Vec::new()),
                    b'\r' => State::Text,
                    _ => {
                        self.text.push(byte);
                        State::Text
                    }
                },
                State::Escape => match byte {
                    b'[' => State::Control,
                    b']' => State::Title,
                    _ => State::Text,
                },
                State::Control if (b'@'..=b'~').contains(&byte) => State::Text,
                State::Control => State::Control,
                State::Title => match byte {
                    b'\x07' => State::Text,
                    b'\x1b' => State::Escape,
                    _ => State::Title,
                },
                State::Prompt(seen) => self.prompt(seen, byte),
            };
        }
    }

    /// Forgets the text so far: what the shell showed before it had a prompt of ours.
    pub fn start(&mut self) {
        self.text.clear();
        for prompt in &mut self.prompts {
            prompt.position = 0;
        }
    }

    fn prompt(&mut self, mut seen: Vec<u8>, byte: u8) -> State {
        if byte != MARK && byte != b'\n' && seen.len() < LONGEST_PROMPT {
            seen.push(byte);
            return State::Prompt(seen);
        }
        match prompt_in(&seen) {
            Some((number, status)) if byte == MARK => {
                self.prompts.push(Prompt { number, status, position: self.text.len() });
            }
            // Somebody else's mark: it was text.
            _ => {
                self.text.append(&mut seen);
                self.text.push(byte);
            }
        }
        State::Text
    }
}

fn prompt_in(seen: &[u8]) -> Option<(u32, i32)> {
    let rest = std::str::from_utf8(seen).ok()?.strip_prefix(NAME)?;
    let (number, status) = rest.trim().split_once(' ')?;
    Some((number.parse().ok()?, status.parse().ok()?))
}

/// Text to be found within one line. `…` stands for any characters, a space for one or more spaces and tabs.
pub(super) struct Pattern {
    pieces: Vec<Vec<u8>>,
}

impl Pattern {
    pub fn new(expected: &str) -> Self {
        let pieces = expected.trim().split('…').map(one_space).filter(|piece| !piece.is_empty()).collect();
        Self { pieces }
    }

    /// Where the first match at or after `from` ends.
    pub fn find(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut start = from;
        for line in text.get(from..)?.split_inclusive(|&byte| byte == b'\n') {
            if let Some(end) = self.find_in_line(line) {
                return Some(start + end);
            }
            start += line.len();
        }
        None
    }

    /// Each piece at its first place after the one before: with open ends on both sides, no other choice finds more.
    fn find_in_line(&self, line: &[u8]) -> Option<usize> {
        let mut at = 0;
        for piece in &self.pieces {
            at = (at..line.len()).find_map(|start| end_of_match(line, start, piece))?;
        }
        Some(at)
    }
}

/// `text` with every run of blanks as one space.
fn one_space(text: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = text.bytes().map(|byte| if byte == b'\t' { b' ' } else { byte }).collect();
    bytes.dedup_by(|next, before| *next == b' ' && *before == b' ');
    bytes
}

fn end_of_match(line: &[u8], start: usize, piece: &[u8]) -> Option<usize> {
    let mut at = start;
    for &expected in piece {
        let rest = line.get(at..)?;
        let length = if expected == b' ' {
            rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
        } else {
            usize::from(rest.first() == Some(&expected))
        };
        if length == 0 {
            return None;
        }
        at += length;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> Screen {
        let mut screen = Screen::default();
        screen.show(bytes);
        screen
    }

    fn find(expected: &str, text: &str) -> Option<usize> {
        Pattern::new(expected).find(text.as_bytes(), 0)
    }

    #[test]
    fn colours_titles_and_carriage_returns_are_no_text() {
        let screen = shown(b"\x1b[1;31mred\x1b[0m\r\n\x1b]0;a title\x07plain\x1b]2;b\x1b\\!");
        assert_eq!(String::from_utf8_lossy(&screen.text), "red\nplain!");
    }

    #[test]
    fn a_prompt_is_noted_with_its_number_status_and_place_and_is_no_text() {
        let mut screen = shown(b"one\r\n\x1esocklab-pro");
        screen.show(b"mpt 7 130\x1etwo");
        assert_eq!(screen.prompts, [Prompt { number: 7, status: 130, position: 4 }]);
        assert_eq!(screen.text, b"one\ntwo");
    }

    #[test]
    fn another_programs_record_separators_do_not_swallow_text() {
        assert_eq!(shown(b"a\x1eb\x1ec\n").text, b"ab\x1ec\n");
        assert_eq!(shown(b"a\x1eb\nc").text, b"ab\nc");
    }

    #[test]
    fn expected_text_may_stand_anywhere_in_a_line() {
        assert_eq!(find("on 127.0.0.1", "x\nlistening on 127.0.0.1:7001\n"), Some(24));
        assert_eq!(find("on 127.0.0.2", "x\nlistening on 127.0.0.1:7001\n"), None);
    }

    #[test]
    fn runs_of_blanks_on_either_side_are_one_space() {
        assert!(find("LISTEN 0  128", "LISTEN\t0      128").is_some());
        assert!(find("LISTEN 0", "LISTEN0").is_none());
    }

    #[test]
    fn an_ellipsis_stands_for_anything_within_the_line_only() {
        assert!(find("client … finished: … bytes", "client 127.0.0.1:4 finished: 6 bytes echoed").is_some());
        assert!(find("…connected", "127.0.0.1:34567 connected").is_some());
        assert!(find("a…b", "a\nb").is_none());
    }

    #[test]
    fn a_search_goes_on_after_what_was_found_before() {
        let text = b"hello\nhello\n";
        let pattern = Pattern::new("hello");
        let first = pattern.find(text, 0).unwrap();
        let second = pattern.find(text, first).unwrap();
        assert_eq!((first, second, pattern.find(text, second)), (5, 11, None));
    }
}
