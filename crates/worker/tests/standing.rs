//! How endpoints stand: what the table, the engine and README say of them is the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::time::Duration;

use scumble_api::{Answers, ENDPOINTS, Family, Lack, Standing};
use scumble_engine::families::{FAMILIES, find};
use scumble_worker::{Models, ModelsConfig};

/// Endpoints by the word for how they stand.
fn counted(config: &ModelsConfig) -> BTreeMap<&'static str, usize> {
    let models = Models::new(config).unwrap();
    let mut counted = BTreeMap::new();
    for endpoint in ENDPOINTS {
        *counted.entry(Standing::of(endpoint, Some(&models.answers(endpoint))).word).or_default() += 1;
    }
    counted
}

#[test]
fn readme_counts_as_the_table_does() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let readme = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    let counted = counted(&ModelsConfig::default());
    for said in [
        format!("Of the {} endpoints, ", ENDPOINTS.len()),
        format!("{} draws at once", counted["here"]),
        format!("{} draw with weights of yours", counted["needs-weights"]),
        format!("and {} are closed models", counted["needs-key"]),
    ] {
        assert!(readme.contains(&said), "README does not say: {said}");
    }
    assert_eq!(counted.values().sum::<usize>(), ENDPOINTS.len());
    assert_eq!(counted.get("not-yet"), None, "README does not speak of models that the engine lacks");
}

#[test]
fn not_yet_is_what_the_engine_has_no_pipeline_for() {
    let models = Models::new(&ModelsConfig::default()).unwrap();
    for endpoint in ENDPOINTS {
        let lack = match models.answers(endpoint) {
            Answers::Here => continue,
            Answers::Nothing { lack, advice } => {
                assert!(advice.contains(endpoint.id), "{advice}");
                lack
            }
            other => panic!("{}: {other:?} without any configuration", endpoint.id),
        };
        let expected = match (endpoint.family, endpoint.family.pipeline()) {
            (Family::Closed(_), pipeline) => {
                assert_eq!(pipeline, None);
                Lack::Key
            }
            (_, Some(class)) if find(class).is_some() => Lack::Weights,
            _ => Lack::Engine,
        };
        assert_eq!(lack, expected, "{}", endpoint.id);
    }
    // every family of the engine has an endpoint, or nobody could call it
    for family in FAMILIES {
        let class = family.class;
        assert!(ENDPOINTS.iter().any(|endpoint| endpoint.pipeline() == Some(class)), "{class}");
    }
}

#[test]
fn cards_are_told_from_pictures() {
    let stand_in = counted(&ModelsConfig { stand_in: Some(Duration::ZERO), ..ModelsConfig::default() });
    assert_eq!((stand_in["here"], stand_in["stand-in"]), (1, ENDPOINTS.len() - 1));
}
