//! Filling a fleet with requests until nothing fits.
//!
//! Requests arrive in random order, and more drawn from them, until they ask for a given multiple of all devices;
//! none leaves. One that fits nowhere is lost. This is the allocation experiment of FGD (ATC 2023, figure 7).

use hcrun_protocol::prng::Prng;

use super::{Cluster, Policy, Request, Room};

/// Thousandths of devices asked for and allocated, after each arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Curve {
    points: Vec<(u64, u64)>,
    device_milli: u64,
}

impl Curve {
    /// The mean share of all devices that is allocated while the demand that arrived rounds to `percent` of them.
    pub fn allocated(&self, percent: u64) -> Option<f64> {
        let near = |arrived: u64| (arrived * 100 + self.device_milli / 2) / self.device_milli == percent;
        let used = self.points.iter().filter(|(arrived, _)| near(*arrived)).map(|(_, used)| *used);
        let (sum, count) = used.fold((0, 0), |(sum, count), used| (sum + used, count + 1));
        (count > 0).then(|| sum as f64 / count as f64 / self.device_milli as f64)
    }

    pub fn arrivals(&self) -> usize {
        self.points.len()
    }
}

/// Fills `nodes` with `requests` until these ask for `percent` of all devices. The seed draws the order of both.
pub fn saturate(
    nodes: &[Room],
    requests: &[Request],
    percent: u64,
    seed: u64,
    policy: &mut dyn Policy,
) -> Curve {
    let mut prng = Prng::keyed(&[seed, 0]);
    let mut nodes = nodes.to_vec();
    shuffle(&mut nodes, &mut prng);
    let mut cluster = Cluster::new(nodes);
    let most = cluster.device_milli() * percent / 100;
    let (mut points, mut arrived) = (Vec::new(), 0);
    for request in arrivals(requests, most, &mut prng) {
        arrived += request.device_milli();
        if let Some(placement) = policy.choose(&cluster, &request) {
            cluster.place(&request, placement);
        }
        points.push((arrived, cluster.used_milli()));
    }
    Curve { points, device_milli: cluster.device_milli() }
}

fn arrivals(requests: &[Request], most: u64, prng: &mut Prng) -> Vec<Request> {
    let mut arrivals = requests.to_vec();
    shuffle(&mut arrivals, prng);
    let mut asked: u64 = arrivals.iter().map(Request::device_milli).sum();
    if asked == 0 {
        return arrivals;
    }
    while asked > most {
        asked -= arrivals.pop().map_or(0, |request| request.device_milli());
    }
    loop {
        let index = usize::try_from(prng.below(requests.len() as u64)).expect("an index");
        let request = requests[index];
        asked += request.device_milli();
        if asked > most {
            return arrivals;
        }
        arrivals.push(request);
    }
}

fn shuffle<T>(items: &mut [T], prng: &mut Prng) {
    for last in (1..items.len()).rev() {
        let other = usize::try_from(prng.below(last as u64 + 1)).expect("an index");
        items.swap(last, other);
    }
}
