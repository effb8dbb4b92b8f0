fn main() {
    use hcrun_scheduling::traces::{self, Beside};
    use hcrun_scheduling::{work::Work, job::Shape, fleet::Kind};
    use hcrun_scheduling::goodput::packed;
    let folder = std::path::Path::new("/work/shared/traces/philly-pollux");
    let mut files = std::collections::BTreeMap::new();
    for application in std::fs::read_dir(folder.join("profiles")).unwrap() {
        let application = application.unwrap();
        for file in std::fs::read_dir(application.path()).unwrap() {
            let file = file.unwrap();
            files.insert(format!("{}/{}", application.file_name().display(), file.file_name().display()), std::fs::read_to_string(file.path()).unwrap());
        }
    }
    let text = std::fs::read_to_string(folder.join("workloads/workload-7.csv")).unwrap();
    let workload = traces::read_with("pollux", &text, &Beside::new(files)).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for job in workload.jobs() {
        if !seen.insert((job.model.clone(), job.devices.requested)) { continue }
        let speed = job.speed.as_ref().unwrap();
        print!("{:12} req {:2} as asked {:6.0} |", job.model, job.devices.requested, job.work.as_secs_f64());
        for n in [1u32,2,4,8,12,16,24,32,48,64] {
            if n > job.devices.max { continue }
            let (mut done, mut t) = (Work::ZERO, 0.0);
            while done < job.work {
                let s = speed.stretch(done, &Shape { kind: Kind(0), per_node: packed(n,4) });
                t += s.until.unwrap().saturating_sub(done).time_at(s.rate).as_secs_f64();
                done = s.until.unwrap();
            }
            print!(" {n}:{t:.0}({:.2})", n as f64 * t / 3600.0);
        }
        println!();
    }
}
