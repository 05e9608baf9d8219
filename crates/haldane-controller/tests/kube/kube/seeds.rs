//! Releases of pairs as teams have them before they have Haldane, and the commands by which they run their canaries until then.

mod cluster;
mod hands;
mod promotion;
