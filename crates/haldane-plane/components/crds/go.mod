// The definitions of kinds that the test plane knows, as far as modules carry them.
module haldane.dev/plane/crds

go 1.26.0

require (
	github.com/envoyproxy/gateway v1.9.0
	github.com/projectcontour/contour v1.33.8
	github.com/prometheus-operator/prometheus-operator v0.85.0
	github.com/traefik/traefik/v3 v3.6.12
	istio.io/api v1.31.1
	sigs.k8s.io/gateway-api v1.6.3
)
