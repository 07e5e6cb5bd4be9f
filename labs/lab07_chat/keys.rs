//! Which key was pressed: what a terminal sends in raw mode, byte by byte, as keys.

const ESCAPE: u8 = 0x1b;
/// No key sends a longer sequence than this; what is longer is thrown away.
const LONGEST: usize = 32;

/// A key, or a few pressed together, by what it does to the line that is being typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// Text. Never a control character.
    Char(char),
    /// The return key.
    Enter,
    /// Takes away what is left of the cursor.
    Backspace,
    /// Takes away what the cursor stands on.
    Delete,
    /// Ctrl-D: the end of the input on an empty line, [`Delete`](Key::Delete) otherwise.
    EndOfInput,
    /// One character to the left.
    Left,
    /// One character to the right.
    Right,
    /// To the beginning of a word.
    WordLeft,
    /// Behind the end of a word.
    WordRight,
    /// To the beginning of the line.
    Home,
    /// Behind the end of the line.
    End,
    /// The line typed before.
    Up,
    /// The line typed after it.
    Down,
    /// Ctrl-K: takes away what is right of the cursor.
    KillRight,
    /// Ctrl-U: takes away what is left of the cursor.
    KillLeft,
    /// Ctrl-W: takes away the word left of the cursor.
    KillWord,
    /// Ctrl-L: an empty screen.
    Clear,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-Z.
    Suspend,
}

/// Bytes go in as they are read, keys come out: a letter may be four bytes, an arrow three, and a read may end in between.
#[derive(Default)]
pub struct Keys {
    pending: Vec<u8>,
}

impl Keys {
    /// Takes a byte; the key that is whole with it, if one is. What no key means here is left out.
    pub fn put(&mut self, byte: u8) -> Option<Key> {
        self.pending.push(byte);
        let key = match self.pending[..] {
            [ESCAPE] => return None,
            // The escape key alone, and then something else.
            [ESCAPE, ESCAPE] => {
                self.pending.pop();
                return None;
            }
            [ESCAPE, b'[' | b'O', ..] => {
                let is_open = self.pending.len() == 2
                    || self.pending == b"\x1b[["
                    || (0x20..0x40).contains(&byte) && self.pending.len() < LONGEST;
                if is_open {
                    return None;
                }
                of_sequence(&self.pending)
            }
            [ESCAPE, b'b'] => Some(Key::WordLeft),
            [ESCAPE, b'f'] => Some(Key::WordRight),
            [ESCAPE, 0x7f] => Some(Key::KillWord),
            [ESCAPE, _] => {
                self.pending.clear();
                return self.put(byte);
            }
            _ => match std::str::from_utf8(&self.pending) {
                Ok(text) => text.chars().next().and_then(of_character),
                Err(error) if error.error_len().is_none() => return None,
                Err(_) => None,
            },
        };
        self.pending.clear();
        key
    }
}

fn of_character(character: char) -> Option<Key> {
    Some(match character {
        '\x01' => Key::Home,
        '\x02' => Key::Left,
        '\x03' => Key::Interrupt,
        '\x04' => Key::EndOfInput,
        '\x05' => Key::End,
        '\x06' => Key::Right,
        '\x08' | '\x7f' => Key::Backspace,
        '\r' | '\n' => Key::Enter,
        '\x0b' => Key::KillRight,
        '\x0c' => Key::Clear,
        '\x0e' => Key::Down,
        '\x10' => Key::Up,
        '\x15' => Key::KillLeft,
        '\x17' => Key::KillWord,
        '\x1a' => Key::Suspend,
        // A tab would move the cursor by a width that depends on where it stands.
        '\t' => Key::Char(' '),
        control if control.is_control() => return None,
        text => Key::Char(text),
    })
}

/// What xterm and its kin send: ESC [ or ESC O, parameters, and a last byte that says which key.
fn of_sequence(bytes: &[u8]) -> Option<Key> {
    let (&last, parameters) = bytes.get(2..)?.split_last()?;
    if parameters == b"[" {
        // F1 to F5 of the Linux console.
        return None;
    }
    // The second parameter: Alt, Ctrl, or both.
    let is_modified = matches!(parameters, [.., b';', b'3' | b'5' | b'7']);
    Some(match (last, parameters) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) if is_modified => Key::WordRight,
        (b'D', _) if is_modified => Key::WordLeft,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', b"1" | b"7") => Key::Home,
        (b'F', _) | (b'~', b"4" | b"8") => Key::End,
        (b'~', b"3") => Key::Delete,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        bytes.iter().filter_map(|&byte| keys.put(byte)).collect()
    }

    #[test]
    fn a_letter_of_any_script_is_one_key() {
        assert_eq!(keys("aß你🦀".as_bytes()), [Key::Char('a'), Key::Char('ß'), Key::Char('你'), Key::Char('🦀')]);
    }

    #[test]
    fn an_arrow_is_one_key_in_each_of_its_forms() {
        assert_eq!(keys(b"\x1b[A\x1bOB\x1b[1;5C\x1b[D"), [Key::Up, Key::Down, Key::WordRight, Key::Left]);
        assert_eq!(keys(b"\x1b[3~\x1b[1~\x1b[8~\x1b[H"), [Key::Delete, Key::Home, Key::End, Key::Home]);
    }

    #[test]
    fn a_key_that_means_nothing_here_types_nothing() {
        // F5, F1 of the Linux console, shift-tab, a mouse report, Ctrl-G, and a sequence without an end.
        assert_eq!(keys(b"\x1b[15~\x1b[[A\x1b[Z\x1b[<0;10;5M\x07a"), [Key::Char('a')]);
        let endless = [b"\x1b[".as_slice(), &[b'1'; 100], b"a"].concat();
        assert_eq!(keys(&endless).last(), Some(&Key::Char('a')));
    }

    #[test]
    fn a_lone_escape_swallows_no_letter() {
        assert_eq!(keys(b"\x1ba\x1b\r\x1b\xc3\xa4"), [Key::Char('a'), Key::Enter, Key::Char('ä')]);
        assert_eq!(keys(b"\x1b\x1b[A"), [Key::Up]);
    }

    #[test]
    fn bytes_that_are_no_text_type_nothing() {
        assert_eq!(keys(b"\xff\xc3(\x80a"), [Key::Char('a')]);
    }
}
