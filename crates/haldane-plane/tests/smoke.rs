//! The plane as its users see it: real processes, real requests, and nothing left at the end.

mod smoke {
    mod end;
    mod faults;
    mod life;
    mod rig;
    mod traffic;
}
