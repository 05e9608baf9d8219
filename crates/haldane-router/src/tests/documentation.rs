//! What `docs/kubernetes/routers.md` tells is what the routers can do.

use crate::{
    Route,
    route::{Capabilities, Proof, catalog},
};

const PAGE: &str = include_str!("../../../../docs/kubernetes/routers.md");

#[test]
fn the_table_of_capabilities_is_what_the_code_says() {
    let keys = serde_json::to_value(schemars::schema_for!(Route)).unwrap();
    let keys = keys["properties"].as_object().unwrap();
    let rows: Vec<String> = catalog().iter().map(row).collect();
    assert_eq!(rows.len(), keys.len());
    let table = format!(
        "| router | key | weight | header | regex | mirror | share of it | sticky | tried |\n|---|---|---|---|---|---|---|---|---|\n{}",
        rows.join("\n")
    );
    assert!(PAGE.contains(&table), "the table should be\n{table}");
}

#[test]
fn every_example_is_a_route() {
    let yaml = PAGE.split("```yaml").nth(1).unwrap();
    let yaml = yaml.split("```").next().unwrap();
    let page: serde_json::Value = serde_norway::from_str(yaml).unwrap();
    let routes = page["spec"]["routers"].as_array().unwrap();
    assert_eq!(routes.len(), catalog().len());
    for (route, capabilities) in routes.iter().zip(catalog()) {
        let route: Route = serde_json::from_value(route.clone()).unwrap();
        let router = route.router().unwrap();
        assert_eq!(router.capabilities(), capabilities);
        assert!(!router.objects("shop").is_empty());
    }
}

fn row(one: &Capabilities) -> String {
    let tick = |can: bool| if can { "yes" } else { "–" };
    let key = match one.name {
        "Gateway API" => "gateway".to_owned(),
        "NGINX ingress" => "nginx".to_owned(),
        "AWS ALB" => "alb".to_owned(),
        name => name.to_lowercase(),
    };
    let tried = match one.proof {
        Proof::Traffic => "with traffic",
        Proof::Objects => "by objects",
    };
    let cells = [
        one.weight,
        one.header,
        one.header_regex,
        one.mirror,
        one.mirror_share,
        one.sticky,
    ]
    .map(tick)
    .join(" | ");
    format!("| {} | `{key}` | {cells} | {tried} |", one.name)
}
