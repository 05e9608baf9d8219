//! The engine with real files and processes.

#[cfg(test)]
mod it {
    mod rig;
    mod store;
}
