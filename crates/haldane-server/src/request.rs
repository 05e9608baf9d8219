//! The parts of a request as types that can't be wrong.

use std::str::FromStr;

use axum::{
    Json, RequestPartsExt,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::request::Parts,
};
use haldane_core::NameError;
use serde::de::DeserializeOwned;

use crate::{app::App, refusal::Refusal};

/// The one variable segment of the path, a name.
#[derive(Debug)]
pub(crate) struct Segment<T>(pub(crate) T);

/// The query.
#[derive(Debug)]
pub(crate) struct Parameters<T>(pub(crate) T);

/// The body, as JSON.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: FromStr<Err = NameError>> FromRequestParts<App> for Segment<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        let Path(text) = parts.extract::<Path<String>>().await?;
        let name = text
            .parse()
            .map_err(|error: NameError| Refusal::invalid(error.to_string()))?;
        Ok(Self(name))
    }
}

impl<T: DeserializeOwned> FromRequestParts<App> for Parameters<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let Query(query) = Query::from_request_parts(parts, app).await?;
        Ok(Self(query))
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(req: Request, app: &App) -> Result<Self, Refusal> {
        match Json::from_request(req, app).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => {
                let refusal = Refusal::from(rejection);
                if refusal.is_too_large() {
                    app.hits.body.count();
                }
                Err(refusal)
            }
        }
    }
}
