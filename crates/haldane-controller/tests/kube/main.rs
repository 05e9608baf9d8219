//! The runtime of the controller on a real Kubernetes, with a small host over ConfigMaps.

// Only code under this attribute counts as test code for the lints.
#[cfg(test)]
mod kube {
    mod copies;
    mod faults;
    mod lead;
    mod rig;
    mod rights;
    mod seeds;
    mod sets;
}
