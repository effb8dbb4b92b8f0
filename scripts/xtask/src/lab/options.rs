//! What the command line says about the emulated network.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hcrun_protocol::Bytes;

use super::path::Link;
use super::units::{BitsPerSec, rate, share, time};

pub(super) const USAGE: &str = "\
usage: cargo xtask lab [OPTIONS] -- COMMAND [ARGUMENTS]
       cargo xtask lab calibrate [OPTIONS] [--json]
       cargo xtask lab clean

Hosts on emulated links, for processes of any kind. The command finds them in the variable HCRUN_LAB and starts
processes on one with `ip netns exec NAMESPACE ...`. Takes root. `calibrate` measures what the links really give;
`clean` removes what killed laboratories left, as every start does, and names those that live. Several at once do not touch
each other, but share the cores.

  --hosts N       2 to 254 [default: 2]
  --rate RATE     of each host, up and down, in whole IP packets [default: 200mbit]
  --rtt TIME      round trip between any two hosts [default: 40ms]
  --jitter TIME   each packet takes up to this much longer [default: 0ms]
  --loss SHARE    of the packets, independently of each other [default: 0%]
  --queue SIZE    of each link, drops at its tail [default: rate x rtt, at least 256KiB]
  --mtu BYTES     576 to 65535 [default: 1500]
  --seed N        of loss and jitter [default: 1]
  --reorder       jitter may let a packet overtake another one
  --verbose       say at the end what each host sent, got and lost";

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Options {
    pub(super) hosts: usize,
    pub(super) rate: BitsPerSec,
    pub(super) rtt: Duration,
    pub(super) jitter: Duration,
    pub(super) loss: f64,
    pub(super) queue: Bytes,
    pub(super) mtu: u16,
    pub(super) seed: u64,
    pub(super) reorder: bool,
    pub(super) verbose: bool,
    pub(super) json: bool,
}

impl Options {
    /// # Errors
    ///
    /// Names the option and what it may be.
    pub(super) fn parse(words: &[String]) -> anyhow::Result<Options> {
        let mut options = Options::default();
        let mut rest = words.iter().map(String::as_str);
        while let Some(option) = rest.next() {
            options.set(option, &mut rest).with_context(|| format!("`{option}`"))?;
        }
        if !words.iter().any(|word| word == "--queue") {
            options.queue = default_queue(options.rate, options.rtt);
        }
        options.check()?;
        Ok(options)
    }

    fn set<'a>(&mut self, option: &str, rest: &mut impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
        let mut value = || rest.next().context("has no value");
        match option {
            "--hosts" => self.hosts = whole(value()?, 2, 254)?,
            "--rate" => self.rate = rate(value()?)?,
            "--rtt" => self.rtt = time(value()?)?,
            "--jitter" => self.jitter = time(value()?)?,
            "--loss" => self.loss = share(value()?)?,
            "--queue" => self.queue = Bytes::parse(value()?)?,
            "--mtu" => self.mtu = whole(value()?, 576, u16::MAX)?,
            "--seed" => self.seed = whole(value()?, 0, u64::MAX)?,
            "--reorder" => self.reorder = true,
            "--verbose" => self.verbose = true,
            "--json" => self.json = true,
            _ => bail!("is not known\n\n{USAGE}"),
        }
        Ok(())
    }

    pub(super) fn link(&self) -> Link {
        Link { delay: self.rtt / 2, jitter: self.jitter, loss: self.loss, reorder: self.reorder }
    }

    fn check(&self) -> anyhow::Result<()> {
        let (queue, mtu) = (self.queue, self.mtu);
        ensure!(queue.0 >= u64::from(mtu), "`--queue`: {queue} hold no packet of {mtu} bytes; give it more");
        ensure!(self.rate.0 >= MIN_RATE.0, "`--rate`: at least {} bit", MIN_RATE.0);
        let longest = self.rtt.max(self.jitter);
        ensure!(longest <= MAX_TIME, "`--rtt` and `--jitter`: at most {} s", MAX_TIME.as_secs());
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Options {
        let (rate, rtt) = (BitsPerSec(200_000_000), Duration::from_millis(40));
        Options {
            hosts: 2,
            rate,
            rtt,
            jitter: Duration::ZERO,
            loss: 0.0,
            queue: default_queue(rate, rtt),
            mtu: 1500,
            seed: 1,
            reorder: false,
            verbose: false,
            json: false,
        }
    }
}

/// What is on the way of one round trip: a sender that halves its window at a drop keeps the link busy.
fn default_queue(rate: BitsPerSec, rtt: Duration) -> Bytes {
    let bytes = u128::from(rate.0) * rtt.as_micros() / 8_000_000;
    Bytes(u64::try_from(bytes).unwrap_or(u64::MAX).max(MIN_DEFAULT_QUEUE.0))
}

fn whole<N: std::str::FromStr + PartialOrd + std::fmt::Display>(
    text: &str,
    min: N,
    max: N,
) -> anyhow::Result<N> {
    let number = text.parse().ok().filter(|number| (&min..=&max).contains(&number));
    number.with_context(|| format!("`{text}` is no whole number from {min} to {max}"))
}

/// Below that a queue holds less than one train of packets of common senders.
const MIN_DEFAULT_QUEUE: Bytes = Bytes(256 << 10);
/// A modem; a packet takes a second.
const MIN_RATE: BitsPerSec = BitsPerSec(9_600);
/// Nothing on earth is further; the relay's memory stays bounded.
const MAX_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> anyhow::Result<Options> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read() {
        let options = parse(
            "--hosts 4 --rate 1gbit --rtt 20ms --jitter 1ms --loss 0.1% --queue 4MiB --mtu 9000 --seed 7",
        );
        let expected = Options {
            hosts: 4,
            rate: BitsPerSec(1_000_000_000),
            rtt: Duration::from_millis(20),
            jitter: Duration::from_millis(1),
            loss: 0.001,
            queue: Bytes(4 << 20),
            mtu: 9000,
            seed: 7,
            ..Options::default()
        };
        assert_eq!(options.unwrap(), expected);
    }

    #[test]
    fn the_queue_follows_rate_and_round_trip() {
        assert_eq!(parse("--rate 200mbit --rtt 40ms").unwrap().queue, Bytes(1_000_000));
        assert_eq!(parse("--rate 1mbit --rtt 1ms").unwrap().queue, MIN_DEFAULT_QUEUE);
    }

    #[test]
    fn an_error_names_the_option_and_the_remedy() {
        let error = |line| format!("{:#}", parse(line).unwrap_err());
        assert_eq!(error("--hosts 1"), "`--hosts`: `1` is no whole number from 2 to 254");
        assert_eq!(error("--mtu"), "`--mtu`: has no value");
        assert_eq!(error("--queue 1KiB"), "`--queue`: 1.0 KiB hold no packet of 1500 bytes; give it more");
        assert!(error("--speed 1").starts_with("`--speed`: is not known\n\nusage: "));
        assert!(error("--rate 200").contains("such as `200mbit`"));
    }
}
