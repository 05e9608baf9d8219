//! Rules about objects of Kubernetes.

use super::{Rule, Severity};

/// A Deployment whose container has these lines.
macro_rules! container {
    ($lines:literal) => {
        concat!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: shop }\nspec:\n  replicas: 2\n  template:\n    spec:\n      containers:\n        - name: shop\n",
            $lines
        )
    };
}

pub(in crate::lint) static PROMOTION_BESIDE_GIT: Rule = Rule {
    id: "promotion-beside-git",
    severity: Severity::Note,
    title: "Promotion writes what Git may hold",
    why: "With pairs the canary's image is written into the stable Deployment. Whoever applies the old image from Git takes the \
          promotion back.",
    fix: "where Git says what runs, let it follow, or let it ignore that field",
    bad: "apiVersion: haldane.dev/v1alpha1\nkind: Release\nmetadata: { name: shop }\nspec:\n  workload: { pairs: [{ stable: shop, canary: shop-canary }] }\n",
    good: "apiVersion: haldane.dev/v1alpha1\nkind: Release\nmetadata: { name: shop }\nspec:\n  workload: { deployment: { name: shop } }\n",
};

pub(in crate::lint) static SHARE_BY_REPLICAS: Rule = Rule {
    id: "share-by-replicas",
    severity: Severity::Note,
    title: "The share of traffic is that of the pods",
    why: "Without a router 5 % of the traffic needs twenty pods; with three the first step is a third of the users.",
    fix: "name who splits the traffic: routers for a Release, trafficRouting for a Rollout",
    bad: "apiVersion: haldane.dev/v1alpha1\nkind: Release\nmetadata: { name: shop }\nspec:\n  workload: { deployment: { name: shop } }\n",
    good: "apiVersion: haldane.dev/v1alpha1\nkind: Release\nmetadata: { name: shop }\nspec:\n  workload: { deployment: { name: shop } }\n  routers: [{ gateway: { httpRoute: shop } }]\n",
};

pub(in crate::lint) static STRAY_MEMBER: Rule = Rule {
    id: "stray-member",
    severity: Severity::Warning,
    title: "A member of a group that does not name it",
    why: "A Release goes with a group only if its own spec says so; without that the others wait for it, and it goes alone.",
    fix: "give the Release spec.group with the group's name",
    bad: "apiVersion: haldane.dev/v1alpha1\nkind: ReleaseGroup\nmetadata: { name: web }\nspec: { members: [{ release: shop }, { release: cart, after: [shop] }] }\n---\napiVersion: haldane.dev/v1alpha1\nkind: Release\nmetadata: { name: shop }\nspec: { workload: { deployment: { name: shop } } }\n",
    good: "apiVersion: haldane.dev/v1alpha1\nkind: ReleaseGroup\nmetadata: { name: web }\nspec: { members: [{ release: shop }, { release: cart, after: [shop] }] }\n---\napiVersion: haldane.dev/v1alpha1\nkind: Release\nmetadata: { name: shop }\nspec: { workload: { deployment: { name: shop } }, group: web }\n",
};

pub(in crate::lint) static GROUP_WITHOUT_ORDER: Rule = Rule {
    id: "group-without-order",
    severity: Severity::Note,
    title: "The members of a group don't wait for each other",
    why: "Without barriers and order each goes at its own pace: one may serve everybody while another has not begun.",
    fix: "give barriers such as [{ at: 25% }, { at: promotion }], or say which member comes after which",
    bad: "apiVersion: haldane.dev/v1alpha1\nkind: ReleaseGroup\nmetadata: { name: web }\nspec: { members: [{ release: shop }, { release: cart }] }\n",
    good: "apiVersion: haldane.dev/v1alpha1\nkind: ReleaseGroup\nmetadata: { name: web }\nspec: { members: [{ release: shop }, { release: cart }], barriers: [{ at: promotion }] }\n",
};

pub(in crate::lint) static UNJUDGED_SPLIT: Rule = Rule {
    id: "unjudged-split",
    severity: Severity::Note,
    title: "A share of traffic that is set by hand",
    why: "Nothing in this text moves the share, judges what it does, or takes it back at night.",
    fix: "let a Release, a Rollout or a Canary move it, or keep it in the same text as that",
    bad: "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: shop }\nspec:\n  hosts: [shop]\n  http:\n    - route:\n        - { destination: { host: shop, subset: stable }, weight: 95 }\n        - { destination: { host: shop, subset: canary }, weight: 5 }\n",
    good: "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: shop }\nspec:\n  hosts: [shop]\n  http:\n    - route:\n        - { destination: { host: shop, subset: stable }, weight: 100 }\n        - { destination: { host: shop, subset: canary }, weight: 0 }\n",
};

pub(in crate::lint) static EMPTY_CANARY: Rule = Rule {
    id: "canary-without-traffic",
    severity: Severity::Warning,
    title: "A canary Ingress that gets no request",
    why: "ingress-nginx sends a canary only what one of canary-weight, canary-by-header and canary-by-cookie says.",
    fix: "add one of them: nginx.ingress.kubernetes.io/canary-weight: \"0\" for a rollout to begin with",
    bad: "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: shop-canary\n  annotations:\n    nginx.ingress.kubernetes.io/canary: \"true\"\n",
    good: "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: shop-canary\n  annotations:\n    nginx.ingress.kubernetes.io/canary: \"true\"\n    nginx.ingress.kubernetes.io/canary-weight: \"0\"\n",
};

pub(in crate::lint) static STICKY_SESSIONS: Rule = Rule {
    id: "sticky-sessions",
    severity: Severity::Warning,
    title: "Sessions that outlive an abort",
    why: "Who is bound to the canary stays there when the weight falls to zero, until the session ends. A rollback then does not \
          help those who need it.",
    fix: "keep sessions outside of the versions; for ingress-nginx set affinity-canary-behavior: legacy",
    bad: "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: shop\n  annotations:\n    nginx.ingress.kubernetes.io/affinity: cookie\n",
    good: "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: shop\n  annotations:\n    nginx.ingress.kubernetes.io/affinity: cookie\n    nginx.ingress.kubernetes.io/affinity-canary-behavior: legacy\n",
};

pub(in crate::lint) static SHARED_STATE: Rule = Rule {
    id: "shared-state",
    severity: Severity::Warning,
    title: "Both versions write to the same volume",
    why: "While a canary is tried, two versions run. What the new one writes the old one must be able to read, also after a \
          rollback; and a claim for one node keeps the new pods from starting on another.",
    fix: "keep state outside of the pods, mount it readOnly, or give each replica a claim of its own (StatefulSet)",
    bad: container!(
        "          image: shop:v1\n          readinessProbe: { httpGet: { path: /ready, port: 8080 } }\n          livenessProbe: { httpGet: { path: /health, port: 8080 } }\n          resources: { requests: { cpu: 100m, memory: 128Mi }, limits: { memory: 128Mi } }\n      volumes:\n        - name: data\n          persistentVolumeClaim: { claimName: shop }\n"
    ),
    good: container!(
        "          image: shop:v1\n          readinessProbe: { httpGet: { path: /ready, port: 8080 } }\n          livenessProbe: { httpGet: { path: /health, port: 8080 } }\n          resources: { requests: { cpu: 100m, memory: 128Mi }, limits: { memory: 128Mi } }\n      volumes:\n        - name: data\n          emptyDir: {}\n"
    ),
};

pub(in crate::lint) static NO_READINESS_PROBE: Rule = Rule {
    id: "no-readiness-probe",
    severity: Severity::Warning,
    title: "A container that is ready as soon as it starts",
    why: "Users are sent to pods that can't serve them yet, and a canary looks worse than it is.",
    fix: "give a readinessProbe that succeeds when it works",
    bad: container!("          image: shop:v1\n"),
    good: container!(
        "          image: shop:v1\n          readinessProbe: { httpGet: { path: /ready, port: 8080 } }\n"
    ),
};

pub(in crate::lint) static NO_LIVENESS_PROBE: Rule = Rule {
    id: "no-liveness-probe",
    severity: Severity::Note,
    title: "A container that hangs is never started again",
    why: "A process that neither answers nor ends stays as it is until somebody looks.",
    fix: "give a livenessProbe that fails only when a restart helps",
    bad: container!("          image: shop:v1\n"),
    good: container!(
        "          image: shop:v1\n          livenessProbe: { httpGet: { path: /health, port: 8080 } }\n"
    ),
};

pub(in crate::lint) static NO_RESOURCES: Rule = Rule {
    id: "no-resources",
    severity: Severity::Warning,
    title: "A container without requests and limits",
    why: "A canary that leaks takes the memory of its neighbors, stable among them: then both are bad, and no comparison sees it.",
    fix: "give resources.requests.cpu, resources.requests.memory and resources.limits.memory",
    bad: container!("          image: shop:v1\n"),
    good: container!(
        "          image: shop:v1\n          resources: { requests: { cpu: 100m, memory: 128Mi }, limits: { memory: 128Mi } }\n"
    ),
};

pub(in crate::lint) static LATEST_TAG: Rule = Rule {
    id: "latest-tag",
    severity: Severity::Warning,
    title: "An image whose version is not told",
    why: "A new version is no change of the object, so nothing is rolled out; replicas of one name run different code; and \
          going back to `latest` goes nowhere.",
    fix: "name the version as a tag, or by its digest",
    bad: container!("          image: shop:latest\n"),
    good: container!("          image: shop:v1.4.2\n"),
};

pub(in crate::lint) static METRIC_WITHOUT_CONDITION: Rule = Rule {
    id: "metric-without-condition",
    severity: Severity::Warning,
    title: "A metric that every value passes",
    why: "A metric of an AnalysisTemplate with neither successCondition nor failureCondition succeeds whatever it measures.",
    fix: "give a successCondition such as result[0] >= 0.99",
    bad: "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata: { name: success-rate }\nspec:\n  metrics:\n    - name: success-rate\n      provider: { prometheus: { address: \"http://prometheus:9090\", query: up } }\n",
    good: "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata: { name: success-rate }\nspec:\n  metrics:\n    - name: success-rate\n      successCondition: result[0] >= 0.99\n      provider: { prometheus: { address: \"http://prometheus:9090\", query: up } }\n",
};

pub(in crate::lint) static UNQUOTED_ANNOTATION: Rule = Rule {
    id: "unquoted-annotation",
    severity: Severity::Error,
    title: "An annotation or label that is no text",
    why: "YAML reads true and 10 as a truth value and a number, and the API server refuses the whole object.",
    fix: "put it in quotes",
    bad: "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: shop-canary\n  annotations:\n    nginx.ingress.kubernetes.io/canary: true\n    nginx.ingress.kubernetes.io/canary-weight: \"0\"\n",
    good: "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: shop-canary\n  annotations:\n    nginx.ingress.kubernetes.io/canary: \"true\"\n    nginx.ingress.kubernetes.io/canary-weight: \"0\"\n",
};
