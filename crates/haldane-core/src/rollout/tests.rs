//! Tests of the machine: properties over random plans and inputs, and tables of what each input does in each phase.

#![expect(
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    reason = "a table is as long as what it lists, and a test names what it is about"
)]

mod any;
mod asked;
mod commands;
mod invariant;
mod outlook;
mod promotion;
mod properties;
mod script;
mod standing;
mod steps;
mod trouble;
