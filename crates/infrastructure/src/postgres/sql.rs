//! SQL as text, run as a cached prepared statement.
//!
//! diesel prepares `sql_query` and several of its DSL's statements anew on each call, which costs a round trip, a parse
//! and a plan. [`Sql`] is its own query fragment, cached by its text on each connection, so it is prepared once. Rows come
//! back by name through `QueryableByName`.
//!
//! Statements that are polled together travel in one flight, in the order in which they are polled: each takes the
//! connection's statement cache, a fair lock, before it sends anything.

use std::borrow::Cow;
use std::future::Future;
use std::marker::PhantomData;

use bytes::Bytes;
use convene_application::kernel::store::StoreError;
use diesel::deserialize::QueryableByName;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error, QueryResult};
use diesel::serialize::ToSql;
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Double, HasSqlType, Integer, Jsonb, Nullable, SmallInt, Text,
    Timestamp, Timestamptz, Untyped, Uuid as SqlUuid,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use uuid::Uuid;

use super::pool::Connection;

/// A statement with its parameters. `$1` in the text is the first parameter; each may stand in several places.
pub(crate) struct Sql {
    text: Cow<'static, str>,
    parameters: Vec<Box<dyn Bind>>,
}

/// A statement without parameters yet.
pub(crate) fn sql(text: impl Into<Cow<'static, str>>) -> Sql {
    Sql { text: text.into(), parameters: Vec::new() }
}

impl Sql {
    /// Adds the next parameter.
    pub(crate) fn bind<P: Parameter>(mut self, value: P) -> Self {
        self.parameters.push(value.boxed());
        self
    }

    /// Runs the statement and returns its rows.
    pub(crate) async fn rows<U>(self, connection: &Connection) -> Result<Vec<U>, StoreError>
    where
        U: QueryableByName<Pg> + Send + 'static,
    {
        let mut session: &AsyncPgConnection = connection;
        connection.answer(self.load(&mut session)).await
    }

    /// Runs a statement that returns at most one row.
    pub(crate) async fn row<U>(self, connection: &Connection) -> Result<Option<U>, StoreError>
    where
        U: QueryableByName<Pg> + Send + 'static,
    {
        Ok(self.rows(connection).await?.into_iter().next())
    }

    /// Runs the statement and returns how many rows it touched.
    pub(crate) async fn run(self, connection: &Connection) -> Result<usize, StoreError> {
        let mut session: &AsyncPgConnection = connection;
        connection.answer(self.execute(&mut session)).await
    }
}

/// Polls all futures, the first first, so that their statements leave in this order. Of several failures it answers the
/// first in this order: it aborted the transaction, and those behind it say no more than that.
pub(crate) async fn pipelined<T>(
    statements: Vec<impl Future<Output = Result<T, StoreError>>>,
) -> Result<Vec<T>, StoreError> {
    futures::future::join_all(statements).await.into_iter().collect()
}

/// [`pipelined`] for futures of different types. `try_join!` would answer the failure that is noticed first.
macro_rules! flight {
    ($($statement:expr),+ $(,)?) => {
        $crate::postgres::sql::InOrder::in_order(futures::join!($($statement),+))
    };
}
pub(crate) use flight;

/// Outcomes in the order in which their statements left.
pub(crate) trait InOrder {
    type Answers;

    /// All answers, or the first failure.
    fn in_order(self) -> Result<Self::Answers, StoreError>;
}

macro_rules! in_order {
    ($($answer:ident)+) => {
        impl<$($answer),+> InOrder for ($(Result<$answer, StoreError>,)+) {
            type Answers = ($($answer,)+);

            #[expect(non_snake_case, reason = "each outcome is named like its type")]
            fn in_order(self) -> Result<Self::Answers, StoreError> {
                let ($($answer,)+) = self;
                Ok(($($answer?,)+))
            }
        }
    };
}

in_order!(A B);
in_order!(A B C);
in_order!(A B C D);
in_order!(A B C D E);
in_order!(A B C D E F);

impl QueryFragment<Pg> for Sql {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut pieces = self.text.split('$');
        out.push_sql(pieces.next().unwrap_or_default());
        for piece in pieces {
            let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = piece.split_at(digits);
            let parameter = number
                .parse::<usize>()
                .ok()
                .and_then(|number| self.parameters.get(number.checked_sub(1)?))
                .ok_or_else(|| {
                    Error::QueryBuilderError(
                        format!("no parameter ${number} in: {}", self.text).into(),
                    )
                })?;
            parameter.push(&mut out)?;
            out.push_sql(rest);
        }
        Ok(())
    }
}

impl QueryId for Sql {
    type QueryId = ();
    // The text is the key of the statement cache.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Sql {
    type SqlType = Untyped;
}

/// A parameter of some SQL type.
pub(crate) trait Bind: Send + Sync {
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()>;
}

struct Bound<ST, T>(T, PhantomData<fn(ST)>);

impl<ST, T> Bind for Bound<ST, T>
where
    T: ToSql<ST, Pg> + Send + Sync,
    Pg: HasSqlType<ST>,
{
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_bind_param::<ST, T>(&self.0)
    }
}

/// A Rust type with the one SQL type that it is bound as.
pub(crate) trait Parameter {
    #[doc(hidden)]
    fn boxed(self) -> Box<dyn Bind + 'static>;
}

macro_rules! parameters {
    ($($rust:ty => $sql:ty, |$value:ident| $convert:expr;)+) => {$(
        impl Parameter for $rust {
            fn boxed(self) -> Box<dyn Bind> {
                let $value = self;
                Box::new(Bound::<$sql, _>($convert, PhantomData))
            }
        }
        impl Parameter for Option<$rust> {
            fn boxed(self) -> Box<dyn Bind> {
                Box::new(Bound::<Nullable<$sql>, _>(self.map(|$value| $convert), PhantomData))
            }
        }
        impl Parameter for Vec<$rust> {
            fn boxed(self) -> Box<dyn Bind> {
                let values: Vec<_> = self.into_iter().map(|$value| $convert).collect();
                Box::new(Bound::<Array<$sql>, _>(values, PhantomData))
            }
        }
        impl Parameter for Vec<Option<$rust>> {
            fn boxed(self) -> Box<dyn Bind> {
                let values: Vec<_> =
                    self.into_iter().map(|value| value.map(|$value| $convert)).collect();
                Box::new(Bound::<Array<Nullable<$sql>>, _>(values, PhantomData))
            }
        }
    )+};
}

parameters! {
    Uuid => SqlUuid, |value| value;
    String => Text, |value| value;
    &'static str => Text, |value| value;
    bool => Bool, |value| value;
    i16 => SmallInt, |value| value;
    i32 => Integer, |value| value;
    i64 => BigInt, |value| value;
    f64 => Double, |value| value;
    Vec<u8> => Binary, |value| value;
    [u8; 32] => Binary, |value| value.to_vec();
    Bytes => Binary, |value| Vec::from(value);
    jiff::Timestamp => Timestamptz, |value| jiff_diesel::Timestamp::from(value);
    jiff::civil::DateTime => Timestamp, |value| jiff_diesel::DateTime::from(value);
    serde_json::Value => Jsonb, |value| value;
}

/// A length of time as a parameter: `$1 * interval '1 microsecond'`.
pub(crate) fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A stored value as the domain's. One that breaks its rule is a defect, and not shown.
pub(crate) fn stored<T, E>(column: &'static str, value: Result<T, E>) -> Result<T, StoreError> {
    value.map_err(|_| StoreError::other(format!("{column} holds a value that breaks its rule")))
}

/// What Postgres raises when a unit of work carries the fence of a lost lease.
pub(crate) const FENCED: &str = "convene: lease lost";

/// The closed list of what can go wrong, from diesel's open one. Postgres' class of the error is not passed on by
/// diesel-async, so some are told by the message, which the session keeps in English.
pub(crate) fn store_error(error: Error) -> StoreError {
    let Error::DatabaseError(kind, information) = &error else {
        return match error {
            Error::BrokenTransactionManager | Error::NotInTransaction => {
                StoreError::Unavailable(Box::new(error))
            }
            error => StoreError::Other(Box::new(error)),
        };
    };
    match kind {
        DatabaseErrorKind::UniqueViolation => StoreError::Unique {
            constraint: information.constraint_name().unwrap_or_default().to_owned(),
        },
        DatabaseErrorKind::SerializationFailure => StoreError::Retryable(Box::new(error)),
        DatabaseErrorKind::ClosedConnection
        | DatabaseErrorKind::UnableToSendCommand
        | DatabaseErrorKind::ReadOnlyTransaction => StoreError::Unavailable(Box::new(error)),
        _ => match information.message() {
            FENCED => StoreError::Fenced,
            "deadlock detected" | "canceling statement due to lock timeout" => {
                StoreError::Retryable(Box::new(error))
            }
            message
                if message.starts_with("canceling statement due to statement timeout")
                    || message.starts_with("terminating connection")
                    || message.starts_with("the database system is")
                    || message.starts_with("sorry, too many clients")
                    || message.ends_with("No space left on device") =>
            {
                StoreError::Unavailable(Box::new(error))
            }
            _ => StoreError::Other(Box::new(error)),
        },
    }
}
