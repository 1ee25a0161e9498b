//! File rows: what is known about bytes that `scumble-files` keeps.

use scumble_api::{Acl, AclDecision, AclRule};
use serde::{Deserialize, Serialize};

use crate::JobId;

/// The row about one stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// Where `scumble-files` keeps the bytes; also the id of the row.
    pub path: String,
    /// The job that made it; `None` for an upload.
    pub job_id: Option<JobId>,
    /// Its content type.
    pub content_type: String,
    /// Its size.
    pub bytes: i64,
    /// When it was stored.
    pub created_ms: i64,
    /// When it may be deleted; `None` keeps it.
    pub expires_ms: Option<i64>,
    /// The key whose call or upload made it; `None` where no key was needed.
    pub owner: Option<String>,
    /// Who may read it.
    pub access: Access,
}

/// The bytes of a small file that is not in its folder yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreshFile {
    /// As in its row.
    pub path: String,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// How much there is of [`FreshFile`]s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FreshSize {
    /// How many.
    pub files: i64,
    /// All of their bytes.
    pub bytes: i64,
}

/// Who may read a file. The owner always may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// For everybody whom no rule names.
    pub default: Decision,
    /// For some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<AccessRule>,
}

/// What holds for one reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    /// The id of a key.
    pub user: String,
    /// What holds for it.
    pub decision: Decision,
}

/// Whether a reader gets a file, in fal's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Gets it.
    #[default]
    Allow,
    /// Is told that it is not for them.
    Forbid,
    /// Is told that there is no such file.
    Hide,
}

impl From<Acl> for Access {
    fn from(acl: Acl) -> Self {
        let rules = acl.rules.into_iter();
        let rules = rules.map(|AclRule { user, decision }| AccessRule { user, decision: decision.into() });
        Self { default: acl.default.into(), rules: rules.collect() }
    }
}

impl From<AclDecision> for Decision {
    fn from(decision: AclDecision) -> Self {
        match decision {
            AclDecision::Allow => Self::Allow,
            AclDecision::Forbid => Self::Forbid,
            AclDecision::Hide => Self::Hide,
        }
    }
}
