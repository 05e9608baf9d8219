//! Simulated pods that really answer: what a pod is told to do, by its image and its environment, and the server that does it.
//!
//! KWOK decides when a pod runs, is ready, crashes and is gone (`stages.yaml`); the server here only follows what the pod's status
//! says, so that there is one truth. The settings that only KWOK reads are checked here, too, because KWOK takes a mistake for
//! silence.

mod behavior;
mod instance;
mod reply;
pub(crate) mod server;

pub use crate::pod::behavior::{Behavior, Problem, Share, Stop};
