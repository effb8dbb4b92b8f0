//! Prices from a file to a bill, and the choice between providers.
#![expect(clippy::unwrap_used, reason = "a test's own fleets and prices")]

use std::sync::Arc;

use hcrun_protocol::ZoneId;
use hcrun_protocol::cluster::{Trust, Zone};
use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::costs::{Costs, MicroUsd, Need, PriceTable, ZoneCosts, bill, choose, stale};
use hcrun_scheduling::fleet::{Kind, Pool, PoolIndex, PoolSet, Terms, ZoneIndex};
use hcrun_scheduling::simulator::{Checks, Observer, observe};
use hcrun_scheduling::{Fleet, JobSpec, State, Workload, strategies};
use time::{Date, Month};

const PRICES: &str = include_str!("../../../examples/scheduling/prices.toml");

fn day(year: i32, month: Month, day: u8) -> Date {
    Date::from_calendar_date(year, month, day).unwrap()
}

/// A laboratory, AWS and GCP, with V100s; spot at AWS.
fn fleet(extra: &str) -> Fleet {
    let zone = |name: &str, trust| Zone::new(ZoneId::new(name).unwrap(), trust, "us");
    let pool = |name: &str, zone, terms| Pool {
        name: name.to_owned(),
        zone: ZoneIndex(zone),
        kind: Kind(0),
        terms,
        nodes: 2,
        devices_per_node: 2,
        provisioning: Span(0),
    };
    let pools = vec![
        pool("lab", 0, Terms::Private),
        pool("aws", 1, Terms::OnDemand),
        pool("aws-spot", 1, Terms::Spot),
        pool("gcp", 2, Terms::OnDemand),
    ];
    let zones = vec![zone("lab", Trust::Private), zone("aws", Trust::Public), zone("gcp", Trust::Public)];
    let fleet = Fleet::new(zones, vec!["V100-16GB".to_owned()], pools).unwrap();
    let place = |provider: &str, region: &str, tier, certified: &[&str]| ZoneCosts {
        provider: provider.to_owned(),
        region: region.to_owned(),
        support_tier: tier,
        certifications: certified.iter().map(|name| (*name).to_owned()).collect(),
        ..ZoneCosts::default()
    };
    let zones = vec![
        place("us", "lab", None, &[]),
        place("aws", "us-west-2", Some(2), &["ISO 27001"]),
        place("gcp", "us-central1", Some(3), &["ISO 27001", "C5"]),
    ];
    let table = PriceTable::parse(&format!("{PRICES}\n{extra}")).unwrap();
    let costs = Costs::from_table(&fleet, zones, &table).unwrap();
    fleet.with_costs(costs)
}

const LAB: &str = r#"
[[price]]
provider = "us"
region = "lab"
model = "V100-16GB"
amortised = 0.6
billed_by_s = 60
date = "2026-01-31"
source = "our own books"
"#;

#[test]
fn what_is_stale_is_named_with_its_line() {
    let table = PriceTable::parse(PRICES).unwrap();
    assert_eq!(stale(&table, day(2026, Month::May, 1), 3_650), []);
    let old = stale(&table, day(2026, Month::May, 1), 90);
    assert_eq!(old.len(), 10, "{old:?}");
    assert_eq!(old[0].what, "on-demand price of V100-16GB at aws any");
    assert_eq!(old[0].why, "it is 420 days old, of 2025-03-07");
    assert!(PRICES.lines().nth(old[0].line - 1).unwrap().contains("provider = \"aws\""));
    let unknown = PriceTable::parse(&LAB.replace("our own books", "")).unwrap();
    let problems = stale(&unknown, day(2026, Month::February, 1), 90);
    assert_eq!((problems.len(), problems[0].why.as_str()), (1, "it has no source"));
}

#[test]
fn errors_name_line_and_key() {
    for (from, to, expected) in [
        ("amortised = 0.6", "amortised = -1.0", "line 6, key `amortised`: -1 is not an amount of dollars"),
        ("amortised = 0.6", "amortized = 0.6", "line 6, key `amortized`: unknown field `amortized`"),
        ("amortised = 0.6", "amortised = \"a\"", "line 6, key `amortised`: invalid type"),
        ("amortised = 0.6", "", "line 3, key `price`: it has none of"),
        ("2026-01-31", "2026-02-31", "line 8, key `date`: `2026-02-31` is not a date"),
    ] {
        let error = PriceTable::parse(&LAB.replace(from, to)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let standing =
        "[[provider]]\nprovider = \"a\"\nregion = \"any\"\ndate = \"2026-01-31\"\nsupport_tier = 1\n";
    for (text, expected) in [
        (standing.replace("support_tier = 1", ""), "line 2, key `provider`: it has neither"),
        (standing.replace("= 1", "= 300"), "line 5, key `support_tier`: invalid value"),
        (
            format!("{standing}certifications = [\" \"]"),
            "line 6, key `certifications`: a certification has no name",
        ),
        (
            format!("{standing}{standing}"),
            "line 7, key `provider`: the same provider and region are in line 2 already",
        ),
    ] {
        let error = PriceTable::parse(&text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let twice = PriceTable::parse(&format!("{LAB}{LAB}")).unwrap_err().to_string();
    assert_eq!(twice, "line 15, key `amortised`: the same price is in line 3 already");
    let falling = r#"
[[egress]]
provider = "a"
region = "any"
tiers = [{ up_to_gb = 2, usd_per_gb = 1.0 }, { up_to_gb = 1, usd_per_gb = 1.0 }, { usd_per_gb = 1.0 }]
date = "2026-01-31"
"#;
    let error = PriceTable::parse(falling).unwrap_err().to_string();
    assert_eq!(error, "line 5, key `tiers`: tier 2 ends where the one before it ends, or earlier");
}

/// Adds up what is held, from event to event.
#[derive(Default)]
struct Integral {
    before: Option<(Time, Vec<u64>)>,
    held: Vec<u128>,
}

impl Observer for Integral {
    fn settled(&mut self, state: &State) {
        let pools = state.fleet.pool_indices();
        let used: Vec<u64> =
            pools.map(|pool| state.capacity().in_pool(pool) - state.free().in_pool(pool)).collect();
        self.held.resize(used.len(), 0);
        if let Some((since, used)) = self.before.replace((state.now(), used)) {
            let elapsed = u128::from(state.now().since(since).0);
            self.held.iter_mut().zip(used).for_each(|(held, used)| *held += elapsed * u128::from(used));
        }
    }
}

#[test]
fn dollars_are_the_integral_of_what_is_held() {
    let jobs = (0..40).map(|number: u64| {
        let (submit, seconds) = (Time(number * 77_000_001), 1_000 + number * number * 13);
        JobSpec::rigid(
            number.to_string(),
            submit,
            1 + u32::try_from(number % 5).unwrap(),
            Span::from_secs(seconds),
        )
    });
    let fleet = Arc::new(fleet(&LAB.replace("billed_by_s = 60", "")));
    let (workload, mut seen) = (Workload::new(jobs.collect()).unwrap(), Integral::default());
    let mut strategy = strategies::by_name("srsf").unwrap();
    let outcome = observe(&fleet, workload, &mut strategy, Checks::Everything, &mut seen).unwrap();
    assert_eq!(outcome.billed, seen.held);
    let sent = [(ZoneIndex(1), 0, 60 << 40), (ZoneIndex(2), 0, 1 << 40)];
    let bill = bill(&fleet, &outcome.billed, &sent);
    // In dollars by hand: prices by hours, and 60 TB of AWS beside 1 TB of GCP.
    let hours = |pool: usize| seen.held[pool] as f64 / 3.6e9;
    let expected = [hours(0) * 0.6, hours(1) * 3.06 + hours(3) * 2.95, hours(2) * 0.92, 5_120.0 + 122.88];
    let parts = [bill.private, bill.on_demand, bill.spot, bill.egress];
    for (part, expected) in parts.iter().zip(expected) {
        assert!((part.as_usd() - expected).abs() < 2e-6, "{bill:?} {expected}");
    }
    assert_eq!(bill.total(), parts.into_iter().sum::<MicroUsd>());
    assert!(bill.unpriced.is_empty() && hours(0) > 0.0 && hours(1) > 0.0);
}

#[test]
fn a_price_that_is_unknown_is_named_and_not_zero() {
    let fleet = fleet("");
    let bill = bill(&fleet, &[3_600_000_000, 3_600_000_000, 0, 0], &[]);
    assert_eq!((bill.unpriced, bill.on_demand), (vec!["lab".to_owned()], MicroUsd(3_060_000)));
}

#[test]
fn providers_are_chosen_by_dollars_after_what_is_required() {
    let fleet = fleet(LAB);
    let order = |need: &Need, hazard: f64| {
        let scores = choose(&fleet, PoolSet::ALL, need, 1.0, &|_| Some(hazard));
        scores.into_iter().map(|score| (score.pool.0, score.refused.is_none())).collect::<Vec<_>>()
    };
    let none = Need::default();
    assert_eq!(order(&none, 0.1), [(0, true), (2, true), (3, true), (1, true)]);
    // Spot that is lost every few minutes costs more than on-demand.
    assert_eq!(order(&none, 10.0), [(0, true), (3, true), (1, true), (2, true)]);
    let certified = Need { certifications: vec!["ISO 27001".to_owned()], support_tier: Some(3), devices: 1 };
    assert_eq!(order(&certified, 0.1), [(3, true), (0, false), (2, false), (1, false)]);
    let scores = choose(&fleet, PoolSet::from_iter([PoolIndex(1)]), &certified, 1.0, &|_| None);
    assert_eq!(scores[0].refused.as_deref(), Some("zone `aws` has support tier 2; the job needs 3"));
    assert_eq!(scores[0].terms[0].name, "price");

    // One device more than the cheapest has: it is refused, and comes behind all that have as many.
    let size = |pool| fleet.devices_in(PoolSet::from_iter([pool]));
    let devices = u32::try_from(size(PoolIndex(0)) + 1).unwrap();
    let scores = choose(&fleet, PoolSet::ALL, &Need { devices, ..Need::default() }, 1.0, &|_| None);
    let refused: Vec<bool> = scores.iter().map(|score| score.refused.is_some()).collect();
    let small: Vec<bool> = scores.iter().map(|score| size(score.pool) < devices.into()).collect();
    assert!(refused == small && refused.is_sorted() && refused.contains(&true), "{scores:?}");
}
