//! Settings: what is understood, what is refused, and that nothing secret is shown.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use common::{Desk, star, succeeded};
use scumble_engine::checkers::CheckerKind;
use scumble_testkit::tiny::{self, Variant};
use serde_json::Value;

#[test]
fn every_setting_can_be_set_and_an_empty_file_is_fine() {
    let desk = Desk::new();
    desk.write("empty.toml", "");
    desk.serve(&["--config", "empty.toml"]);
    desk.write("all.toml", ALL);
    tiny::of(Variant::Schnell).write(desk.path("schnell"));
    tiny::checkers::write(CheckerKind::Falconsai, &desk.path("nsfw"));
    desk.serve(&["--config", "all.toml"]);
    // a bare environment is enough: nothing but HOME is set, and the data dir follows from it
    let listen = ["serve", "--listen", "127.0.0.1:0"];
    let mut bare = desk.command(&listen).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(bare.stdout.take().unwrap()), &mut line).unwrap();
    assert!(line.starts_with("Scumble listens on http://127.0.0.1:"), "{line}");
    bare.kill().unwrap();
    bare.wait().unwrap();
    assert!(desk.path(".local/share/scumble/scumble.db").exists());
}

const ALL: &str = r#"
[server]
listen = "127.0.0.1:0"
public_url = "https://images.example.com/scumble"
trusted_proxy = true
base_path = "/scumble"
hosts = ["images.example.com"]
origins = ["https://app.example.com", "http://10.0.0.7:3000"]
connect = false
[store]
url = "sqlite:elsewhere/jobs.db"
[files]
url = "memory:"
[worker]
devices = ["cpu"]
concurrency = 2
far_concurrency = 8
heartbeat_s = 2.5
max_attempts = 4
max_crashes = 2
[limits]
body_bytes = "10 MiB"
upload_bytes = "1 GB"
queue_length = 100
per_key_concurrency = 2
spend_per_day = { bfl = 5, google = 2.5 }
direct_calls = 8
realtime_idle_s = "2 min"
connections = 100
connections_per_address = 60
[webhooks]
allow_private = true
timeout_s = 5
[fetch]
allow_private = true
max_bytes = 1048576
max_pixels = 4000000
[adapters]
folders = ["."]
max_bytes = "2 GiB"
cache_bytes = "20 GiB"
timeout_s = "30 min"
fresh_s = 60
hub = "https://hub.example"
hub_token = "hf_x"
[prompts]
url = "http://127.0.0.1:11434/v1"
model = "small"
api_key = "k"
deadline_s = "20 s"
max_tokens = 300
instruction = "Longer."
[safety]
checker = "falconsai"
weights = "nsfw"
flagged = "refuse"
[retention]
results_s = "30 d"
unkept_s = 600
[models."fal-ai/flux/schnell"]
weights = "schnell"
dtype = "bfloat16"
[models."fal-ai/flux-pro/v1.1"]
provider = ["local", "bfl", "fal"]
[models."fal-ai/aura-flow"]
provider = "fal"
[openai]
aliases = { "house-model" = "scumble/starter", "gpt-image-1" = "fal-ai/flux/schnell" }
[providers.bfl]
enabled = true
api_key = "k"
base_url = "https://api.eu.bfl.ai"
deadline_s = 90
concurrency = 12
spend_per_day = 3.5
exact_size = false
flux_pro_model = "flux-pro"
paths = { "/v1/flux-pro-1.1" = "/v2/flux-pro-1.1" }
[providers.ideogram]
max_in_flight = 5
v2_model = "V_3"
inpaint_path = "/v1/ideogram-v3/edit"
fal_mask_white_is_edited = true
[providers.google]
mode = "vertex"
project = "p"
location = "global"
imagen4_model = "gemini-3-pro-image"
imagen4_fast_model = "gemini-3.1-flash-lite-image"
thinking = ""
thinking_fast = "MINIMAL"
ignore_negative_prompt = true
keep_jpeg = true
[providers.recraft]
daily_budget_usd = 1
model = "recraftv2"
strict_styles = true
images_per_minute = 50
requests_per_second = 2
[providers.fal]
usd_per_image = 0.05
"#;

#[test]
fn mistakes_in_the_file_are_named() {
    let desk = Desk::new();
    let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data", "--config", "scumble.toml"];
    desk.refuses(&args, 4, &["scumble.toml", "cannot read"]);
    for (text, words) in [
        ("[worker]\nconcurency = 2\n", &["line 2", "there is no concurency here (did you mean concurrency?)"][..]),
        ("[server]\nlisen = 80\n", &["line 2", "there is no lisen here (did you mean listen?)"]),
        ("[worker]\nconcurrency = \"two\"\n", &["line 2: concurrency: expected a whole number", "the text \"two\""]),
        ("[server]\ntls = true\n", &["line 2: tls: expected { cert = \"FILE\", key = \"FILE\" }; got true"]),
        ("server = 5\n", &["line 1: server: expected a section of settings; got 5"]),
        ("[worker]\nrun_s = true\n", &["line 2: run_s: expected a time such as 600"]),
        ("[models.\"fal-ai/flux/dev\"]\ndtype = \"fp8\"\n", &["line 2", "expected one of float32, bfloat16, float16"]),
        ("[models.\"fal-ai/flux/dev\"]\nprovider = 5\n", &["line 2: provider: expected a name such as"]),
        ("[worker]\nconcurrency = 0\n", &["[worker] concurrency", "at least 1"]),
        ("[worker]\nmax_crashes = -1\n", &["[worker] max_crashes", "at least 1", "-1"]),
        ("[worker]\nheartbeat_s = 0\n", &["[worker] heartbeat_s", "above 0"]),
        ("[worker]\nheartbeat_s = \"soon\"\n", &["[worker] heartbeat_s", "soon", "5 min"]),
        ("[limits]\nbody_bytes = \"50 MX\"\n", &["[limits] body_bytes", "50 MX", "GiB"]),
        ("[limits]\nqueue_length = 0\n", &["[limits] queue_length", "at least 1"]),
        ("[limits]\ndirect_calls = 1.5\n", &["line 2", "1.5"]),
        ("[limits]\nconnections_per_address = 0\n", &["[limits] connections_per_address", "at least 1"]),
        ("[server]\nbase_path = \"scumble\"\n", &["[server] base_path", "/scumble"]),
        ("[server]\nbase_path = \"//evil.test\"\n", &["[server] base_path", "//evil.test"]),
        ("[server]\nbase_path = \"/queue/\"\n", &["[server] base_path", "/queue"]),
        ("[webhooks]\nallow_private = \"yes\"\n", &["line 2", "true or false"]),
        ("[webhooks]\ntimeout_s = \"20 years\"\n", &["[webhooks] timeout_s", "20 years"]),
        ("[adapters]\nfolder = \"x\"\n", &["line 2", "folder", "folders"]),
        ("[adapters]\nmax_bytes = \"much\"\n", &["[adapters] max_bytes", "much"]),
        ("[adapters]\nhub = \"huggingface.co\"\n", &["[adapters] hub", "https://"]),
        ("[adapters]\nfolders = [\"nowhere\"]\n", &["[adapters] folders", "nowhere"]),
        ("[prompts]\nurl = \"http://a.test/v1\"\n", &["line 1", "model"]),
        ("[prompts]\nurl = \"a.test\"\nmodel = \"m\"\n", &["[prompts] url", "https://"]),
        ("[prompts]\nurl = \"http://a.test\"\nmodel = \"m\"\nmax_tokens = 0\n", &["[prompts] max_tokens"]),
        ("[prompts]\nurl = \"http://a.test\"\nmodel = \"m\"\ndeadline_s = 0\n", &["[prompts] deadline_s", "above 0"]),
        ("[safety]\nchecker = \"other\"\n", &["line 2", "compvis", "falconsai"]),
        ("[safety]\nflagged = \"black\"\n", &["[safety]", "go with checker"]),
        ("[safety]\nchecker = \"compvis\"\nweights = \"x\"\nflagged = \"hide\"\n", &["line 4", "flag, black, refuse"]),
        ("[retention]\nresults_s = []\n", &["line 2", "number"]),
        ("[store]\nfree_bytes = \"some\"\n", &["[store] free_bytes", "some", "GiB"]),
        ("[server]\npublic_url = \"images.example.com\"\n", &["[server] public_url", "https://"]),
        ("[server]\nhosts = [\"https://a.example\"]\n", &["[server] hosts", "https://a.example"]),
        ("[server]\norigins = [\"app.example.com\"]\n", &["[server] origins", "app.example.com", "https://"]),
        ("[server]\norigins = [\"*\"]\n", &["[server] origins", "make a key"]),
        ("[server]\ntls = { cert = \"a\" }\n", &["line 2", "key"]),
        ("[server]\nconnect = true\n", &["CONNECT", "--tls-dev"]),
        ("[models.\"fal-ai/flux/dev\"]\ncomponents = { vae = \"x\" }\n", &["fal-ai/flux/dev", "go with weights"]),
        ("[models.\"nobody/nothing\"]\nweights = \"x\"\n", &["nobody/nothing", "scumble models list"]),
        ("[openai]\naliases = { house = \"nobody/nothing\" }\n", &["[openai] aliases", "house", "nobody/nothing"]),
        ("[openai]\naliases = { \"fal-ai/flux/dev\" = \"scumble/starter\" }\n", &["[openai] aliases", "of its own"]),
        ("[openai]\nalias = {}\n", &["line 2", "alias", "aliases"]),
        ("[store]\nurl = \"mysql://me:s3cret@h/d\"\n", &["expected sqlite:PATH or postgres://"]),
        ("[store]\nurl = \"postgres://me:s3cret@h/d\"\nlurk = 1\n", &["line 3", "lurk"]),
        ("[store]\nurl = \"postgres://me:s3cret@h/d\nx\n", &["scumble.toml", "line"]),
        ("[nonsense]\n", &["nonsense", "server"]),
    ] {
        desk.write("scumble.toml", text);
        let said = desk.refuses(&args, 2, words);
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn flags_go_over_the_environment_over_the_file() {
    let desk = Desk::new();
    desk.write("scumble.toml", "[store]\nurl = \"sqlite:file.db\"\n");
    let keys = |args: &[&str], env: Option<&str>| {
        let mut command = desk.command(&[&["keys", "create", "--config", "scumble.toml"], args].concat());
        let key = succeeded(&command.envs(env.map(|url| ("DATABASE_URL", url))).output().unwrap());
        assert!(key.trim().len() >= 16 && key.split_whitespace().count() == 1, "{key}");
    };
    keys(&[], None);
    assert!(desk.path("file.db").exists() && !desk.path("env.db").exists());
    keys(&[], Some("sqlite:env.db"));
    assert!(desk.path("env.db").exists() && !desk.path("flag.db").exists());
    keys(&["--database", "sqlite:flag.db"], Some("sqlite:env.db"));
    assert!(desk.path("flag.db").exists());
    // the key that counts is the one in the database that is served
    let server = desk.serve(&["--database", "sqlite:flag.db"]);
    assert_eq!(
        server.raw("POST /run/scumble/starter HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").0,
        401
    );
    // through a file, which is read over scumble.toml and under a flag
    desk.write("url", "sqlite:by-file.db\n");
    let mut by_file = desk.command(&["keys", "create", "--config", "scumble.toml"]);
    succeeded(&by_file.env("DATABASE_URL_FILE", "url").output().unwrap());
    assert!(desk.path("by-file.db").exists());
    desk.write("url", "  sqlite:by-flag.db  \n");
    keys(&["--database-file", "url"], Some("sqlite:env.db"));
    assert!(desk.path("by-flag.db").exists());
    let out = desk.command(&["serve", "--help"]).env("DATABASE_URL", "postgres://me:s3cret@h/d").output().unwrap();
    assert!(!succeeded(&out).contains("s3cret"));
    // what a variable says is blamed on the variable
    for (name, value) in [("SCUMBLE_LISTEN", "nowhere"), ("SCUMBLE_ROLE", "boss"), ("SCUMBLE_STAND_IN", "soon")] {
        let wrong = desk.command(&["serve"]).env(name, value).output().unwrap();
        let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
        assert!(wrong.status.code() == Some(2) && said.contains(value) && said.contains(name), "{said}");
        assert!(!said.contains("for '--"), "{said}");
    }
    let typed = desk.command(&["serve", "--listen", "here"]).env("SCUMBLE_LISTEN", "nowhere").output().unwrap();
    assert!(String::from_utf8_lossy(&typed.stderr).contains("for '--listen <ADDR>'"), "{typed:?}");
}

#[test]
fn an_empty_variable_counts_as_none() {
    let desk = Desk::new();
    let names = [
        "SCUMBLE_LISTEN",
        "SCUMBLE_PUBLIC_URL",
        "SCUMBLE_TLS_DEV",
        "SCUMBLE_CONNECT",
        "SCUMBLE_OPEN",
        "SCUMBLE_ROLE",
        "SCUMBLE_DATA_DIR",
        "SCUMBLE_FILES",
        "SCUMBLE_STAND_IN",
        "SCUMBLE_CONFIG",
        "SCUMBLE_RECORD",
        "SCUMBLE_REPLAY",
        "SCUMBLE_FAULT",
        "DATABASE_URL",
        "DATABASE_URL_FILE",
        "BFL_API_KEY",
        "FAL_KEY_FILE",
        "AWS_ACCESS_KEY_ID",
        "RUST_LOG",
        "NO_COLOR",
        "XDG_DATA_HOME",
    ];
    for empty in ["", " "] {
        let server = desk.serve_logging(&[], &names.map(|name| (name, empty)), "log.txt");
        assert_eq!(server.raw("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").0, 200);
        server.stop();
        let log = std::fs::read_to_string(desk.path("log.txt")).unwrap();
        assert!(log.contains("results are kept"), "the usual level: {log}");
        succeeded(
            &desk
                .command(&["keys", "list", "--data-dir", "data"])
                .envs(names.map(|name| (name, empty)))
                .output()
                .unwrap(),
        );
    }
}

#[tokio::test]
async fn a_gateway_takes_calls_and_a_worker_elsewhere_runs_them() {
    let desk = Desk::new();
    let gateway = desk.serve(&["--role", "gateway"]);
    let client = common::plain();
    let submit = client.post(gateway.url("/queue/scumble/starter")).json(&star()).send().await.unwrap();
    let submitted: Value = submit.json().await.unwrap();
    let status_url = submitted["status_url"].as_str().unwrap();
    let status: Value = client.get(status_url).send().await.unwrap().json().await.unwrap();
    assert_eq!(status["status"], "IN_QUEUE", "the gateway runs nothing");
    let worker = desk.serve(&["--role", "worker"]);
    let called = client.post(gateway.url("/run/scumble/starter")).json(&star()).send().await.unwrap();
    assert_eq!(called.status(), 200);
    // first in, first out: the submitted one has ended before the call was answered
    let result = client.get(submitted["response_url"].as_str().unwrap()).send().await.unwrap();
    let output: Value = result.json().await.unwrap();
    let image = client.get(output["images"][0]["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(image.status(), 200, "both look at the same files");
    for (path, status) in [("/health", 200), ("/ready", 200), ("/queue/scumble/starter/requests/x", 404), ("/", 404)] {
        assert_eq!(client.get(worker.url(path)).send().await.unwrap().status(), status, "{path}");
    }
    worker.stop();
    gateway.stop();
    let args = ["serve", "--role", "worker", "--files", "memory:", "--data-dir", "data"];
    desk.refuses(&args, 2, &["memory:", "gateway"]);
}

#[test]
fn secrets_come_from_files_and_a_password_on_the_command_line_is_warned_of() {
    let desk = Desk::new();
    let with = |args: &[&str], variables: &[(&str, &str)]| {
        let out = desk.command(args).envs(variables.iter().copied()).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
    };
    desk.write("empty", "\n");
    desk.write("two", "sqlite:a.db\nsqlite:b.db\n");
    desk.write("key", "k-canary\n");
    let list = ["keys", "list"];
    for (variables, code, words) in [
        (&[("DATABASE_URL_FILE", "nowhere")][..], 4, "DATABASE_URL_FILE: cannot read nowhere"),
        (&[("DATABASE_URL_FILE", "empty")], 2, "empty is empty"),
        (&[("DATABASE_URL_FILE", "two")], 2, "several lines"),
        (&[("DATABASE_URL_FILE", "two"), ("DATABASE_URL", "sqlite:a.db")], 2, "are both set"),
    ] {
        let (status, said) = with(&list, variables);
        assert!(status == Some(code) && said.contains(words), "{variables:?}: {said}");
    }
    desk.refuses(&["keys", "list", "--database", "sqlite:a.db", "--database-file", "two"], 2, &["--database-file"]);
    // a maker's key
    let doctor = ["doctor", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let (status, said) = with(&doctor, &[("RECRAFT_API_KEY_FILE", "key")]);
    assert!(status == Some(0) && said.contains("keys for Recraft") && !said.contains("k-canary"), "{said}");
    let (status, said) = with(&doctor, &[("RECRAFT_API_KEY_FILE", "key"), ("RECRAFT_API_KEY", "k")]);
    assert!(status == Some(2) && said.contains("RECRAFT_API_KEY_FILE"), "{said}");
    // nobody listens there, so that it is refused at once
    let url = "postgres://me:s3cret@127.0.0.1:1/d";
    let (_, said) = with(&["keys", "list", "--database", url], &[]);
    assert!(said.contains("warning: ") && said.contains("--database-file") && !said.contains("s3cret"), "{said}");
    let (_, said) = with(&list, &[("DATABASE_URL", url)]);
    assert!(!said.contains("warning") && !said.contains("s3cret"), "{said}");
    let (_, said) = with(&["keys", "list", "--database", "postgres://me@127.0.0.1:1/d"], &[]);
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn a_port_is_enough_to_listen_on() {
    let desk = Desk::new();
    // a port that was free a moment ago; another program may take it, so that is tried a few times
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for form in ["", ":", "localhost:", "127.0.0.1:"] {
        let server = (0..5).find_map(|_| {
            let listen = format!("{form}{}", free());
            desk.try_serve(&["--listen", &listen, "--data-dir", "data"])
        });
        let server = server.unwrap_or_else(|| panic!("{form} is not listened on"));
        assert!(server.address.ip().is_loopback());
        assert_eq!(server.raw("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").0, 200, "{form}");
    }
    desk.write("scumble.toml", "[server]\nlisten = 0\n");
    assert!(desk.try_serve(&["--config", "scumble.toml", "--data-dir", "data"]).is_some());
    for bad in ["nowhere", "localhost", "127.0.0.1", "1:2:3", ":99999"] {
        desk.refuses(&["serve", "--listen", bad, "--data-dir", "data"], 2, &[bad, "8787"]);
    }
    desk.refuses(&["serve", "--listen", "no-such-host.invalid:80", "--data-dir", "data"], 4, &["no-such-host.invalid"]);
    desk.write("scumble.toml", "[server]\nlisten = \"nowhere\"\n");
    desk.refuses(&["serve", "--config", "scumble.toml"], 2, &["nowhere", "expected a port"]);
}
