//! The command line.

use std::ffi::OsString;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, value_parser};
use socklab::lens::table::Subject;
use socklab::view::paint::Page;
use socklab::workshop::labs::{LABS, Lab};
use socklab::workshop::{Problem, client, diff, doctor, guard, run, segments, states};

/// A teaching lab for sockets: numbered labs, and the kernel's own view of them.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server, and show what the kernel does with its sockets (make lab1)
    ///
    /// The server is that of lab N, built if need be; or any command at all, after `--`, in which {port} stands for the
    /// port (which is in its environment as PORT, too). It says what to type in terminals 2 and 3; then every socket of
    /// that port, both sides of each connection, is shown as it appears, changes its state, or goes. Ctrl-C ends the
    /// server and every process that it has started.
    Run {
        /// Number of the lab
        #[arg(value_name = "N", value_parser = Lab::find)]
        lab: &'static Lab,
        /// Port to listen on; with 0 the kernel chooses one [default: the lab's own, 7001 for lab 1]
        #[arg(long, short, value_name = "P")]
        port: Option<u16>,
        /// Address for the lab's server to listen on [default: 127.0.0.1]
        #[arg(long, value_name = "A")]
        addr: Option<IpAddr>,
        /// One more argument for the lab's server; may be given several times
        #[arg(long = "server-arg", value_name = "ARG", allow_hyphen_values = true)]
        arguments: Vec<String>,
        /// How many seconds the server may take until it listens
        #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u64).range(1..=3600))]
        patience: u64,
        /// A server of your own: its program and arguments, with {port} in them
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Run the client of a lab (make client1)
    Client {
        /// Number of the lab
        #[arg(value_name = "N", value_parser = Lab::find)]
        lab: &'static Lab,
        /// Name or address of the server [default: 127.0.0.1]
        #[arg(long, value_name = "HOST")]
        host: Option<String>,
        /// Port of the server [default: the lab's own]
        #[arg(long, short, value_name = "P", value_parser = value_parser!(u16).range(1..))]
        port: Option<u16>,
        /// More arguments for the client
        #[arg(last = true, value_name = "ARG")]
        arguments: Vec<OsString>,
    },
    /// Show the kernel's sockets at this moment, explained (make states)
    ///
    /// TCP sockets unless told otherwise. A listening socket's accept queue is shown as length/backlog, in connections; all
    /// other queues are in bytes. Who holds a socket is shown as far as you may know: your own processes, or all as root.
    States {
        /// Only sockets with this port at one end
        #[arg(long, short, value_name = "P")]
        port: Option<u16>,
        /// Go on, and show every change, until Ctrl-C
        #[arg(long, short)]
        watch: bool,
        /// One JSON object per socket and line: protocol, state, local, remote, receive_queue, send_queue, uid, inode,
        /// timer (kind, left_ms, expirations), owners (name, pid, fd); with --watch also at (seconds), and gone
        #[arg(long)]
        json: bool,
        /// UDP sockets
        #[arg(long, short)]
        udp: bool,
        /// Unix sockets
        #[arg(long, short = 'x')]
        unix: bool,
        /// TCP sockets too, beside those
        #[arg(long, short)]
        tcp: bool,
        /// Look up who holds the sockets, however many there are
        #[arg(long)]
        processes: bool,
    },
    /// Show every TCP segment and UDP datagram that passes, with relative numbers
    ///
    /// The notation is that of tcpdump; sequence and acknowledgement numbers count from each side's SYN, and what was sent
    /// before is marked. Needs the capability CAP_NET_RAW. At the end it says how many there were, whether any is missing,
    /// and which tcpdump command shows the same.
    Segments {
        /// Only segments from or to this port
        #[arg(long, short, value_name = "P", value_parser = value_parser!(u16).range(1..))]
        port: Option<u16>,
        /// The network interface
        #[arg(long, short, value_name = "NAME", default_value = "lo")]
        interface: String,
        /// End after so many
        #[arg(long, short, value_name = "N", value_parser = value_parser!(u64).range(1..))]
        count: Option<u64>,
        /// One event a line, as JSON; remarks go to standard error
        #[arg(long)]
        json: bool,
    },
    /// List the labs
    List,
    /// Show what lab N adds to the lab before (make diff2)
    Diff {
        /// Number of the lab
        #[arg(value_name = "N", value_parser = Lab::find)]
        lab: &'static Lab,
    },
    /// Say what this machine has for the workshop, and how to get what it lacks (make doctor)
    Doctor,
    /// Run a program and end all of it when standard input closes
    #[command(hide = true)]
    Guard {
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Does what the command line says.
pub fn dispatch(cli: Cli) -> Result<ExitCode, Problem> {
    match cli.command {
        Command::Run { lab, port, addr, arguments, patience, command } => {
            let patience = Duration::from_secs(patience);
            run::run(&run::Options { lab, port, address: addr, arguments, patience, command })
        }
        Command::Client { lab, host, port, arguments } => {
            client::client(&client::Options { lab, host, port, arguments }).map(|()| ExitCode::SUCCESS)
        }
        Command::States { port, watch, json, udp, unix, tcp, processes } => {
            let subject = Subject { tcp: tcp || !(udp || unix), udp, unix, port, path: None };
            states::states(&states::Options { subject, watch, json, processes })
        }
        Command::Segments { port, interface, count, json } => {
            segments::segments(&segments::Options { port, interface, count, json })
        }
        Command::List => list(),
        Command::Diff { lab } => diff::diff(lab),
        Command::Doctor => doctor::doctor(),
        Command::Guard { command } => Ok(guard::guard(&command)),
    }
}

fn list() -> Result<ExitCode, Problem> {
    let mut page = Page::stdout();
    for lab in LABS {
        page.line(&format!("lab {}  {:<12} port {}  {}", lab.number, lab.package, lab.port, lab.idea), 7)?;
    }
    page.flush()?;
    Ok(ExitCode::SUCCESS)
}
