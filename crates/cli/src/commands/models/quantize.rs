//! `scumble models quantize`.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use scumble_api::published::gigabytes;
use scumble_engine::families::{Quantised, Target, Unwritten};
use scumble_engine::{Control, Error, Reading};
use scumble_hub::Watch;
use scumble_worker::advice;
use tempfile::NamedTempFile;

use super::bar::Bar;
use crate::args::{Blocks, ModelsQuantize};
use crate::failure::Failure;
use crate::meant;
use crate::out;
use crate::settings::{own_source, runtime};
use crate::signals::on_interrupt;

/// Writes the transformer of an endpoint's weights as a GGUF file.
pub(super) fn quantize(args: &ModelsQuantize) -> Result<(), Failure> {
    let endpoint = scumble_api::find(&args.id).ok_or_else(|| meant::unknown_endpoint(&args.id))?;
    let class =
        endpoint.pipeline().ok_or_else(|| Failure::Usage(format!("nothing to quantize: {}", advice(endpoint))))?;
    let path = &args.output;
    check(path)?;
    let target = match args.to {
        Blocks::Q8_0 => Target::Q8_0,
        Blocks::Q4K => Target::Q4K,
    };
    let source = own_source(&args.own, endpoint)?;
    let plan = Quantised::plan(Some(class), source, target).map_err(unread)?;
    if plan.is_twice() {
        out::warn(
            "these weights are quantised already, and lose a second time: the publisher's own give a better file",
        );
    }
    let runtime = runtime()?;
    let interrupted = on_interrupt(&runtime)?;
    let watched = Watched { bar: Bar::new(), interrupted: &interrupted };
    watched.bar.begin(plan.bytes(), 0);
    let written = write(&plan, path, &watched);
    watched.bar.finish();
    written?;
    out::say(&format!(
        "{} are written; `scumble run {} PROMPT --weights {} --weights-base DIR` draws with them, where DIR is a \
         diffusers folder of this model",
        gigabytes(plan.bytes()),
        endpoint.id,
        path.display(),
    ));
    out::result(&path.display().to_string())
}

/// A file that is there, or another kind of name, is found out before anything is read.
fn check(path: &Path) -> Result<(), Failure> {
    if !path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")) {
        return Err(Failure::Usage(format!("{} should end in .gguf", path.display())));
    }
    if path.symlink_metadata().is_ok() {
        return Err(Failure::about("write", path, "it is there already, and nothing is replaced; name another file"));
    }
    Ok(())
}

/// Writes all of it under another name beside the file, which gets its own when all of it is on the disk. What is not finished
/// is removed.
fn write(plan: &Quantised, path: &Path, heard: &dyn Reading) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = |error: std::io::Error| Failure::about("write", path, error);
    let mut file = aside(folder).map_err(cannot)?;
    let (needed, free) = (plan.bytes(), scumble_files::free_bytes(folder).ok().flatten());
    if let Some(free) = free.filter(|free| *free < needed) {
        let reason = format!("it takes {}, and {} are free there", gigabytes(needed), gigabytes(free));
        return Err(Failure::about("write", path, reason));
    }
    let mut out = BufWriter::new(file.as_file_mut());
    plan.write(&mut out, heard).map_err(|error| match error {
        Unwritten::Read(error) => unread(error),
        Unwritten::Write(error) => cannot(error),
    })?;
    out.flush().map_err(cannot)?;
    drop(out);
    file.as_file().sync_all().map_err(cannot)?;
    file.persist_noclobber(path).map_err(|e| cannot(e.error))?;
    Ok(())
}

/// A file that goes with this process, as open to others as files usually are.
fn aside(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".quantize-").suffix(".part");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

fn unread(error: Error) -> Failure {
    match error {
        Error::Cancelled => Failure::Interrupted,
        error if error.is_checkpoint() => Failure::Weights(error.to_string()),
        error => Failure::Failed(error.to_string()),
    }
}

/// Shows how far it is, and stops when somebody asks for that.
struct Watched<'a> {
    bar: Bar,
    interrupted: &'a AtomicBool,
}

impl Reading for Watched<'_> {
    fn read(&self, bytes: u64) -> Control {
        self.bar.come(bytes);
        if self.interrupted.load(Ordering::Acquire) { Control::Cancel } else { Control::Continue }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use scumble_engine::weights::Source;
    use scumble_testkit::tiny::{self, Variant};

    use super::*;

    #[test]
    fn who_interrupts_it_finds_nothing_left() {
        let weights = tiny::of(Variant::Schnell).tempdir();
        let plan = Quantised::plan(None, Source::Folder(weights.path().into()), Target::Q8_0).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.gguf");
        let interrupted = AtomicBool::new(true);
        let watched = Watched { bar: Bar::new(), interrupted: &interrupted };
        assert!(matches!(write(&plan, &path, &watched), Err(Failure::Interrupted)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        interrupted.store(false, Ordering::Release);
        write(&plan, &path, &watched).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(path.metadata().unwrap().len(), plan.bytes());
        // somebody else was faster
        assert!(matches!(write(&plan, &path, &watched), Err(Failure::System(_))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
