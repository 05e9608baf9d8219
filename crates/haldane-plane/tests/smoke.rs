//! The plane as its users see it: real processes, real requests, and nothing left at the end.

// Only code under this attribute counts as test code for the lints.
#[cfg(test)]
mod smoke {
    mod definition;
    mod end;
    mod faults;
    mod install;
    mod kinds;
    mod life;
    mod rig;
    mod routers;
    mod traffic;
}
