//! Where a person types and reads at once: what arrives is shown above the line that is being typed.
//!
//! The line editor is rustyline. It takes a line to print while somebody types, and draws the typed line anew below it.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use kit::{Keyboard, printable};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Completer, Config, Context, Editor, ExternalPrinter, Helper};

/// What stands before the line.
pub const PROMPT: &str = "> ";
/// The longest line that can be typed, in bytes: a frame holds at most 64 KiB, and JSON needs some of it.
pub const LONGEST_LINE: usize = 60 * 1024;

/// Keyboard and screen. Plain lines where one of them is no terminal, or a dumb one.
pub struct Console {
    is_terminal: bool,
    /// The terminal's settings before a line was edited; `None` where none is.
    before: Mutex<Option<Termios>>,
    editor: Mutex<Option<Editor<Watcher, MemHistory>>>,
    shown: Shown,
}

/// What a thread has to show that does not know whether somebody is typing.
#[derive(Clone, Default)]
struct Shown(Arc<ShownState>);

#[derive(Default)]
struct ShownState {
    /// Whether the editor waits for keys, and takes lines to print. Between two lines it would print them in another order.
    is_editing: AtomicBool,
    /// Whether the line has been typed: the editor draws it once more, and that is not a beginning.
    is_typed: AtomicBool,
    /// Whether the line that is being typed is empty.
    is_empty: AtomicBool,
    lines: Mutex<Lines>,
    /// Told when there are lines, or when the editor takes some.
    news: Condvar,
}

#[derive(Default)]
struct Lines {
    /// Not shown yet.
    waiting: String,
    /// Whether a line is edited at times: then one thread shows what waits, and otherwise whoever has it.
    is_edited: bool,
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
    editor: Option<Editor<Watcher, MemHistory>>,
}

impl Console {
    /// Nothing is done to the terminal yet. It lives as long as the program, as threads use it that nobody waits for.
    pub fn of_this_program() -> &'static Self {
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let (before, editor, shown) = (Mutex::default(), Mutex::default(), Shown::default());
        Box::leak(Box::new(Self { is_terminal, before, editor, shown }))
    }

    /// Takes the terminal over, if it is one and not a dumb one: from here on a line is edited while others are shown.
    ///
    /// To be called while there is one thread only: the others inherit which signals are held back.
    pub fn edit(&'static self) -> io::Result<()> {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if !self.is_terminal || is_dumb {
            return Ok(());
        }
        *lock(&self.before) = Some(tcgetattr(io::stdin())?);
        self.hear_signals()?;
        // Not as one piece: what is pasted is what was typed, a line at a time.
        let config = Config::builder().bracketed_paste(false).auto_add_history(true).build();
        let mut editor = Editor::with_history(config, MemHistory::new()).map_err(io::Error::other)?;
        editor.set_helper(Some(Watcher(self.shown.clone())));
        let printer = editor.create_external_printer().map_err(io::Error::other)?;
        let shown = self.shown.clone();
        thread::Builder::new().name("screen".into()).spawn(move || shown.print_all(printer))?;
        lock(&self.shown.0.lines).is_edited = true;
        *lock(&self.editor) = Some(editor);
        Ok(())
    }

    /// Whether a person types here and reads here.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// The typing end.
    pub fn typing(&self) -> Typing<'_> {
        Typing { console: self, keyboard: Keyboard::default(), editor: lock(&self.editor).take() }
    }

    /// Shows a line on standard output, above the line that is being typed.
    pub fn show(&self, line: &str) -> io::Result<()> {
        self.shown.show(line)
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
        if lock(&self.before).is_some() {
            // A terminal that is gone cannot be told so.
            let _ = self.shown.show(line);
        } else {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Gives the terminal back as it was.
    pub fn close(&self) {
        let _ = self.shown.close();
        if let Some(before) = lock(&self.before).take() {
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &before);
        }
    }

    /// Lets a thread wait for the signals that end us: it may do what a handler must not (sigwait(3)).
    fn hear_signals(&'static self) -> io::Result<()> {
        let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT]);
        signals.thread_block()?;
        thread::Builder::new().name("signals".into()).spawn(move || {
            if let Ok(signal) = signals.wait() {
                // Whoever ends us leaves a terminal behind in which a person goes on working.
                self.close();
                std::process::exit(128 + signal as i32)
            }
        })?;
        Ok(())
    }
}

impl Shown {
    fn show(&self, line: &str) -> io::Result<()> {
        let mut lines = lock(&self.0.lines);
        if !lines.is_edited {
            let mut output = io::stdout().lock();
            writeln!(output, "{line}")?;
            return output.flush();
        }
        lines.waiting.push_str(line);
        lines.waiting.push('\n');
        self.0.news.notify_one();
        Ok(())
    }

    /// A thread of its own hands what waits to the editor. It may have to wait until the editor takes it, which is not before
    /// the next line is typed: whoever else did that, with something in his hands that the editor's thread wants, would wait
    /// for ever.
    fn print_all(&self, mut printer: impl ExternalPrinter) {
        loop {
            let mut lines = lock(&self.0.lines);
            while !(lines.is_edited && !lines.waiting.is_empty() && self.takes_lines()) {
                lines = self.0.news.wait(lines).unwrap_or_else(PoisonError::into_inner);
            }
            let waiting = std::mem::take(&mut lines.waiting);
            drop(lines);
            if printer.print(waiting).is_err() {
                // There is no editor any more. Who shows the next line learns what has become of the terminal.
                lock(&self.0.lines).is_edited = false;
                return;
            }
        }
    }

    /// After Ctrl-Z the editor has given the terminal back, and has it anew when it draws its line anew: until then a line would
    /// be printed into the middle of the typed one.
    fn takes_lines(&self) -> bool {
        self.0.is_editing.load(Ordering::SeqCst) && is_key_by_key()
    }

    /// The editor has begun to wait for keys.
    fn open(&self) {
        if self.0.is_typed.load(Ordering::SeqCst) {
            return;
        }
        // With the lock, so that it is not told between the other thread's look and its sleep.
        let _lines = lock(&self.0.lines);
        self.0.is_editing.store(true, Ordering::SeqCst);
        self.0.news.notify_one();
    }

    /// It has not any more.
    fn end(&self) {
        self.0.is_typed.store(true, Ordering::SeqCst);
        self.0.is_editing.store(false, Ordering::SeqCst);
    }

    fn close(&self) -> io::Result<()> {
        let mut lines = lock(&self.0.lines);
        let waiting = std::mem::take(&mut lines.waiting);
        lines.is_edited = false;
        io::stdout().lock().write_all(waiting.as_bytes())
    }
}

/// Whether the terminal gives each key as it is pressed: somebody edits a line.
fn is_key_by_key() -> bool {
    tcgetattr(io::stdin()).is_ok_and(|settings| !settings.local_flags.contains(LocalFlags::ICANON))
}

/// The editor asks it for help at certain moments, and so it knows of them.
#[derive(Completer, Helper)]
struct Watcher(Shown);

impl Highlighter for Watcher {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> std::borrow::Cow<'b, str> {
        self.0.open();
        prompt.into()
    }
}

impl Hinter for Watcher {
    type Hint = String;

    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.0.0.is_empty.store(line.is_empty(), Ordering::SeqCst);
        None
    }
}

impl Validator for Watcher {
    fn validate(&self, _: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        self.0.end();
        Ok(ValidationResult::Valid(None))
    }
}

impl Typing<'_> {
    /// Sleeps until a line has been typed.
    pub fn next_line(&mut self) -> io::Result<Input> {
        let Some(editor) = &mut self.editor else { return self.read_plainly() };
        let state = &self.console.shown.0;
        state.is_typed.store(false, Ordering::SeqCst);
        let typed = editor.readline(PROMPT);
        self.console.shown.end();
        match typed {
            Ok(line) if line.len() > LONGEST_LINE => Ok(Input::Unfit("it is longer than a message can be (60 KiB)")),
            Ok(line) => Ok(Input::Line(line)),
            Err(ReadlineError::Eof) => Ok(Input::End),
            // A line that was begun is let go of; with none, the conversation.
            Err(ReadlineError::Interrupted) if state.is_empty.load(Ordering::SeqCst) => Ok(Input::Interrupt),
            Err(ReadlineError::Interrupted) => Ok(Input::Line(String::new())),
            // The terminal is gone.
            Err(ReadlineError::Errno(Errno::EIO)) => Ok(Input::End),
            Err(ReadlineError::Io(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these hold is whole at any time: a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
