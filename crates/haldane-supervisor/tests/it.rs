//! The supervisor with real processes, files and signals.

// Only code under this attribute counts as test code for the lints.
#[cfg(test)]
mod it {
    mod adoption;
    mod job;
    mod life;
    mod output;
    mod rig;
    mod wish;
}
