//! Devices dealt upgrade by upgrade to whoever gains most per dollar.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Claim;
use crate::strategy::Key;

/// Grants offers within `open` devices by pool, upgrade by upgrade; ties go to the first claim.
pub(crate) fn deal(claims: &mut [Claim], mut open: Vec<u64>) {
    let mut line = BinaryHeap::new();
    let enter = |claim: &Claim, number: usize, open: &[u64], line: &mut BinaryHeap<_>| {
        if let Some((gain, _)) = upgrade(claim, open) {
            line.push((Key::from_f64(gain), Reverse(number)));
        }
    };
    for (number, claim) in claims.iter().enumerate() {
        enter(claim, number, &open, &mut line);
    }
    while let Some((key, Reverse(number))) = line.pop() {
        let claim = &mut claims[number];
        // Others may have taken the devices since: then its next best upgrade stands in line again.
        if let Some((gain, offer)) = upgrade(claim, &open)
            && Key::from_f64(gain) == key
        {
            if let Some(before) = claim.granted {
                let choice = claim.offers[before].choice;
                open[choice.pool.index()] += u64::from(choice.devices);
            }
            let choice = claim.offers[offer].choice;
            open[choice.pool.index()] -= u64::from(choice.devices);
            claim.granted = Some(offer);
        }
        enter(claim, number, &open, &mut line);
    }
}

/// The dearer offer of the highest gain per dollar among those that fit.
fn upgrade(claim: &Claim, open: &[u64]) -> Option<(f64, usize)> {
    let held = claim.granted.map(|granted| claim.offers[granted]);
    let (worth, cost) = held.map_or((claim.nothing, 0.0), |held| (held.worth, held.cost));
    let mut best = None;
    for (number, offer) in claim.offers.iter().enumerate() {
        let mine = held.filter(|held| held.choice.pool == offer.choice.pool);
        let mine = mine.map_or(0, |held| u64::from(held.choice.devices));
        if offer.cost <= cost || open[offer.choice.pool.index()] + mine < u64::from(offer.choice.devices) {
            continue;
        }
        let gain = (offer.worth - worth) / (offer.cost - cost);
        if gain > 0.0 && best.is_none_or(|(most, _)| gain > most) {
            best = Some((gain, number));
        }
    }
    best
}
