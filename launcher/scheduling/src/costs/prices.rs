//! A price table: TOML text with a date and a source for each entry.
//!
//! ```toml
//! [[price]]
//! provider = "aws"
//! region = "us-east-1"       # or a zone's name, or "any" where the source names none
//! model = "V100-16GB"
//! on_demand = 3.06           # US dollars for one device and hour
//! spot = 0.92
//! date = "2025-03-07"
//! source = "https://..."
//!
//! [[egress]]
//! provider = "aws"
//! region = "any"
//! tiers = [{ up_to_gb = 10240, usd_per_gb = 0.09 }, { usd_per_gb = 0.05 }]
//! date = "2026-04-23"
//! source = "https://..."
//!
//! [[provider]]
//! provider = "aws"
//! region = "any"
//! certifications = ["ISO 27001"]   # what it is certified for, in the words that jobs ask for
//! support_tier = 2                 # as you number what you pay for; more is better
//! date = "2026-01-31"
//! source = "the certificate's address, the contract"
//! ```
//!
//! `amortised` is what an owned device costs for an hour. `billed_by_s` and `billed_at_least_s` say how a provider
//! rounds time; `[[bandwidth]]` has `per_machine_gbps` and `region_gbps`.

use std::ops::Range;

use hcrun_protocol::time::Span;
use hcrun_protocol::units::BitsPerSec;
use serde::Deserialize;
use time::{Date, Month};
use toml::Spanned;

use super::egress::{BILLED_GB, Tier, Tiers};
use super::exchange::Bandwidth;
use super::money::{Granularity, MAX_USD, MicroUsd, PerHour};
use crate::fleet::Terms;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, {key}: {why}")]
pub struct PriceError {
    pub line: usize,
    pub key: String,
    pub why: String,
}

/// When and where a figure was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dated {
    pub date: Date,
    /// An address or a document; may be empty, which [`stale`] reports.
    pub source: String,
    /// In the file.
    pub line: usize,
}

/// The price of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    pub provider: String,
    pub region: String,
    pub model: String,
    pub terms: Terms,
    pub price: PerHour,
    pub granularity: Granularity,
    pub dated: Dated,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceTable {
    pub quotes: Vec<Quote>,
    egress: Vec<Entry<Tiers>>,
    bandwidths: Vec<Entry<Bandwidth>>,
    standings: Vec<Entry<Standing>>,
}

/// What a provider is certified for, and how far it helps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    pub certifications: Vec<String>,
    pub support_tier: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry<T> {
    provider: String,
    region: String,
    value: T,
    dated: Dated,
}

/// What is wrong with an entry's date or source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub line: usize,
    pub what: String,
    pub why: String,
}

impl PriceTable {
    /// # Errors
    /// The first entry that cannot be understood, with its line and key.
    pub fn parse(text: &str) -> Result<PriceTable, PriceError> {
        let raw: RawTable = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, &span));
            PriceError { line, key: key_at(text, line), why: error.message().replace('\n', " ") }
        })?;
        let reader = Reader { text };
        let mut table = PriceTable::default();
        for price in &raw.price {
            reader.price(price, &mut table)?;
        }
        for egress in &raw.egress {
            let value = reader.tiers(egress)?;
            table.egress.push(reader.entry(
                &egress.provider,
                &egress.region,
                &egress.date,
                &egress.source,
                value,
            )?);
        }
        for limits in &raw.bandwidth {
            let per_machine = reader.rate(&limits.per_machine_gbps, "per_machine_gbps")?;
            let region = reader.rate(&limits.region_gbps, "region_gbps")?;
            let value = Bandwidth { per_machine, region };
            table.bandwidths.push(reader.entry(
                &limits.provider,
                &limits.region,
                &limits.date,
                &limits.source,
                value,
            )?);
        }
        for raw in &raw.provider {
            let value = reader.standing(raw)?;
            let entry = reader.entry(&raw.provider, &raw.region, &raw.date, &raw.source, value)?;
            let same = |other: &&Entry<Standing>| {
                (&other.provider, &other.region) == (&entry.provider, &entry.region)
            };
            if let Some(first) = table.standings.iter().find(same) {
                let why = format!("the same provider and region are in line {} already", first.dated.line);
                return Err(reader.wrong(&raw.provider, "provider", why));
            }
            table.standings.push(entry);
        }
        Ok(table)
    }

    /// Of exactly this region, else of a quote that holds for any.
    pub fn quote(&self, provider: &str, region: &str, model: &str, terms: Terms) -> Option<&Quote> {
        let fits =
            |quote: &&Quote| quote.provider == provider && quote.model == model && quote.terms == terms;
        let of = |wanted: &str| self.quotes.iter().filter(fits).find(|quote| quote.region == wanted);
        of(region).or_else(|| of(ANY))
    }

    pub fn egress(&self, provider: &str, region: &str) -> Option<&Tiers> {
        find(&self.egress, provider, region)
    }

    pub fn bandwidth(&self, provider: &str, region: &str) -> Option<Bandwidth> {
        find(&self.bandwidths, provider, region).copied()
    }

    pub fn standing(&self, provider: &str, region: &str) -> Option<&Standing> {
        find(&self.standings, provider, region)
    }

    fn dates(&self) -> impl Iterator<Item = (String, &Dated)> {
        let quotes = self.quotes.iter().map(|quote| {
            let Quote { provider, region, model, terms, dated, .. } = quote;
            (format!("{} price of {model} at {provider} {region}", terms.name()), dated)
        });
        let of = |what: &'static str, provider: &str, region: &str| format!("{what} of {provider} {region}");
        let egress =
            self.egress.iter().map(move |entry| (of("egress", &entry.provider, &entry.region), &entry.dated));
        let bandwidths = self
            .bandwidths
            .iter()
            .map(move |entry| (of("bandwidth", &entry.provider, &entry.region), &entry.dated));
        let standings = self.standings.iter().map(move |entry| {
            (of("certifications and support", &entry.provider, &entry.region), &entry.dated)
        });
        quotes.chain(egress).chain(bandwidths).chain(standings)
    }
}

/// Entries that are older than `days` on `today`, dated after it, or without a source; in the order of the file.
pub fn stale(table: &PriceTable, today: Date, days: u32) -> Vec<Problem> {
    let problems = table.dates().filter_map(|(what, dated)| {
        let age = i64::from(today.to_julian_day()) - i64::from(dated.date.to_julian_day());
        let why = match age {
            _ if dated.source.trim().is_empty() => "it has no source".to_owned(),
            age if age < 0 => format!("its date {} is in the future", dated.date),
            age if age > i64::from(days) => format!("it is {age} days old, of {}", dated.date),
            _ => return None,
        };
        Some(Problem { line: dated.line, what, why })
    });
    let mut problems: Vec<Problem> = problems.collect();
    problems.sort_by_key(|problem| problem.line);
    problems
}

fn find<'t, T>(entries: &'t [Entry<T>], provider: &str, region: &str) -> Option<&'t T> {
    let of = |wanted: &str| entries.iter().find(|entry| entry.provider == provider && entry.region == wanted);
    of(region).or_else(|| of(ANY)).map(|entry| &entry.value)
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn price(&self, raw: &RawPrice, table: &mut PriceTable) -> Result<(), PriceError> {
        let dated = self.dated(&raw.provider, &raw.date, &raw.source)?;
        let seconds =
            |value: Option<u32>, default: Span| value.map_or(default, |secs| Span::from_secs(secs.into()));
        let exact = Granularity::default();
        let granularity = Granularity {
            step: seconds(raw.billed_by_s, exact.step).max(Span(1)),
            minimum: seconds(raw.billed_at_least_s, exact.minimum),
        };
        let amounts = [
            (Terms::Private, "amortised", &raw.amortised),
            (Terms::OnDemand, "on_demand", &raw.on_demand),
            (Terms::Spot, "spot", &raw.spot),
        ];
        let provider = raw.provider.get_ref();
        if amounts.iter().all(|(.., amount)| amount.is_none()) {
            return Err(self.wrong(
                &raw.provider,
                "price",
                "it has none of `on_demand`, `spot` and `amortised`",
            ));
        }
        for (terms, key, amount) in amounts {
            let Some(amount) = amount else { continue };
            let price = PerHour(self.usd(amount, key)?.0);
            let same = |quote: &&Quote| {
                quote.provider == *provider
                    && quote.region == raw.region
                    && quote.model == raw.model
                    && quote.terms == terms
            };
            if let Some(first) = table.quotes.iter().find(same) {
                let why = format!("the same price is in line {} already", first.dated.line);
                return Err(self.wrong(amount, key, why));
            }
            let (provider, region, model) = (provider.clone(), raw.region.clone(), raw.model.clone());
            let dated = dated.clone();
            table.quotes.push(Quote { provider, region, model, terms, price, granularity, dated });
        }
        Ok(())
    }

    fn tiers(&self, raw: &RawEgress) -> Result<Tiers, PriceError> {
        let tier = |tier: &RawTier| {
            let up_to = match &tier.up_to_gb {
                Some(gb) => Some(
                    gb.get_ref()
                        .checked_mul(BILLED_GB)
                        .ok_or_else(|| self.wrong(gb, "up_to_gb", "it is more than can be counted"))?,
                ),
                None => None,
            };
            Ok(Tier { up_to, per_gb: self.usd(&tier.usd_per_gb, "usd_per_gb")? })
        };
        let tiers = raw.tiers.get_ref().iter().map(tier).collect::<Result<Vec<_>, _>>()?;
        Tiers::new(tiers).map_err(|error| self.wrong(&raw.tiers, "tiers", error.to_string()))
    }

    fn standing(&self, raw: &RawProvider) -> Result<Standing, PriceError> {
        let certifications: Vec<String> =
            raw.certifications.iter().map(|name| name.get_ref().trim().to_owned()).collect();
        if certifications.is_empty() && raw.support_tier.is_none() {
            let why = "it has neither `certifications` nor `support_tier`";
            return Err(self.wrong(&raw.provider, "provider", why));
        }
        if let Some(empty) = raw.certifications.iter().find(|name| name.get_ref().trim().is_empty()) {
            return Err(self.wrong(empty, "certifications", "a certification has no name"));
        }
        Ok(Standing { certifications, support_tier: raw.support_tier })
    }

    fn entry<T>(
        &self,
        provider: &Spanned<String>,
        region: &str,
        date: &Spanned<String>,
        source: &str,
        value: T,
    ) -> Result<Entry<T>, PriceError> {
        let dated = self.dated(provider, date, source)?;
        Ok(Entry { provider: provider.get_ref().clone(), region: region.to_owned(), value, dated })
    }

    fn dated(&self, at: &Spanned<String>, date: &Spanned<String>, source: &str) -> Result<Dated, PriceError> {
        let parsed = parse_date(date.get_ref());
        let parsed = parsed.ok_or_else(|| {
            self.wrong(date, "date", format!("`{}` is not a date such as 2025-03-07", date.get_ref()))
        })?;
        Ok(Dated { date: parsed, source: source.to_owned(), line: line_of(self.text, &at.span()) })
    }

    fn usd(&self, amount: &Spanned<f64>, key: &str) -> Result<MicroUsd, PriceError> {
        let usd = *amount.get_ref();
        MicroUsd::from_usd(usd).ok_or_else(|| {
            self.wrong(amount, key, format!("{usd} is not an amount of dollars within 0 and {MAX_USD}"))
        })
    }

    fn rate(&self, amount: &Spanned<f64>, key: &str) -> Result<BitsPerSec, PriceError> {
        let gbps = *amount.get_ref();
        if !(gbps > 0.0 && gbps <= 1e6) {
            return Err(self.wrong(amount, key, format!("{gbps} is not a rate within 0 and 1000000 Gbit/s")));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the range just checked"
        )]
        Ok(BitsPerSec((gbps * 1e9).round() as u64))
    }

    fn wrong<T>(&self, at: &Spanned<T>, key: &str, why: impl Into<String>) -> PriceError {
        PriceError { line: line_of(self.text, &at.span()), key: format!("key `{key}`"), why: why.into() }
    }
}

/// `2025-03-07`.
pub(crate) fn parse_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 {
        return None;
    }
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
}

fn key_at(text: &str, line: usize) -> String {
    let line = text.lines().nth(line - 1).unwrap_or("").trim();
    match line.split_once('=') {
        Some((key, _)) => format!("key `{}`", key.trim()),
        None => format!("`{line}`"),
    }
}

/// The region of entries that hold wherever none is named.
const ANY: &str = "any";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    #[serde(default)]
    price: Vec<RawPrice>,
    #[serde(default)]
    egress: Vec<RawEgress>,
    #[serde(default)]
    bandwidth: Vec<RawBandwidth>,
    #[serde(default)]
    provider: Vec<RawProvider>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProvider {
    provider: Spanned<String>,
    region: String,
    #[serde(default)]
    certifications: Vec<Spanned<String>>,
    support_tier: Option<u8>,
    date: Spanned<String>,
    #[serde(default)]
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrice {
    provider: Spanned<String>,
    region: String,
    model: String,
    on_demand: Option<Spanned<f64>>,
    spot: Option<Spanned<f64>>,
    amortised: Option<Spanned<f64>>,
    billed_by_s: Option<u32>,
    billed_at_least_s: Option<u32>,
    date: Spanned<String>,
    #[serde(default)]
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEgress {
    provider: Spanned<String>,
    region: String,
    tiers: Spanned<Vec<RawTier>>,
    date: Spanned<String>,
    #[serde(default)]
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTier {
    up_to_gb: Option<Spanned<u64>>,
    usd_per_gb: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBandwidth {
    provider: Spanned<String>,
    region: String,
    per_machine_gbps: Spanned<f64>,
    region_gbps: Spanned<f64>,
    date: Spanned<String>,
    #[serde(default)]
    source: String,
}
