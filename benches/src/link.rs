//! The network that a bench's processes speak over: loopback, or the laboratory's hosts.
//!
//! The laboratory (`cargo xtask lab`) makes network namespaces on a link of known rate and round trip, and
//! tells of them in the variable `HCRUN_LAB`. What is started on a host is started in its namespace.

use std::env;
use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const VARIABLE: &str = "HCRUN_LAB";
const SCHEMA: u32 = 1;

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Link {
    /// Every host is this machine.
    Loopback,
    Laboratory(Laboratory),
}

/// As `HCRUN_LAB` has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Laboratory {
    schema: u32,
    hosts: Vec<Host>,
    rate_bps: u64,
    rtt_us: u64,
    /// What else is known of the link.
    #[serde(flatten)]
    more: serde_json::Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Host {
    namespace: String,
    address: String,
}

/// Bytes that an interface has sent and received, with all headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Counted {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Counted {
    pub(crate) fn since(self, before: Counted) -> Counted {
        Counted { sent: self.sent - before.sent, received: self.received - before.received }
    }
}

impl Link {
    pub(crate) fn from_environment(least_hosts: usize) -> anyhow::Result<Link> {
        let Some(text) = env::var_os(VARIABLE) else { return Ok(Link::Loopback) };
        let text = text.into_string().ok().with_context(|| format!("{VARIABLE} is no text"))?;
        Self::parse(&text, least_hosts).with_context(|| {
            format!("{VARIABLE} does not describe a laboratory: make one by `cargo xtask lab`")
        })
    }

    fn parse(text: &str, least_hosts: usize) -> anyhow::Result<Link> {
        let laboratory: Laboratory = serde_json::from_str(text)?;
        ensure!(laboratory.schema == SCHEMA, "schema is {}, expected {SCHEMA}", laboratory.schema);
        let hosts = laboratory.hosts.len();
        ensure!(
            hosts >= least_hosts,
            "it has {hosts} hosts, this bench needs {least_hosts}: `--hosts {least_hosts}`"
        );
        Ok(Link::Laboratory(laboratory))
    }

    /// Where a rank runs: ranks are dealt to the hosts in turns.
    pub(crate) fn host_of(&self, rank: usize) -> usize {
        match self {
            Link::Loopback => 0,
            Link::Laboratory(laboratory) => rank % laboratory.hosts.len(),
        }
    }

    /// Rate in bit/s, round trip in microseconds and share of packets lost; none of loopback.
    pub(crate) fn known(&self) -> Option<(u64, u64, f64)> {
        let Link::Laboratory(laboratory) = self else { return None };
        let loss = laboratory.more.get("loss").and_then(Value::as_f64).unwrap_or(0.0);
        Some((laboratory.rate_bps, laboratory.rtt_us, loss))
    }

    pub(crate) fn is_laboratory(&self) -> bool {
        matches!(self, Link::Laboratory(_))
    }

    /// A program on a host.
    pub(crate) fn command(&self, host: usize, program: impl AsRef<OsStr>) -> Command {
        match self {
            Link::Loopback => Command::new(program),
            Link::Laboratory(laboratory) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &laboratory.hosts[host].namespace]).arg(program);
                command
            }
        }
    }

    pub(crate) fn address(&self, host: usize) -> &str {
        match self {
            Link::Loopback => "127.0.0.1",
            Link::Laboratory(laboratory) => &laboratory.hosts[host].address,
        }
    }

    /// The interface that has the host's address.
    pub(crate) fn interface(&self, host: usize) -> anyhow::Result<String> {
        let Link::Laboratory(laboratory) = self else { return Ok("lo".to_owned()) };
        let Host { namespace, address } = &laboratory.hosts[host];
        let mut command = Command::new("ip");
        command.args(["-netns", namespace, "-json", "address", "show", "to", address]);
        let answer: Value = serde_json::from_str(&answer(&mut command)?).context("the answer of `ip`")?;
        // Interfaces without the address are empty objects.
        let mut names = answer.as_array().into_iter().flatten().filter_map(|row| row["ifname"].as_str());
        let name =
            names.next().with_context(|| format!("no interface of {namespace} has address {address}"))?;
        Ok(name.to_owned())
    }

    /// What the host's interface has carried so far. None on loopback, which carries what no border sees.
    pub(crate) fn counted(&self, host: usize) -> anyhow::Result<Option<Counted>> {
        if !self.is_laboratory() {
            return Ok(None);
        }
        let interface = self.interface(host)?;
        let text = answer(self.command(host, "cat").arg("/proc/net/dev"))?;
        let counted = count(&text, &interface);
        counted.map(Some).with_context(|| format!("/proc/net/dev has no line for {interface}"))
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Link::Loopback => f.write_str("loopback"),
            Link::Laboratory(Laboratory { rate_bps, rtt_us, .. }) => {
                let (rate, rtt) = (*rate_bps as f64 / 1e6, *rtt_us as f64 / 1e3);
                write!(f, "laboratory, {rate} Mbit/s, round trip {rtt} ms")
            }
        }
    }
}

/// Bytes received are the first, bytes sent the ninth number of an interface's line.
fn count(table: &str, interface: &str) -> Option<Counted> {
    let rows = table.lines().filter_map(|line| line.split_once(':'));
    let (_, numbers) = rows.into_iter().find(|(name, _)| name.trim() == interface)?;
    let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    Some(Counted { sent: *numbers.get(8)?, received: *numbers.first()? })
}

fn answer(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}; namespaces take root and iproute2", output.status, why.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABORATORY: &str = r#"{"schema": 1, "hosts": [{"namespace": "a", "address": "10.79.0.1"},
        {"namespace": "b", "address": "10.79.0.2"}], "rate_bps": 200000000, "rtt_us": 40000, "mtu": 1500}"#;

    #[test]
    fn a_laboratory_is_read_and_told_with_all_it_says() {
        let link = Link::parse(LABORATORY, 2).unwrap();
        assert_eq!(link.to_string(), "laboratory, 200 Mbit/s, round trip 40 ms");
        assert_eq!(link.address(1), "10.79.0.2");
        let command = link.command(0, "true");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["netns", "exec", "a", "true"]);
        assert_eq!(serde_json::to_value(&link).unwrap()["mtu"], 1500);
    }

    #[test]
    fn a_laboratory_that_is_too_small_or_from_another_time_is_refused() {
        let error = Link::parse(LABORATORY, 3).unwrap_err().to_string();
        assert_eq!(error, "it has 2 hosts, this bench needs 3: `--hosts 3`");
        let other = LABORATORY.replace("\"schema\": 1", "\"schema\": 2");
        assert_eq!(Link::parse(&other, 2).unwrap_err().to_string(), "schema is 2, expected 1");
    }

    #[test]
    fn an_interface_is_found_by_its_whole_name() {
        let table =
            "Inter-|   Receive\n face |bytes\n  eth01: 1 0 0 0 0 0 0 0 2 0\n   eth0: 7 0 0 0 0 0 0 0 9 0\n";
        assert_eq!(count(table, "eth0"), Some(Counted { sent: 9, received: 7 }));
        assert_eq!(count(table, "eth"), None);
    }
}
