//! What a platform team writes by hand for a service that is rolled out step by step: alerts, dashboards, manifests and pipelines.
//!
//! Each generator is a pure function from a few words about the service to documents, as `serde_json::Value`; the command line asks for
//! the words and writes the documents as YAML or JSON. The same words give the same bytes, so that what was generated can be kept in Git.

pub mod alertmanager;
pub mod alerts;
pub mod dashboard;
mod decimal;
pub mod manifests;
pub mod pipelines;
pub mod watched;
pub mod words;
