//! What all makers have in common.

pub(crate) mod brake;
pub(crate) mod call;
pub(crate) mod cost;
pub(crate) mod desk;
pub(crate) mod error;
pub(crate) mod fan;
pub(crate) mod gate;
pub(crate) mod ledger;
pub(crate) mod retry;
pub(crate) mod secret;
pub(crate) mod sync;
pub(crate) mod ticket;
