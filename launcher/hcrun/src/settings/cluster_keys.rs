//! The keys of a cluster file, with defaults and meaning; `docs/cluster-file.md` is this table.

use super::job_keys::keys;
use super::schema::{Key, Kind};

const PORT: Kind = Kind::Whole { min: 1, max: u16::MAX as i64 };

pub const CLUSTER: &[Key] = keys! {
    "zone" Kind::Tables(ZONE), None, "Places with one owner, one trust class and one certificate authority.";
    "pool" Kind::Tables(POOL), None, "Nodes of one kind in a zone.";
    "network" Kind::Table(NETWORK), Some("found out"), "What is known of the links between zones.";
    "prices" Kind::Text, Some("none"), "A file of dated prices with their sources, relative to this file; examples/scheduling/prices.toml shows its form, and `hcrun prices check` names what is old in it. A pool's own `usd_per_hour` goes first.";
    "launcher_zone" Kind::Name, Some("the first private zone"), "The zone the launcher runs in; its workers hand over checkpoints, which are written there. Name it where the first private zone is not the place of the launcher.";
};

const NETWORK: &[Key] = keys! {
    "congestion" Kind::Words(&["cubic", "bbr", "provisioned"]), Some("\"cubic\""), "Who decides how much is on its way: `cubic` is fair to others and slow on long links that lose packets, `bbr` minds loss less and is experimental, `provisioned` keeps a link of known rate full that is this job's alone. The last needs `rate`; on a shared link it takes more than its share.";
    "rate" Kind::Rate, Some("unknown"), "What passes between two zones in each direction; sizes windows, and the pace of `provisioned`.";
    "round_trip_ms" Kind::Whole { min: 1, max: 10_000 }, Some("measured"), "Round trip between zones in milliseconds; sizes windows from the first packet on.";
    "mtu" Kind::Whole { min: 1_200, max: 65_000 }, Some("64000 on loopback, else 1452"), "Longest UDP payload that links try; what does not pass is found out. 8952 where every hop takes jumbo frames: larger packets cost less work a byte.";
};

const ZONE: &[Key] = keys! {
    "name" Kind::Name, None, "Its name, unique in the file.";
    "trust" Kind::Words(&["private", "public"]), None, "Only a private zone may hold restricted shards. A place whose hosts others administer is public.";
    "owner" Kind::Text, None, "Who answers for the zone; `internal` shards stay with one owner. Zones of one owner have the same text.";
    "provider" Kind::Text, Some("the owner"), "Who bills for it, as the file of prices names it.";
    "region" Kind::Text, Some("the zone's name"), "Where it is, as the file of prices names it.";
};

const POOL: &[Key] = keys! {
    "name" Kind::Name, None, "Its name, unique in the file; `workers` of a job file counts by it.";
    "zone" Kind::Name, None, "The zone its nodes are in.";
    "backend" Kind::Words(&["local", "manual"]), Some("\"local\""), "`local`: processes on this machine; `manual`: each joined by hand with a join bundle (docs/remote-workers.md).";
    "slots" Kind::Whole { min: 1, max: u16::MAX as i64 }, None, "Most workers the pool can hold; a plan that asks for more is refused. About one per core, or one per GPU.";
    "device" Kind::Text, Some("\"cpu\""), "Model of its devices, one per worker: workers of `cpu` compute on processors, those of any other, such as `h100`, on a GPU. Jobs of a trace may name the models they run on.";
    "devices_per_node" Kind::Whole { min: 1, max: u16::MAX as i64 }, Some("all slots on one node"), "Devices of each node; divides `slots`. Strategies place gangs on as few nodes as they can.";
    "terms" Kind::Words(&["private", "on-demand", "spot"]), Some("\"private\""), "On which terms its nodes are held: `private` is owned, `on-demand` is rented until given back, `spot` until the provider wants it back.";
    "provisioning_s" Kind::Whole { min: 0, max: 86_400 }, Some("0"), "Seconds from asking for a node to its first step.";
    "reachable" Kind::Flag, Some("true"), "Whether other zones can dial its workers; with false they only dial out. Set it to false behind a firewall or NAT; of two zones one must be reachable.";
    "listen_ports" Kind::Pair(&PORT), Some("any free port"), "First and last UDP port its workers listen on. Give a range where a firewall opens one; as many ports as workers on a host.";
    "usd_per_hour" Kind::Number, Some("unknown"), "Price of one worker for an hour, in US dollars. Without it costs are unknown, not zero.";
    "price_source" Kind::Text, Some("none"), "Where the price comes from and when it was read; needed with a price.";
};
