use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes from outside, made safe for a terminal: control characters and broken UTF-8 become visible escapes.
///
/// A peer could otherwise clear the screen or retitle the window with a few bytes. Newlines and tabs are shown too:
/// what comes back is always one line. First used in lab 1, for host names in error messages.
pub fn printable(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_plain(character) {
                shown.push(character);
            } else {
                shown.extend(character.escape_default());
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

/// False for control characters, and for the invisible ones that reorder or hide the text around them.
fn is_plain(character: char) -> bool {
    let hidden =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !character.is_control() && !hidden
}

/// Prints one line of a server's log; see the macro [`say!`](crate::say!).
///
/// Where `println!` would panic because standard output is closed, a server must not take its clients down with it: the
/// loss of the log is reported once, on standard error, and serving goes on.
pub fn say(line: Arguments<'_>) {
    static LOST: AtomicBool = AtomicBool::new(false);
    // One write(2) per line: the lines of several processes that share a terminal do not mix.
    let written = io::stdout().lock().write_all(format!("{line}\n").as_bytes());
    if let Err(error) = written
        && !LOST.swap(true, Ordering::Relaxed)
    {
        let _ = writeln!(io::stderr(), "warning: standard output: {error}; the server goes on without its log");
    }
}

/// Where a client shows what came back: every byte as it is in a file or a pipe, made visible on a terminal.
///
/// First used in lab 1's client.
pub struct Screen {
    is_terminal: bool,
}

impl Default for Screen {
    fn default() -> Self {
        Self { is_terminal: io::stdout().is_terminal() }
    }
}

impl Screen {
    /// Shows `bytes` now, not when a buffer is full.
    pub fn show(&self, bytes: &[u8]) -> io::Result<()> {
        let mut output = io::stdout().lock();
        if self.is_terminal {
            for line in bytes.split_inclusive(|&byte| byte == b'\n') {
                match line.strip_suffix(b"\n") {
                    Some(text) => writeln!(output, "{}", printable(text))?,
                    None => write!(output, "{}", printable(line))?,
                }
            }
        } else {
            output.write_all(bytes)?;
        }
        output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_in_any_script_stays_as_it_is() {
        assert_eq!(printable("grüße, мир, 你好".as_bytes()), "grüße, мир, 你好");
    }

    #[test]
    fn an_escape_sequence_becomes_visible_and_harmless() {
        assert_eq!(printable(b"\x1b[2Jboo\x07"), "\\u{1b}[2Jboo\\u{7}");
    }

    #[test]
    fn a_one_byte_control_sequence_introducer_is_caught_as_well() {
        assert_eq!(printable("\u{9b}2J".as_bytes()), "\\u{9b}2J");
    }

    #[test]
    fn broken_utf8_is_shown_byte_by_byte() {
        assert_eq!(printable(b"a\xff\xfeb"), "a\\xff\\xfeb");
    }

    #[test]
    fn characters_that_turn_the_text_around_become_visible() {
        assert_eq!(printable("a\u{202e}b".as_bytes()), "a\\u{202e}b");
    }
}
