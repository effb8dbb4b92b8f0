//! `report.html`: one file without external assets that a person enjoys to look at.

use hcrun_protocol::plan::{Plan, Traffic};

use super::charts;
use super::format::{bytes, count, milliseconds, percent, plural, traffic_total};
use super::metrics::{EvaluationRow, StepRow};
use super::page::{escape, page, section};
use super::summary::{Status, Summary};

/// What is known of a run; an interrupted one has no summary.
#[derive(Debug, Default)]
pub struct Report<'a> {
    pub run: &'a str,
    pub plan: Option<&'a Plan>,
    pub summary: Option<&'a Summary>,
    pub steps: &'a [StepRow],
    pub evaluations: &'a [EvaluationRow],
}

impl Report<'_> {
    pub fn to_html(&self) -> String {
        let job = self.plan.map(|plan| plan.job.as_str()).unwrap_or("run");
        let sections = [
            self.failure(),
            self.numbers(),
            section("Loss", charts::loss(self.steps, self.evaluations)),
            section("Where a step's time goes", charts::step_times(self.steps)),
            self.borders(),
            self.workers(),
            self.shards(),
            self.exchange(),
        ];
        let header = format!(
            "<h1>{job}</h1><span class=\"status {status}\">{status}</span><p class=\"run\">{run}</p>",
            job = escape(job),
            run = escape(self.run),
            status = self.status(),
        );
        page(job, &header, &sections.concat())
    }

    fn status(&self) -> Status {
        self.summary.map_or(Status::Interrupted, |summary| summary.status)
    }

    fn failure(&self) -> String {
        let Some(failure) = self.summary.and_then(|summary| summary.failure.as_ref()) else {
            return String::new();
        };
        let place =
            failure.place.as_ref().map(|place| format!("<p>at {}</p>", escape(place))).unwrap_or_default();
        let causes: String =
            failure.causes.iter().map(|cause| format!("<li>{}</li>", escape(cause))).collect();
        format!(
            "<section class=\"failure\"><h2>{} <code>{}</code></h2>{place}<ul>{causes}</ul><p><b>What to do:</b> {}</p>\
             </section>\n",
            escape(&failure.message),
            escape(&failure.code),
            escape(&failure.hint)
        )
    }

    fn numbers(&self) -> String {
        let mut cards = Vec::new();
        let mut card = |name: &str, value: String, detail: String| {
            cards.push(format!(
                "<div class=\"card\"><span>{name}</span><b>{}</b><small>{}</small></div>",
                escape(&value),
                escape(&detail)
            ));
        };
        let planned = self.plan.map(|plan| format!("of {}", count(plan.steps))).unwrap_or_default();
        let applied = match self.summary {
            Some(summary) => summary.steps,
            None => self.steps.last().map_or(0, |row| row.step),
        };
        card("steps", count(applied), planned);
        if let (Some(first), Some(last)) = (self.steps.first(), self.steps.last()) {
            card("training loss", format!("{:.3}", last.loss), format!("from {:.3}", first.loss));
        }
        if let Some(row) = self.evaluations.last() {
            card(
                "held-out loss",
                format!("{:.4}", row.loss),
                format!("{}, {} samples", row.unit, count(row.samples)),
            );
            if let Some(rmse) = row.rmse {
                card("held-out RMSE", format!("{rmse:.4}"), "in the target's unit".to_owned());
            } else if let Some(accuracy) = row.accuracy {
                card("held-out accuracy", percent(accuracy), String::new());
            }
        }
        if let Some(summary) = self.summary {
            if let Some(rate) = summary.samples_per_s {
                card("samples per second", format!("{rate:.0}"), "over all workers".to_owned());
            }
            if let Some(time) = summary.step_time_s {
                card("step time", milliseconds(time.p50), format!("99 % below {}", milliseconds(time.p99)));
            }
            if let Some(share) = summary.exchange_s_share {
                card("waiting for the exchange", percent(share), "of the step time".to_owned());
            }
            let total = traffic_total(&summary.egress_bytes);
            card("across zone borders", bytes(total), format!("{} bytes", count(total)));
        }
        format!("<section class=\"cards\">{}</section>\n", cards.concat())
    }

    /// Bytes by border and class, planned against actual.
    fn borders(&self) -> String {
        let empty = Traffic::new();
        let planned = match (self.summary, self.plan) {
            (Some(summary), _) => &summary.planned_egress_bytes,
            (None, Some(plan)) => &plan.total_bytes,
            (None, None) => &empty,
        };
        let actual = self.summary.map_or(&empty, |summary| &summary.egress_bytes);
        let mut keys: Vec<(&String, &String)> = Vec::new();
        for (border, classes) in planned.iter().chain(actual) {
            keys.extend(classes.keys().map(|class| (border, class)));
        }
        keys.sort();
        keys.dedup();
        if keys.is_empty() {
            let text = "<p>Nothing: all workers are in one zone.</p>".to_owned();
            return section("What crossed a zone border", Some(text));
        }
        let of = |traffic: &Traffic, border: &str, class: &str| {
            traffic.get(border).and_then(|classes| classes.get(class)).copied().unwrap_or(0)
        };
        let most = keys
            .iter()
            .map(|(border, class)| of(planned, border, class).max(of(actual, border, class)))
            .max()
            .unwrap_or(1)
            .max(1);
        let bar = |kind: &str, number: u64| {
            let width = number as f64 / most as f64 * 100.0;
            format!("<i class=\"bar {kind}\" style=\"width:{width:.2}%\"></i>")
        };
        let rows: String = keys
            .iter()
            .map(|(border, class)| {
                let (plan, real) = (of(planned, border, class), of(actual, border, class));
                let verdict = match () {
                    () if self.summary.is_none() => "",
                    () if plan == real => "equal",
                    () if real < plan => "less",
                    () => "more",
                };
                format!(
                    "<tr><td>{}</td><td>{}</td><td class=\"bars\">{}{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                     <td><span class=\"{verdict}\">{verdict}</span></td></tr>",
                    escape(&border.replace("->", " → ")),
                    escape(class),
                    bar("planned", plan),
                    bar("actual", real),
                    count(plan),
                    count(real)
                )
            })
            .collect();
        let table = format!(
            "<p>Frame bytes, <i class=\"key planned\"></i> planned and <i class=\"key actual\"></i> sent. No frame class \
             carries data rows.</p><table><tr><th>border</th><th>class</th><th></th><th class=\"n\">planned</th>\
             <th class=\"n\">sent</th><th></th></tr>{rows}</table>"
        );
        section("What crossed a zone border", Some(table))
    }

    fn workers(&self) -> String {
        let Some(plan) = self.plan else { return String::new() };
        let rows: String = plan
            .placement
            .workers
            .iter()
            .map(|worker| {
                let slot = worker.slot.to_string();
                let done = self.summary.and_then(|summary| summary.workers.iter().find(|done| done.slot == slot));
                let node = done.and_then(|done| done.node.as_ref()).map_or("", |node| node.as_str());
                let samples = done.map(|done| count(done.samples)).unwrap_or_default();
                let shards: Vec<&str> = worker.shards.iter().map(|shard| shard.as_str()).collect();
                format!(
                    "<tr><td>{slot}</td><td class=\"n\">{}</td><td>{} <span class=\"trust {trust}\">{trust}</span></td>\
                     <td>{}</td><td class=\"n\">{samples}</td><td>{}</td></tr>",
                    worker.rank.0,
                    escape(worker.zone.as_str()),
                    escape(node),
                    escape(&shards.join(", ")),
                    trust = match worker.trust {
                        hcrun_protocol::cluster::Trust::Private => "private",
                        hcrun_protocol::cluster::Trust::Public => "public",
                    },
                )
            })
            .collect();
        let table = format!(
            "<table><tr><th>slot</th><th class=\"n\">rank</th><th>zone</th><th>node</th><th class=\"n\">samples</th>\
             <th>may read</th></tr>{rows}</table>"
        );
        section(&plural(plan.placement.workers.len(), "worker"), Some(table))
    }

    fn shards(&self) -> String {
        let Some(plan) = self.plan else { return String::new() };
        let rows: String = plan
            .placement
            .shards
            .iter()
            .map(|shard| {
                let samples = plan.classes.iter().flat_map(|class| &class.shards).find(|planned| planned.id == shard.id);
                let samples = samples.map(|planned| planned.samples).unwrap_or_default();
                let slots: Vec<String> = shard.slots.iter().map(ToString::to_string).collect();
                format!(
                    "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                    escape(shard.id.as_str()),
                    escape(&shard.rule),
                    escape(&slots.join(", ")),
                    count(samples.training),
                    count(samples.held_out)
                )
            })
            .collect();
        let table = format!(
            "<table><tr><th>shard</th><th>rule</th><th>held by</th><th class=\"n\">trained on</th><th class=\"n\">held out\
             </th></tr>{rows}</table>"
        );
        section("Data", Some(table))
    }

    fn exchange(&self) -> String {
        let Some(plan) = self.plan else { return String::new() };
        let exchange = &plan.exchange;
        let sharded = if exchange.sharded { "each worker updates a part" } else { "each worker updates all" };
        let warnings: String =
            plan.warnings.iter().map(|warning| format!("<li>{}</li>", escape(warning))).collect();
        let text = format!(
            "<p>{} parameters in {} ({} rounds per step); {sharded}. Gradients cross a border only as a sum over at least \
             {} per zone. Strategy <code>{}</code>, job digest <code>{}</code>.</p><ul>{warnings}</ul>",
            count(exchange.parameters as u64),
            plural(exchange.buckets, "bucket"),
            exchange.rounds_per_step,
            plural(usize::from(exchange.min_contributors), "worker"),
            escape(&plan.strategy),
            escape(plan.job_digest.get(..16).unwrap_or(&plan.job_digest)),
        );
        section("Plan", Some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::summary::FailureSummary;

    fn steps() -> Vec<StepRow> {
        let row = |step: u64| StepRow {
            step,
            loss: 5.0 / step as f64,
            step_s: 0.03,
            compute_s: 0.02,
            exchange_s: 0.008,
            update_s: 0.002,
            ..StepRow::default()
        };
        (1..=300).map(row).collect()
    }

    #[test]
    fn a_report_stands_alone_and_draws_both_curves() {
        let steps = steps();
        let evaluations =
            [EvaluationRow { step: 300, loss: 0.5, unit: "nats".into(), ..EvaluationRow::default() }];
        let report = Report { run: "demo", steps: &steps, evaluations: &evaluations, ..Report::default() };
        let html = report.to_html();
        assert_eq!(html.matches("<svg").count(), 2);
        assert!(html.contains("interrupted") && html.contains("currentColor"));
        // The only address in it is the name of SVG's vocabulary.
        let addresses = html.matches("http").count();
        assert_eq!(addresses, html.matches("http://www.w3.org/2000/svg").count());
        assert!(!html.contains("<script") && !html.contains(super::super::drawing::INK_HEX));
    }

    #[test]
    fn text_from_outside_is_escaped() {
        let failure = FailureSummary {
            code: "HC8001".into(),
            message: "<script>alert(1)</script>".into(),
            place: Some("a\"b".into()),
            causes: vec!["x & y".into()],
            hint: "'".into(),
        };
        let summary = Summary {
            schema: 1,
            job: "demo".into(),
            status: Status::Failed,
            exit_code: 75,
            steps: 0,
            loss_first: None,
            loss_last: None,
            eval: None,
            workers: Vec::new(),
            samples_per_s: None,
            step_time_s: None,
            exchange_s_share: None,
            egress_bytes: Traffic::new(),
            planned_egress_bytes: Traffic::new(),
            parameter_digest: None,
            generations: 1,
            restarts: 0,
            cost_usd: Default::default(),
            failure: Some(failure),
        };
        let html = Report { run: "<b>", summary: Some(&summary), ..Report::default() }.to_html();
        assert!(!html.contains("<script") && html.contains("&lt;b&gt;") && html.contains("x &amp; y"));
    }

    #[test]
    fn a_run_without_a_step_has_a_report() {
        assert!(Report { run: "demo", ..Report::default() }.to_html().contains("steps"));
    }
}
