//! `scumble man`: manual pages, one for each command, from the same words as `--help`.

use std::path::Path;

use clap_mangen::Man;

use crate::args;
use crate::failure::Failure;
use crate::out;

/// Prints the page of the program, or writes those of all commands into a folder.
pub(crate) fn man(folder: Option<&Path>) -> Result<(), Failure> {
    let command = args::command();
    let Some(folder) = folder else { return out::bytes(&page(&command)?) };
    std::fs::create_dir_all(folder).map_err(|error| Failure::about("make the folder", folder, error))?;
    let mut command = command;
    // long names: scumble-models-pull
    command.build();
    write(&command, folder, "scumble")
}

fn write(command: &clap::Command, folder: &Path, name: &str) -> Result<(), Failure> {
    let file = folder.join(format!("{name}.1"));
    std::fs::write(&file, page(command)?).map_err(|error| Failure::about("write", &file, error))?;
    let shown = command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help");
    for below in shown {
        write(below, folder, &format!("{name}-{}", below.get_name()))?;
    }
    Ok(())
}

fn page(command: &clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let rendered = Man::new(command.clone()).render(&mut page);
    rendered.map_err(|error| Failure::Failed(format!("the manual page cannot be made: {error}")))?;
    Ok(page)
}
