//! The API's description, made from the table of routes.

use haldane_api::http::Refused;
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        ArrayBuilder, ComponentsBuilder, Content, Info, ObjectBuilder, OpenApi, OpenApiBuilder,
        Paths, Ref, RefOr, Required, Response, ResponseBuilder, Schema, Type,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
    },
};

use crate::route::routes;

const JSON: &str = "application/json";

/// What is documented of one route.
pub(crate) struct Entry {
    operation: OperationBuilder,
    schemas: Schemas,
}

type Schemas = Vec<(String, RefOr<Schema>)>;

/// Returns the OpenAPI 3.1 document as JSON, for readers who have no daemon at hand.
///
/// # Errors
/// When it can't be written as JSON, which a test excludes.
pub fn openapi_json() -> serde_json::Result<String> {
    document().to_pretty_json()
}

/// Returns the document.
pub(crate) fn document() -> OpenApi {
    let mut paths = Paths::new();
    let mut components = ComponentsBuilder::new().schemas_from_iter(schemas_of::<Refused>());
    for route in routes() {
        let (operation, schemas) = route.entry.into_parts(route.path);
        paths.add_path_operation(route.path, vec![route.method], operation);
        components = components.schemas_from_iter(schemas);
    }
    let mut info = Info::new("Haldane", env!("CARGO_PKG_VERSION"));
    info.description = Some("The daemon's API, on its unix socket.".to_owned());
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components.build()))
        .build()
}

impl Entry {
    /// Begins an entry with its id and what the route does.
    pub(crate) fn new(id: &str, summary: &str) -> Self {
        let operation = OperationBuilder::new()
            .operation_id(Some(id))
            .summary(Some(summary));
        Self {
            operation,
            schemas: Schemas::new(),
        }
    }

    /// Adds the query's parameters.
    pub(crate) fn asks<T: IntoParams>(self) -> Self {
        let parameters = T::into_params(|| Some(ParameterIn::Query));
        let add =
            |operation: OperationBuilder, parameter: Parameter| operation.parameter(parameter);
        Self {
            operation: parameters.into_iter().fold(self.operation, add),
            ..self
        }
    }

    /// Adds the body.
    pub(crate) fn takes<T: ToSchema>(mut self) -> Self {
        self.schemas.extend(schemas_of::<T>());
        let body = RequestBodyBuilder::new()
            .content(JSON, Content::new(Some(reference::<T>())))
            .required(Some(Required::True))
            .build();
        Self {
            operation: self.operation.request_body(Some(body)),
            ..self
        }
    }

    /// Adds the answer.
    pub(crate) fn answers<T: ToSchema>(mut self) -> Self {
        self.schemas.extend(schemas_of::<T>());
        self.with_answer(JSON, "Done.", reference::<T>())
    }

    /// Adds an answer that is a list.
    pub(crate) fn answers_list<T: ToSchema>(mut self) -> Self {
        self.schemas.extend(schemas_of::<T>());
        self.with_answer(
            JSON,
            "Done.",
            ArrayBuilder::new().items(reference::<T>()).build(),
        )
    }

    /// Adds an answer that is any JSON object.
    pub(crate) fn answers_any(self) -> Self {
        self.with_answer(
            JSON,
            "Done.",
            ObjectBuilder::new().schema_type(Type::Object).build(),
        )
    }

    /// Adds an answer that is text.
    pub(crate) fn answers_text(self, media_type: &str, what: &str) -> Self {
        self.with_answer(
            media_type,
            what,
            ObjectBuilder::new().schema_type(Type::String).build(),
        )
    }

    /// Adds the statuses that are not a success.
    pub(crate) fn refuses(self, statuses: &[u16]) -> Self {
        let add = |operation: OperationBuilder, status: &u16| {
            operation.response(status.to_string(), refusal(*status))
        };
        Self {
            operation: statuses.iter().fold(self.operation, add),
            ..self
        }
    }

    /// Returns the operation, with the parameters of its path, and the schemas that it refers to.
    fn into_parts(self, path: &str) -> (Operation, Schemas) {
        let names = path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
        let add = |operation: OperationBuilder, name| operation.parameter(path_parameter(name));
        (names.fold(self.operation, add).build(), self.schemas)
    }

    fn with_answer(self, media_type: &str, what: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        let answer = ResponseBuilder::new()
            .description(what)
            .content(media_type, Content::new(Some(schema)));
        Self {
            operation: self.operation.response("200", answer.build()),
            ..self
        }
    }
}

fn refusal(status: u16) -> Response {
    let what = match status {
        400 => "The request makes no sense.",
        404 => "There is no such thing.",
        409 => "It makes sense, but not in the rollout's state.",
        413 => "The body is too large.",
        415 => "The body is not JSON.",
        _ => "It can't be done now: the store fails, or the daemon is too busy.",
    };
    let content = Content::new(Some(reference::<Refused>()));
    ResponseBuilder::new()
        .description(what)
        .content(JSON, content)
        .build()
}

fn path_parameter(name: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

fn reference<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

/// Returns the schema of a type and of all types in it.
fn schemas_of<T: ToSchema>() -> Schemas {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    schemas
}

#[cfg(test)]
mod tests;
