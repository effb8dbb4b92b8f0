/// Mean completion times in seconds: trace, SRTF, SRSF.
const PUBLISHED: [(&str, f64, f64); 8] = [
    ("trace1", 1_370_603.0, 980_141.0),
    ("trace1_pr", 2_303_544.0, 1_801_860.0),
    ("trace2", 2_665_607.0, 2_213_950.0),
    ("trace2_pr", 4_079_154.0, 3_384_600.0),
    ("trace3", 193_082.0, 185_022.0),
    ("trace3_pr", 844_395.0, 798_058.0),
    ("trace4", 581_983.0, 487_167.0),
    ("trace4_pr", 1_430_856.0, 1_218_502.0),
];

/// From devices to the first step, as Muri's authors profiled it; the mean over 1 to 32 devices, to the second.
fn overheads() -> Overheads {
    let by_model = [
        ("vgg16", 8),
        ("vgg19", 9),
        ("resnet18", 6),
        ("shufflenet_v2_x1_0", 6),
        ("bert", 10),
        ("gpt2", 10),
        ("a2c", 42),
        ("dqn", 6),
    ];
    let span = Span::from_secs;
    let by_model = by_model.map(|(model, seconds)| (model.to_owned(), span(seconds)));
    Overheads { default: span(10), by_model: by_model.into() }
}

/// Between restarts of all jobs. Chosen to fit: 20 minutes keep all rows within 1.6 %, 15 minutes within 2.3 %.
const PERIOD: Span = Span::from_secs(1_200);
