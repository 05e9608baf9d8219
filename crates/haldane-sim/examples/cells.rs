//! Temporary.
use haldane_core::Weight;
use haldane_sim::judges::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let f = |i: usize| a[i].parse::<f64>().unwrap();
    let runs: u32 = a[4].parse().unwrap();
    let schedule = Schedule { steps: [5, 25, 50, 100].map(Weight::from_percent).to_vec(), hold: 300 };
    let scenario = Scenario::errors(f(1), f(2), f(3));
    for judge in Judge::ALL {
        if a.len() > 5 && !a[5..].iter().any(|n| n == judge.name()) { continue; }
        let t = std::time::Instant::now();
        let played: Vec<Run> = (0..runs).map(|i| play(judge, &scenario, &schedule, haldane_sim::forecast::seed_of(20261121, i))).collect();
        println!("{:14} {:?} {:?}", judge.name(), summarize(&played), t.elapsed());
    }
}
