//! The link laboratory: network namespaces joined by a relay in user space, with rate, delay, jitter, loss and queues.
//!
//! Kernels often lack the queue disciplines that emulate links, and those see offloaded trains as one packet. Here
//! every IP packet of every protocol goes through the same [`star`], one by one, whoever sends it.

use std::process::ExitCode;

use anyhow::{Context, ensure};

use claim::Claim;
use command::Signals;
use keeper::Keeper;
use laboratory::Laboratory;
use options::{Options, USAGE};
use star::Counters;

mod address;
mod calibrate;
mod claim;
mod command;
mod keeper;
mod laboratory;
mod limiter;
mod namespace;
mod options;
mod path;
mod priority;
mod probe;
mod relay;
mod star;
mod told;
mod tun;
mod units;

pub(crate) fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    match words.first().map(String::as_str) {
        Some("help" | "--help" | "-h") => println!("{USAGE}"),
        Some("clean") => clean(),
        Some(keeper::WORD) => keeper::keep(words.get(1).context("which claim?")?)?,
        Some("calibrate") => return calibrated(&Options::parse(&words[1..])?),
        _ => return with_command(words),
    }
    Ok(ExitCode::SUCCESS)
}

fn clean() {
    claim::clear_dead().iter().for_each(|name| println!("removed {name}"));
    claim::living().iter().for_each(|pid| println!("process {pid} still has a laboratory: end it by itself"));
}

/// And who takes it away if this process is killed.
fn claimed() -> anyhow::Result<(Keeper, Claim)> {
    let claim = laboratory::claim()?;
    for pid in claim::living() {
        eprintln!(
            "warning: process {pid} has a laboratory too; their links are apart, but they share the cores: what either \
             measures may be too little"
        );
    }
    Ok((Keeper::start(&claim)?, claim))
}

fn with_command(words: &[String]) -> anyhow::Result<ExitCode> {
    let dashes = words.iter().position(|word| word == "--");
    let (options, command) = words.split_at(dashes.with_context(|| format!("which command?\n\n{USAGE}"))?);
    let command = &command[1..];
    ensure!(!command.is_empty(), "which command?\n\n{USAGE}");
    let options = Options::parse(options)?;
    ensure!(!options.json, "`--json` is for `calibrate`");
    runtime()?.block_on(async {
        // First, so that a signal leaves no namespace.
        let mut signals = Signals::new()?;
        let (_keeper, claim) = claimed()?;
        let laboratory = Laboratory::new(claim, &options)?;
        let code = command::run(command, &laboratory.description()?, &mut signals).await?;
        report(&laboratory.finish()?, &options);
        Ok(ExitCode::from(code))
    })
}

fn calibrated(options: &Options) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let code = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let (_keeper, claim) = claimed()?;
        let name = claim.name().to_owned();
        let laboratory = Laboratory::new(claim, options)?;
        let own = options.clone();
        let measuring = tokio::task::spawn_blocking(move || {
            let calibration = calibrate::calibrate(&laboratory, &own)?;
            report(&laboratory.finish()?, &own);
            anyhow::Ok(calibration)
        });
        tokio::select! {
            calibration = measuring => {
                let calibration = calibration??;
                if options.json { println!("{}", serde_json::to_string_pretty(&calibration)?) } else { calibration.print() }
                Ok(ExitCode::SUCCESS)
            }
            code = signals.next() => {
                // The measurement ends with the process, without its turn to clear up.
                claim::clear(&name);
                Ok(ExitCode::from(code))
            }
        }
    });
    runtime.shutdown_background();
    code
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn report(hosts: &[Counters], options: &Options) {
    if !options.verbose {
        return;
    }
    eprintln!(
        "host  sent packets     sent bytes   got packets      got bytes  drops up  drops down      lost  unroutable"
    );
    for (index, host) in hosts.iter().enumerate() {
        let [number, sent, got] = [index as u64 + 1, host.sent_packets, host.received_packets];
        let [sent_bytes, got_bytes] = [host.sent_bytes, host.received_bytes];
        let [up, down] = [host.uplink_drops, host.downlink_drops];
        let [lost, unroutable] = [host.lost, host.unroutable];
        eprintln!(
            "{number:4}  {sent:12} {sent_bytes:14}  {got:12} {got_bytes:14}  {up:8}  {down:10}  {lost:8}  {unroutable:10}"
        );
    }
}
