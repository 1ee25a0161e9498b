//! An outcome on its way into the database.

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use super::rows::{plain, to_json};
use crate::{Outcome, Result};

/// An outcome as columns, in the order in which every function takes them. `Default` is none.
#[derive(Debug, Default)]
pub(super) struct Ending {
    status: Option<i32>,
    body: Option<String>,
    headers: Option<String>,
    error: Option<String>,
    error_type: Option<String>,
    inference_ms: Option<i64>,
}

impl Ending {
    pub(super) fn new(outcome: &Outcome) -> Result<Self> {
        let Outcome { status, body, headers, error, error_type, inference_ms } = outcome;
        Ok(Self {
            status: Some(i32::from(*status)),
            body: Some(body.to_string()),
            headers: Some(to_json("outcome headers", headers)?),
            error: error.as_deref().map(|text| plain(text).into_owned()),
            error_type: error_type.as_deref().map(|text| plain(text).into_owned()),
            inference_ms: *inference_ms,
        })
    }

    pub(super) fn bind<'q>(&'q self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        let Self { status, body, headers, error, error_type, inference_ms } = self;
        query.bind(status).bind(body).bind(headers).bind(error).bind(error_type).bind(inference_ms)
    }
}
