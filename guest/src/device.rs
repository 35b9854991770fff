//! A device that pins can be made for: VFIO's modules, where the initrd has them, and what is to have
//! the spare device that the machine then has.

use rustix::system::finit_module;
use std::ffi::CStr;
use std::fs::File;
use std::path::Path;

/// In the order in which they need each other, each with its options. What one kernel does not have is
/// part of another module there.
const MODULES: [(&str, &CStr); 6] = [
    ("irqbypass", c""),
    ("vfio", c""),
    ("vfio_virqfd", c""),
    // Nothing here sends interrupts, so nobody need keep them apart.
    ("vfio_iommu_type1", c"allow_unsafe_interrupts=1"),
    ("vfio-pci-core", c""),
    // QEMU's `pci-testdev`.
    ("vfio-pci", c"ids=1b36:0005"),
];

/// Loads what is there of them. Of one that is refused the console says why, and a step that needs it
/// is refused by name.
pub fn load(folder: &Path) {
    for (name, options) in MODULES {
        if let Ok(module) = File::open(folder.join(format!("{name}.ko")))
            && let Err(errno) = finit_module(module, options, 0)
        {
            eprintln!("gupstress-guest: {name}: {errno}");
        }
    }
}
