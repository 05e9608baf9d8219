//! Prometheus itself: Debian's package, as it is.

use std::{
    fs,
    io::BufReader,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::it::{
    http::{Answer, TIMEOUT, exchange},
    rig::{Rig, free_addr, until},
};

/// The option with which native histograms are asked for and kept.
pub(crate) const NATIVE: &str = "--enable-feature=native-histograms";

/// Prometheus, which runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Prometheus {
    child: Child,
    pub(crate) addr: SocketAddr,
    targets: PathBuf,
}

impl Prometheus {
    /// Starts one that scrapes each second what [`Self::scrape`] names.
    pub(crate) fn start(rig: &Rig, options: &[&str]) -> Self {
        let targets = rig.path("targets.json");
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
             scrape_configs: [{{ job_name: tests, file_sd_configs: [{{ files: ['{}'], refresh_interval: 1s }}] }}]\n",
            targets.display()
        );
        let path = rig.path("prometheus.yaml");
        fs::write(&path, config).unwrap();
        let addr = free_addr();
        let child = rig
            .command(program("prometheus").to_str().unwrap())
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                rig.path("tsdb").display()
            ))
            .arg(format!("--web.listen-address={addr}"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let this = Self {
            child: child.unwrap(),
            addr,
            targets,
        };
        this.scrape(&[]);
        until("Prometheus is ready", || {
            let answer = ask(addr, "/-/ready")?;
            (answer.status == 200).then_some(())
        });
        this
    }

    /// Names what is scraped from now on, each with the label `service`, where it is not empty.
    pub(crate) fn scrape(&self, targets: &[(SocketAddr, &str)]) {
        let groups = targets.iter().map(|(addr, service)| {
            let labels = if service.is_empty() {
                json!({})
            } else {
                json!({ "service": service })
            };
            json!({ "targets": [addr.to_string()], "labels": labels })
        });
        let groups: Vec<Value> = groups.collect();
        let fresh = self.targets.with_extension("fresh");
        fs::write(&fresh, serde_json::to_vec(&groups).unwrap()).unwrap();
        fs::rename(fresh, &self.targets).unwrap();
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns a program of the package that `cargo xtask setup` fetches, unless it is installed.
pub(crate) fn program(name: &str) -> PathBuf {
    let is_here = |program: &Path| {
        let mut command = Command::new(program);
        command
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let fetched = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/setup/prometheus/usr/bin"
    );
    let candidates = [PathBuf::from(name), Path::new(fetched).join(name)];
    let mut here = candidates.into_iter().filter(|program| is_here(program));
    here.next()
        .expect("Prometheus is missing: run `cargo xtask setup`")
}

/// Asks once; `None` if there is no whole answer.
pub(crate) fn ask(addr: SocketAddr, path: &str) -> Option<Answer> {
    let stream = TcpStream::connect_timeout(&addr, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: prometheus\r\nconnection: close\r\n\r\n");
    exchange(&mut BufReader::new(stream), &head, b"").ok()
}
