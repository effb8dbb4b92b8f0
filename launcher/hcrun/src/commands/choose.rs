//! `hcrun prices choose`: which pool of which provider, by requirements first and then by dollars, with the terms of each.

use hcrun_scheduling::Fleet;
use hcrun_scheduling::costs::{self, Need, Score, Term};
use hcrun_scheduling::fleet::{PoolIndex, PoolSet, Terms};
use serde::Serialize;

use crate::cli::PricesChooseArgs;
use crate::failure::{Failure, Result};
use crate::lab;
use crate::output::Output;
use crate::{cluster_file, codes};

#[derive(Serialize)]
struct Answer {
    choice: String,
    workers: u32,
    /// Best first; those that are refused last.
    pools: Vec<Row>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    pool: String,
    zone: String,
    provider: String,
    region: String,
    terms: &'static str,
    certifications: Vec<String>,
    support_tier: Option<u8>,
    /// Of one device; none without a price.
    usd_per_hour: Option<f64>,
    /// What adds up to it.
    score: Vec<Term>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

pub(crate) fn choose(args: &PricesChooseArgs, output: &Output) -> Result<()> {
    let fleet = cluster_file::fleet(&cluster_file::read(&args.cluster)?, &args.cluster)?;
    let pools = pools(args, &fleet)?;
    let spot = lab::spot::read_all(&args.spot, &fleet)?;
    let losses = lab::spot::losses_per_hour(&spot);
    let need =
        Need { certifications: args.require.clone(), support_tier: args.support, devices: args.workers };
    let hours = f64::from(args.loss_takes) / 3_600.0;
    // A gang stands still with each node that is lost under it.
    let hazard = |pool: PoolIndex| {
        let nodes = args.workers.div_ceil(fleet.pool(pool).devices_per_node);
        losses.get(&pool).map(|losses| losses * f64::from(nodes))
    };
    let scores = costs::choose(&fleet, pools, &need, hours, &hazard);
    let rows: Vec<Row> = scores.iter().map(|score| row(&fleet, score)).collect();
    let Some(best) = rows.iter().find(|row| row.refused.is_none()) else {
        let failure = Failure::new(&codes::NO_PLACEMENT, "no pool has what is required");
        let failure = failure.at(args.cluster.display().to_string());
        let failure = failure.hint("lift a requirement, or add a pool that meets it");
        return Err(rows.iter().fold(failure, |failure, row| {
            failure.because(format!("pool `{}`: {}", row.pool, row.refused.as_deref().unwrap_or_default()))
        }));
    };
    let unknown = |score: &&Score| {
        score.refused.is_none() && fleet.pool(score.pool).terms == Terms::Spot && hazard(score.pool).is_none()
    };
    let notes = scores.iter().filter(unknown).map(|score| {
        let pool = &fleet.pool(score.pool).name;
        format!("nothing is known of the stability of pool `{pool}`, so its score is its price alone: add `--spot {pool}=FORMAT:SOURCE`")
    });
    let notes = notes.collect();
    let answer = Answer { choice: best.pool.clone(), workers: args.workers, notes, pools: rows };
    output.answer(&answer, || text(&answer));
    Ok(())
}

fn pools(args: &PricesChooseArgs, fleet: &Fleet) -> Result<PoolSet> {
    let Some(device) = &args.device else { return Ok(PoolSet::ALL) };
    let fits = |pool: &PoolIndex| fleet.kinds[fleet.pool(*pool).kind.index()] == *device;
    let pools: PoolSet = fleet.pool_indices().filter(fits).collect();
    match pools.is_empty() {
        false => Ok(pools),
        true => Err(Failure::new(&codes::USAGE, format!("no pool has devices of model `{device}`"))
            .at(args.cluster.display().to_string())
            .hint(format!("its pools have {}", fleet.kinds.join(", ")))),
    }
}

fn row(fleet: &Fleet, score: &Score) -> Row {
    let pool = fleet.pool(score.pool);
    let zone = fleet.costs.zone(pool.zone);
    Row {
        pool: pool.name.clone(),
        zone: fleet.zone(pool.zone).name.to_string(),
        provider: zone.provider.clone(),
        region: zone.region.clone(),
        terms: pool.terms.name(),
        certifications: zone.certifications.clone(),
        support_tier: zone.support_tier,
        usd_per_hour: (!score.terms.is_empty()).then(|| score.usd_per_hour()),
        score: score.terms.clone(),
        refused: score.refused.clone(),
    }
}

fn text(answer: &Answer) -> String {
    let usd = |usd: Option<f64>| usd.map_or("-".to_owned(), |usd| format!("{usd:.4}"));
    let header =
        ["pool", "provider", "region", "terms", "price", "stability", "USD/h", "support", "certified"];
    let mut table = vec![header.map(str::to_owned).to_vec()];
    for row in &answer.pools {
        let term = |name| row.score.iter().find(|term| term.name == name).map(|term| term.usd_per_hour);
        table.push(vec![
            row.pool.clone(),
            row.provider.clone(),
            row.region.clone(),
            row.terms.to_owned(),
            usd(term("price")),
            usd(term("stability")),
            usd(row.usd_per_hour),
            row.support_tier.map_or("-".to_owned(), |tier| tier.to_string()),
            if row.certifications.is_empty() { "-".to_owned() } else { row.certifications.join(", ") },
        ]);
    }
    let mut lines = vec![format!("choice: pool `{}`, by US dollars for a device and hour", answer.choice)];
    lines.extend(lab::aligned(&table));
    let refused = answer.pools.iter().filter_map(|row| Some(format!("refused: {}", row.refused.as_ref()?)));
    lines.extend(refused);
    lines.extend(answer.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}
