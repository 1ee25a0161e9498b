//! What the files under `.github` say, held against what is in the repository: nothing here runs them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::{Path, PathBuf};

use yaml_rust2::{Yaml, YamlLoader};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Each file of a folder under `.github`, by its name.
fn parsed(folder: &str) -> Vec<(String, Yaml)> {
    let entries = std::fs::read_dir(root().join(".github").join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = entries
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let mut documents = YamlLoader::load_from_str(&std::fs::read_to_string(&path).unwrap())
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(documents.len(), 1, "{name}");
            (name, documents.remove(0))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn entries(yaml: &Yaml) -> impl Iterator<Item = (&str, &Yaml)> {
    yaml.as_hash().into_iter().flatten().map(|(name, value)| (name.as_str().unwrap(), value))
}

/// All steps of a workflow, with the name of their job.
fn steps(workflow: &Yaml) -> Vec<(&str, &Yaml)> {
    let jobs = entries(&workflow["jobs"]);
    jobs.flat_map(|(name, job)| job["steps"].as_vec().unwrap().iter().map(move |step| (name, step))).collect()
}

#[test]
fn workflows_have_what_they_need_and_no_more() {
    let all = parsed("workflows");
    let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["advisories.yml", "ci.yml", "release.yml"]);
    for (name, workflow) in &all {
        assert_eq!(
            workflow["permissions"]["contents"].as_str(),
            Some("read"),
            "{name}: what is not needed is not given"
        );
        assert!(entries(&workflow["on"]).any(|(event, _)| event == "workflow_dispatch"), "{name}: by hand too");
        for (job, about) in entries(&workflow["jobs"]) {
            assert!(about["timeout-minutes"].as_i64().is_some(), "{name}: {job} has no end");
            assert!(about["runs-on"].as_str().is_some(), "{name}: {job} runs nowhere");
            if let Some(needed) = about["needs"].as_str() {
                assert!(workflow["jobs"][needed].as_hash().is_some(), "{name}: {job} needs {needed}");
            }
        }
        for (job, step) in steps(workflow) {
            match (step["uses"].as_str(), step["run"].as_str()) {
                (Some(uses), None) => {
                    let (owner, version) = uses.split_once('@').unwrap_or_else(|| panic!("{name}: {uses}"));
                    assert!(
                        owner.starts_with("actions/") && version.starts_with('v'),
                        "{name}: {uses} is a stranger's"
                    );
                    let keeps = step["with"]["persist-credentials"].as_bool();
                    assert!(owner != "actions/checkout" || keeps == Some(false), "{name}: {job} keeps its token");
                }
                (None, Some(_)) => {
                    assert!(step["name"].as_str().is_some() || step["env"].is_badvalue(), "{name}: {job}");
                }
                _ => panic!("{name}: a step of {job} neither uses nor runs something"),
            }
        }
    }
    let schedule = &all[0].1["on"]["schedule"][0]["cron"];
    assert_eq!(schedule.as_str().unwrap().split(' ').count(), 5, "advisories come on days");
}

/// Words of a shell script that name something of ours.
fn named(script: &str) -> impl Iterator<Item = &str> {
    let words = script.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '(' | ')' | ';' | '='));
    words.filter(|word| {
        let is_path = [".ci/", "crates/", "docs/", "fuzz/", "clients/"].iter().any(|folder| word.starts_with(folder));
        is_path || word.ends_with(".md") && !word.contains("target/") || word.ends_with(".toml")
    })
}

#[test]
fn what_workflows_name_is_there() {
    let mut seen = 0;
    for (name, workflow) in parsed("workflows") {
        let scripts = steps(&workflow).into_iter().filter_map(|(_, step)| step["run"].as_str());
        for script in scripts {
            for path in named(script) {
                let path = path.trim_end_matches(',');
                assert!(root().join(path).exists(), "{name}: {path} is not there");
                seen += 1;
            }
        }
    }
    assert!(seen >= 6, "{seen}: the scripts were not understood");
    for script in ["run", "archive", "notes"] {
        let about = std::fs::metadata(root().join(".ci").join(script)).unwrap();
        #[cfg(unix)]
        assert!(
            std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o111 != 0,
            "{script} is not a program"
        );
        assert!(about.len() > 0);
    }
    // the version that one of them reads out of a script, and packages that they build
    let run = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(run.contains("cargo_deny_version="), "advisories.yml reads it there");
    assert!(root().join("crates/cli/Cargo.toml").exists() && run.contains("--package scumble-cli"));
}

#[test]
fn releases_are_built_for_all_targets_that_the_documents_name() {
    let (_, release) = parsed("workflows").into_iter().find(|(name, _)| name == "release.yml").unwrap();
    let matrix = release["jobs"]["archive"]["strategy"]["matrix"]["include"].as_vec().unwrap();
    let targets: Vec<_> = matrix.iter().map(|row| row["target"].as_str().unwrap()).collect();
    for (kind, machines) in [("unknown-linux-gnu", 2), ("unknown-linux-musl", 2), ("apple-darwin", 2)] {
        for machine in ["x86_64", "aarch64"].iter().take(machines) {
            assert!(targets.contains(&format!("{machine}-{kind}").as_str()), "{machine}-{kind} is missing");
        }
    }
    for row in matrix {
        let (target, runner) = (row["target"].as_str().unwrap(), row["runner"].as_str().unwrap());
        let is_mac = target.ends_with("darwin");
        assert_eq!(runner.starts_with("macos-"), is_mac, "{target} on {runner}");
        let is_arm = if is_mac { !runner.ends_with("-intel") } else { runner.ends_with("-arm") };
        assert_eq!(target.starts_with("aarch64"), is_arm, "{target} on {runner}: nothing is cross-compiled");
    }
    let draft = &release["jobs"]["draft"];
    assert_eq!(draft["permissions"]["contents"].as_str(), Some("write"), "only who makes the draft may write");
    assert!(draft["if"].as_str().unwrap().contains("refs/tags/v"));
}

#[test]
fn templates_ask_for_what_helps() {
    for (name, template) in parsed("ISSUE_TEMPLATE").into_iter().filter(|(name, _)| name != "config.yml") {
        assert!(template["name"].as_str().is_some() && template["description"].as_str().is_some(), "{name}");
        let body = template["body"].as_vec().unwrap();
        let mut ids: Vec<_> = body.iter().filter_map(|part| part["id"].as_str()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "{name}: each id once");
        assert!(body.iter().any(|part| part["validations"]["required"].as_bool() == Some(true)), "{name}");
        for part in body {
            let known = ["markdown", "textarea", "input", "dropdown", "checkboxes"];
            assert!(known.contains(&part["type"].as_str().unwrap()), "{name}");
        }
    }
    let change = std::fs::read_to_string(root().join(".github/pull_request_template.md")).unwrap();
    assert!(change.contains("CHANGELOG.md") && root().join("CHANGELOG.md").exists());
}

#[test]
fn the_changelog_has_what_scripts_look_for() {
    let log = std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let headings: Vec<_> = log.lines().filter(|line| line.starts_with("## ")).collect();
    assert_eq!(headings.first(), Some(&"## Unreleased"), "what is made now goes to the top");
    for heading in &headings[1..] {
        let (number, date) = heading[3..].split_once(" (").unwrap_or_else(|| panic!("{heading}: number and date"));
        assert_eq!((number.split('.').count(), date.len()), (3, 11), "{heading}");
    }
}
