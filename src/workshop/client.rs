//! The client of a lab, in the foreground.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::workshop::labs::Lab;
use crate::workshop::{Problem, build};

/// What the client is called with.
#[derive(Debug)]
pub struct Options {
    /// Which lab's.
    pub lab: &'static Lab,
    /// Name or address of the server.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// What else to tell it.
    pub arguments: Vec<OsString>,
}

/// Becomes the client: this process is replaced by it, so that the terminal and the exit code are its own.
pub fn client(options: &Options) -> Result<(), Problem> {
    let name = options.lab.client();
    let mut command = Command::new(build::binary(options.lab, &name)?);
    command.args(&options.arguments);
    match (&options.host, options.port) {
        (None, None) => {}
        (host, port) => {
            command.arg(host.as_deref().unwrap_or("127.0.0.1"));
            command.args(port.map(|port| port.to_string()));
        }
    }
    let error = command.exec();
    Err(Problem::while_doing("start the client")(error))
}
