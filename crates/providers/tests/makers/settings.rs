//! Settings, and what is said where one is missing or wrong.

use scumble_providers::{MakerId, Makers, Options, Secret, Settings};
use serde_json::json;

use crate::desk::*;

fn refused(toml: &str) -> String {
    let settings: Settings = toml::from_str(toml).unwrap();
    let error = Makers::new(&settings, Options::default()).err();
    error.unwrap_or_else(|| panic!("{toml}")).to_string()
}

#[tokio::test]
async fn a_missing_key_names_the_setting_and_where_keys_are_made() {
    let makers = makers("[recraft]\nenabled = false\napi_key = \"x\"\n[google]\nmode = \"vertex\"");
    for (id, endpoint, words) in [
        (MakerId::Bfl, "fal-ai/flux-pro", &["BFL_API_KEY", "[providers.bfl]", "api_key", "https://"][..]),
        (MakerId::Ideogram, "fal-ai/ideogram/v2", &["IDEOGRAM_API_KEY", "[providers.ideogram]", "https://"]),
        (MakerId::Google, "fal-ai/imagen4/preview", &["GEMINI_API_KEY", "service_account", "https://"]),
        (MakerId::Recraft, "fal-ai/recraft/v2/text-to-image", &["enabled = false"]),
        (MakerId::Fal, "fal-ai/flux/dev", &["FAL_KEY", "[providers.fal]", "https://"]),
    ] {
        let (result, _) = run(&makers, id, &call(endpoint, json!({ "prompt": "p" }))).await;
        assert_eq!(told(&result), unavailable(false));
        let said = result.err().unwrap().to_string();
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(makers.get(id).ready().is_err());
    }
}

#[test]
fn every_closed_endpoint_has_its_maker() {
    let makers = Makers::new(&Settings::default(), Options::default()).unwrap();
    for (endpoint, maker) in [
        ("fal-ai/flux-pro", Some(MakerId::Bfl)),
        ("fal-ai/flux-pro/v1.1", Some(MakerId::Bfl)),
        ("fal-ai/flux-pro/v1.1-ultra", Some(MakerId::Bfl)),
        ("fal-ai/flux-pro/v1.1-ultra/redux", Some(MakerId::Bfl)),
        ("fal-ai/flux-pro/v1.1/redux", Some(MakerId::Bfl)),
        ("fal-ai/flux-pro/v1/redux", Some(MakerId::Bfl)),
        ("fal-ai/flux-pro/v1/fill", Some(MakerId::Bfl)),
        ("fal-ai/ideogram/v2", Some(MakerId::Ideogram)),
        ("fal-ai/ideogram/v3", Some(MakerId::Ideogram)),
        ("fal-ai/ideogram/v3/edit", Some(MakerId::Ideogram)),
        ("fal-ai/ideogram/v3/remix", Some(MakerId::Ideogram)),
        ("fal-ai/ideogram/v3/reframe", Some(MakerId::Ideogram)),
        ("fal-ai/ideogram/v3/replace-background", Some(MakerId::Ideogram)),
        ("fal-ai/imagen4/preview", Some(MakerId::Google)),
        ("fal-ai/imagen4/preview/fast", Some(MakerId::Google)),
        ("fal-ai/recraft/v2/text-to-image", Some(MakerId::Recraft)),
        ("fal-ai/flux/dev", None),
        ("scumble/starter", None),
    ] {
        assert_eq!(makers.of(endpoint), maker, "{endpoint}");
    }
    assert!(MakerId::ALL.iter().all(|id| MakerId::parse(id.as_str()) == Some(*id)));
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    for (toml, words) in [
        ("[bfl]\nbase_url = \"api.bfl.ai\"", "[providers.bfl] base_url"),
        ("[bfl]\nbase_url = \"https://api.bfl.ai/?key=1\"", "base_url"),
        ("[bfl]\nbase_url = \"https://me:pw@api.bfl.ai\"", "base_url"),
        ("[ideogram]\ndeadline_s = 0", "[providers.ideogram] deadline_s"),
        ("[ideogram]\ndeadline_s = -1", "deadline_s"),
        ("[ideogram]\ndeadline_s = inf", "deadline_s"),
        ("[recraft]\nmax_in_flight = 0", "[providers.recraft] concurrency"),
        ("[recraft]\nspend_per_day = -1", "spend_per_day"),
        ("[recraft]\napi_key = \"a\\nb\"", "api_key"),
        ("[bfl]\nflux_pro_model = \"flux-2\"", "flux_pro_model"),
        ("[google]\nimagen4_model = \"../x\"", "imagen4_model"),
        ("[google]\nmode = \"vertex\"\nservice_account = \"/nowhere/account.json\"", "service_account"),
    ] {
        let said = refused(toml);
        assert!(said.contains(words) && !said.contains("pw@"), "{said}");
    }
    for unknown in ["[bfl]\nkey = \"x\"", "[openai]", "[google]\nmode = \"aws\""] {
        assert!(toml::from_str::<Settings>(unknown).is_err(), "{unknown}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("account.json");
    std::fs::write(&file, format!("{{\"client_email\":\"a\",\"private_key\":\"{KEY}\"}}")).unwrap();
    let said = refused(&format!("[google]\nmode = \"vertex\"\nservice_account = \"{}\"", file.display()));
    assert!(said.contains("not an RSA key") && !said.contains(KEY), "{said}");
}

#[test]
fn keys_do_not_print() {
    let settings: Settings = toml::from_str(&section("bfl", "https://api.bfl.ai", "")).unwrap();
    let shown = format!("{settings:?} {settings:#?} {:?}", Secret::new(KEY));
    assert!(!shown.contains(KEY) && shown.contains("Secret(…)"), "{shown}");
}
