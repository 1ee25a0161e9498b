//! `GET /docs`: the documents that travel in the binary, so that what a message names can be opened here.
//!
//! They are everybody's, as the API's descriptions are: nothing in them is of this installation.

mod search;

use std::collections::HashMap;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Response};
use minijinja::context;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};
use serde::Deserialize;

use super::layout::{Frame, base};
use super::visitor::{Turned, Visitor};
use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::routes::catalogue::markdown;

/// A document of `docs/`.
struct Document {
    /// Its name in addresses.
    name: &'static str,
    /// Its name in `docs/`, by which others link to it.
    file: &'static str,
    /// What it is about.
    about: &'static str,
    text: &'static str,
}

macro_rules! document {
    ($name:literal, $file:literal, $about:literal) => {
        Document { name: $name, file: $file, about: $about, text: include_str!(concat!("../../../../docs/", $file)) }
    };
}

const DOCUMENTS: &[Document] = &[
    document!("clients", "CLIENTS.md", "How to point each of fal’s clients, and OpenAI’s, at this server."),
    document!("cli", "CLI.md", "The command line: commands and exit codes."),
    document!("settings", "SETTINGS.md", "Every setting."),
    document!("monitoring", "MONITORING.md", "Metrics, logs and traces: what a server tells of itself."),
    document!("models", "MODELS.md", "The open models: what each takes, LoRAs and other adapters, how exact it is."),
    document!("makers", "MAKERS.md", "FLUX pro, Ideogram, Imagen and Recraft with keys of your own."),
    document!(
        "weights",
        "WEIGHTS.md",
        "From nothing to a picture for each open model: source, size, licence, memory, time."
    ),
    document!("operations", "OPERATIONS.md", "Sizing, TLS, keys, backup, upgrades, several machines."),
    document!("security", "SECURITY.md", "What is defended against what, and what is not."),
    document!("webhooks", "WEBHOOKS.md", "What receivers get, and how they verify it."),
    document!("errors", "ERRORS.md", "What each error means, and what to do."),
    document!("troubleshooting", "TROUBLESHOOTING.md", "From what one sees to what one does."),
    document!("conformance", "CONFORMANCE.md", "What of fal’s API is tested, and where."),
    document!("architecture", "ARCHITECTURE.md", "The map of the code, and the way of one image."),
    document!("gpu", "GPU.md", "Graphics cards: what they need, how much memory, what has been run."),
    document!("performance", "PERFORMANCE.md", "How fast models draw, beside diffusers."),
    document!("benchmarks", "BENCHMARKS.md", "How fast it serves, how long the build takes."),
    document!("releasing", "RELEASING.md", "How a release is made."),
];

/// What is looked for in all of them.
#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
}

/// All of them, with what they are about; or what was looked for.
pub(super) async fn list(
    Extension(caller): Extension<Caller>,
    visitor: Result<Visitor, Turned>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let q = asked.map(|Query(asked)| search::shortened(&asked.q)).unwrap_or_default();
    let hits = search::search(&q);
    let entries = DOCUMENTS.iter().map(|document| {
        context! { name => document.name, title => title(document), about => document.about }
    });
    let documents: Vec<_> = entries.collect();
    let content = context! { title => "Documents", documents => documents, q => q, hits => hits };
    Frame { caller: &caller, visitor: visitor.ok().as_ref() }.page("docs.html", "docs", &content)
}

/// One of them, as a page; with `.md` behind its name as it was written.
pub(super) async fn show(
    Extension(caller): Extension<Caller>,
    visitor: Result<Visitor, Turned>,
    Path(name): Path<String>,
) -> Response {
    let asked = name.to_lowercase();
    let (stem, as_written) = match asked.strip_suffix(".md") {
        Some(stem) => (stem, true),
        None => (asked.as_str(), false),
    };
    let visitor = visitor.ok();
    let frame = Frame { caller: &caller, visitor: visitor.as_ref() };
    let Some(document) = DOCUMENTS.iter().find(|document| document.name == stem) else {
        return frame.refusal(&Refusal::plain(404, "There is no such document. /docs lists those that there are"));
    };
    if as_written {
        return markdown(document.text.to_owned()).into_response();
    }
    let text = minijinja::Value::from_safe_string(rendered(document.text, &base(&caller)));
    frame.page("document.html", "docs", &context! { title => title(document), name => document.name, text => text })
}

/// The first heading.
fn title(document: &Document) -> &'static str {
    document.text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or(document.name)
}

/// A document as HTML: headings can be linked to, links lead to pages of ours or to other sites, and nothing is loaded.
fn rendered(text: &str, base: &str) -> String {
    let mut events: Vec<Event<'_>> = Parser::new_ext(text, Options::ENABLE_TABLES).collect();
    name_headings(&mut events);
    // which of the links that are open lead somewhere
    let mut links = Vec::new();
    let shown = events.into_iter().flat_map(wrapped).filter_map(|event| match event {
        Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => None,
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let target = target(&dest_url, base);
            links.push(target.is_some());
            Some(Event::Start(Tag::Link { link_type, dest_url: target?.into(), title, id }))
        }
        Event::End(TagEnd::Link) => links.pop().unwrap_or_default().then_some(Event::End(TagEnd::Link)),
        // its words stay
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        event => Some(event),
    });
    let mut page = String::with_capacity(2 * text.len());
    html::push_html(&mut page, shown);
    page
}

/// Without HTML of the document's own; what is wide scrolls for itself, and by keyboard too.
fn wrapped(event: Event<'_>) -> Vec<Event<'_>> {
    const TABLE: &str = "<div class=\"wide\" role=\"region\" aria-label=\"Table\" tabindex=\"0\">";
    match event {
        // marks for programs that read the file
        Event::Html(_) | Event::InlineHtml(_) => Vec::new(),
        Event::Start(Tag::CodeBlock(_)) => vec![Event::Html("<pre tabindex=\"0\"><code>".into())],
        Event::End(TagEnd::CodeBlock) => vec![Event::Html("</code></pre>\n".into())],
        Event::Start(Tag::Table(_)) => vec![Event::Html(TABLE.into()), event],
        Event::End(TagEnd::Table) => vec![event, Event::Html("</div>\n".into())],
        event => vec![event],
    }
}

/// Gives each heading the name by which links find it; a second one of the same words is counted.
fn name_headings(events: &mut [Event<'_>]) {
    let mut known: HashMap<String, usize> = HashMap::new();
    for at in 0..events.len() {
        if !matches!(events[at], Event::Start(Tag::Heading { .. })) {
            continue;
        }
        let inside = events[at + 1..].iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
        let words: String = inside
            .filter_map(|event| match event {
                Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
                _ => None,
            })
            .collect();
        let slug = slug(&words);
        let before = known.entry(slug.clone()).or_default();
        let name = if *before == 0 { slug } else { format!("{slug}-{before}") };
        *before += 1;
        if let Event::Start(Tag::Heading { id, .. }) = &mut events[at] {
            *id = Some(CowStr::from(name));
        }
    }
}

/// `A: a proxy object` as `a-a-proxy-object`, as readers of these files elsewhere know it.
fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}

/// Where a link leads from a page of ours; `None` for a file that is not here.
fn target(url: &str, base: &str) -> Option<String> {
    if url.starts_with("https://") || url.starts_with("http://") || url.starts_with('#') {
        return Some(url.to_owned());
    }
    let (path, fragment) = url.split_once('#').map_or((url, None), |(path, fragment)| (path, Some(fragment)));
    let document = DOCUMENTS.iter().find(|document| document.file == path)?;
    let fragment = fragment.map_or_else(String::new, |fragment| format!("#{fragment}"));
    Some(format!("{base}/docs/{}{fragment}", document.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_between_documents_lead_to_headings_that_are_there() {
        let pages: Vec<(&str, String)> = DOCUMENTS.iter().map(|d| (d.name, rendered(d.text, ""))).collect();
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let mut links = 0;
        for document in DOCUMENTS {
            for event in Parser::new(document.text) {
                let Event::Start(Tag::Link { dest_url, .. }) = event else { continue };
                let Some(to) = target(&dest_url, "") else {
                    // a file of the repository: words here, a link for those who read the documents there
                    assert!(docs.join(&*dest_url).is_file(), "{}: {dest_url} leads nowhere", document.file);
                    continue;
                };
                let (path, fragment) = to.split_once('#').unwrap_or((&to, ""));
                let name = path.strip_prefix("/docs/").unwrap_or(if path.is_empty() { document.name } else { "" });
                let Some((_, page)) = pages.iter().find(|(known, _)| *known == name) else { continue };
                assert!(fragment.is_empty() || page.contains(&format!("id=\"{fragment}\"")), "{}: {to}", document.file);
                links += 1;
            }
        }
        assert!(links > 10, "{links}");
    }

    #[test]
    fn what_is_written_is_shown_and_nothing_else_is_done() {
        let text = "# A `b`: c's\n<!-- run -->\n<script>alert(1)</script>\n\n![alt](http://x/y.png) [in](CLI.md#run) \
                    [out](../Cargo.toml) [web](https://h/p)\n\n| a |\n|---|\n| <b>b</b> |\n\n```sh\n<x>\n```\n";
        let page = rendered(text, "/base");
        for shown in ["id=\"a-b-cs\"", "href=\"/base/docs/cli#run\"", "href=\"https://h/p\"", "out", "alt", "&lt;x&gt;"]
        {
            assert!(page.contains(shown), "{shown}: {page}");
        }
        for hidden in ["script", "<img", "Cargo", "run -->", "<b>"] {
            assert!(!page.contains(hidden), "{hidden}: {page}");
        }
        assert!(
            page.contains("<th>a</th>") && page.contains("<td>b</td>") && page.contains("</table>\n</div>"),
            "{page}"
        );
    }
}
