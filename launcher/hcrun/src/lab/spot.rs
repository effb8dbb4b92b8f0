//! Spot capacity that comes and goes, as `--spot POOL=FORMAT:SOURCE` says.

use std::collections::BTreeMap;
use std::path::Path;

use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::Fleet;
use hcrun_scheduling::fleet::PoolIndex;
use hcrun_scheduling::simulator::Course;
use hcrun_scheduling::traces::spot::{self, Hazard, History, SpotError};

use crate::failure::{Failure, Result};
use crate::{codes, settings};

/// The history of one pool.
#[derive(Debug, Clone)]
pub(crate) struct SpotPool {
    pool: PoolIndex,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    /// Read from a file; each seed begins elsewhere in it.
    History(History),
    /// Made up; each seed has its own.
    Hazard(Hazard),
}

/// What a simulation may last at most until nodes stay as they are.
const HORIZON: Time = Time(366 * 86_400 * 1_000_000);
/// Made up at once; it goes round after that.
const HAZARD_LENGTH: Span = Span::from_secs(90 * 86_400);
const MAX_HISTORY_BYTES: u64 = 64 << 20;

/// Reads each `--spot`; a pool has one history.
pub(crate) fn read_all(texts: &[String], fleet: &Fleet) -> Result<Vec<SpotPool>> {
    let mut pools: Vec<SpotPool> = Vec::new();
    for text in texts {
        let spot = read(text, fleet)?;
        if pools.iter().any(|other| other.pool == spot.pool) {
            let name = &fleet.pool(spot.pool).name;
            let what = format!("`--spot {text}` gives pool `{name}` a second history");
            return Err(Failure::new(&codes::USAGE, what).hint("give each pool one `--spot`"));
        }
        pools.push(spot);
    }
    Ok(pools)
}

fn read(text: &str, fleet: &Fleet) -> Result<SpotPool> {
    let refuse = |cause: String| {
        Failure::new(&codes::USAGE, format!("`--spot {text}` cannot be understood")).because(cause).hint(
            "write POOL=bamboo:FILE, POOL=counts:FILE, POOL=skypilot:FILE, or POOL=hazard:AVAILABILITY,LOSSES with the share \
             of time that its nodes are there and the losses per hour that they are",
        )
    };
    let parts = text.split_once('=').and_then(|(pool, rest)| Some((pool, rest.split_once(':')?)));
    let (name, (format, source)) = parts.ok_or_else(|| refuse("it is not POOL=FORMAT:SOURCE".to_owned()))?;
    let pool = fleet.pool_indices().find(|pool| fleet.pool(*pool).name == name).ok_or_else(|| {
        let names: Vec<&str> = fleet.pools.iter().map(|pool| pool.name.as_str()).collect();
        refuse(format!("there is no pool `{name}`; the pools are {}", names.join(", ")))
    })?;
    let source = match format {
        "hazard" => {
            let numbers: Option<Vec<f64>> = source.split(',').map(|number| number.parse().ok()).collect();
            match numbers.as_deref() {
                Some([share, losses]) if (0.01..1.0).contains(share) && (0.0..=60.0).contains(losses) => {
                    Source::Hazard(Hazard::of_zone(*share, *losses))
                }
                _ => {
                    return Err(refuse(
                        "a hazard is two numbers: a share below 1, and losses per hour".to_owned(),
                    ));
                }
            }
        }
        "bamboo" => Source::History(history(source, spot::fleet)?),
        "counts" => Source::History(history(source, spot::counts)?),
        "skypilot" => Source::History(history(source, spot::skypilot)?),
        other => return Err(refuse(format!("there is no format `{other}`"))),
    };
    Ok(SpotPool { pool, source })
}

fn history(path: &str, read: fn(&str) -> Result<History, SpotError>) -> Result<History> {
    let fail = |code, cause: String| {
        Failure::new(code, "cannot use the history of spot capacity").at(path.to_owned()).because(cause)
    };
    let bytes = settings::read_bounded(Path::new(path), MAX_HISTORY_BYTES)
        .map_err(|cause| fail(&codes::FILE_UNREADABLE, cause))?;
    let text = String::from_utf8(bytes).map_err(|error| fail(&codes::FILE_UNREADABLE, error.to_string()))?;
    read(&text).map_err(|error| fail(&codes::TRACE_MALFORMED, error.to_string()))
}

/// How often a node of each pool is lost for an hour that it is there.
pub(crate) fn losses_per_hour(pools: &[SpotPool]) -> BTreeMap<PoolIndex, f64> {
    let rate = |spot: &SpotPool| match &spot.source {
        Source::History(history) => history.losses_per_hour(),
        Source::Hazard(hazard) => hazard.bursts_per_hour,
    };
    pools.iter().map(|spot| (spot.pool, rate(spot))).collect()
}

/// The course of one seed of `seeds`.
pub(crate) fn course(pools: &[SpotPool], fleet: &Fleet, seed: u32, seeds: u32) -> Result<Course> {
    let failed = |error: &dyn std::error::Error| {
        Failure::new(&codes::TRACE_MALFORMED, "cannot use the history of spot capacity").caused_by(error)
    };
    let mut changes = Vec::new();
    for (SpotPool { pool, source }, number) in pools.iter().zip(0u64..) {
        let (history, offset) = match source {
            Source::History(history) => {
                let part = u128::from(history.length.0) * u128::from(seed) / u128::from(seeds.max(1));
                (history.clone(), Span(u64::try_from(part).unwrap_or(0)))
            }
            Source::Hazard(hazard) => {
                let history =
                    hazard.history(fleet.pool(*pool).nodes, HAZARD_LENGTH, u64::from(seed) << 8 | number);
                (history.map_err(|error| failed(&error))?, Span(0))
            }
        };
        changes.extend(history.changes(fleet, *pool, offset, HORIZON, Span(0)));
    }
    Course::new(fleet, changes).map_err(|error| failed(&error))
}
