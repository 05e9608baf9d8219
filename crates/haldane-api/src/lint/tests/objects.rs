//! Tests of what is said of objects that are not Haldane's own.

use super::{
    super::{check, fixed},
    ids,
};

/// Checks which rules a text breaks.
fn check_ids(text: &str, expected: &[&str]) {
    assert_eq!(ids(text), expected, "{text}\n{:#?}", check(text, None));
}

/// Returns a Rollout with these steps.
fn rollout(canary: &str) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {{ name: shop }}\nspec:\n  replicas: 3\n  workloadRef: {{ kind: Deployment, name: shop }}\n  strategy:\n    canary: {canary}\n"
    )
}

#[test]
fn a_rollout_of_argo_is_judged_and_slow() {
    let routed = "trafficRouting: { nginx: { stableIngress: shop } }";
    let analysis = "analysis: { templates: [{ templateName: success-rate }] }";
    for (steps, expected) in [
        (
            "{ setWeight: 5 }, { pause: { duration: 1h } }, { analysis: { templates: [] } }, { setWeight: 50 }, { pause: { duration: 1h } }",
            &[][..],
        ),
        (
            "{ setWeight: 5 }, { pause: {} }, { setWeight: 50 }, { pause: { duration: 600 } }",
            &[],
        ),
        (
            "{ setWeight: 5 }, { pause: { duration: 1h } }, { setWeight: 50 }, { pause: { duration: 1h } }",
            &["blind-canary"],
        ),
        (
            "{ setWeight: 5 }, { pause: { duration: 1m } }, { setWeight: 100 }",
            &["blind-canary", "fast-rollout", "jump-to-full"],
        ),
        (
            "{ setWeight: 50 }, { pause: { duration: 1h } }, { setWeight: 20 }, { analysis: {} }",
            &["jump-to-full", "steps-do-not-rise"],
        ),
        ("{ setWeight: 80 }, { pause: {} }", &["big-first-step"]),
        (
            "{ setWeight: 10 }, { setWeight: 50 }, { pause: {} }",
            &["step-without-hold"],
        ),
        (
            "{ setWeight: 5 }, { pause: { duration: '{{inputs.parameters.time}}' } }, { experiment: {} }",
            &[],
        ),
    ] {
        check_ids(
            &rollout(&format!("{{ {routed}, steps: [{steps}] }}")),
            expected,
        );
    }
    check_ids(
        &rollout(&format!(
            "{{ {routed}, {analysis}, steps: [{{ setWeight: 25 }}, {{ pause: {{ duration: 10m }} }}] }}"
        )),
        &[],
    );
    check_ids(&rollout(&format!("{{ {routed} }}")), &["all-at-once"]);
    check_ids(
        &rollout("{ steps: [{ setWeight: 20 }, { pause: {} }] }"),
        &["share-by-replicas"],
    );
    check_ids(&rollout("*strategy"), &[]);
    let blue_green = rollout("{}").replace("canary: {}", "blueGreen: { activeService: shop }");
    check_ids(&blue_green, &["blind-canary"]);
    for more in ["autoPromotionEnabled: false", "prePromotionAnalysis: {}"] {
        let text = blue_green.replace("activeService: shop", more);
        check_ids(&text, &[]);
    }
}

#[test]
fn a_template_of_argo_has_conditions_unless_its_provider_judges() {
    let template = |metric: &str| {
        format!(
            "apiVersion: argoproj.io/v1alpha1\nkind: ClusterAnalysisTemplate\nmetadata: {{ name: a }}\nspec: {{ metrics: [{{ name: m, {metric} }}] }}\n"
        )
    };
    let blind = &["metric-without-condition"][..];
    for (metric, expected) in [
        ("provider: { prometheus: {} }", blind),
        ("provider: { web: {} }", blind),
        ("provider: { job: {} }", &[]),
        (
            "provider: { prometheus: {} }, failureCondition: result[0] > 1",
            &[],
        ),
        (
            "successCondition: default(result, 0) < 1, provider: { datadog: {} }",
            &[],
        ),
    ] {
        check_ids(&template(metric), expected);
    }
}

#[test]
fn a_canary_of_flagger_is_judged_and_slow() {
    let canary = |analysis: &str| {
        format!(
            "apiVersion: flagger.app/v1beta1\nkind: Canary\nmetadata: {{ name: shop }}\nspec:\n  targetRef: {{ kind: Deployment, name: shop }}\n  analysis: {{ alerts: [{{ name: team }}], {analysis} }}\n"
        )
    };
    let metrics = "metrics: [{ name: request-success-rate, thresholdRange: { min: 99 } }, { name: request-duration, thresholdRange: { max: 500 } }]";
    let pace = "interval: 1m, threshold: 5, maxWeight: 50, stepWeight: 5";
    for (analysis, expected) in [
        (format!("{pace}, {metrics}"), &[][..]),
        (pace.to_owned(), &["blind-canary"]),
        (
            format!("{pace}, webhooks: [{{ name: test, type: rollout }}]"),
            &[],
        ),
        (
            format!("{pace}, webhooks: [{{ name: load, type: event }}]"),
            &["blind-canary"],
        ),
        (
            format!("{pace}, {}", metrics.replace("99", "50")),
            &["loose-threshold"],
        ),
        (
            format!(
                "{pace}, metrics: [{{ name: request-duration, thresholdRange: {{ max: 500 }} }}]"
            ),
            &["errors-unwatched"],
        ),
        (
            format!(
                "{pace}, metrics: [{{ name: request-success-rate, thresholdRange: {{ min: 99 }} }}]"
            ),
            &["latency-unwatched"],
        ),
        (
            format!("{pace}, metrics: [{{ name: own, templateRef: {{ name: own }} }}]"),
            &[],
        ),
        (
            format!("interval: 30s, stepWeights: [5, 25, 50], {metrics}"),
            &["fast-rollout"],
        ),
        (
            format!("interval: 10m, stepWeights: [5, 5, 50], {metrics}"),
            &["steps-do-not-rise"],
        ),
        (
            format!("interval: 5m, stepWeight: 60, {metrics}"),
            &["big-first-step"],
        ),
        (
            format!("interval: 5m, stepWeight: 10, maxWeight: 10, {metrics}"),
            &["jump-to-full"],
        ),
        (format!("interval: 1m, iterations: 10, {metrics}"), &[]),
    ] {
        check_ids(&canary(&analysis), expected);
    }
    let untold = canary(metrics).replace("alerts: [{ name: team }], ", "");
    check_ids(&untold, &["nobody-told"]);
    let skipped = canary(pace).replace("  analysis", "  skipAnalysis: true\n  analysis");
    check_ids(&skipped, &["blind-canary"]);
}

#[test]
fn pods_have_probes_limits_and_versions() {
    let workload = |kind: &str, container: &str| {
        format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{ name: shop }}\nspec:\n  replicas: 2\n  template: {{ spec: {{ containers: [{{ name: shop, {container} }}] }} }}\n"
        )
    };
    let good = "image: shop:v1, readinessProbe: {}, livenessProbe: {}, resources: { requests: { cpu: 1, memory: 1Gi }, limits: { memory: 1Gi } }";
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        check_ids(&workload(kind, good), &[]);
        check_ids(&workload(kind, &good.replace(":v1", "")), &["latest-tag"]);
    }
    for (image, expected) in [
        ("shop", &["latest-tag"][..]),
        ("localhost:5000/shop", &["latest-tag"]),
        ("localhost:5000/shop:latest", &["latest-tag"]),
        ("localhost:5000/shop:v1", &[]),
        ("'shop@sha256:0123'", &[]),
        ("'{{ .Values.image }}'", &[]),
        ("$(IMAGE)", &[]),
    ] {
        let container = good.replace("shop:v1", image);
        check_ids(&workload("Deployment", &container), expected);
    }
    check_ids(
        &workload("Deployment", "image: shop:v1"),
        &["no-liveness-probe", "no-readiness-probe", "no-resources"],
    );
    // What an alias holds is not seen, so nothing is missing.
    check_ids(
        &workload("Deployment", "<<: *defaults, image: shop:v1"),
        &[],
    );
    let half = good.replace(", limits: { memory: 1Gi }", "");
    let found = check(&workload("Deployment", &half), None).findings;
    assert_eq!(found[0].reason, "shop has no limits.memory");
    assert_eq!(found[0].path, "spec.template.spec.containers[0].resources");
}

#[test]
fn one_replica_is_a_note_unless_somebody_else_says_how_many() {
    let shop = |name: &str, replicas: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: {name} }}\nspec: {{ {replicas} template: {{ spec: {{ containers: [] }} }} }}\n"
        )
    };
    let single = &["single-replica"][..];
    check_ids(&shop("shop", "replicas: 1,"), single);
    check_ids(&shop("shop", ""), single);
    check_ids(&shop("shop", "replicas: 2,"), &[]);
    check_ids(&shop("shop-canary", "replicas: 1,"), &[]);
    let scaler = "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: { name: shop }\nspec: { scaleTargetRef: { kind: Deployment, name: shop } }\n";
    check_ids(&format!("{}{scaler}", shop("shop", "")), &[]);
}

#[test]
fn a_volume_that_both_versions_write_to_is_told() {
    let with = |volume: &str, modes: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: shop }}\nspec: {{ replicas: 2, template: {{ spec: {{ containers: [], volumes: [{{ name: data, {volume} }}] }} }} }}\n---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{ name: data }}\nspec: {{ accessModes: [{modes}] }}\n"
        )
    };
    let claim = "persistentVolumeClaim: { claimName: data }";
    for (volume, modes, expected) in [
        (claim, "ReadWriteOnce", "never start"),
        (claim, "ReadWriteMany", "at the same time"),
        (claim, "", "both versions mount the claim data"),
        (
            "hostPath: { path: /var/lib/shop }",
            "",
            "a directory of the node",
        ),
    ] {
        let text = with(volume, modes);
        let found = check(&text, None).findings;
        assert!(found[0].reason.contains(expected), "{found:?}");
        check_ids(&text, &["shared-state"]);
    }
    check_ids(&with(claim, "ReadOnlyMany"), &[]);
    check_ids(
        &with(
            "persistentVolumeClaim: { claimName: data, readOnly: true }",
            "",
        ),
        &[],
    );
    check_ids(&with("emptyDir: {}", ""), &[]);
}

#[test]
fn a_split_by_hand_is_told_unless_something_judges_it() {
    let ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: shop-canary\n  annotations:\n    nginx.ingress.kubernetes.io/canary: \"true\"\n    nginx.ingress.kubernetes.io/canary-weight: \"5\"\n";
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: shop }\nspec: { rules: [{ backendRefs: [{ name: shop, weight: 95 }, { name: shop-canary, weight: 5 }] }] }\n";
    let even = route.replace(", weight: 95", "").replace(", weight: 5", "");
    let split = "apiVersion: split.smi-spec.io/v1alpha2\nkind: TrafficSplit\nmetadata: { name: shop }\nspec: { backends: [{ service: a, weight: 900m }, { service: b, weight: 100m }] }\n";
    let judged = "---\napiVersion: flagger.app/v1beta1\nkind: Canary\nmetadata: { name: shop }\n";
    for text in [ingress, route, &even, split] {
        check_ids(text, &["unjudged-split"]);
        check_ids(&format!("{text}{judged}"), &[]);
    }
    check_ids(&route.replace("weight: 5 ", "weight: 0 "), &[]);
    check_ids(&ingress.replace("\"5\"", "\"0\""), &[]);
}

#[test]
fn sessions_that_outlive_an_abort_are_told() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: { name: shop }\nspec: { sessionAffinity: ClientIP }\n";
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: shop }\nspec: { rules: [{ backendRefs: [{ name: shop }], sessionPersistence: { sessionName: a } }] }\n";
    check_ids(service, &["sticky-sessions"]);
    check_ids(&service.replace("ClientIP", "None"), &[]);
    check_ids(route, &["sticky-sessions"]);
}

#[test]
fn what_is_plain_and_safe_is_fixed_and_nothing_else() {
    let text = "\
# The canary.
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  annotations:
    nginx.ingress.kubernetes.io/canary: true # yes
    nginx.ingress.kubernetes.io/canary-weight: 0
    nginx.ingress.kubernetes.io/affinity: cookie  # by cookie
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
spec:
  strategy:
    canary:
      trafficRouting: {}
      steps:
        - setWeight: 10
        - setWeight: 25 # a quarter
        - pause: {}
";
    let expected = "\
# The canary.
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  annotations:
    nginx.ingress.kubernetes.io/canary: \"true\" # yes
    nginx.ingress.kubernetes.io/canary-weight: \"0\"
    nginx.ingress.kubernetes.io/affinity: cookie  # by cookie
    nginx.ingress.kubernetes.io/affinity-canary-behavior: legacy
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
spec:
  strategy:
    canary:
      trafficRouting: {}
      steps:
        - setWeight: 10
        - pause: { duration: 5m }
        - setWeight: 25 # a quarter
        - pause: {}
";
    let report = check(text, None);
    assert_eq!(fixed(text, &report.findings), expected);
    assert_eq!(check(expected, None).findings, [], "it is right now");
    // In braces there is no line to put another one below.
    let braces = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: { annotations: { nginx.ingress.kubernetes.io/affinity: cookie } }\n";
    let report = check(braces, None);
    assert_eq!(report.findings[0].edit, None);
    assert_eq!(fixed(braces, &report.findings), braces);
    let steps = "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nspec:\n  strategy:\n    canary: { trafficRouting: {}, steps: [{ setWeight: 5 }, { setWeight: 25 }, { pause: {} }] }\n";
    assert_eq!(fixed(steps, &check(steps, None).findings), steps);
}

#[test]
fn objects_that_no_rule_is_about_are_named() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: shop, labels: { build: 7 } }\n---\nno: object\n";
    let report = check(text, None);
    assert_eq!(
        report.ignored,
        ["ConfigMap shop", "something without a kind"]
    );
    assert_eq!(report.findings[0].rule.id, "unquoted-annotation");
}
