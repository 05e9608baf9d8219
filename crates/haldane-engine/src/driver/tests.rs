//! The driver on a scripted world and a real store, turned by hand with a clock of its own: nothing sleeps.
//!
//! Every scenario ends with a check of all history (`bench`): no gaps, only lawful transitions, and each decided again from what is
//! stored gives the same. On every turn the routed weight is compared with the last durable one.

mod absent;
mod apply;
mod bands;
mod bench;
mod canary;
mod command;
mod disk;
mod failing;
mod observed;
mod queue;
mod recorded;
mod restart;
mod rollout;
mod supersede;
mod time;
mod trouble;
mod world;
