//! The controller on a real Kubernetes: its runtime with a small host over ConfigMaps, and Releases with real traffic.

// Only code under this attribute counts as test code for the lints.
#[cfg(test)]
mod kube {
    mod copies;
    mod faults;
    mod groups;
    mod lead;
    mod release;
    mod rig;
    mod rights;
    mod seeds;
    mod sets;
}
