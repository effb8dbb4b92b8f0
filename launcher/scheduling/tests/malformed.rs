//! Traces that are wrong: each error says where and what, and no bytes make a reader panic.

use hcrun_protocol::prng::Prng;
use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::Workload;
use hcrun_scheduling::packing::Models;
use hcrun_scheduling::traces::{FORMATS, openb, read_bytes};

const MURI: &str = "job_id,num_gpu,submit_time,model_name,duration\n";
const PHILLY: &str = "timestamp,duration,num_gpus,cluster\n";
const CSV: &str = "name,at,took,n,class,due\n";
const MAPPING: &str = "id=name,submit=at,duration=took,gpus=n,class=class,deadline=due";
const SWF: &str = "; a comment\n";
const NODES: &str = "sn,cpu_milli,memory_mib,gpu,model\n";
const PODS: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n";

fn read(format: &str, text: &[u8]) -> Result<usize, String> {
    let mut models = Models::default();
    let text_of = || std::str::from_utf8(text).map_err(|error| error.to_string());
    match format {
        "openb nodes" => {
            openb::nodes(text_of()?, &mut models).map(|nodes| nodes.len()).map_err(|e| e.to_string())
        }
        "openb pods" => {
            openb::requests(text_of()?, &mut models).map(|pods| pods.len()).map_err(|e| e.to_string())
        }
        _ => {
            let columns = (format == "csv").then_some(MAPPING);
            read_bytes(format, text, columns).map(|jobs| jobs.len()).map_err(|error| error.to_string())
        }
    }
}

/// Format, header, rows, and what the error says.
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("muri", "", "", "the trace is empty: it has no header line"),
    ("philly", "", "", "the trace is empty: it has no header line"),
    ("csv", "", "", "the trace is empty: it has no header line"),
    ("openb nodes", "", "", "the trace is empty: it has no header line"),
    ("openb pods", "", "", "the trace is empty: it has no header line"),
    ("swf", "", "", "there are no jobs"),
    ("swf", SWF, "", "there are no jobs"),
    ("muri", MURI, "", "there are no jobs"),
    ("philly", PHILLY, "", "there are no jobs"),
    ("csv", CSV, "", "there are no jobs"),
    ("muri", MURI, "a,1,0,m,5\nb,1,-1,m,5\n", "line 3, column `submit_time`: `-1` is not a time"),
    ("muri", MURI, "a,1,0,m,-5\n", "line 2, column `duration`: `-5` is not a time of at least zero"),
    ("muri", MURI, "a,0,0,m,5\n", "line 2, column `num_gpu`: `0` is not a number of devices, at least one"),
    ("muri", MURI, "a,-1,0,m,5\n", "line 2, column `num_gpu`: `-1` is not a number of devices"),
    ("muri", MURI, "a,1,0,m,5\nb,1,0,m,5\na,1,9,m,5\n", "line 4: job `a` is there twice, first in line 2"),
    ("muri", MURI, "a,1,0,m\n", "line 2: it has 4 fields, the header has 5"),
    ("muri", MURI, "a,1,0,m,5\n\nb,1\n", "line 4: it has 2 fields, the header has 5"),
    ("muri", MURI, "a,1,NaN,m,5\n", "line 2, column `submit_time`: `NaN` is not a time"),
    ("muri", MURI, "a,1,1e300,m,5\n", "line 2, column `submit_time`: `1e300` is not a time"),
    ("muri", "job_id,num_gpu,submit_time,model_name\n", "", "line 1: column `duration` is missing"),
    (
        "muri",
        "job_id,num_gpu,submit_time,model_name,duration,colour\n",
        "",
        "line 1: column `colour` is unknown",
    ),
    (
        "muri",
        "job_id,num_gpu,num_gpu,submit_time,model_name,duration\n",
        "",
        "line 1: column `num_gpu` is there twice",
    ),
    ("philly", PHILLY, "2017-10-03 20:31:26,-4,1,c\n", "line 2, column `duration`: `-4` is not a time"),
    ("philly", PHILLY, "2017-10-03 20:31:26,4,0,c\n", "line 2, column `num_gpus`: `0` is not"),
    (
        "philly",
        PHILLY,
        "2017-13-03 20:31:26,4,1,c\n",
        "line 2, column `timestamp`: `2017-13-03 20:31:26` is not",
    ),
    ("philly", "timestamp,duration,cluster\n", "", "line 1: column `num_gpus` is missing"),
    ("csv", CSV, "a,0,1,1,normal,\nb,-3,1,1,,\n", "line 3, column `at`: `-3` is not a time of at least zero"),
    ("csv", CSV, "a,0,1,0,,\n", "line 2, column `n`: `0` is not a number of devices"),
    (
        "csv",
        CSV,
        "a,0,1,1,best,\n",
        "line 2, column `class`: `best` is not one of opportunistic, normal, guaranteed",
    ),
    ("csv", CSV, "a,0,1,1,,soon\n", "line 2, column `due`: `soon` is not a time"),
    ("csv", CSV, "a,0,1,1,,\n\na,0,1,1,,\n", "line 4: job `a` is there twice, first in line 2"),
    ("csv", "name,at,took,class,due\n", "", "line 1: column `n` is missing"),
    ("swf", SWF, "1 0 0 9 1 0 0 1\n", "line 2: it has 8 fields, the format has 18"),
    (
        "swf",
        SWF,
        "1 -7 0 9 1 0 0 1 -1 -1 1 3 3 1 1 1 -1 -1\n",
        "line 2, column `submit time`: `-7` is not a time",
    ),
    (
        "swf",
        SWF,
        "1 -1 0 9 1 0 0 1 -1 -1 1 3 3 1 1 1 -1 -1\n",
        "line 2, column `submit time`: `-1` is not a time",
    ),
    (
        "swf",
        SWF,
        "1 0 0 -9 1 0 0 1 -1 -1 1 3 3 1 1 1 -1 -1\n",
        "line 2, column `run time`: `-9` is not a time",
    ),
    (
        "swf",
        SWF,
        "1 0 0 9 0 0 0 -1 -1 -1 1 3 3 1 1 1 -1 -1\n",
        "line 2, column `allocated processors`: `0` is not",
    ),
    (
        "swf",
        SWF,
        "1 0 0 9 -1 0 0 -1 -1 -1 1 3 3 1 1 1 -1 -1\n",
        "line 2, column `requested processors`: `-1` is not",
    ),
    (
        "swf",
        SWF,
        "1 0 0 9 1 0 0 1 -1 -1 1 3 3 1 1 1 -1 -1\n\n1 5 0 9 1 0 0 1 -1 -1 1 3 3 1 1 1 -1 -1\n",
        "line 4: job `1` is there twice, first in line 2",
    ),
    ("openb nodes", NODES, "n,1,1,0,A\n", "line 2, column `gpu`: `0` is not a number of devices"),
    (
        "openb nodes",
        NODES,
        "n,1,1,2,A\nm,1,1,17,A\n",
        "line 3, column `gpu`: `17` is not a number of devices",
    ),
    ("openb nodes", NODES, "n,-1,1,2,A\n", "line 2, column `cpu_milli`: `-1` is not a whole number"),
    ("openb nodes", NODES, "n,1,1,2,\n", "line 2, column `model`: `` is not the name of a device model"),
    ("openb nodes", "sn,cpu_milli,memory_mib,gpu\n", "", "line 1: column `model` is missing"),
    ("openb pods", PODS, "p,1,1,1,0,\n", "line 2, column `gpu_milli`: `0` is not a share in thousandths"),
    ("openb pods", PODS, "p,1,1,2,500,\n", "line 2, column `gpu_milli`: `500` is not a share in thousandths"),
    ("openb pods", PODS, "p,1,1,0,500,\n", "line 2, column `gpu_milli`: `500` is not a share in thousandths"),
    (
        "openb pods",
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n",
        "",
        "line 1: column `gpu_spec` is missing",
    ),
];

#[test]
fn each_error_says_where_and_what() {
    for (format, header, rows, says) in WRONG {
        let error = read(format, format!("{header}{rows}").as_bytes()).expect_err(rows);
        assert!(error.starts_with(says), "{format} {rows:?}: {error:?} does not start with {says:?}");
    }
}

#[test]
fn what_is_not_text_is_named_by_its_line() {
    for format in FORMATS {
        let error = read(format.name, b"one\ntwo\nth\xffree\n").unwrap_err();
        assert_eq!(error, "line 3: it is not UTF-8 text", "{}", format.name);
    }
}

#[test]
fn a_mapping_that_makes_no_sense_names_its_key() {
    let error = |columns| read_bytes("csv", CSV.as_bytes(), Some(columns)).unwrap_err().to_string();
    assert!(error("submit=at,duration=took").contains("the key `gpus` is missing"));
    assert!(error("submit=at,duration=took,gpus=n,colour=x").contains("no key `colour`"));
    assert!(error("submit=at,submit=at,gpus=n").contains("the key `submit` is there twice"));
    assert!(error("submit,duration=took,gpus=n").contains("`submit` is not of the form key=column"));
    let fixed = read_bytes("muri", MURI.as_bytes(), Some(MAPPING)).unwrap_err().to_string();
    assert!(fixed.contains("`muri` has columns of its own"), "{fixed}");
}

#[test]
fn rows_are_sorted_by_submission_then_by_row() {
    let ids =
        |workload: Workload| -> Vec<String> { workload.jobs().iter().map(|job| job.id.clone()).collect() };
    let muri = format!("{MURI}late,1,9,m,5\nfirst,1,2,m,5\nsecond,1,2,m,5\n");
    assert_eq!(ids(read_bytes("muri", muri.as_bytes(), None).unwrap()), ["first", "second", "late"]);
    let csv = format!("{CSV}late,900.5,5,1,guaranteed,1000\nfirst,100,5,2,,\nsecond,100,5,1,,\n");
    let workload = read_bytes("csv", csv.as_bytes(), Some(MAPPING)).unwrap();
    assert_eq!(workload.jobs()[2].submit, Time::ZERO + Span::from_millis(800_500));
    assert_eq!(workload.jobs()[2].deadline, Some(Time::ZERO + Span::from_secs(900)));
    assert_eq!(ids(workload), ["first", "second", "late"]);
    let row = |id, submit| format!("{id} {submit} 0 9 4 0 0 -1 60 -1 1 3 3 1 1 1 -1 -1 ; a remark\n");
    let never_ran = "9 0 0 -1 4 0 0 4 60 -1 5 3 3 1 1 1 -1 -1\n";
    let swf = [row(1, 900), row(2, 100), never_ran.to_owned(), row(3, 100)].concat();
    let workload = read_bytes("swf", swf.as_bytes(), None).unwrap();
    let job = &workload.jobs()[0];
    assert_eq!((job.submit, job.devices.requested, job.tenant.as_str()), (Time::ZERO, 4, "3"));
    assert_eq!((job.work.as_secs_f64(), job.estimate.as_secs_f64()), (9.0, 60.0));
    assert_eq!(ids(workload), ["2", "3", "1"]);
}

#[test]
fn a_csv_whose_columns_are_called_as_the_keys_needs_no_mapping() {
    let text = "tenant,submit,gpus,duration,colour\nus,1,2,3,red\n";
    let workload = read_bytes("csv", text.as_bytes(), None).unwrap();
    assert_eq!((workload.jobs()[0].tenant.as_str(), workload.jobs()[0].devices.requested), ("us", 2));
}

#[test]
fn no_bytes_make_a_reader_panic() {
    let valid = [
        ("muri", format!("{MURI}a,1,0,m,5\nb,2,3,m,50\n")),
        ("philly", format!("{PHILLY}2017-10-03 20:31:26,4,1,c\n")),
        ("csv", format!("{CSV}a,0,1,1,normal,7\n")),
        ("swf", format!("{SWF}1 0 0 9 1 0 0 1 -1 -1 1 3 3 1 1 1 -1 -1\n")),
        ("openb nodes", format!("{NODES}n,1,1,2,A\n")),
        ("openb pods", format!("{PODS}p,1,1,1,500,A|B\n")),
    ];
    let mut prng = Prng::new(11);
    let (mut read_well, mut refused) = (0, 0);
    for _ in 0..4_000 {
        for (format, text) in &valid {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..prng.below(4) {
                let at = usize::try_from(prng.below(bytes.len() as u64)).unwrap();
                let byte = prng.next_u64().to_le_bytes()[0];
                match prng.below(4) {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    2 => bytes[at] = b"-0,9e.\n\"; |"[usize::try_from(prng.below(11)).unwrap()],
                    _ => bytes.truncate(at.max(1)),
                }
            }
            match read(format, &bytes) {
                Ok(_) => read_well += 1,
                Err(_) => refused += 1,
            }
            let noise: Vec<u8> = (0..prng.below(80)).map(|_| prng.next_u64().to_le_bytes()[0]).collect();
            refused += u32::from(read(format, &noise).is_err());
        }
    }
    assert!(read_well > 1_000 && refused > 10_000, "{read_well} read, {refused} refused");
}
