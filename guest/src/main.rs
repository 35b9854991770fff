//! `/init` of a virtual machine: answers one request about its kernel, and ends the machine.
//!
//! The request is the file `/request.json` of the initrd, the answer goes over the second
//! serial line, and what goes wrong is said on the console. It is the only program there,
//! so that nothing else disturbs what is counted.

mod device;

use gupstress_live::request::answer;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};
use std::error::Error;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

const REQUEST: &str = "/request.json";

const MODULES: &str = "/modules";

/// Apart from the console, so that no message of the kernel gets between two lines.
const RESULTS: &str = "/dev/ttyS1";

const MOUNTS: [(&CStr, &str); 5] = [
    (c"devtmpfs", "/dev"),
    (c"proc", "/proc"),
    (c"sysfs", "/sys"),
    (c"tracefs", "/sys/kernel/tracing"),
    (c"debugfs", "/sys/kernel/debug"),
];

fn main() -> ExitCode {
    if std::process::id() != 1 {
        return outside();
    }
    if let Err(error) = measure() {
        eprintln!("gupstress-guest: {error}");
    }
    // Whoever waits for the machine sees it go, with or without a whole answer.
    _ = reboot(RebootCommand::Restart);
    ExitCode::FAILURE
}

/// What it says where it is no `/init`.
fn outside() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--version") {
        println!("gupstress-guest {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    eprintln!("gupstress-guest: the /init of a virtual machine; nearest: gupstress guest --help");
    ExitCode::from(2)
}

fn measure() -> Result<(), Box<dyn Error>> {
    for (kind, on) in MOUNTS {
        // A kernel without one of them has other ways to say what is missing.
        _ = fs::create_dir_all(on);
        _ = mount(kind, on, kind, MountFlags::empty(), None);
    }
    device::load(Path::new(MODULES));
    let mut results = results()?;
    let request = fs::read_to_string(REQUEST)?;
    let mut lost = None;
    answer(&request, &mut |line| {
        let written = writeln!(results, "{line}");
        lost = lost.take().or(written.err());
        lost.is_none()
    });
    tcdrain(&results)?;
    lost.map_or(Ok(()), |error| Err(error.into()))
}

/// The line of results, as plain bytes.
fn results() -> Result<File, Box<dyn Error>> {
    let line = rustix::fs::open(RESULTS, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())
        .map_err(|error| format!("{RESULTS}: {error}"))?;
    let mut plain = tcgetattr(&line)?;
    plain.make_raw();
    tcsetattr(&line, OptionalActions::Now, &plain)?;
    Ok(line.into())
}
