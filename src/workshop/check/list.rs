//! The one list of checks: which lab promises what, and what depends on what.

use std::time::Duration;

use super::case::{Case, Step};
use super::{chat, chat_more, echo, exercises, fork, life, messages, ready};
use crate::view::paint::{Page, STRONG, in_style};
use crate::workshop::Problem;
use crate::workshop::labs::Lab;

/// Something that a lab promises.
pub struct Check {
    /// Its name, as on the command line.
    pub name: &'static str,
    /// What is promised, as a sentence of few words.
    pub title: &'static str,
    /// The labs that promise it.
    pub labs: &'static [u8],
    /// The checks without which this one says nothing: it is skipped when one of them is not passed. Those that the lab
    /// does not have are left out.
    pub needs: &'static [&'static str],
    /// How long it may take, from when its server listens.
    pub limit: Duration,
    /// Whether only an exercise asks for it: then it is run only when it is named.
    pub is_extra: bool,
    /// Whether the server's calls are followed. That makes it some times slower: not for what counts connections or time.
    pub is_followed: bool,
    /// What the lab's own server has to be told for it.
    pub arguments: &'static [&'static str],
    /// What to look at beside a server that fails it; `{port}` stands for the port.
    pub look: &'static str,
    /// Starts a server with [`Case::start`], and says how it went.
    pub run: fn(&mut Case) -> Step,
}

const SS: &str = "ss -tanp 'sport = :{port}'";
const PS: &str = "ps -eo pid,ppid,stat,args --forest";
const THREADS: &str = "ps -L -o pid,lwp,stat,comm -p PID";
const FDS: &str = "ls -l /proc/PID/fd";

/// A check that most are like; the rest is said with `..USUAL`.
const USUAL: Check = Check {
    name: "",
    title: "",
    labs: &[],
    needs: &["echo", "answers"],
    limit: Duration::from_secs(20),
    is_extra: false,
    is_followed: true,
    arguments: &[],
    look: SS,
    run: |_| Ok(()),
};

/// The limit of a check in which much is sent, or many come: a slow machine takes several times as long as a quick one.
const LONGER: Duration = Duration::from_secs(60);

const ALL: &[u8] = &[1, 2, 3, 4, 5, 6, 7];
const ECHOES: &[u8] = &[1, 2, 3, 5, 6];
const ONE_AT_A_TIME: &[u8] = &[1, 2];
const POLLS: &[u8] = &[5, 6];
const LINES: &[u8] = &[4, 7];
const CHAT: &[u8] = &[7];

/// Every check, in the order in which they are run.
pub const CHECKS: &[Check] = &[
    Check {
        name: "listens",
        title: "it listens, and a client gets in",
        labs: ALL,
        needs: &[],
        run: echo::listens,
        ..USUAL
    },
    Check {
        name: "echo",
        title: "every byte comes back, in order, and none is added",
        labs: ECHOES,
        needs: &["listens"],
        run: echo::echo,
        ..USUAL
    },
    Check {
        name: "answers",
        title: "each request has its answer, with its data and its id",
        labs: LINES,
        needs: &["listens"],
        run: messages::answers,
        ..USUAL
    },
    Check {
        name: "half-close",
        title: "after the client's FIN it sends the rest, then its own FIN",
        labs: &[1, 2, 5, 6],
        run: echo::half_close,
        ..USUAL
    },
    Check {
        name: "next-client",
        title: "when a client has gone, the next one is served",
        labs: ONE_AT_A_TIME,
        run: echo::next_client,
        ..USUAL
    },
    Check {
        name: "second-client",
        title: "who comes meanwhile waits in the accept queue, and is served",
        labs: ONE_AT_A_TIME,
        needs: &["next-client"],
        run: echo::second_client,
        ..USUAL
    },
    Check {
        name: "concurrent",
        title: "a client that is silent keeps no other waiting",
        labs: &[3, 4, 5, 6],
        run: fork::concurrent,
        ..USUAL
    },
    Check {
        name: "process-each",
        title: "each client is served by a process of its own",
        labs: &[3],
        needs: &["concurrent"],
        look: PS,
        run: fork::process_each,
        ..USUAL
    },
    Check {
        name: "child-killed",
        title: "the end of one child is the end of nobody else",
        labs: &[3],
        needs: &["process-each"],
        look: PS,
        run: fork::child_killed,
        ..USUAL
    },
    Check { name: "lets-go", title: "the parent lets go of the connection", labs: &[3], run: fork::lets_go, ..USUAL },
    Check {
        name: "reaps",
        title: "children end with their clients, and none is left as a zombie",
        labs: &[3],
        needs: &["child-killed"],
        look: PS,
        run: fork::reaps,
        ..USUAL
    },
    Check {
        name: "thread-each",
        title: "each client is served by a thread of its own",
        labs: &[4],
        needs: &["concurrent"],
        look: THREADS,
        run: messages::thread_each,
        ..USUAL
    },
    Check {
        name: "cut-anywhere",
        title: "a request may come in pieces, however it was cut",
        labs: LINES,
        run: messages::cut_anywhere,
        ..USUAL
    },
    Check {
        name: "many-in-one",
        title: "requests that come together are all answered",
        labs: &[4],
        run: messages::many_in_one,
        ..USUAL
    },
    Check {
        name: "bad-request",
        title: "what is no request is answered, and the connection goes on",
        labs: LINES,
        run: messages::bad_request,
        ..USUAL
    },
    Check {
        name: "too-long",
        title: "a request without an end is not kept without a bound",
        labs: &[4],
        needs: &["cut-anywhere"],
        limit: LONGER,
        is_followed: false,
        run: messages::too_long,
        ..USUAL
    },
    Check {
        name: "half-frame",
        title: "half a request at the end of a connection is not answered",
        labs: &[4],
        needs: &["cut-anywhere"],
        run: messages::half_frame,
        ..USUAL
    },
    Check {
        name: "one-thread",
        title: "one process with one thread serves all clients",
        labs: POLLS,
        needs: &["concurrent"],
        look: THREADS,
        run: ready::one_thread,
        ..USUAL
    },
    Check {
        name: "all-bytes",
        title: "a client that reads late gets every byte, in order",
        labs: POLLS,
        limit: LONGER,
        is_followed: false,
        run: ready::all_bytes,
        ..USUAL
    },
    Check {
        name: "idle",
        title: "with clients that say nothing, it sleeps",
        labs: &[5, 6, 7],
        is_followed: false,
        look: "ps -o stat,time,args -p PID",
        run: ready::idle,
        ..USUAL
    },
    Check {
        name: "many",
        title: "300 clients at once are all served",
        labs: &[6],
        needs: &["concurrent"],
        limit: LONGER,
        is_followed: false,
        run: ready::many,
        ..USUAL
    },
    Check {
        name: "back-pressure",
        title: "who writes and does not read has to wait",
        labs: &[6],
        limit: LONGER,
        is_followed: false,
        run: ready::back_pressure,
        ..USUAL
    },
    Check {
        name: "emfile",
        title: "with no descriptor left it rests, and goes on afterwards",
        labs: &[6],
        needs: &["idle"],
        is_followed: false,
        look: FDS,
        run: ready::emfile,
        ..USUAL
    },
    Check {
        name: "join",
        title: "who registers has a name, and the others are told",
        labs: CHAT,
        run: chat::join,
        ..USUAL
    },
    Check {
        name: "name-taken",
        title: "a name that somebody has is nobody else's",
        labs: CHAT,
        needs: &["join"],
        run: chat::name_taken,
        ..USUAL
    },
    Check {
        name: "name-free",
        title: "a name is free again, however its connection has ended",
        labs: CHAT,
        needs: &["join", "name-taken"],
        run: chat::name_free,
        ..USUAL
    },
    Check {
        name: "broadcast",
        title: "what one says is heard by the others, and by nobody else",
        labs: CHAT,
        needs: &["join"],
        run: chat::broadcast,
        ..USUAL
    },
    Check {
        name: "order",
        title: "all hear the same in the same order",
        labs: CHAT,
        needs: &["broadcast"],
        run: chat::order,
        ..USUAL
    },
    Check {
        name: "history",
        title: "the most recent messages can be asked for",
        labs: CHAT,
        needs: &["broadcast"],
        run: chat::history,
        ..USUAL
    },
    Check {
        name: "slow-reader",
        title: "a client that does not read harms nobody else",
        labs: &[4, 5, 6, 7],
        needs: &["concurrent", "broadcast"],
        limit: LONGER,
        is_followed: false,
        run: |case| if case.lab() == 7 { chat::slow_reader(case) } else { messages::slow_reader(case) },
        ..USUAL
    },
    Check {
        name: "reset",
        title: "a client that resets its connection harms nobody else",
        labs: ALL,
        needs: &["echo", "answers", "next-client", "child-killed"],
        run: life::reset,
        ..USUAL
    },
    Check {
        name: "no-leak",
        title: "what a client has cost is given back when it has gone",
        labs: ALL,
        needs: &["echo", "answers", "half-close", "lets-go", "next-client", "reaps"],
        is_followed: false,
        look: FDS,
        run: life::no_leak,
        ..USUAL
    },
    Check {
        name: "restart",
        title: "it starts again at once, though old connections are in TIME-WAIT",
        labs: &[2, 3, 4, 5, 6, 7],
        run: life::restart,
        ..USUAL
    },
    Check {
        name: "interrupted",
        title: "a signal that interrupts a call interrupts nothing else",
        labs: &[2],
        needs: &["next-client"],
        run: life::interrupted,
        ..USUAL
    },
    Check {
        name: "short-write",
        title: "a write that a signal cuts short is gone on with",
        labs: &[2, 3],
        needs: &["echo", "half-close", "lets-go", "child-killed"],
        limit: LONGER,
        is_followed: false,
        run: life::short_write,
        ..USUAL
    },
    Check {
        name: "ends-all",
        title: "SIGTERM ends it, and every process that it has made",
        labs: &[3],
        look: PS,
        run: fork::ends_all,
        ..USUAL
    },
    Check {
        name: "ends-by-int",
        title: "SIGINT to it alone ends it, and every process that it has made",
        labs: &[3],
        is_extra: true,
        look: PS,
        run: fork::ends_by_int,
        ..USUAL
    },
    Check {
        name: "ends-well",
        title: "SIGTERM: everybody is told, then the FIN, then the end",
        labs: CHAT,
        needs: &["join"],
        run: chat::ends_well,
        ..USUAL
    },
    Check {
        name: "tells-state",
        title: "it prints the state of each connection as the kernel has it",
        labs: &[1],
        needs: &["next-client"],
        is_extra: true,
        run: exercises::tells_state,
        ..USUAL
    },
    Check {
        name: "max-clients",
        title: "with --max-clients 2, a third client waits until one has gone",
        labs: &[3],
        is_extra: true,
        arguments: &["--max-clients", "2"],
        run: exercises::max_clients,
        ..USUAL
    },
    Check {
        name: "time-out",
        title: "with --time-out 1, who is silent for a second is let go",
        labs: &[5],
        needs: &["concurrent"],
        is_extra: true,
        is_followed: false,
        arguments: &["--time-out", "1"],
        run: ready::time_out,
        ..USUAL
    },
    Check {
        name: "private",
        title: "PRIVATE is heard by one, and by nobody else",
        labs: CHAT,
        needs: &["broadcast"],
        is_extra: true,
        run: chat_more::whisper,
        ..USUAL
    },
    Check {
        name: "room",
        title: "what is said in a room is heard in that room",
        labs: CHAT,
        needs: &["broadcast", "history"],
        is_extra: true,
        run: chat_more::rooms,
        ..USUAL
    },
];

impl Check {
    /// The check of a lab with this name.
    pub fn find(lab: &Lab, name: &str) -> Option<&'static Self> {
        of_lab(lab).find(|check| check.name == name)
    }
}

/// The checks of a lab, the extra ones included.
pub fn of_lab(lab: &Lab) -> impl Iterator<Item = &'static Check> + use<'_> {
    CHECKS.iter().filter(|check| check.labs.contains(&lab.number))
}

/// What is to be run: all that the lab promises; or what is named, and what that depends on. Or what is wrong with a name.
pub fn chosen(lab: &Lab, only: &[String]) -> Result<Vec<&'static Check>, String> {
    if of_lab(lab).next().is_none() {
        return Err(format!("there are no checks for lab {} yet", lab.number));
    }
    if only.is_empty() {
        return Ok(of_lab(lab).filter(|check| !check.is_extra).collect());
    }
    let mut wanted: Vec<&str> = Vec::new();
    let mut names: Vec<&str> = only.iter().map(String::as_str).collect();
    while let Some(name) = names.pop() {
        match Check::find(lab, name) {
            Some(check) if !wanted.contains(&check.name) => {
                wanted.push(check.name);
                names.extend(check.needs.iter().filter(|need| Check::find(lab, need).is_some()));
            }
            Some(_) => {}
            None => {
                let known: Vec<&str> = of_lab(lab).map(|check| check.name).collect();
                return Err(format!("lab {} has no check {name:?}; it has: {}", lab.number, known.join(", ")));
            }
        }
    }
    Ok(of_lab(lab).filter(|check| wanted.contains(&check.name)).collect())
}

/// Says which checks a lab has.
pub fn print(lab: &Lab) -> Result<(), Problem> {
    let mut page = Page::stdout();
    for check in of_lab(lab) {
        let needs: Vec<&str> = check.needs.iter().filter(|need| Check::find(lab, need).is_some()).copied().collect();
        let needs = if needs.is_empty() { String::new() } else { format!("; needs {}", needs.join(", ")) };
        let extra = if check.is_extra { "; only when it is named" } else { "" };
        let name = in_style(STRONG, &format!("{:<14}", check.name));
        page.line(&format!("{name} {}{needs}{extra}", check.title), 15)?;
    }
    Ok(page.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workshop::labs::LABS;

    #[test]
    fn a_check_has_one_name_a_title_that_fits_a_line_and_needs_only_what_is_run_before_it() {
        for (index, check) in CHECKS.iter().enumerate() {
            assert!(CHECKS[..index].iter().all(|other| other.name != check.name), "{} twice", check.name);
            assert!(!check.title.is_empty() && check.title.len() <= 64, "{}", check.title);
            assert!(check.name.len() <= 14 && !check.labs.is_empty(), "{}", check.name);
            for need in check.needs {
                assert!(CHECKS[..index].iter().any(|other| other.name == *need), "{} needs {need}", check.name);
            }
        }
    }

    #[test]
    fn a_check_that_is_named_brings_along_what_it_depends_on_and_nothing_else() {
        let names = |lab: usize, only: &[&str]| {
            let only: Vec<String> = only.iter().map(ToString::to_string).collect();
            chosen(&LABS[lab - 1], &only).map(|checks| checks.iter().map(|check| check.name).collect::<Vec<_>>())
        };
        assert_eq!(names(3, &["lets-go"]).unwrap(), ["listens", "echo", "lets-go"]);
        assert_eq!(names(1, &["reset"]).unwrap(), ["listens", "echo", "next-client", "reset"]);
        assert_eq!(names(3, &["max-clients"]).unwrap(), ["listens", "echo", "max-clients"]);
        assert!(!names(3, &[]).unwrap().contains(&"max-clients"));
        let unknown = names(1, &["lets-go"]).unwrap_err();
        assert!(unknown.contains("no check \"lets-go\"") && unknown.contains("half-close"), "{unknown}");
    }
}
