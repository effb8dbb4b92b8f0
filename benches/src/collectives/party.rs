//! The ranks of one side, each a process that takes orders on its stdin.

use anyhow::Context;
use hcrun_net::identity::{Authority, IdentityPem, ThrowAwayAuthority, ZoneRoots};
use hcrun_protocol::{JobId, Rank, ZoneId};
use serde::Serialize;
use serde_json::Value;

use super::options::Options;
use super::rank::{self, Bind, Bound, Form, FormMember, Measure, Measured, Ready};
use crate::link::Link;
use crate::talker::Talker;

/// Our own ranks, or those of a peer.
pub(super) struct Party {
    ranks: Vec<Talker>,
    /// What it runs, for the results.
    pub(super) description: Value,
    peer: bool,
}

impl Party {
    pub(super) fn hcrun(options: &Options, link: &Link) -> anyhow::Result<Party> {
        let zone = ZoneId::new("bench")?;
        let authority = ThrowAwayAuthority::new(zone.clone(), JobId(1))?;
        let roots = ZoneRoots::of([&authority as &dyn Authority])?;
        let program = std::env::current_exe().context("this program's own path")?;
        let mut ranks = Vec::new();
        for index in 0..options.ranks {
            let mut command = link.command(link.host_of(index), &program);
            command.arg("rank");
            ranks.push(Talker::start(format!("rank {index}"), command)?);
        }
        let mut members = Vec::new();
        for (index, talker) in ranks.iter_mut().enumerate() {
            let rank = Rank::from_index(index);
            let (slot, name) = rank::name(rank)?;
            let bind = Bind {
                identity: IdentityPem::issue(&authority, &name, &roots)?,
                rank,
                ip: link.address(link.host_of(index)).parse()?,
                lanes: options.lanes,
                link: options.link,
                emulate: options.emulate,
            };
            talker.say(&serde_json::to_string(&bind)?)?;
            let bound: Bound = talker.hear()?;
            members.push(FormMember { slot, zone: zone.clone(), lanes: bound.lanes });
        }
        let form = Form { members, segment_bytes: options.segment_bytes };
        tell_all(&mut ranks, &form)?;
        let ready = ranks.iter_mut().map(Talker::hear).collect::<anyhow::Result<Vec<Ready>>>()?;
        let mtu = ready.iter().map(|ready| ready.mtu).min();
        let round_trip = ready.iter().map(|ready| ready.round_trip_us).max();
        let description = serde_json::json!({
            "name": "hcrun", "encryption": "TLS 1.3, AES-128-GCM, mutual authentication",
            "lanes": options.lanes, "segment_bytes": options.segment_bytes, "link": options.link,
            "emulate": options.emulate, "mtu_at_start": mtu, "round_trip_us": round_trip,
        });
        Ok(Party { ranks, description, peer: false })
    }

    pub(super) fn gloo(options: &Options, python: &str, link: &Link) -> anyhow::Result<Party> {
        let script = crate::root().join("benches/peers/gloo_allreduce.py");
        let port = free_port(link)?;
        let mut ranks = Vec::new();
        for index in 0..options.ranks {
            let host = link.host_of(index);
            let mut command = link.command(host, python);
            command.arg(&script).args(["--rank", &index.to_string(), "--world", &options.ranks.to_string()]);
            command.args(["--init", &format!("tcp://{}:{port}", link.address(0))]);
            command.args(["--interface", &link.interface(host)?]);
            ranks.push(Talker::start(format!("Gloo's rank {index}"), command)?);
        }
        let mut torch = Value::Null;
        for talker in &mut ranks {
            let ready: Value = talker.hear()?;
            torch = ready["torch"].clone();
        }
        let description = serde_json::json!({ "name": "gloo", "torch": torch, "encryption": "none" });
        Ok(Party { ranks, description, peer: true })
    }

    /// What each rank measured.
    pub(super) fn measure(&mut self, wanted: &Measure) -> anyhow::Result<Vec<Measured>> {
        if !self.peer {
            tell_all(&mut self.ranks, wanted)?;
            return self.ranks.iter_mut().map(Talker::hear).collect();
        }
        let Measure { bytes, count, warmup, iterations, .. } = wanted;
        for talker in &mut self.ranks {
            talker.say(&format!("many {bytes} {count} {warmup} {iterations}"))?;
        }
        let measured = |talker: &mut Talker| {
            let mut answer: Value = talker.hear()?;
            // Of a plain peer neither frames nor drops are known.
            answer["sent_bytes"] = 0.into();
            answer["most_staged_bytes"] = 0.into();
            answer["dropped"] = 0.into();
            Ok(serde_json::from_value(answer)?)
        };
        self.ranks.iter_mut().map(measured).collect()
    }
}

fn tell_all(ranks: &mut [Talker], order: &impl Serialize) -> anyhow::Result<()> {
    let line = serde_json::to_string(order)?;
    ranks.iter_mut().try_for_each(|talker| talker.say(&line))
}

/// On loopback any that is free now; a laboratory's hosts are fresh, so any will do.
fn free_port(link: &Link) -> anyhow::Result<u16> {
    if link.is_laboratory() {
        return Ok(29_500 + u16::try_from(std::process::id() % 1_000)?);
    }
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
