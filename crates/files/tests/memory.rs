//! Files in memory.

use scumble_files::{Files, files_suite};

files_suite!((Files::open("memory:")?, ()));
