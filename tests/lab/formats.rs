//! Traces that need more than one file, and clusters that come with them.

use hcrun_tests::lab;

const TABLE: &str = r#"{
    "v100": {"('A (batch size 8)', 1)": {"null": 4.0}, "('B', 1)": {"null": 2.0}},
    "p100": {"('A (batch size 8)', 1)": {"null": 2.0}, "('B', 1)": {"null": 2.0}},
    "k80": {"('A (batch size 8)', 1)": {"null": 1.0}, "('B', 1)": {"null": 0.5}}
}"#;
const GAVEL: &str = include_str!("../../examples/scheduling/gavel.toml");

#[test]
fn gavels_table_makes_jobs_for_its_models() {
    let lab = lab!();
    lab.write("table.json", TABLE);
    lab.write("gavel.toml", GAVEL);
    lab.write("a.trace", "A (batch size 8)\tc\t-n\t1\t80\t10.5\t1\nB\tc\t-n\t1\t6\t12.5\t1\n");
    let simulate = |trace: &str, cluster: &str| {
        lab.hcrun(["simulate", "--trace", trace, "--cluster", cluster, "--strategy", "max-min", "--json"])
    };
    let json = simulate("gavel:table.json,rate=4.0,jobs=20,seed=3", "gavel.toml").succeed().json();
    assert_eq!((&json["devices"], &json["results"][0]["jobs"]), (&108.into(), &20.into()), "{json}");
    let json = simulate("gavel:table.json,trace=a.trace", "gavel.toml").succeed().json();
    assert_eq!(json["results"][0]["jobs"], 2, "{json}");
    for (trace, cluster, said) in [
        ("gavel:table.json,rate=0", "gavel.toml", "setting `rate` is `0`"),
        ("gavel:table.json,speed=1", "gavel.toml", "there is no setting `speed`"),
        ("gavel:table.json", "pool:8", "no device model `device`; it has k80, p100, v100"),
        ("gavel:missing.json", "gavel.toml", "missing.json"),
        ("gavel:a.trace", "gavel.toml", "not the JSON it should be"),
    ] {
        let ended = simulate(trace, cluster).fail(2);
        assert!(ended.stdout.contains(said), "{trace}: {ended}");
    }
}

const PODS: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
a,1,1,2,1000,T4,LS,Running,100,400,150
b,1,1,1,460,,LS,Running,110,400,150
c,1,1,0,0,,LS,Running,120,400,150
d,1,1,1,1000,,LS,Pending,130,400,
e,1,1,1,1000,G2,BE,Succeeded,140,240,140
";
const NODES: &str = "sn,cpu_milli,memory_mib,gpu,model\nn1,1,1,8,G2\nn2,1,1,2,T4\n";

#[test]
fn openbs_lists_are_a_trace_and_a_cluster() {
    let lab = lab!();
    lab.write("openb/openb_pod_list_default.csv", PODS);
    lab.write("openb/openb_node_list_gpu_node.csv", NODES);
    let simulate = |trace: &str, cluster: &str| {
        lab.hcrun(["simulate", "--trace", trace, "--cluster", cluster, "--strategy", "fifo-skip", "--json"])
    };
    let json = simulate("openb:openb", "openb:openb").succeed().json();
    let row = &json["results"][0];
    assert_eq!((&json["devices"], &row["jobs"]), (&10.into(), &2.into()), "{json}");
    assert_eq!(row["makespan_s"], 250.0, "{json}");
    let note = json["notes"][0].as_str().unwrap();
    assert!(note.contains("2 pods") && note.contains("1 that share a device"), "{note}");
    lab.write("pods.csv", PODS.replace("qos", "quality"));
    let ended = simulate("openb:pods.csv", "openb:openb").fail(2);
    assert!(ended.stdout.contains("line 1: column `quality` is unknown"), "{ended}");
    lab.write("nodes.csv", NODES.replace("2,T4", "x,T4"));
    let ended = simulate("openb:openb", "openb:nodes.csv").fail(2);
    assert!(ended.stdout.contains("line 3, column `gpu`: `x`"), "{ended}");
}

/// The published lists and table, where they are.
#[test]
fn published_lists_and_tables_are_read() {
    let Some(traces) = std::env::var_os("HCRUN_TRACES").map(std::path::PathBuf::from) else {
        eprintln!("SKIPPED: HCRUN_TRACES names no folder of published traces");
        return;
    };
    let lab = lab!();
    lab.write("gavel.toml", GAVEL);
    let openb = format!("openb:{}", traces.join("openb").display());
    let args = ["simulate", "--strategy", "fifo-skip", "--json", "--trace", &openb, "--cluster", &openb];
    let json = lab.hcrun(args).succeed().json();
    assert_eq!(json["devices"], 6_212, "{json}");
    let table = traces.join("throughputs/gavel_simulation_throughputs.json");
    let trace = format!("gavel:{},rate=4,jobs=300", table.display());
    let args = ["simulate", "--strategy", "max-min", "--json", "--trace", &trace, "--cluster", "gavel.toml"];
    assert_eq!(lab.hcrun(args).succeed().json()["results"][0]["jobs"], 300);
}
