//! Where in a caller's JSON a value stands.

use serde_json::Value;

use crate::error::Problem;

/// Names of fields and places in lists, from the body inwards.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    outer: Option<(&'a Path<'a>, Step<'a>)>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

impl<'a> Path<'a> {
    pub(super) const fn root() -> Self {
        Self { outer: None }
    }

    pub(super) const fn field(&'a self, name: &'a str) -> Self {
        Self { outer: Some((self, Step::Field(name))) }
    }

    pub(super) const fn item(&'a self, place: usize) -> Self {
        Self { outer: Some((self, Step::Item(place))) }
    }

    /// A problem with what stands here.
    pub(super) fn problem(&self, kind: &str, msg: impl Into<String>) -> Problem {
        let mut problem = Problem::new(&[], kind, msg);
        self.append_to(&mut problem.loc);
        problem
    }

    fn append_to(&self, loc: &mut Vec<Value>) {
        if let Some((outer, step)) = &self.outer {
            outer.append_to(loc);
            loc.push(match step {
                Step::Field(name) => (*name).into(),
                Step::Item(place) => (*place).into(),
            });
        }
    }
}
