//! What a request to the API server asks for, read from its method and its address.

use std::fmt;

use http::{Method, Uri};
use serde::{Deserialize, Serialize};

/// What a client wants to do, as RBAC names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// Read one object, or something that is no object.
    Get,
    /// Read many.
    List,
    /// Follow changes.
    Watch,
    /// Make a new one.
    Create,
    /// Replace.
    Update,
    /// Change in part, and server-side apply.
    Patch,
    /// Delete one or many.
    Delete,
}

/// One request to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiRequest {
    pub verb: Verb,
    /// Empty for the core group.
    pub group: String,
    /// With its subresource; empty for what is no object, such as `/version`.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub agent: String,
}

impl ApiRequest {
    pub(crate) fn new(method: &Method, uri: &Uri, agent: &str) -> Self {
        let parts: Vec<&str> = uri
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => ("", [].as_slice()),
        };
        let (namespace, rest) = match rest {
            // A namespace is an object, too, and `status` and `finalize` are its subresources.
            ["namespaces", ns, resource, rest @ ..]
                if !matches!(*resource, "status" | "finalize") =>
            {
                (*ns, [&[*resource], rest].concat())
            }
            _ => ("", rest.to_vec()),
        };
        let (resource, name) = match rest.as_slice() {
            [] => (String::new(), ""),
            [resource] => ((*resource).to_owned(), ""),
            [resource, name] => ((*resource).to_owned(), *name),
            [resource, name, rest @ ..] => (format!("{resource}/{}", rest.join("/")), *name),
        };
        let is_many = name.is_empty() && !resource.is_empty();
        Self {
            verb: verb(method, is_watch(uri), is_many),
            group: group.to_owned(),
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            agent: agent.to_owned(),
        }
    }
}

impl fmt::Display for ApiRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verb,
            resource,
            namespace,
            name,
            ..
        } = self;
        write!(f, "{verb:?} {resource} {namespace}/{name}")
    }
}

fn is_watch(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch"))
}

fn verb(method: &Method, is_watch: bool, is_many: bool) -> Verb {
    match method.as_str() {
        "POST" => Verb::Create,
        "PUT" => Verb::Update,
        "PATCH" => Verb::Patch,
        "DELETE" => Verb::Delete,
        _ if is_watch => Verb::Watch,
        _ if is_many => Verb::List,
        _ => Verb::Get,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &Method, uri: &str, expected: (Verb, &str, &str, &str, &str)) {
        let req = ApiRequest::new(method, &uri.parse().unwrap(), "");
        let found = (
            req.verb,
            req.group.as_str(),
            req.resource.as_str(),
            req.namespace.as_str(),
            req.name.as_str(),
        );
        assert_eq!(found, expected, "{method} {uri}");
    }

    #[test]
    fn addresses_are_read_as_the_server_reads_them() {
        let apps = "/apis/apps/v1/namespaces/shop/deployments";
        check(
            &Method::GET,
            apps,
            (Verb::List, "apps", "deployments", "shop", ""),
        );
        check(
            &Method::GET,
            &format!("{apps}?watch=true"),
            (Verb::Watch, "apps", "deployments", "shop", ""),
        );
        check(
            &Method::PATCH,
            &format!("{apps}/web"),
            (Verb::Patch, "apps", "deployments", "shop", "web"),
        );
        check(
            &Method::PUT,
            &format!("{apps}/web/status"),
            (Verb::Update, "apps", "deployments/status", "shop", "web"),
        );
        check(
            &Method::POST,
            "/api/v1/namespaces/shop/pods",
            (Verb::Create, "", "pods", "shop", ""),
        );
        check(
            &Method::DELETE,
            "/api/v1/nodes/node-1",
            (Verb::Delete, "", "nodes", "", "node-1"),
        );
        check(
            &Method::GET,
            "/api/v1/namespaces/shop",
            (Verb::Get, "", "namespaces", "", "shop"),
        );
        check(
            &Method::PUT,
            "/api/v1/namespaces/shop/finalize",
            (Verb::Update, "", "namespaces/finalize", "", "shop"),
        );
        check(&Method::GET, "/version", (Verb::Get, "", "", "", ""));
        check(&Method::GET, "/apis", (Verb::Get, "", "", "", ""));
    }
}
