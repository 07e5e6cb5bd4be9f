//! Files that a run, or the replay of one, is written to beside the timeline.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::event::Event;
use crate::record::{Header, Writer};
use crate::sys::with_name;
use crate::view::page::{self, About};
use crate::view::paint::harmless;
use crate::view::pcapng::Pcapng;
use crate::workshop::Problem;

/// How many events the page shows. A browser is slow with many more, and so is whoever reads them.
const ON_PAGE: usize = 3000;
/// How much of them is kept in memory, counted in bytes of JSON.
const ON_PAGE_BYTES: usize = 32 << 20;

/// What is to be written, and where to. `-` is standard output, except for the page.
#[derive(Clone, Default, Debug)]
pub struct OutputOptions {
    /// One self-contained HTML page.
    pub html: Option<PathBuf>,
    /// The segments, for Wireshark.
    pub pcapng: Option<PathBuf>,
    /// Every event as a line of JSON, without the captured packets.
    pub json: Option<PathBuf>,
    /// A recording: the same with the captured packets, for `socklab replay`.
    pub record: Option<PathBuf>,
}

impl OutputOptions {
    /// The options with their files.
    pub fn paths(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let all =
            [("--html", &self.html), ("--pcapng", &self.pcapng), ("--json", &self.json), ("--record", &self.record)];
        all.into_iter().filter_map(|(option, path)| Some((option, path.as_deref()?)))
    }

    /// Whether standard output is taken by one of them, so that there is no room for a timeline.
    pub fn take_stdout(&self) -> bool {
        self.paths().any(|(_, path)| path.as_os_str() == "-")
    }
}

/// The files while they are being written.
pub struct Outputs {
    html: Option<Output<KeptForPage>>,
    pcapng: Option<Output<Pcapng<Sink>>>,
    json: Option<Output<Writer<Sink>>>,
    record: Option<Output<Writer<Sink>>>,
}

type Sink = BufWriter<Box<dyn Write>>;

/// Something that is written to, and what it is called.
struct Output<T> {
    place: Place,
    to: T,
}

#[derive(Clone)]
enum Place {
    Stdout,
    File(PathBuf),
}

impl Place {
    fn problem(&self, error: io::Error) -> Problem {
        match self {
            Self::Stdout => Problem::Output(error),
            Self::File(path) => Problem::Told(format!("write {}: {}", shown(path), with_name(&error))),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Stdout => "standard output".into(),
            Self::File(path) => shown(path),
        }
    }
}

impl Outputs {
    /// Opens every file, so that one that cannot be written is told of before anything is run.
    ///
    /// What was in a file is gone only after all of them could be opened.
    pub fn open(options: &OutputOptions, header: &Header) -> Result<Self, Problem> {
        let mut opened = Vec::new();
        for (option, path) in options.paths() {
            opened.push((option, open(option, path)?));
        }
        check_that_they_differ(&opened)?;
        for (_, (place, file)) in &opened {
            empty(file.as_ref()).map_err(|error| place.problem(error))?;
        }
        let mut take = |option: &str| {
            let place = opened.iter().position(|(its, _)| *its == option)?;
            Some(opened.swap_remove(place).1)
        };
        Ok(Self {
            html: begin(take("--html"), |out| Ok(KeptForPage::new(out, header)))?,
            pcapng: begin(take("--pcapng"), |out| Pcapng::new(out, header))?,
            json: begin(take("--json"), |out| Writer::new(out, header, false))?,
            record: begin(take("--record"), |out| Writer::new(out, header, true))?,
        })
    }

    /// The port on which the server turned out to listen.
    pub fn set_server_port(&mut self, port: Option<u16>) {
        if let Some(pcapng) = &mut self.pcapng {
            pcapng.to.set_server_port(port);
        }
        if let Some(page) = &mut self.html {
            page.to.header.server_port = port;
        }
    }

    /// Writes one event to each.
    pub fn event(&mut self, event: &Event) -> Result<(), Problem> {
        if let Some(page) = &mut self.html {
            page.to.event(event);
        }
        on(&mut self.pcapng, |pcapng| pcapng.event(event))?;
        on(&mut self.json, |json| json.event(event))?;
        on(&mut self.record, |record| record.event(event))
    }

    /// Hands on what was written so far, so that whoever follows a file sees it.
    pub fn flush(&mut self) -> Result<(), Problem> {
        on(&mut self.pcapng, Pcapng::flush)?;
        on(&mut self.json, Writer::flush)?;
        on(&mut self.record, Writer::flush)
    }

    /// Completes every file, and returns what there is to say about them, a sentence each.
    pub fn finish(self) -> Result<Vec<String>, Problem> {
        let mut remarks = Vec::new();
        for Output { place, to } in [self.json, self.record].into_iter().flatten() {
            to.finish().map_err(|error| place.problem(error))?;
        }
        if let Some(Output { place, to }) = self.pcapng {
            let summary = to.finish().map_err(|error| place.problem(error))?;
            if summary.without_bytes > 0 {
                let name = place.name();
                let (written, missing) = (summary.written, summary.without_bytes);
                remarks
                    .push(format!("{name}: {written} packets; the bytes of {missing} more segments were not recorded"));
            }
        }
        if let Some(Output { place, to }) = self.html {
            if to.left_out > 0 {
                let (kept, all) = (to.events.len(), to.events.len() as u64 + to.left_out);
                remarks.push(format!("{}: the first {kept} of {all} events", place.name()));
            }
            to.finish().map_err(|error| place.problem(error))?;
        }
        Ok(remarks)
    }
}

/// The events for the page, which can only be laid out when all of them are known.
struct KeptForPage {
    out: Sink,
    header: Header,
    events: Vec<Event>,
    bytes_left: usize,
    left_out: u64,
}

impl KeptForPage {
    fn new(out: Sink, header: &Header) -> Self {
        Self { out, header: header.clone(), events: Vec::new(), bytes_left: ON_PAGE_BYTES, left_out: 0 }
    }

    fn event(&mut self, event: &Event) {
        // Once one was left out, all that follow are: the page has no gaps.
        if self.left_out > 0 || self.events.len() == ON_PAGE || self.bytes_left == 0 {
            self.left_out += 1;
            return;
        }
        let bytes = serde_json::to_vec(event).map_or(0, |line| line.len());
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.events.push(event.clone());
    }

    fn finish(self) -> io::Result<()> {
        let Self { mut out, header, events, left_out, .. } = self;
        let about = About {
            title: header.title,
            server_port: header.server_port,
            rung: header.rung,
            version: env!("CARGO_PKG_VERSION").into(),
            left_out: usize::try_from(left_out).unwrap_or(usize::MAX),
        };
        page::write(&mut out, &about, &events)?;
        out.flush()
    }
}

fn on<T>(output: &mut Option<Output<T>>, write: impl FnOnce(&mut T) -> io::Result<()>) -> Result<(), Problem> {
    match output {
        Some(Output { place, to }) => write(to).map_err(|error| place.problem(error)),
        None => Ok(()),
    }
}

/// Opens a file without touching what is in it. Of standard output there is no file.
fn open(option: &str, path: &Path) -> Result<(Place, Option<File>), Problem> {
    if path.as_os_str() == "-" {
        return match option {
            "--html" => Err(Problem::Told("--html -: a page needs a file of its own".into())),
            _ => Ok((Place::Stdout, None)),
        };
    }
    let place = Place::File(path.to_owned());
    match OpenOptions::new().write(true).create(true).truncate(false).open(path) {
        Ok(file) => Ok((place, Some(file))),
        Err(error) => Err(place.problem(error)),
    }
}

type Opened = (&'static str, (Place, Option<File>));

fn check_that_they_differ(opened: &[Opened]) -> Result<(), Problem> {
    for (number, (option, (place, file))) in opened.iter().enumerate() {
        for (other, (_, its_file)) in &opened[..number] {
            let are_same = match (file, its_file) {
                (Some(file), Some(its_file)) => is_same(file, its_file).map_err(|error| place.problem(error))?,
                (None, None) => true,
                _ => false,
            };
            if are_same {
                return Err(Problem::Told(format!("{other} and {option} would both write {}", place.name())));
            }
        }
    }
    Ok(())
}

/// Whether both are the same file on a disk. A device or a pipe may be written by many.
fn is_same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok(one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Removes what is in a file on a disk. A device or a pipe has nothing to remove.
fn empty(file: Option<&File>) -> io::Result<()> {
    match file {
        Some(file) if file.metadata()?.is_file() => file.set_len(0),
        _ => Ok(()),
    }
}

fn begin<T>(
    opened: Option<(Place, Option<File>)>,
    begin: impl FnOnce(Sink) -> io::Result<T>,
) -> Result<Option<Output<T>>, Problem> {
    let Some((place, file)) = opened else { return Ok(None) };
    let out: Box<dyn Write> = match file {
        Some(file) => Box::new(file),
        None => Box::new(io::stdout()),
    };
    match begin(BufWriter::with_capacity(64 * 1024, out)) {
        Ok(to) => Ok(Some(Output { place, to })),
        Err(error) => Err(place.problem(error)),
    }
}

/// A path as it may be shown.
pub(super) fn shown(path: &Path) -> String {
    harmless(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{What, Who};
    use std::time::{Duration, UNIX_EPOCH};

    fn kept(text: &str, count: usize, bytes: usize) -> KeptForPage {
        let out: Sink = BufWriter::new(Box::new(io::sink()));
        let mut page = KeptForPage { bytes_left: bytes, ..KeptForPage::new(out, &Header::new(UNIX_EPOCH)) };
        let event = Event { at: Duration::ZERO, who: Who::Kernel, what: What::Note(text.into()) };
        (0..count).for_each(|_| page.event(&event));
        page
    }

    #[test]
    fn the_page_keeps_the_first_events_and_counts_the_rest() {
        let page = kept("x", ON_PAGE + 7, ON_PAGE_BYTES);
        assert_eq!((page.events.len(), page.left_out), (ON_PAGE, 7));
        let page = kept("x", ON_PAGE, ON_PAGE_BYTES);
        assert_eq!((page.events.len(), page.left_out), (ON_PAGE, 0));
    }

    #[test]
    fn the_page_keeps_only_so_many_bytes() {
        let page = kept(&"x".repeat(1000), 100, 10_000);
        assert_eq!((page.events.len(), page.left_out), (10, 90));
    }
}
