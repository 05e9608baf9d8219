//! Tests of the latency judge.
