//! `scumble selftest`: does all of it work here, and does it lose anything when the worst happens?

mod calls;
mod report;
mod round;
mod torture;

use crate::args::Selftest;
use crate::failure::Failure;
use crate::settings::runtime;

use report::Report;

/// Tests this program on this machine, in folders of its own.
pub(crate) fn selftest(args: &Selftest) -> Result<(), Failure> {
    let report = Report::new();
    let tested = runtime()?.block_on(async {
        round::round(&report).await?;
        if args.torture {
            torture::torture(&report, args.seconds).await?;
        }
        Ok::<_, Failure>(())
    });
    report.finish();
    tested
}
