use hcrun_protocol::manifest::{Sensitivity, sha256_hex};
use proptest::prelude::*;

use super::*;

fn job(model: &str, data: &str, loss: &str) -> Job {
    let text = format!(
        r#"{{"name":"t","model":{model},"data":{data},"train":{{"loss":"{loss}","optimizer":"sgd",
        "learning_rate":0.1,"batch":4,"steps":3}},"workers":{{"private":1}},
        "shard":[{{"id":"a","sensitivity":"public"}}]}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn text_job(context: usize, held_out: f64) -> Job {
    let model = format!(r#"{{"kind":"gpt","layers":1,"width":8,"heads":1,"context":{context}}}"#);
    job(&model, &format!(r#"{{"format":"text","held_out":{held_out}}}"#), "cross-entropy")
}

fn table_job(rest: &str, loss: &str) -> Job {
    let data = format!(r#"{{"format":"csv","held_out":0.25,"target":"y"{rest}}}"#);
    job(r#"{"kind":"mlp","hidden":[4]}"#, &data, loss)
}

fn manifest(id: &str, bytes: &[u8], content: Content) -> ShardManifest {
    ShardManifest {
        id: ShardId::new(id).unwrap(),
        bytes: bytes.len() as u64,
        sha256: sha256_hex(bytes),
        sensitivity: Sensitivity::Public,
        home: None,
        allowed_zones: Vec::new(),
        min_contributors: None,
        min_rows: None,
        content,
    }
}

fn add_text(data: &mut Dataset, class: usize, id: &str, text: &[u8]) {
    data.add(class, &manifest(id, text, Content::Text), text.to_vec()).unwrap();
}

fn add_table(data: &mut Dataset, class: usize, id: &str, text: &str) {
    let table = Table::parse(&ShardId::new(id).unwrap(), text.as_bytes()).unwrap();
    let content = Content::Csv { rows: table.len() as u64, columns: table.columns() };
    data.add(class, &manifest(id, text.as_bytes(), content), text.as_bytes().to_vec()).unwrap();
}

/// Rows whose feature is their number and whose target is twice that.
fn table(rows: Range<u32>) -> String {
    let lines: Vec<String> = rows.map(|row| format!("{row},{}", row * 2)).collect();
    format!("x,y\n{}\n", lines.join("\n"))
}

fn table_data(job: &Job) -> Dataset {
    let columns = Table::parse(&ShardId::new("a").unwrap(), table(0..1).as_bytes()).unwrap().columns();
    let mut data = Dataset::new(job, Some(Schema::new(&job.data, &columns).unwrap()), 2).unwrap();
    add_table(&mut data, 0, "a", &table(0..10));
    add_table(&mut data, 0, "b", &table(10..17));
    add_table(&mut data, 1, "c", &table(17..40));
    data
}

fn sample(class: usize, index: u64) -> Sample {
    Sample { class, index }
}

#[test]
fn samples_of_a_class_run_over_its_shards() {
    let mut data = Dataset::new(&text_job(3, 0.2), None, 3).unwrap();
    add_text(&mut data, 1, "a", b"abcdefghij");
    add_text(&mut data, 1, "b", b"0123456789");
    assert_eq!(data.samples(1), Split { training: 4, held_out: 2 });
    let batches = data.micro_batches(&[sample(1, 1), sample(1, 2), sample(1, 0)], 2).unwrap();
    let tokens = |inputs: &[u8], targets: &[u8]| MicroBatch::Tokens {
        inputs: inputs.to_vec(),
        targets: targets.to_vec(),
        context: 3,
    };
    assert_eq!(batches, [tokens(b"def", b"efg"), tokens(b"012abc", b"123bcd")]);
    assert_eq!(data.micro_batches(&[], 4).unwrap(), []);
    assert_eq!(data.micro_batches(&[sample(0, 0)], 1), Err(DataError::NotHeld { class: 0 }));
    let beyond = DataError::Range { class: 1, index: 4, samples: 4 };
    assert_eq!(data.micro_batches(&[sample(1, 4)], 1), Err(beyond));
}

#[test]
fn short_windows_are_batches_of_their_own() {
    let mut data = Dataset::new(&text_job(4, 0.5), None, 1).unwrap();
    // Tails of 8 and 6 bytes: windows of 4 and 3, 4 and 1.
    add_text(&mut data, 0, "a", b"________abcdefgh");
    add_text(&mut data, 0, "b", b"______uvwxyz");
    let batches = data.held_out_batches(&[(0, 0..4)], 10).unwrap();
    let contexts: Vec<(usize, usize)> = batches
        .iter()
        .map(|batch| match batch {
            MicroBatch::Tokens { inputs, context, .. } => (*context, inputs.len() / context),
            _ => panic!("not tokens"),
        })
        .collect();
    assert_eq!(contexts, [(4, 1), (3, 1), (4, 1), (1, 1)]);
}

proptest! {
    #[test]
    fn held_out_rows_and_training_rows_are_each_row_once(ranks in 1u16..6, max in 1usize..9) {
        let job = table_job("", "mse");
        let mut data = table_data(&job);
        let all: Vec<Rank> = (0..ranks).map(Rank).collect();
        // The second class is held by rank 0 alone.
        let held = [data.samples(0), data.samples(1)];
        let parts = |rank, items: [u64; 2]| even_parts([(items[0], &all[..]), (items[1], &all[..1])], rank);

        let mut total = vec![0.0; 5];
        for rank in &all {
            let sums = data.sums(&parts(*rank, held.map(|split| split.training))).unwrap().unwrap();
            total.iter_mut().zip(sums.into_vec()).for_each(|(total, sum)| *total += sum);
        }
        prop_assert_eq!(total[0], 29.0);
        let schema = data.schema().unwrap().clone();
        data.set_statistics(Statistics::from_sums(&schema, &total).unwrap());

        let moments = data.statistics().unwrap().columns[0].clone();
        let mut seen = vec![0u32; 40];
        let mut count = |batches: Vec<MicroBatch>| {
            for batch in batches {
                let MicroBatch::Values { features, values } = batch else { panic!("not values") };
                assert_eq!(features.len(), values.len());
                for (feature, value) in features.iter().zip(&values) {
                    // Standardised, a target of twice the feature is equal to it.
                    assert!((feature - value).abs() < 1e-5, "{feature} and {value}");
                    let row = moments.restore(*feature).round();
                    seen[(0..40).position(|other| f64::from(other) == row).unwrap()] += 1;
                }
            }
        };
        for rank in &all {
            let batches = data.held_out_batches(&parts(*rank, held.map(|split| split.held_out)), max).unwrap();
            let rows = |batch: &MicroBatch| match batch.as_batch() {
                Batch::Rows { targets: Targets::Value(values), .. } => values.len(),
                other => panic!("{other:?}"),
            };
            prop_assert!(batches.iter().map(rows).all(|rows| (1..=max).contains(&rows)));
            count(batches);
        }
        let training: Vec<Sample> = (0..2)
            .flat_map(|class| (0..held[class].training).map(move |index| sample(class, index)))
            .collect();
        count(data.micro_batches(&training, 3).unwrap());
        prop_assert!(seen.iter().all(|count| *count == 1), "{:?}", seen);
    }
}

#[test]
fn rows_wait_for_statistics() {
    let data = table_data(&table_job("", "mse"));
    assert_eq!(data.micro_batches(&[sample(0, 0)], 1), Err(DataError::NoStatistics));
}

#[test]
fn a_file_with_other_rows_than_its_manifest_is_refused() {
    let job = table_job("", "mse");
    let mut data = table_data(&job);
    let content = Content::Csv { rows: 9, columns: Vec::new() };
    let text = table(0..10);
    let error = data.add(0, &manifest("d", text.as_bytes(), content), text.into_bytes()).unwrap_err();
    assert!(matches!(error, DataError::Rows { expected: 9, found: 10, .. }), "{error}");
    let error = data.add(0, &manifest("e", b"x", Content::Text), b"x".to_vec()).unwrap_err();
    assert!(matches!(error, DataError::Format { found: "text", .. }), "{error}");
}
