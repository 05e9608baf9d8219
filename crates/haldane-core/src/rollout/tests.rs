//! Tests of the machine: properties over random plans and inputs, and tables of what each input does in each phase.

mod any;
mod asked;
mod commands;
mod promotion;
mod properties;
mod script;
mod steps;
