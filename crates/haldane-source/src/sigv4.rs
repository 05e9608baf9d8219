//! AWS Signature Version 4.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>. The crate `aws-sigv4` would bring
//! an async runtime into a pure crate; the algorithm is four hashes.

use jiff::{Timestamp, tz::TimeZone};
use sha2::{Digest as _, Sha256};

use crate::{
    auth::{AwsKeys, one_line},
    encoding::{hex, percent},
    error::Result,
    request::Request,
};

/// The block of SHA-256.
const BLOCK_BYTES: usize = 64;

/// Where a signature is valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    /// The host that the request goes to, with its port.
    pub(crate) host: &'a str,
}

/// Adds the headers that sign the request.
pub(crate) fn sign(
    mut request: Request,
    scope: Scope<'_>,
    keys: &AwsKeys,
    at: Timestamp,
) -> Result<Request> {
    let zoned = at.to_zoned(TimeZone::UTC);
    let date = format!("{:04}{:02}{:02}", zoned.year(), zoned.month(), zoned.day());
    let time = format!(
        "{date}T{:02}{:02}{:02}Z",
        zoned.hour(),
        zoned.minute(),
        zoned.second()
    );
    request.set("X-Amz-Date", &time);
    if let Some(token) = &keys.session_token {
        request.set("X-Amz-Security-Token", one_line(token)?.expose());
    }
    let (canonical, signed) = canonical(&request, scope.host);
    let credential = format!("{date}/{}/{}/aws4_request", scope.region, scope.service);
    let digest = hex(&Sha256::digest(canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{credential}\n{digest}");
    let secret = one_line(&keys.secret_access_key)?;
    let mut key = hmac(format!("AWS4{}", secret.expose()).as_bytes(), &date);
    for part in [scope.region, scope.service, "aws4_request"] {
        key = hmac(&key, part);
    }
    let signature = hex(&hmac(&key, &to_sign));
    let value = format!(
        "AWS4-HMAC-SHA256 Credential={}/{credential}, SignedHeaders={signed}, Signature={signature}",
        keys.access_key_id
    );
    request.set("Authorization", value);
    Ok(request)
}

/// Returns the request in the form that is signed, and the names of the signed headers.
fn canonical(request: &Request, host: &str) -> (String, String) {
    let after_scheme = request.url.split_once("://").map_or("", |(_, rest)| rest);
    let path_at = after_scheme.find('/').unwrap_or(after_scheme.len());
    let target = after_scheme.get(path_at..).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = if path.is_empty() { "/" } else { path };
    // The path is encoded once more, as every service but S3 wants it.
    let path: Vec<String> = path.split('/').map(percent).collect();
    let mut parameters: Vec<&str> = query.split('&').filter(|part| !part.is_empty()).collect();
    // By name, then by value: as whole texts `a=` would come after `a-b=`.
    parameters.sort_by_key(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
    let mut headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|header| {
            let value: Vec<&str> = header.value.expose().split_whitespace().collect();
            (header.name.to_ascii_lowercase(), value.join(" "))
        })
        .collect();
    headers.push(("host".to_owned(), host.to_owned()));
    headers.sort();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let signed = names.join(";");
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{signed}\n{}",
        request.method.as_str(),
        path.join("/"),
        parameters.join("&"),
        hex(&Sha256::digest(&request.body))
    );
    (canonical, signed)
}

/// Returns HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let mut block = [0_u8; BLOCK_BYTES];
    let hashed;
    let key = if key.len() > BLOCK_BYTES {
        hashed = Sha256::digest(key);
        hashed.as_slice()
    } else {
        key
    };
    for (place, byte) in block.iter_mut().zip(key) {
        *place = *byte;
    }
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(message.as_bytes())
        .finalize();
    Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        request::{Header, Method},
        secret::Secret,
    };

    /// The keys, time and scope of AWS's published test suite.
    fn signature(method: Method, url: &str, headers: &[(&str, &str)], body: &str) -> String {
        let request = Request {
            method,
            url: url.to_owned(),
            headers: headers.iter().map(|(n, v)| Header::new(*n, *v)).collect(),
            body: body.as_bytes().to_vec(),
        };
        let keys = AwsKeys {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        let scope = Scope {
            region: "us-east-1",
            service: "service",
            host: "example.amazonaws.com",
        };
        let at = "2015-08-30T12:36:00Z".parse().unwrap();
        let signed = sign(request, scope, &keys, at).unwrap();
        let header = signed.headers.iter().find(|h| h.name == "Authorization");
        let value = header.unwrap().value.expose();
        value.split("SignedHeaders=").nth(1).unwrap().to_owned()
    }

    #[test]
    fn the_published_test_suite_holds() {
        let base = "https://example.amazonaws.com";
        let check = |method, url: &str, headers: &[(&str, &str)], body: &str, expected: &str| {
            let found = signature(method, &format!("{base}{url}"), headers, body);
            assert_eq!(found, expected, "{url}");
        };
        // get-vanilla
        check(
            Method::Get,
            "/",
            &[],
            "",
            "host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        );
        // get-vanilla-query-order-key-case
        check(
            Method::Get,
            "/?Param2=value2&Param1=value1",
            &[],
            "",
            "host;x-amz-date, Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        );
        // post-vanilla
        check(
            Method::Post,
            "/",
            &[],
            "",
            "host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        );
        // post-header-key-sort
        check(
            Method::Post,
            "/",
            &[("My-Header1", "value1")],
            "",
            "host;my-header1;x-amz-date, Signature=c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        );
        // post-x-www-form-urlencoded
        check(
            Method::Post,
            "/",
            &[("Content-Type", "application/x-www-form-urlencoded")],
            "Param1=value1",
            "content-type;host;x-amz-date, Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        );
    }

    #[test]
    fn parameters_are_ordered_by_name() {
        let request = Request::get("https://h/a%20b?a-b=1&a=2&a=1".to_owned());
        let (canonical, signed) = canonical(&request, "h");
        let expected =
            "GET\n/a%2520b\na=1&a=2&a-b=1\naccept:application/json\nhost:h\n\naccept;host\n";
        assert!(canonical.starts_with(expected), "{canonical}");
        assert_eq!(signed, "accept;host");
    }

    #[test]
    fn the_published_vectors_of_hmac_hold() {
        // RFC 4231, cases 2 and 6 (a key longer than a block).
        assert_eq!(
            hex(&hmac(b"Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac(
                &[0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First"
            )),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}
