//! The routes as they are written down, and the paths among them.

use axum::Router;
use axum::routing::MethodRouter;

use crate::state::AppState;

/// A router that remembers its paths, so that tests can walk all of them: a router does not tell.
#[derive(Default)]
pub(crate) struct Table {
    router: Router<AppState>,
    paths: Vec<&'static str>,
}

impl Table {
    /// Adds a path, with what answers there.
    pub(crate) fn route(mut self, path: &'static str, methods: MethodRouter<AppState>) -> Self {
        self.paths.push(path);
        Self { router: self.router.route(path, methods), paths: self.paths }
    }

    /// Adds all of another table.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.paths.extend(other.paths);
        Self { router: self.router.merge(other.router), paths: self.paths }
    }

    /// What answers at these paths.
    pub(crate) fn into_router(self) -> Router<AppState> {
        self.router
    }

    /// Every path, as axum writes them.
    pub(crate) fn into_paths(self) -> Vec<&'static str> {
        self.paths
    }
}
