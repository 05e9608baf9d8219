//! Exporters that speak as routers and meshes do.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::spawn,
};

/// What one version was counted to have answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Requests that were answered well, each in the lower bucket.
    pub(super) fine: u64,
    /// Requests that failed, each slower than any bound.
    pub(super) failed: u64,
}

/// Writes the counts of stable and of the canary as text.
pub(super) type Words = fn([Counts; 2]) -> String;

/// An exporter that runs as long as the test.
#[derive(Clone, Debug)]
pub(super) struct Exporter {
    pub(super) addr: SocketAddr,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug)]
struct Inside {
    counts: [Counts; 2],
    words: Words,
    is_broken: bool,
    scraped: u64,
}

impl Exporter {
    pub(super) fn start(words: Words, counts: [Counts; 2]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let inside = Arc::new(Mutex::new(Inside {
            counts,
            words,
            is_broken: false,
            scraped: 0,
        }));
        let here = Arc::clone(&inside);
        spawn(move || {
            for stream in listener.incoming() {
                // Whoever goes away in the middle of a request may.
                answer(stream.unwrap(), || here.lock().unwrap().page()).ok();
            }
        });
        Self { addr, inside }
    }

    pub(super) fn set(&self, counts: [Counts; 2]) {
        self.inside.lock().unwrap().counts = counts;
    }

    /// Answers 500, or as before.
    pub(super) fn break_down(&self, is_broken: bool) {
        self.inside.lock().unwrap().is_broken = is_broken;
    }

    pub(super) fn scraped(&self) -> u64 {
        self.inside.lock().unwrap().scraped
    }
}

impl Inside {
    fn page(&mut self) -> (&'static str, String) {
        self.scraped += 1;
        if self.is_broken {
            ("500 Broken", String::new())
        } else {
            ("200 OK", (self.words)(self.counts))
        }
    }
}

fn answer(stream: TcpStream, page: impl FnOnce() -> (&'static str, String)) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let (status, body) = page();
    let length = body.len();
    let head = "content-type: text/plain; version=0.0.4\r\nconnection: close\r\n";
    writer.write_all(
        format!("HTTP/1.1 {status}\r\n{head}content-length: {length}\r\n\r\n{body}").as_bytes(),
    )
}

/// What differs between exporters.
struct Dialect<'a> {
    counter: &'a str,
    code: &'a str,
    histogram: &'a str,
    /// The lower bound, and the sum of a fast and of a slow request.
    bound: &'a str,
    sums: [f64; 2],
    /// Which series belong to stable and to the canary.
    sides: [&'a str; 2],
}

impl Dialect<'_> {
    fn write(&self, counts: [Counts; 2]) -> String {
        let mut text = format!("# TYPE {} counter\n", self.counter);
        for (side, Counts { fine, failed }) in self.sides.iter().zip(counts) {
            for (code, count) in [("200", fine), ("503", failed)] {
                text += &format!(
                    "{}{{{side},{}=\"{code}\"}} {count}\n",
                    self.counter, self.code
                );
            }
        }
        text += &format!("# TYPE {} histogram\n", self.histogram);
        for (side, Counts { fine, failed }) in self.sides.iter().zip(counts) {
            let all = fine + failed;
            for (bound, count) in [(self.bound, fine), ("+Inf", all)] {
                text += &format!(
                    "{}_bucket{{{side},le=\"{bound}\"}} {count}\n",
                    self.histogram
                );
            }
            let [fast, slow] = self.sums;
            let sum = fine as f64 * fast + failed as f64 * slow;
            text += &format!(
                "{0}_sum{{{side}}} {sum}\n{0}_count{{{side}}} {all}\n",
                self.histogram
            );
        }
        text
    }
}

/// Envoy behind Contour: milliseconds, clusters by Service.
pub(super) fn envoy(counts: [Counts; 2]) -> String {
    let dialect = Dialect {
        counter: "envoy_cluster_upstream_rq",
        code: "envoy_response_code",
        histogram: "envoy_cluster_upstream_rq_time",
        bound: "25",
        sums: [10.0, 90.0],
        sides: [
            r#"envoy_cluster_name="test_shop_80""#,
            r#"envoy_cluster_name="test_shop-canary_80""#,
        ],
    };
    // What other services get is nobody's business here.
    dialect.write(counts)
        + "envoy_cluster_upstream_rq{envoy_cluster_name=\"test_other_80\",envoy_response_code=\"503\"} 999\n"
}

/// Istio's sidecars at both Deployments, and the sender's view of the same requests.
pub(super) fn istio(counts: [Counts; 2]) -> String {
    let sides = |reporter: &str| {
        ["shop", "shop-canary"].map(|name| {
            format!(
                r#"reporter="{reporter}",destination_workload_namespace="test",destination_workload="{name}",destination_canonical_revision="{name}""#
            )
        })
    };
    let write = |reporter: &str| {
        let sides = sides(reporter);
        let dialect = Dialect {
            counter: "istio_requests_total",
            code: "response_code",
            histogram: "istio_request_duration_milliseconds",
            bound: "25",
            sums: [10.0, 90.0],
            sides: [&sides[0], &sides[1]],
        };
        dialect.write(counts)
    };
    let types = |line: &&str| !line.starts_with('#');
    let source = write("source");
    let source: Vec<&str> = source.lines().filter(types).collect();
    // Families must not be torn apart: those of the sender are sorted in between.
    let destination = write("destination");
    let (counters, histograms) = destination
        .split_once("# TYPE istio_request_duration")
        .unwrap();
    let is_counter = |line: &&&str| line.starts_with("istio_requests_total");
    let (more_counters, more_histograms): (Vec<&str>, Vec<&str>) =
        source.iter().partition(|line| is_counter(line));
    format!(
        "{counters}{}\n# TYPE istio_request_duration{histograms}{}\n",
        more_counters.join("\n"),
        more_histograms.join("\n")
    )
}

/// ingress-nginx: seconds, and a label that is empty for stable.
pub(super) fn nginx(counts: [Counts; 2]) -> String {
    let dialect = Dialect {
        counter: "nginx_ingress_controller_requests",
        code: "status",
        histogram: "nginx_ingress_controller_response_duration_seconds",
        bound: "0.025",
        sums: [0.01, 0.09],
        sides: [
            r#"namespace="test",ingress="shop",service="shop",canary="""#,
            r#"namespace="test",ingress="shop",service="shop",canary="test-shop-canary-80""#,
        ],
    };
    dialect.write(counts)
}
