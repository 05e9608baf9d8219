//! The store on real disks, good and bad.

mod bounds;
mod crash;
mod damage;
#[cfg(target_os = "linux")]
mod disk;
mod rows;
