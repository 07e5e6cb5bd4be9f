use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::{Args, value_parser};

/// What every lab's server can be told: where to listen. First used in lab 1.
///
/// `PORT` is the lab's own port, taken when none is given.
#[derive(Args, Debug)]
pub struct ServerOptions<const PORT: u16> {
    /// Address to listen on, one of this machine's [default: 127.0.0.1]
    #[arg(long, value_name = "A")]
    pub addr: Option<IpAddr>,

    /// Port to listen on; with 0 the kernel chooses one
    #[arg(long, value_name = "P", default_value_t = PORT)]
    pub port: u16,
}

impl<const PORT: u16> ServerOptions<PORT> {
    /// The address and port to bind. A warning goes to standard error where others than this machine can reach it.
    pub fn address(&self) -> SocketAddr {
        self.address_or(Ipv4Addr::LOCALHOST.into())
    }

    /// As [`address`](Self::address), with another address where none was given. First needed in lab 2, for IPv6.
    pub fn address_or(&self, default: IpAddr) -> SocketAddr {
        let ip = self.addr.unwrap_or(default);
        if !ip.to_canonical().is_loopback() {
            eprintln!(
                "warning: {ip} can be reached from other machines, and this lab has no authentication: \
                 whoever can connect is served"
            );
        }
        SocketAddr::new(ip, self.port)
    }
}

/// What every lab's client can be told: where the server is. First used in lab 1.
#[derive(Args, Debug)]
pub struct ClientOptions<const PORT: u16> {
    /// Name or address of the server [default: 127.0.0.1]
    #[arg(value_name = "HOST")]
    pub host: Option<String>,

    /// Port of the server
    #[arg(value_name = "PORT", default_value_t = PORT, value_parser = value_parser!(u16).range(1..))]
    pub port: u16,

    /// Give up connecting after so many seconds [default: when the kernel does, after about two minutes]
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=3600))]
    timeout: Option<u64>,
}

impl<const PORT: u16> ClientOptions<PORT> {
    /// The server's name or address.
    pub fn host(&self) -> &str {
        self.host.as_deref().unwrap_or("127.0.0.1")
    }

    /// How long to wait for one connection attempt; `None` leaves it to the kernel (tcp(7), `tcp_syn_retries`).
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.map(Duration::from_secs)
    }
}
