//! Tests of Traefik.

use crate::tests::case;

#[test]
fn every_case_of_the_table_holds() {
    case::run(include_str!("cases.yaml"));
}
