//! Output that fits its reader: harmless, as wide as the terminal, coloured where colours are wanted.

use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use nix::errno::Errno;

use crate::sys::readiness::has_lost_its_reader;
use crate::sys::terminal;

/// For the kernel's lines.
pub const KERNEL: Style = AnsiColor::Cyan.on_default();
/// For a server's lines.
pub const SERVER: Style = AnsiColor::Green.on_default();
/// For a client's lines.
pub const CLIENT: Style = AnsiColor::Blue.on_default();
/// For the segments.
pub const WIRE: Style = AnsiColor::Magenta.on_default();
/// For this command's own lines.
pub const OWN: Style = AnsiColor::Yellow.on_default();
/// For what must not be missed.
pub const STRONG: Style = Style::new().bold();
/// For explanations, which are read once.
pub const QUIET: Style = Style::new().dimmed();

/// The style of a program's lines, by its role.
pub fn of_role(role: &str) -> Style {
    if role.starts_with("client") { CLIENT } else { SERVER }
}

/// `text` in a style.
pub fn in_style(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Text from outside as it may be shown: control characters, broken UTF-8 and invisible characters become visible.
pub fn harmless(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '\t' => shown.push_str("    "),
            _ if is_invisible(character) => shown.extend(character.escape_unicode()),
            _ if character.is_control() => shown.extend(character.escape_default()),
            _ => shown.push(character),
        }
    }
    shown
}

/// Characters that show nothing of themselves, and change what is around them or how it is read: soft hyphens, marks of
/// direction, joiners, annotations, tags.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Standard output or error, with or without colours (NO_COLOR, CLICOLOR_FORCE, or whether it is a terminal).
///
/// What is printed is seen when it is flushed.
pub struct Page {
    out: BufWriter<Stream>,
    in_colour: bool,
    width: Option<usize>,
}

/// Where a page is printed.
enum Stream {
    Out(io::Stdout),
    Err(io::Stderr),
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Out(out) => out.write(bytes),
            Self::Err(err) => err.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Out(out) => out.flush(),
            Self::Err(err) => err.flush(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Out(out) => out.as_fd(),
            Self::Err(err) => err.as_fd(),
        }
    }
}

impl Page {
    /// Standard output, as wide as the terminal behind it; without a terminal no line is broken.
    pub fn stdout() -> Self {
        let stdout = io::stdout();
        let in_colour = AutoStream::choice(&stdout) != ColorChoice::Never;
        Self::on(Stream::Out(stdout), in_colour)
    }

    /// Standard error, for what accompanies a program that has standard output for itself.
    pub fn stderr() -> Self {
        let stderr = io::stderr();
        let in_colour = AutoStream::choice(&stderr) != ColorChoice::Never;
        Self::on(Stream::Err(stderr), in_colour)
    }

    fn on(stream: Stream, in_colour: bool) -> Self {
        Self { in_colour, width: terminal::columns(stream.as_fd()), out: BufWriter::with_capacity(64 * 1024, stream) }
    }

    /// Whether styles are shown; otherwise they are taken out of each line.
    pub fn is_in_colour(&self) -> bool {
        self.in_colour
    }

    /// How many columns there are; `None` where there is no terminal.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// Writes a line. Where the terminal is too narrow, it goes on below, `indent` columns in.
    pub fn line(&mut self, text: &str, indent: usize) -> io::Result<()> {
        let plain: String;
        let mut text = text;
        if !self.in_colour && text.contains('\x1b') {
            plain = strip_str(text).to_string();
            text = &plain;
        }
        let Some(width) = self.width else { return self.whole_line(text) };
        // A deep indent on a narrow terminal would leave no room for the text.
        let indent = " ".repeat(indent.min(width / 4));
        // Broken at spaces only: FIN-WAIT-1 is one word.
        let options = textwrap::Options::new(width)
            .subsequent_indent(&indent)
            .word_splitter(textwrap::WordSplitter::NoHyphenation);
        textwrap::wrap(text, options).iter().try_for_each(|line| self.whole_line(line.trim_end()))
    }

    /// Writes a line that somebody will copy: the terminal may break it where it likes, and gives it back whole.
    pub fn unbroken(&mut self, text: &str) -> io::Result<()> {
        if self.in_colour { self.whole_line(text) } else { self.whole_line(&strip_str(text).to_string()) }
    }

    /// Whether it is as wide as this text, which has no style.
    pub fn has_room_for(&self, text: &str) -> bool {
        self.width.is_none_or(|width| textwrap::core::display_width(text) <= width)
    }

    /// Writes a line that is known to fit, and to be without style.
    pub fn whole_line(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(b"\n")
    }

    /// Lets everything be seen that was printed so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// EPIPE when nobody reads any more: to be asked now and then by who has long nothing to print.
    pub fn check_reader(&self) -> io::Result<()> {
        if has_lost_its_reader(self.out.get_ref().as_fd()) { Err(Errno::EPIPE.into()) } else { Ok(()) }
    }

    /// An empty line.
    pub fn gap(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_sequence_becomes_visible() {
        assert_eq!(harmless(b"\x1b[2J\x9b"), "\\u{1b}[2J\u{fffd}");
        assert_eq!(harmless("\u{9b}2J".as_bytes()), "\\u{9b}2J");
    }

    #[test]
    fn text_that_would_run_backwards_becomes_visible() {
        assert_eq!(harmless("\u{202e}x".as_bytes()), "\\u{202e}x");
    }

    #[test]
    fn what_shows_nothing_of_itself_becomes_visible() {
        let ends = ["\u{ad}", "\u{61c}", "\u{180e}", "\u{200b}", "\u{2069}", "\u{feff}", "\u{fff9}", "\u{fffb}"];
        for text in ends.into_iter().chain(["\u{e0000}", "\u{e0041}", "\u{e007f}"]) {
            let shown = harmless(format!("a{text}b").as_bytes());
            assert!(shown.starts_with("a\\u{") && shown.ends_with("}b") && shown.is_ascii(), "{shown:?}");
        }
        for text in ["\u{ac}", "\u{ae}", "\u{61b}", "\u{fffc}", "\u{fffd}", "\u{e0080}"] {
            assert_eq!(harmless(text.as_bytes()), text);
        }
    }

    #[test]
    fn plain_text_in_any_script_stays_as_it_is() {
        assert_eq!(harmless("Grüße 你好".as_bytes()), "Grüße 你好");
    }
}
