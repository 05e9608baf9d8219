//! The providers: one file each, with what is asked, `request` and `parse`.

pub mod cloudwatch;
pub mod command;
pub mod datadog;
pub mod dynatrace;
pub mod external;
pub mod google;
pub mod graphite;
pub mod influxdb;
pub mod keptn;
pub mod newrelic;
pub mod prometheus;
pub mod signalfx;
pub mod skywalking;
pub mod splunk;
pub mod wavefront;
pub mod web;

mod rows;
mod words;
