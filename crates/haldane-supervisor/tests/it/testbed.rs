//! A daemon that crash tests kill: it keeps as many replicas as it is told, and reports each healthy as soon as it runs.
//!
//! Arguments: data directory, replicas, whether to restart them all the time (`rolling` or `steady`), and the command.

use std::{collections::BTreeMap, env, error::Error, path::Path, thread, time::Duration};

use haldane_supervisor::{
    Config, LogLimits, ReplicaState, Supervisor, VersionKey, VersionSpec, Wish, WishedVersion,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [dir, replicas, mode, argv @ ..] = arguments.as_slice() else {
        return Err("DIR REPLICAS rolling|steady ARGV…".into());
    };
    let spec = VersionSpec {
        argv: argv.to_vec(),
        env: BTreeMap::new(),
        dir: None,
        user: None,
        drain_grace: Duration::ZERO,
        stop_grace: Duration::from_secs(2),
        start_grace: Duration::from_secs(60),
        log: LogLimits::default(),
    };
    let key = VersionKey {
        service: "auth".parse()?,
        version: "v1".parse()?,
    };
    let supervisor = Supervisor::open(Path::new(dir), Config::default())?;
    let mut generation = 0;
    loop {
        if mode == "rolling" {
            generation += 1;
        }
        let wished = WishedVersion {
            spec: spec.clone(),
            replicas: replicas.parse()?,
            generation,
        };
        supervisor.ensure(Wish {
            versions: BTreeMap::from([(key.clone(), wished)]),
        });
        for replica in &supervisor.snapshot().replicas {
            if replica.state == ReplicaState::Starting {
                supervisor.report_health(&replica.id, true);
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
}
