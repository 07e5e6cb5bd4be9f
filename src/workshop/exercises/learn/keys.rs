//! Keys, out of the bytes that a terminal sends for them.

/// What was pressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// The return key.
    Enter,
    /// A letter, or another character that can be seen.
    Letter(char),
    /// Ctrl-D: the end of the input.
    End,
}

const ESCAPE: u8 = 0x1b;

/// The keys in what was read. Arrows and function keys are none of ours: the sequences that they send begin with ESC and
/// hold letters, which nobody has pressed.
pub fn keys_in(bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = bytes;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'\r' | b'\n' => keys.push(Key::Enter),
            0x04 => keys.push(Key::End),
            ESCAPE => rest = behind_sequence(behind),
            b' '..=b'~' => keys.push(Key::Letter(char::from(byte))),
            _ => {}
        }
    }
    keys
}

/// What stands behind an escape sequence, whose ESC has been read (ECMA-48).
fn behind_sequence(bytes: &[u8]) -> &[u8] {
    match bytes.first() {
        // CSI: parameters, and one final byte.
        Some(b'[') => {
            let last = bytes.iter().skip(1).position(|byte| (0x40..=0x7e).contains(byte));
            last.map_or(&[], |last| &bytes[last + 2..])
        }
        // SS3, and Alt with a key: one more byte.
        Some(b'O') => bytes.get(2..).unwrap_or_default(),
        Some(_) => &bytes[1..],
        None => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_the_return_key_are_keys() {
        assert_eq!(keys_in(b"hn\n\x04"), [Key::Letter('h'), Key::Letter('n'), Key::Enter, Key::End]);
    }

    #[test]
    fn arrows_and_function_keys_are_none_and_hide_nothing_behind_them() {
        for sequence in ["\x1b[A", "\x1b[15~", "\x1bOq", "\x1b[1;5q", "\x1bq", "\u{e4}"] {
            assert_eq!(keys_in(format!("{sequence}h").as_bytes()), [Key::Letter('h')], "{sequence:?}");
        }
        for cut in ["\x1b", "\x1b[", "\x1b[1", "\x1bO"] {
            assert_eq!(keys_in(cut.as_bytes()), [], "{cut:?}");
        }
    }
}
