//! Hosts with addresses of their own: network namespaces on one switch.
//!
//! All interfaces live inside the namespaces, so that removing those removes everything, also after a panic.
//! Making them takes root and iproute2.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Command, Lab};

/// A switch and the hosts on it.
pub struct Network {
    /// Begins the names of all its namespaces.
    prefix: String,
    hosts: Vec<String>,
}

const SWITCH: &str = "switch";

impl Network {
    /// None, and a line that says so, where this user cannot make namespaces.
    pub fn new(hosts: &[&str]) -> Option<Network> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("hcrun-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut network = Network { prefix, hosts: Vec::new() };
        if let Err(why) = network.add_namespace(SWITCH) {
            // Not by a macro: the output of a test that passes is not shown.
            let _ = writeln!(std::io::stderr(), "SKIPPED: no network namespaces here: {why}");
            return None;
        }
        network.on_switch(&["link", "add", "switch", "type", "bridge"]);
        network.on_switch(&["link", "set", "switch", "up"]);
        hosts.iter().for_each(|host| network.add_host(host));
        Some(network)
    }

    fn add_namespace(&self, host: &str) -> Result<(), String> {
        let made = std::process::Command::new("ip").args(["netns", "add", &self.namespace(host)]).output();
        let made = made.map_err(|error| format!("`ip`: {error}"))?;
        if made.status.success() { Ok(()) } else { Err(text(&made)) }
    }

    fn add_host(&mut self, host: &str) {
        self.add_namespace(host).unwrap();
        self.hosts.push(host.to_owned());
        let namespace = self.namespace(host);
        let port = port(host);
        self.on_switch(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace]);
        self.on_switch(&["link", "set", &port, "master", "switch", "up"]);
        self.on(host, &["addr", "add", &format!("{}/24", self.address(host)), "dev", "eth0"]);
        self.on(host, &["link", "set", "lo", "up"]);
        self.on(host, &["link", "set", "eth0", "up"]);
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    pub fn has(&self, host: &str) -> bool {
        self.hosts.iter().any(|name| name == host)
    }

    pub fn address(&self, host: &str) -> String {
        let index = self.hosts.iter().position(|name| name == host).unwrap();
        format!("10.77.0.{}", index + 1)
    }

    /// `hcrun` on a host, in the lab's directory.
    pub fn hcrun<'a>(&self, lab: &Lab, host: &str, args: impl IntoIterator<Item = &'a str>) -> Command {
        let own = ["netns".as_ref(), "exec".as_ref(), self.namespace(host).as_ref(), lab.program.as_os_str()]
            .map(OsStr::to_owned);
        let command = own.into_iter().chain(args.into_iter().map(OsString::from));
        Command::new("ip".as_ref(), lab.path(), command)
    }

    /// Packets of more bytes are lost on their way to and from the host, whose own interface does not know.
    pub fn narrow(&self, host: &str, mtu: u16) {
        self.on_switch(&["link", "set", &port(host), "mtu", &mtu.to_string()]);
    }

    /// From now on these hosts reach all others but not each other.
    pub fn cut(&self, hosts: [&str; 2]) {
        for host in hosts {
            self.on_switch(&["link", "set", &port(host), "type", "bridge_slave", "isolated", "on"]);
        }
    }

    /// From now on the host gets nothing that is sent to this UDP port.
    pub fn block(&self, host: &str, port: u16) {
        let (address, port) = (format!("{}/32", self.address(host)), port.to_string());
        let what = ["dst", &address, "proto", "udp", "dport", &port];
        let policy = [&["xfrm", "policy", "add", "dir", "in"], &what[..], &["action", "block"]].concat();
        self.on(host, &policy);
    }

    fn on(&self, host: &str, args: &[&str]) {
        let namespace = self.namespace(host);
        let output = std::process::Command::new("ip").args(["-n", &namespace]).args(args).output().unwrap();
        assert!(output.status.success(), "ip {args:?} on {host}: {}", text(&output));
    }

    fn on_switch(&self, args: &[&str]) {
        self.on(SWITCH, args);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in self.hosts.iter().map(String::as_str).chain([SWITCH]) {
            // One that could not be made need not be removed.
            let _ = std::process::Command::new("ip").args(["netns", "del", &self.namespace(host)]).output();
        }
    }
}

/// The switch's end of a host's cable.
fn port(host: &str) -> String {
    format!("port-{host}")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}
