//! Settings of the kernel that a script changes, put back when it ends.

use crate::area::page_size;
use gupstress_run::machine::{Backing, Kind, MAX_ORDER};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const THP: &str = "/sys/kernel/mm/transparent_hugepage";
const SYSCTL: &str = "/proc/sys/vm";

/// Files that were written, each with what it said before; the last is put back first.
#[derive(Debug, Default)]
pub struct Settings {
    changed: Vec<(PathBuf, String)>,
}

impl Settings {
    fn set(&mut self, path: PathBuf, value: &str) -> io::Result<()> {
        let before = chosen(&fs::read_to_string(&path)?);
        if before != value {
            fs::write(&path, value)?;
            self.changed.push((path, before));
        }
        Ok(())
    }

    /// Has faults of advised mappings make folios of an order, and of no other.
    ///
    /// # Errors
    /// This kernel makes no such folios, or does not let itself be told.
    pub fn make_folios(&mut self, backing: Backing) -> io::Result<()> {
        let (file, advised) = match backing.kind {
            Kind::Anon => ("enabled", "madvise"),
            _ => ("shmem_enabled", "advise"),
        };
        let own = size(backing.order).join(file);
        if own.exists() {
            for other in
                (1..=MAX_ORDER).filter(|other| *other != backing.order).map(|other| size(other).join(file))
            {
                if other.exists() {
                    self.set(other, "never")?;
                }
            }
            return self.set(own, advised);
        }
        if backing.order == MAX_ORDER {
            return self.set(Path::new(THP).join(file), advised);
        }
        Err(io::Error::other(format!("no {}", own.display())))
    }

    /// Makes huge pages of every anonymous mapping.
    ///
    /// # Errors
    /// This kernel has no huge pages.
    pub fn make_huge(&mut self) -> io::Result<()> {
        let own = size(MAX_ORDER).join("enabled");
        if own.exists() {
            self.set(own, "inherit")?;
        }
        self.set(Path::new(THP).join("enabled"), "always")
    }

    /// Sets a number of `vm`, and sees that it is that.
    ///
    /// # Errors
    /// The kernel's, or that it came to less.
    pub fn sysctl(&mut self, name: &str, value: u32) -> io::Result<()> {
        let path = Path::new(SYSCTL).join(name);
        self.set(path.clone(), &value.to_string())?;
        match chosen(&fs::read_to_string(path)?) {
            found if found == value.to_string() => Ok(()),
            found => Err(io::Error::other(format!("vm.{name} came to {found}"))),
        }
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        for (path, before) in self.changed.drain(..).rev() {
            // What the kernel does not take back nobody can give it.
            _ = fs::write(path, before);
        }
    }
}

/// The folder about folios of an order.
fn size(order: u32) -> PathBuf {
    Path::new(THP).join(format!("hugepages-{}kB", (page_size() << order) >> 10))
}

/// What a setting says: of a choice the word in brackets, else all of it.
fn chosen(text: &str) -> String {
    let word = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    word.map_or_else(|| text.trim().to_owned(), |(word, _)| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_changes_is_as_before_when_it_ends() {
        let root = std::env::temp_dir().join(format!("gupstress-settings-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let (choice, number) = (root.join("enabled"), root.join("nr"));
        fs::write(&choice, "always [madvise] never\n").unwrap();
        fs::write(&number, "3\n").unwrap();
        {
            let mut settings = Settings::default();
            settings.set(choice.clone(), "never").unwrap();
            settings.set(number.clone(), "7").unwrap();
            settings.set(number.clone(), "9").unwrap();
            assert_eq!(fs::read_to_string(&choice).unwrap(), "never");
            assert!(settings.set(root.join("none"), "1").is_err());
        }
        assert_eq!(fs::read_to_string(&choice).unwrap(), "madvise");
        assert_eq!(fs::read_to_string(&number).unwrap(), "3");
        fs::remove_dir_all(root).unwrap();
    }
}
