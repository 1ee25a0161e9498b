//! What the tokenizer of a T5 makes of texts, for comparisons with other libraries: `ids CHECKPOINT FOLDER` reads a JSON list of
//! texts and writes one of lists of ids, with the token that ends each.

use std::io::{stdin, stdout};

use scumble_engine::tokenize::T5Tokenizer;
use scumble_engine::weights::{Checkpoint, Source};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [root, folder] = &args[..] else { return Err("usage: ids CHECKPOINT FOLDER".into()) };
    let tokenizer = T5Tokenizer::load(&Checkpoint::open(Source::Folder(root.into()))?, folder)?;
    let texts: Vec<String> = serde_json::from_reader(stdin().lock())?;
    let longest = texts.iter().map(String::len).max().unwrap_or(0);
    // a byte is at most one id, and so is the space before a text
    let ids = |text: &String| tokenizer.encode_counted(text, 4 * longest + 16).map(|(ids, real)| ids[..real].to_vec());
    let all: Vec<Vec<u32>> = texts.iter().map(ids).collect::<Result<_, _>>()?;
    Ok(serde_json::to_writer(stdout().lock(), &all)?)
}
