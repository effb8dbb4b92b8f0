//! The results as a person reads them.

use super::results::Results;
use crate::machine::Machine;

pub(crate) fn print(results: &Results) {
    let Machine { date, cpu, cores, hcrun, rustc } = &results.machine;
    println!("{date} · {cpu}, {cores} cores · hcrun {hcrun} · {rustc} · {}", results.peer);
    println!(
        "{} parameters, batch {}, {} steps, {} rounds in turns · {}\n",
        results.workload.parameters,
        results.options.batch,
        results.options.steps,
        results.options.rounds,
        results.link
    );
    println!(
        "{:14} {:>9} {:>9} {:>9} {:>15} {:>8} {:>8} {:>8} {:>8} {:>8} {:>12} {:>8}",
        "",
        "samples/s",
        "overall",
        "fastest",
        "least to most",
        "step s",
        "compute",
        "blocked",
        "update",
        "exchange",
        "border MB",
        "loss"
    );
    for side in &results.sides {
        println!(
            "{:14} {:9.1} {:9.1} {:9.1} {:>15} {:8.3} {:8.3} {:8.3} {:8.3} {:>8} {:>12} {:8.4}",
            side.side.to_string(),
            side.samples_per_s,
            side.samples_per_s_overall,
            side.samples_per_s_fastest,
            format!("{:.1} to {:.1}", side.samples_per_s_least, side.samples_per_s_most),
            side.step_s,
            side.compute_s,
            side.exchange_s,
            side.update_s,
            format!("{:.0} %", side.exchange_share * 100.0),
            format!(
                "{:.1} + {:.1}",
                side.border_sent_bytes_per_step / 1e6,
                side.border_received_bytes_per_step / 1e6
            ),
            side.loss_last
        );
    }
    println!("\nborder MB: per step, from the first host + to it\n");
    for ratio in &results.ratios {
        let bound = ratio.bound.map_or(String::new(), |bound| format!(", promised {bound}"));
        println!(
            "hcrun {}: {:.2} times torch-ddp f32{bound} ({:.2} overall), {:.2} times torch-ddp bf16",
            ratio.codec, ratio.to_peer_f32, ratio.to_peer_f32_overall, ratio.to_peer_bf16
        );
    }
}
