//! What a disk or a bucket said, in one line: a bucket answers in XML of several lines, and why nobody answers stands only in
//! the causes of its error.

use std::error::Error as StdError;

/// No answer of a service is told beyond so many characters.
const LONGEST: usize = 500;

/// Texts that begin alike for so many characters are one.
const TELLING: usize = 80;

/// The error and its causes, as one line.
pub(crate) fn said(error: &object_store::Error) -> String {
    let mut said = in_one_line(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = in_one_line(&error.to_string());
        let begin: String = more.chars().take(TELLING).collect();
        if !said.contains(&begin) {
            said = format!("{said}: {more}");
        }
        cause = error.source();
    }
    // "Object at location … not found" is not what somebody has to know whose bucket is not there
    match said.find("Error performing ") {
        Some(at) => said.split_off(at),
        None => said,
    }
}

/// Whether nobody has answered, rather than with a refusal.
#[cfg(feature = "s3")]
pub(crate) fn is_silence(error: &object_store::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<object_store::client::HttpError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Nobody is asked over a network.
#[cfg(not(feature = "s3"))]
pub(crate) fn is_silence(_: &object_store::Error) -> bool {
    false
}

/// Text without ends of lines, and what XML in it says.
fn in_one_line(text: &str) -> String {
    let told = match text.find("<?xml").or_else(|| text.find("<Error")) {
        Some(at) => match inside(&text[at..], "Code").zip(inside(&text[at..], "Message")) {
            Some((code, message)) => format!("{}{code}: {message}", &text[..at]),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    };
    let line = told.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// What the first element of this name holds.
fn inside<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Link {
        said: String,
        source: Option<Box<dyn StdError + Send + Sync>>,
    }

    fn link(said: &str, source: Option<Box<dyn StdError + Send + Sync>>) -> Box<dyn StdError + Send + Sync> {
        Box::new(Link { said: said.to_owned(), source })
    }

    #[test]
    fn xml_becomes_what_it_says_in_a_line() {
        let answer = "Server returned non-2xx status code: 404 Not Found: <?xml version=\"1.0\"?>\n<Error>\n  \
                      <Code>NoSuchBucket</Code>\n<Message>It does\nnot exist</Message></Error>";
        let source = link(&format!("Error performing PUT http://h/b/x in 2ms - {answer}"), Some(link(answer, None)));
        let error = object_store::Error::NotFound { path: "b/x".to_owned(), source };
        let expected = "Error performing PUT http://h/b/x in 2ms - Server returned non-2xx status code: 404 Not Found: \
                        NoSuchBucket: It does not exist";
        assert_eq!(said(&error), expected);
        // what is no XML of a bucket is told as it came, and not all of it
        let page = "x".repeat(4 * LONGEST);
        let error = object_store::Error::Generic { store: "S3", source: link(&format!("<Error>\n{page}"), None) };
        assert!(said(&error).starts_with("Generic S3 error: <Error> xxx") && said(&error).ends_with('…'));
    }

    #[test]
    fn causes_are_told_once() {
        let refused = link("Connection refused", None);
        let sending = link("error sending request", Some(link("tcp connect error", Some(refused))));
        let error = object_store::Error::Generic {
            store: "S3",
            source: link("Error performing PUT http://h/ - HTTP error: error sending request", Some(sending)),
        };
        let expected = "Error performing PUT http://h/ - HTTP error: error sending request: tcp connect error: \
                        Connection refused";
        assert_eq!(said(&error), expected);
    }
}
