//! The `haldane` program as people run it: real processes, sockets, signals, files and disks.

// Only code under this attribute counts as test code for the lints.
#[cfg(test)]
mod it {
    mod api;
    mod bands;
    mod canary;
    mod chance;
    mod children;
    mod command;
    mod conversion;
    mod crash;
    mod demo;
    mod descriptors;
    mod disk;
    mod http;
    mod life;
    mod load;
    mod prometheus;
    mod replay;
    mod rig;
    mod routing;
    mod store;
}
