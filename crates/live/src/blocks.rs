//! Blocks of memory that are wanted back: CMA areas, and blocks of `ZONE_MOVABLE`.

use gupstress_run::stress::{Profile, Role};
use rand_core::RngCore;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const CMA: &str = "/sys/kernel/debug/cma";
const MEMORY: &str = "/sys/devices/system/memory";

/// Pages of one allocation from CMA: a pageblock.
const PAGES: &str = "512";

/// What can be taken, and what was.
#[derive(Debug, Default)]
pub struct Blocks {
    /// Folders of CMA areas in debugfs.
    cma: Vec<PathBuf>,
    /// Folders of blocks that lie in `ZONE_MOVABLE`.
    movable: Vec<PathBuf>,
    /// Those that were taken offline and are not back yet.
    offline: Mutex<Vec<PathBuf>>,
}

impl Blocks {
    /// What the actors of a profile need of them.
    ///
    /// # Errors
    /// This kernel has none of it.
    pub fn of(profile: &Profile) -> io::Result<Self> {
        let wants = |role| profile.actors().iter().any(|(known, actor)| *known == role && actor.threads > 0);
        let mut blocks = Self::default();
        if wants(Role::Contig) {
            blocks.cma = folders(Path::new(CMA), |area| area.join("alloc").exists());
            require(&blocks.cma, "contig.threads", "no CMA area in debugfs, CONFIG_CMA_DEBUGFS")?;
        }
        if wants(Role::Offliner) {
            blocks.movable = folders(Path::new(MEMORY), is_movable);
            require(&blocks.movable, "offliner.threads", "no block of ZONE_MOVABLE can be offlined")?;
        }
        Ok(blocks)
    }

    /// Allocates a block of CMA, and gives it back.
    pub fn allocate(&self, random: &mut impl RngCore) {
        let area = &self.cma[random.next_u64() as usize % self.cma.len()];
        // Where pages do not come free it fails, as it does for a driver.
        if fs::write(area.join("alloc"), PAGES).is_ok() {
            _ = fs::write(area.join("free"), PAGES);
        }
    }

    /// Takes a block of Movable offline, and brings it back.
    pub fn offline(&self, random: &mut impl RngCore) {
        let block = &self.movable[random.next_u64() as usize % self.movable.len()];
        self.taken().push(block.clone());
        if fs::write(block.join("state"), "offline").is_ok() {
            online(block);
        }
        self.taken().retain(|taken| taken != block);
    }

    /// Brings back what an offliner that did not end has taken.
    pub fn give_back(&self) {
        self.taken().iter().for_each(|block| online(block));
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.offline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn online(block: &Path) {
    // Nobody is left to be told where the kernel refuses its own block.
    _ = fs::write(block.join("state"), "online_movable");
}

fn require(found: &[PathBuf], key: &str, why: &str) -> io::Result<()> {
    let said = || io::Error::other(format!("{key}: not on this kernel: {why}; nearest: 0"));
    (!found.is_empty()).then_some(()).ok_or_else(said)
}

fn folders(root: &Path, is_one: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_one(path)).collect();
    found.sort();
    found
}

/// Whether a folder is that of an online block of `ZONE_MOVABLE`.
fn is_movable(block: &Path) -> bool {
    let says = |file: &str, word: &str| {
        fs::read_to_string(block.join(file)).is_ok_and(|text| text.split_whitespace().next() == Some(word))
    };
    says("valid_zones", "Movable") && says("state", "online")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_online_blocks_of_movable_are_taken() {
        let root = std::env::temp_dir().join(format!("gupstress-blocks-{}", std::process::id()));
        for (name, zones, state) in [
            ("memory1", "Normal\n", "online\n"),
            ("memory2", "Movable\n", "online\n"),
            ("memory3", "Movable Normal\n", "online\n"),
            ("memory4", "Movable\n", "offline\n"),
        ] {
            fs::create_dir_all(root.join(name)).unwrap();
            fs::write(root.join(name).join("valid_zones"), zones).unwrap();
            fs::write(root.join(name).join("state"), state).unwrap();
        }
        let found = folders(&root, is_movable);
        assert_eq!(found, ["memory2", "memory3"].map(|name| root.join(name)));
        // What an offliner that was stopped has taken comes back.
        let blocks = Blocks { offline: Mutex::new(vec![root.join("memory4")]), ..Blocks::default() };
        blocks.give_back();
        assert_eq!(fs::read_to_string(root.join("memory4/state")).unwrap(), "online_movable");
        fs::remove_dir_all(root).unwrap();
    }
}
