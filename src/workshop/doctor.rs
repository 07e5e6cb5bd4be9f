//! `socklab doctor`: what this machine has for the workshop, and how to get what it lacks.

use std::env;
use std::fs;
use std::net::{Ipv6Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use crate::event::State;
use crate::lens::owners::Owners;
use crate::lens::table::{Subject, Tables};
use crate::sandbox::{Findings, Rung};
use crate::view::describe;
use crate::view::paint::{OWN, Page, QUIET, SERVER, STRONG, in_style};
use crate::workshop::Problem;
use crate::workshop::labs::LABS;

/// A tool that goes alongside.
struct Tool {
    name: &'static str,
    purpose: &'static str,
    needed: bool,
    /// The package that holds it: on Debian and Ubuntu, Fedora, Arch, Alpine, openSUSE.
    packages: [&'static str; 5],
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "cargo",
        purpose: "builds the labs: needed",
        needed: true,
        packages: ["cargo", "cargo", "rust", "cargo", "cargo"],
    },
    Tool { name: "make", purpose: "what you type: needed", needed: true, packages: ["make"; 5] },
    Tool {
        name: "ss",
        purpose: "the kernel's sockets, as every administrator looks at them",
        needed: false,
        packages: ["iproute2", "iproute", "iproute2", "iproute2", "iproute2"],
    },
    Tool { name: "tcpdump", purpose: "the segments on the wire (needs root)", needed: false, packages: ["tcpdump"; 5] },
    Tool {
        name: "tshark",
        purpose: "opens what --pcapng writes, as Wireshark does with windows",
        needed: false,
        packages: ["tshark", "wireshark-cli", "wireshark-cli", "tshark", "wireshark"],
    },
    Tool { name: "strace", purpose: "the system calls of a program", needed: false, packages: ["strace"; 5] },
    Tool {
        name: "nc",
        purpose: "a client or server of one line, to try yours against",
        needed: false,
        packages: ["netcat-openbsd", "nmap-ncat", "openbsd-netcat", "netcat-openbsd", "netcat-openbsd"],
    },
    Tool { name: "tmux", purpose: "three terminals in one window", needed: false, packages: ["tmux"; 5] },
    Tool {
        name: "ps",
        purpose: "processes, parents and zombies (lab 3)",
        needed: false,
        packages: ["procps", "procps-ng", "procps-ng", "procps-ng", "procps"],
    },
    Tool {
        name: "python3",
        purpose: "a server in another language, to watch it the same way",
        needed: false,
        packages: ["python3", "python3", "python", "python3", "python3"],
    },
];

/// Systems by the names in /etc/os-release, in the order of [`Tool::packages`], and what installs a package there.
const SYSTEMS: [(&[&str], &str); 5] = [
    (&["debian", "ubuntu"], "sudo apt-get install"),
    (&["fedora", "rhel", "centos"], "sudo dnf install"),
    (&["arch"], "sudo pacman -S"),
    (&["alpine"], "sudo apk add"),
    (&["suse", "opensuse"], "sudo zypper install"),
];

/// Limits of the kernel that decide about the rung.
const LIMITS: [(&str, &str); 4] = [
    ("user.max_user_namespaces", "/proc/sys/user/max_user_namespaces"),
    ("kernel.unprivileged_userns_clone", "/proc/sys/kernel/unprivileged_userns_clone"),
    ("kernel.apparmor_restrict_unprivileged_userns", "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
    ("kernel.yama.ptrace_scope", "/proc/sys/kernel/yama/ptrace_scope"),
];

/// Looks, and tells. The exit code is 0 where labs and the states lens work.
pub fn doctor() -> Result<ExitCode, Problem> {
    let findings = Findings::of_this_machine();
    let mut page = Page::stdout();
    page.line(&in_style(STRONG, "Tools"), 0)?;
    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| find(tool.name).is_none()).collect();
    for tool in TOOLS {
        let found = find(tool.name);
        let place = found.as_ref().map_or("not found".into(), |path| path.display().to_string());
        report(&mut page, found.is_some(), tool.name, &format!("{}  {}", tool.purpose, in_style(QUIET, &place)))?;
    }
    if !missing.is_empty() {
        page.line(&format!("  to install what is missing: {}", installation(&missing)), 4)?;
    }

    page.gap()?;
    page.line(&in_style(STRONG, "What the kernel lets you see"), 0)?;
    let states_work = kernel(&mut page)?;

    page.gap()?;
    page.line(&in_style(STRONG, "What the instruments can show here"), 0)?;
    instruments(&mut page, &findings)?;

    page.gap()?;
    page.line(&in_style(STRONG, "The labs' ports"), 0)?;
    if states_work {
        ports(&mut page)?;
    }
    page.flush()?;
    let workshop_works = states_work && !missing.iter().any(|tool| tool.needed);
    Ok(if workshop_works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(page: &mut Page, good: bool, name: &str, text: &str) -> Result<(), Problem> {
    let mark = if good { in_style(SERVER, "yes") } else { in_style(OWN, "no ") };
    Ok(page.line(&format!("  {mark} {name:<10} {text}"), 17)?)
}

fn find(name: &str) -> Option<PathBuf> {
    let directories = env::var_os("PATH")?;
    // Administrators' tools are often out of an ordinary user's PATH, and work all the same.
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let is_program =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    env::split_paths(&directories).chain(more).map(|directory| directory.join(name)).find(is_program)
}

fn installation(missing: &[&Tool]) -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let ids: Vec<&str> = release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")))
        .flat_map(|names| names.trim_matches('"').split(' '))
        .collect();
    let system = SYSTEMS.iter().position(|(names, _)| names.iter().any(|name| ids.contains(name)));
    let packages: Vec<&str> = missing.iter().map(|tool| tool.packages[system.unwrap_or(0)]).collect();
    match system {
        Some(index) => format!("{} {}", SYSTEMS[index].1, packages.join(" ")),
        None => format!("the packages {} of your system, or what it calls them", packages.join(", ")),
    }
}

/// Whether the states lens works.
fn kernel(page: &mut Page) -> Result<bool, Problem> {
    let subject = Subject { tcp: true, ..Subject::default() };
    let asked = Instant::now();
    let dump = Tables::open().and_then(|mut tables| tables.snapshot(&subject, true));
    let took = asked.elapsed().as_micros();
    match &dump {
        Ok(sockets) => {
            let text = format!("every TCP socket, without root: {} now, read in {took} µs", sockets.len());
            report(page, true, "states", &text)?;
        }
        Err(error) => {
            report(
                page,
                false,
                "states",
                &format!("sock_diag: {error}; is the module tcp_diag there? sudo modprobe tcp_diag"),
            )?;
        }
    }
    let ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
    let text = match &ipv6 {
        Ok(_) => "::1 answers: lab 2's --family v6 and dual work".into(),
        Err(error) => format!("::1 does not: {error}; lab 2's --family v6 and dual will not work"),
    };
    report(page, ipv6.is_ok(), "IPv6", &text)?;
    if let Ok(longest) = fs::read_to_string("/proc/sys/net/core/somaxconn") {
        report(page, true, "backlog", &format!("an accept queue may hold {} connections (somaxconn)", longest.trim()))?;
    }
    Ok(dump.is_ok())
}

/// The rungs: which one is active, and what would raise it.
fn instruments(page: &mut Page, findings: &Findings) -> Result<(), Problem> {
    let rung = findings.rung();
    let own = |works: &Result<(), String>, good: &str| works.clone().map_or_else(|why| why, |()| good.into());
    let text =
        own(&findings.follow, "programs of your own can be followed (ptrace): make demo1, socklab trace -- COMMAND");
    report(page, findings.follow.is_ok(), "calls", &text)?;
    let text = match &findings.network {
        Ok(true) => {
            "a network of one's own, without root (user namespaces); pairs of interfaces (veth) in it, too".into()
        }
        Ok(false) => "a network of one's own, without root; but no veth in it: sudo modprobe veth".into(),
        Err(why) => why.clone(),
    };
    report(page, findings.network.is_ok(), "namespace", &text)?;
    let text = match (&findings.network, findings.capture) {
        (_, true) => "everywhere (packet sockets are allowed): socklab segments",
        (Ok(_), false) => "in a network of one's own; on the machine's only as root: sudo socklab segments",
        (Err(_), false) => "only as root: packet sockets need CAP_NET_RAW",
    };
    report(page, findings.network.is_ok() || findings.capture, "segments", text)?;
    for (name, file) in LIMITS {
        if let Ok(value) = fs::read_to_string(file) {
            page.line(&in_style(QUIET, &format!("      {name} = {}", value.trim())), 8)?;
        }
    }
    let active = match &rung {
        Rung::Full => "full: calls, states and segments, in a network of their own".to_string(),
        Rung::LoopbackOnly => "loopback only: all three lenses, but no wire between two hosts".into(),
        Rung::NoNamespace { segments: true, .. } => {
            "no namespace: all three lenses, on the machine's own network".into()
        }
        Rung::NoNamespace { segments: false, .. } => "no namespace: calls and states, without segments".into(),
        Rung::Replay { .. } => "replay: recordings only (socklab replay FILE)".into(),
    };
    Ok(page.line(&format!("  rung: {}", in_style(STRONG, &active)), 8)?)
}

fn ports(page: &mut Page) -> Result<(), Problem> {
    let kernel = Problem::while_doing("ask the kernel for its sockets (sock_diag)");
    let mut tables = Tables::open().map_err(&kernel)?;
    let owners = Owners::look_up();
    for lab in LABS {
        let subject = Subject { tcp: true, port: Some(lab.port), ..Subject::default() };
        let mut sockets = tables.snapshot(&subject, true).map_err(&kernel)?;
        sockets.retain(|socket| socket.local.port() == Some(lab.port));
        sockets.sort_by_key(|socket| socket.state != State::Listen);
        let text = match sockets.first_mut() {
            None => format!("free, for lab {}", lab.number),
            Some(socket) => {
                owners.fill_in(socket);
                format!(
                    "in use: {}, {}; lab {} can take another: PORT=0",
                    socket.state,
                    describe::owners(socket),
                    lab.number
                )
            }
        };
        report(page, sockets.is_empty(), &lab.port.to_string(), &text)?;
    }
    Ok(())
}
