//! The recordings that stand beside the scenes of predictions, for machines that may not observe: they are held against what is
//! seen when the scene is played, and are made anew on demand.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::event::{Event, What, Who};
use crate::record::{Header, Reader, Writer};
use crate::scene;
use crate::view::paint::Page;
use crate::workshop::Problem;
use crate::workshop::exercises::verify::Tally;
use crate::workshop::exercises::verify::items::{PLACE, exercises};
use crate::workshop::exercises::verify::judge::{last_line, run};
use crate::workshop::exercises::{Workshop, predict};
use crate::workshop::scene::{Recorded, python, recording_of};

/// A recording keeps this many segments from its beginning, and as many from its end: a transfer of many megabytes teaches
/// nothing in between that would be worth its bytes in the repository.
const SEGMENTS: usize = 40;

/// What was seen when a scene was played, in a file of its own.
pub struct Seen<'a> {
    scene: &'a Path,
    events: PathBuf,
}

impl<'a> Seen<'a> {
    /// Plays the scene.
    pub fn of(root: &Path, scene: &'a Path) -> Result<Self, Problem> {
        let directory = root.join(PLACE);
        fs::create_dir_all(&directory).map_err(|error| told(&directory, error))?;
        // As the exercise is called: two scenes may have the same name.
        let exercise = scene.parent().and_then(Path::file_name).unwrap_or_default();
        let events = directory.join(format!("{}.events", exercise.display()));
        let _ = fs::remove_file(&events);
        let (code, output, errors) = run(&mut predict::command_unattended(scene, &events)?).map_err(Problem::Told)?;
        match code {
            Some(0) if events.exists() => Ok(Self { scene, events }),
            Some(0) => Err(Problem::Told("it cannot be played here: only its recording was shown".into())),
            _ => Err(Problem::Told(format!("exit code {code:?}: {}", last_line(&errors, &output)))),
        }
    }

    /// Holds the recording against it.
    pub fn against_the_recording(&self) -> Result<(), Problem> {
        let text = fs::read_to_string(self.scene).map_err(|error| told(self.scene, error))?;
        let scene =
            scene::parse(&text).map_err(|mistake| Problem::Told(mistake.shown(&self.scene.display().to_string())))?;
        let recorded = Recorded::read(&recording_of(self.scene))?;
        match recorded.differs_from(&Recorded::read(&self.events)?, &scene) {
            Some(difference) => {
                Err(Problem::Told(format!("its recording is of another scene ({difference}): make recordings")))
            }
            None => Ok(()),
        }
    }

    /// Makes it the recording. It says how many events it has.
    fn keep(&self, root: &Path) -> Result<usize, Problem> {
        let file = File::open(&self.events).map_err(|error| told(&self.events, error))?;
        let reader = Reader::open(BufReader::new(file)).map_err(|fault| Problem::Told(fault.to_string()))?;
        let header = reader.header().clone();
        let events = reader.collect::<Result<Vec<_>, _>>().map_err(|fault| Problem::Told(fault.to_string()))?;
        let events = without_the_middle(events);
        let recording = recording_of(self.scene);
        let bytes = written(&header, &events).map_err(Problem::while_doing("write a recording"))?;
        let text = String::from_utf8_lossy(&bytes);
        fs::write(&recording, as_anywhere(&text, root)).map_err(|error| told(&recording, error))?;
        Ok(events.len())
    }
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        // Only its bytes are lost where it stays.
        let _ = fs::remove_file(&self.events);
    }
}

/// Plays the scenes of all predictions, or of those of `only`, and keeps what was seen as their recordings.
pub fn record(only: Option<&str>) -> Result<ExitCode, Problem> {
    let workshop = Workshop::read()?;
    let mut page = Page::stdout();
    let mut tally = Tally::default();
    for exercise in exercises(&workshop, only) {
        let Some(scene) = &exercise.scene else { continue };
        let kept = Seen::of(&workshop.root, scene).and_then(|seen| seen.keep(&workshop.root));
        let found = kept.map(|events| format!("{events} events")).map_err(|problem| problem.to_string());
        tally.count(&mut page, &format!("{} recording", exercise.number), &found)?;
        page.flush()?;
    }
    tally.verdict(&mut page, only, "recordings")
}

fn written(header: &Header, events: &[Event]) -> std::io::Result<Vec<u8>> {
    let release = header.kernel.split('-').next().unwrap_or_default();
    let mut writer = Writer::new(Vec::new(), &Header { kernel: release.into(), ..header.clone() }, false)?;
    for event in events {
        writer.event(event)?;
    }
    writer.finish()
}

/// With no more than the first and the last segments. Where those between are missing, the recording says so.
fn without_the_middle(events: Vec<Event>) -> Vec<Event> {
    let is_segment = |event: &Event| matches!(event.what, What::Segment(_));
    let all = events.iter().filter(|event| is_segment(event)).count();
    if all <= 2 * SEGMENTS {
        return events;
    }
    let mut kept = Vec::new();
    let mut number = 0;
    for event in events {
        if is_segment(&event) {
            number += 1;
            if number == SEGMENTS + 1 {
                let note = format!("{} segments are left out of this recording", all - 2 * SEGMENTS);
                kept.push(Event { at: event.at, who: Who::Socklab, what: What::Note(note) });
            }
            if number > SEGMENTS && number <= all - SEGMENTS {
                continue;
            }
        }
        kept.push(event);
    }
    kept
}

/// A recording with the paths that others have, too: from the root of the workshop, and `python3`.
fn as_anywhere(text: &str, root: &Path) -> String {
    let python = python();
    let python = Path::new(&python);
    let text = text.replace(&format!("{}/", root.display()), "");
    if python.is_absolute() { text.replace(&python.display().to_string(), "python3") } else { text }
}

fn told(path: &Path, error: std::io::Error) -> Problem {
    Problem::Told(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use std::time::Duration;

    use super::*;
    use crate::event::{Flags, Segment, Transport};

    fn segment(number: u32) -> Event {
        let segment = Segment {
            transport: Transport::Tcp,
            from: "127.0.0.1:7000".parse().unwrap(),
            to: "127.0.0.1:51234".parse().unwrap(),
            flags: Flags(0x10),
            seq: number,
            ack: 0,
            relative_seq: number,
            relative_ack: 0,
            window: 512,
            window_scale: None,
            options: Vec::new(),
            length: 1,
            retransmitted: false,
            packet: Vec::new(),
            packet_length: 41,
        };
        Event { at: Duration::from_millis(number.into()), who: Who::Wire, what: What::Segment(Box::new(segment)) }
    }

    #[test]
    fn of_many_segments_the_first_and_the_last_are_kept_and_it_is_said_how_many_are_not() {
        let few: Vec<Event> = (0..80).map(segment).collect();
        assert_eq!(without_the_middle(few.clone()), few);
        let kept = without_the_middle((0..100).map(segment).collect());
        assert_eq!(kept.len(), 81);
        assert_eq!((&kept[..40], &kept[41..]), (&few[..40], &(60..100).map(segment).collect::<Vec<_>>()[..]));
        assert_eq!(kept[40].what, What::Note("20 segments are left out of this recording".into()));
    }

    #[test]
    fn its_paths_are_those_that_everybody_has() {
        let root = Path::new("/home/somebody/socklab");
        let text = r#"["/home/somebody/socklab/target/debug/lab1-server"] /home/somebody/socklab-2/x"#;
        assert_eq!(as_anywhere(text, root), r#"["target/debug/lab1-server"] /home/somebody/socklab-2/x"#);
    }
}
