//! Wire forms: what people and programs write and read, and its conversion to the core's types.
//!
//! The release file is read by [`file::parse`] into types that can't be wrong, or into a list of all its mistakes with line and
//! column. [`long`] writes the same things with every default spelled out, [`schema`] describes them to editors, [`lint`] tells
//! what is allowed but unwise.
//!
//! **Invariant:** nothing here reads or writes files, or fails on any input but by saying what is wrong.

pub mod command;
pub mod file;
pub mod http;
pub mod lint;
pub mod long;
pub mod manifest;
pub mod release;
pub mod schema;
pub mod text;
pub mod yaml;

mod keys;
mod read;
#[cfg(test)]
mod strategy;
mod tree;
