//! What is generated, read by the programs that it is for: promtool, and Prometheus itself.

// Only code under this attribute counts as test code for the lints.
#[cfg(test)]
mod kit {
    mod alertmanager;
    mod cases;
    mod dashboards;
    mod promtool;
    mod rules;
    mod world;
}
