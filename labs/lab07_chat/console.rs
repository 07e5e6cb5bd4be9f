//! Where a person types and reads at once: a terminal of which the last rows belong to the line that is being typed.
//!
//! Two threads use it. One waits for keys, the other shows what arrives; whoever writes holds the lock, takes the typed line
//! off the screen, prints, and puts it back, all in one write(2). So nothing tears it.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kit::{Keyboard, printable};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::termios::{InputFlags, LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, read};
use terminal_size::{Height, Width, terminal_size_of};

use crate::keys::Keys;
use crate::line::{LONGEST_LINE, Layout, Line, PROMPT, Pressed};

/// The rows and columns of a terminal that does not say.
const USUAL_SIZE: (usize, usize) = (24, 80);

/// Keyboard and screen. Plain lines where one of them is no terminal, or a dumb one.
pub struct Console {
    screen: Mutex<Screen>,
    is_terminal: bool,
}

#[derive(Default)]
struct Screen {
    /// The terminal's settings before we changed them; `None` while they are as they were.
    before: Option<Termios>,
    line: Line,
    drawn: Option<Layout>,
}

/// What was typed.
#[derive(PartialEq, Eq, Debug)]
pub enum Input {
    /// A line, without its newline.
    Line(String),
    /// A line that cannot be sent, and why.
    Unfit(&'static str),
    /// Nothing more will be: Ctrl-D, the end of a file or pipe.
    End,
    /// Ctrl-C.
    Interrupt,
}

/// The typing end, for one thread.
pub struct Typing<'a> {
    console: &'a Console,
    keyboard: Keyboard,
    keys: Keys,
    /// Bytes that were read and not looked at yet: more than one line may come in one read.
    ahead: Vec<u8>,
}

impl Console {
    /// Nothing is done to the terminal yet. It lives as long as the program, as threads use it that nobody waits for.
    pub fn of_this_program() -> &'static Self {
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        Box::leak(Box::new(Self { screen: Mutex::default(), is_terminal }))
    }

    /// Takes the terminal over, if it is one and not a dumb one: from here on a line is edited while others are shown.
    ///
    /// To be called while there is one thread only: the others inherit which signals are held back.
    pub fn edit(&'static self) -> io::Result<()> {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if self.is_terminal && !is_dumb {
            self.hear_signals()?;
            let mut screen = self.screen();
            screen.take_over()?;
            screen.redraw("")?;
        }
        Ok(())
    }

    /// Whether a person types here and reads here.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// The typing end.
    pub fn typing(&self) -> Typing<'_> {
        Typing { console: self, keyboard: Keyboard::default(), keys: Keys::default(), ahead: Vec::new() }
    }

    /// Shows a line on standard output, above the line that is being typed.
    pub fn show(&self, line: &str) -> io::Result<()> {
        self.screen().print(line)
    }

    /// Shows bytes as they came: as they are in a file or pipe, made visible on a terminal.
    pub fn show_raw(&self, line: &[u8]) -> io::Result<()> {
        if self.is_terminal {
            return self.show(&printable(line));
        }
        let mut output = io::stdout().lock();
        output.write_all(&[line, b"\n"].concat())?;
        output.flush()
    }

    /// Says what goes on: on standard error, so that standard output holds the conversation alone.
    pub fn tell(&self, line: &str) {
        let mut screen = self.screen();
        if screen.before.is_some() {
            // A terminal that is gone cannot be told so.
            let _ = screen.print(line);
        } else {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Gives the terminal back as it was.
    pub fn close(&self) {
        let mut screen = self.screen();
        let _ = screen.take_off();
        let _ = screen.give_back();
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a thread wait for the signals that concern the terminal: it may do what a handler must not (sigwait(3)).
    fn hear_signals(&'static self) -> io::Result<()> {
        let signals = SigSet::from_iter([Signal::SIGWINCH, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT]);
        signals.thread_block()?;
        // This one only for whom `suspend` sends it to.
        stop_signal().thread_block()?;
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            loop {
                match signals.wait() {
                    Ok(Signal::SIGWINCH) => drop(self.screen().redraw("")),
                    // Whoever ends us leaves a terminal behind in which a person goes on working.
                    Ok(signal) => {
                        self.close();
                        std::process::exit(128 + signal as i32)
                    }
                    Err(_) => return,
                }
            }
        })?;
        Ok(())
    }
}

impl Typing<'_> {
    /// Sleeps until a line has been typed.
    pub fn next_line(&mut self) -> io::Result<Input> {
        if self.console.screen().before.is_some() { self.edit() } else { self.read_plainly() }
    }

    fn edit(&mut self) -> io::Result<Input> {
        let mut buffer = [0; 1024];
        loop {
            if let Some(input) = self.press_all()? {
                return Ok(input);
            }
            match read(io::stdin().as_fd(), &mut buffer) {
                // EIO: the terminal is gone.
                Ok(0) | Err(Errno::EIO) => return Ok(Input::End),
                Ok(length) => self.ahead.extend_from_slice(&buffer[..length]),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Does what the keys mean that have been read, up to the end of a line. One redrawing serves for all of them.
    fn press_all(&mut self) -> io::Result<Option<Input>> {
        let mut screen = self.console.screen();
        let mut bytes = std::mem::take(&mut self.ahead).into_iter();
        while let Some(byte) = bytes.next() {
            let Some(key) = self.keys.put(byte) else { continue };
            let input = match screen.line.press(key) {
                Pressed::Nothing => continue,
                Pressed::Line(line) => {
                    // What was typed stays on the screen, and a new line begins below it.
                    screen.print(&format!("{PROMPT}{}", printable(line.as_bytes())))?;
                    Input::Line(line)
                }
                Pressed::End => Input::End,
                Pressed::Interrupt => Input::Interrupt,
                Pressed::Clear => {
                    screen.drawn = None;
                    screen.redraw("\x1b[H\x1b[2J")?;
                    continue;
                }
                Pressed::Suspend => {
                    screen.suspend()?;
                    continue;
                }
            };
            self.ahead = bytes.collect();
            return Ok(Some(input));
        }
        screen.redraw("")?;
        Ok(None)
    }

    /// A whole line from a file, a pipe or a dumb terminal.
    fn read_plainly(&mut self) -> io::Result<Input> {
        let (mut line, mut is_too_long) = (Vec::new(), false);
        while let Some(piece) = self.keyboard.next_line()? {
            let is_whole = piece.ends_with(b"\n");
            is_too_long |= line.len() + piece.len() > LONGEST_LINE;
            if !is_too_long {
                line.extend_from_slice(piece);
            }
            if is_whole {
                return Ok(read_line(line, is_too_long));
            }
        }
        if line.is_empty() && !is_too_long { Ok(Input::End) } else { Ok(read_line(line, is_too_long)) }
    }
}

fn read_line(mut line: Vec<u8>, is_too_long: bool) -> Input {
    if is_too_long {
        return Input::Unfit("it is longer than a message can be (60 KiB)");
    }
    line.truncate(line.strip_suffix(b"\n").map_or(line.len(), <[u8]>::len));
    match String::from_utf8(line) {
        Ok(line) => Input::Line(line),
        Err(_) => Input::Unfit("it is not UTF-8"),
    }
}

impl Screen {
    /// Raw mode: each key arrives as it is pressed, and nothing appears on the screen but what we write (termios(3)).
    fn take_over(&mut self) -> io::Result<()> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        // Return is told apart from Ctrl-J no more, and Ctrl-S does not stop the screen.
        raw.input_flags.remove(InputFlags::ICRNL | InputFlags::IXON | InputFlags::BRKINT | InputFlags::ISTRIP);
        // Ctrl-C and Ctrl-Z come as bytes: before they act, the terminal has to be given back.
        raw.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::IEXTEN | LocalFlags::ISIG);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        self.before = Some(before);
        Ok(())
    }

    fn give_back(&mut self) -> io::Result<()> {
        match self.before.take() {
            Some(before) => Ok(tcsetattr(io::stdin(), SetArg::TCSADRAIN, &before)?),
            None => Ok(()),
        }
    }

    /// Ctrl-Z, as the terminal would have done it for the whole job.
    fn suspend(&mut self) -> io::Result<()> {
        self.take_off()?;
        self.give_back()?;
        // All other threads hold it back. So it is this one that stops, and before kill(2) returns: not a moment later, with
        // the terminal taken over again.
        stop_signal().thread_unblock()?;
        kill(Pid::from_raw(0), Signal::SIGTSTP)?;
        // Here SIGCONT has come.
        stop_signal().thread_block()?;
        self.take_over()?;
        self.redraw("")
    }

    fn print(&mut self, line: &str) -> io::Result<()> {
        self.redraw(&format!("{line}\n"))
    }

    /// Prints `text`, which ends with a newline or moves no cursor, where the typed line begins, and the line below it.
    fn redraw(&mut self, text: &str) -> io::Result<()> {
        if self.before.is_none() {
            return write_out(text);
        }
        let (rows, columns) = size();
        let mut output = self.taken_off(columns);
        output.push_str(text);
        let layout = self.line.layout(columns, rows);
        output.push_str(&layout.text);
        if layout.end.1 == 0 {
            // The last row is full, and the terminal moves on only when more comes.
            output.push_str("\r\n");
        }
        move_cursor(&mut output, layout.end.0 - layout.cursor.0, layout.cursor.1);
        self.drawn = Some(layout);
        write_out(&output)
    }

    fn take_off(&mut self) -> io::Result<()> {
        if self.before.is_none() {
            return Ok(());
        }
        let output = self.taken_off(size().1);
        self.drawn = None;
        write_out(&output)
    }

    /// What takes the typed line off the screen and leaves the cursor where its prompt stood.
    fn taken_off(&self, columns: usize) -> String {
        let mut output = String::new();
        if let Some(drawn) = &self.drawn {
            move_cursor(&mut output, drawn.row_of_cursor(columns), 0);
            output.push_str("\x1b[J");
        }
        output
    }
}

fn stop_signal() -> SigSet {
    SigSet::from_iter([Signal::SIGTSTP])
}

/// Up so many rows, and to that column.
fn move_cursor(output: &mut String, up: usize, column: usize) {
    output.push('\r');
    if up > 0 {
        output.push_str(&format!("\x1b[{up}A"));
    }
    if column > 0 {
        output.push_str(&format!("\x1b[{column}C"));
    }
}

/// One write(2) as long as the terminal takes it all. Not through `stdout`'s buffer, which would cut it at newlines.
fn write_out(text: &str) -> io::Result<()> {
    Ok(kit::write_all(io::stdout().as_fd(), text.as_bytes())?)
}

/// TIOCGWINSZ, asked each time: a window may have another size by now.
fn size() -> (usize, usize) {
    match terminal_size_of(io::stdout()) {
        Some((Width(columns), Height(rows))) => (rows.into(), columns.into()),
        None => USUAL_SIZE,
    }
}
