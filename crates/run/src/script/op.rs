//! The steps that a script is made of: one list of words, each with what it takes and does.

use crate::config::{nearest, number};
use crate::machine::{Backing, CpuId, Kind, MAX_ORDER};
use crate::ops::Caller;
use std::fmt;
use std::ops::Range;

/// What a word takes: how it is written, read and shown.
pub trait Arguments: Sized {
    /// As usage has it, after the word; empty for none.
    const USAGE: &'static str;
    /// Reads the words after the first.
    ///
    /// # Errors
    /// They do not fit; of one that does not what is wrong with it, with the nearest right one.
    fn parse(words: &[&str]) -> Result<Self, Wrong>;
    /// Writes them as they are read, each with a space before it.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// What is wrong with an argument, if one is, and not their number.
type Wrong = Option<String>;

/// A word's row in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Word {
    /// The word.
    pub word: &'static str,
    /// What follows it.
    pub usage: &'static str,
    /// What the step does, in a few words.
    pub does: &'static str,
}

macro_rules! steps {
    ($( #[doc = $does:literal] $Variant:ident($Arguments:ty) = $word:literal, )*) => {
        /// One step.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Op { $( #[doc = $does] $Variant($Arguments), )* }

        impl Op {
            /// Every word.
            pub const WORDS: &[Word] = &[$(
                Word { word: $word, usage: <$Arguments>::USAGE, does: $does.trim_ascii() },
            )*];

            /// Its word.
            pub fn word(&self) -> &'static str {
                match self { $( Self::$Variant(_) => $word, )* }
            }

            fn read(word: &str, arguments: &[&str]) -> Result<Self, Wrong> {
                match word {
                    $( $word => <$Arguments>::parse(arguments).map(Self::$Variant), )*
                    _ => Err(None),
                }
            }
        }

        impl fmt::Display for Op {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())?;
                match self { $( Self::$Variant(arguments) => arguments.show(f), )* }
            }
        }
    };
}

steps! {
    /// later steps run on CPU N
    Cpu(CpuId) = "cpu",
    /// maps N pages, none present
    Map(Fresh) = "map",
    /// writes each page
    Touch(Pages) = "touch",
    /// reads each page; an untouched anonymous one maps the zero page
    Read(Pages) = "read",
    /// writes N fresh anonymous pages of another mapping
    Fill(u32) = "fill",
    /// mlock2(MLOCK_ONFAULT)
    Mlock(Pages) = "mlock",
    /// munlock
    Munlock(Pages) = "munlock",
    /// madvise(MADV_COLD)
    Cold(Pages) = "cold",
    /// madvise(MADV_FREE)
    Lazyfree(Pages) = "lazyfree",
    /// gives pages up: madvise(MADV_DONTNEED)
    Dontneed(Pages) = "dontneed",
    /// punches a hole into the file: madvise(MADV_REMOVE)
    Remove(Pages) = "remove",
    /// mprotect(PROT_READ)
    Rdonly(Pages) = "rdonly",
    /// mprotect to read-only and back: what a PMD maps is mapped by PTEs then
    Pmdsplit(Pages) = "pmdsplit",
    /// moves the mapping to another address
    Mremap(Name) = "mremap",
    /// writes each page through a second mapping of the file
    Alias(Pages) = "alias",
    /// writes each page of the file, mapped or not: pwrite
    Write(Pages) = "write",
    /// another holder takes one plain reference on each page (splice of a file, else vmsplice) and keeps it
    Hold(Part) = "hold",
    /// the same, always by vmsplice
    Vhold(Part) = "vhold",
    /// lets go of one such reference on each page; without pages, of all there are
    Release(Option<Part>) = "release",
    /// locks each page, of a folio its own, with a reference on it meanwhile, as file systems and reclaim do
    Lock(Part) = "lock",
    /// unlocks each such page
    Unlock(Part) = "unlock",
    /// puts each page, of a folio its own, under writeback, with a reference on it meanwhile
    Startwriteback(Part) = "startwriteback",
    /// ends the writeback of each such page
    Endwriteback(Part) = "endwriteback",
    /// makes single pages of what lies there in larger folios
    Split(Name) = "split",
    /// forks a child that keeps the pages shared copy-on-write
    Share(Pages) = "share",
    /// forks a child that writes the pages first
    Sharew(Pages) = "sharew",
    /// the children exit
    Childexit(Nothing) = "childexit",
    /// long-term pin of the range, for writing
    Pin(Pinned) = "pin",
    /// long-term pin of the range, for reading only
    Pinro(Pinned) = "pinro",
    /// the same, for writing, by VFIO
    Vfpin(Pages) = "vfpin",
    /// the same, for reading only, by VFIO
    Vfpinro(Pages) = "vfpinro",
    /// the same, for writing, by udmabuf
    Udpin(Pages) = "udpin",
    /// drops every pin of the mapping
    Unpin(Name) = "unpin",
    /// unmaps part of the mapping, or all of it for good
    Unmap(Pages) = "unmap",
    /// runs another program in its place: all is unmapped, pins stay
    Exec(Nothing) = "exec",
    /// the program ends: all is unmapped, and its pins are given back
    Exit(Nothing) = "exit",
    /// takes pageblock N of Movable and gives it back: alloc_contig_range
    Contig(u32) = "contig",
    /// takes pageblock N of Movable offline, however long it is in use, and online again
    Offline(u32) = "offline",
    /// drains every CPU's batches
    Drain(Nothing) = "drain",
    /// drains every other CPU's batches, and leaves this one's
    Settle(Nothing) = "settle",
    /// makes the hugetlb pool N pages large, first in Movable: vm.nr_hugepages
    Hugepool(u32) = "hugepool",
    /// lets the pool grow by N pages more where it lacks them: vm.nr_overcommit_hugepages
    Overcommit(u32) = "overcommit",
    /// lets callers keep N pages locked or pinned, by each way of counting: RLIMIT_MEMLOCK; 0: any number
    Memlock(u32) = "memlock",
    /// lets VFIO have N DMA mappings at a time: dma_entry_limit
    DmaEntries(u32) = "dma_entries",
    /// leaves no free block of more than a page outside Movable
    Fragment(Nothing) = "fragment",
    /// lets 0.2 s pass, in which nothing else happens
    Sleep(Nothing) = "sleep",
    /// makes huge pages of what is mapped as anon from now on: transparent_hugepage/enabled = always
    Thpon(Nothing) = "thpon",
}

/// A mapping's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub String);

/// A mapping to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// Its name from now on.
    pub name: Name,
    /// Its pages.
    pub pages: u32,
    /// What it is made of.
    pub backing: Backing,
}

/// A mapping, or a range of its pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pages {
    /// The mapping.
    pub name: Name,
    /// Which pages; none: all.
    pub range: Option<Range<u32>>,
}

/// Pages to be pinned, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// Which.
    pub pages: Pages,
    /// The kind of caller.
    pub caller: Caller,
}

/// One page of a mapping, or a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The mapping.
    pub name: Name,
    /// Which pages.
    pub range: Range<u32>,
}

/// What a script may have of a page until it gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Has {
    /// A plain reference, of any number.
    Reference,
    /// The page lock.
    Lock,
    /// A writeback under way.
    Writeback,
}

impl Has {
    /// What a page is while somebody has it.
    pub fn is(self) -> &'static str {
        self.words().0
    }

    /// The word that takes it.
    pub fn taken_by(self) -> &'static str {
        self.words().1
    }

    /// The word that gives it back.
    pub fn given_back_by(self) -> &'static str {
        self.words().2
    }

    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Reference => ("held", "hold", "release"),
            Self::Lock => ("locked", "lock", "unlock"),
            Self::Writeback => ("under writeback", "startwriteback", "endwriteback"),
        }
    }
}

/// No arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nothing;

impl Op {
    /// Reads one step.
    ///
    /// # Errors
    /// What is wrong with it, with the nearest right one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let word = words.next().unwrap_or_default();
        let arguments: Vec<&str> = words.collect();
        let all = || Self::WORDS.iter().map(|known| known.word);
        let Some(known) = Self::WORDS.iter().find(|known| known.word == word) else {
            let near = nearest(word, all()).unwrap_or_default();
            let words = all().collect::<Vec<_>>().join(" ");
            return Err(format!("no word {word:?}; nearest: {near}; words: {words}"));
        };
        Self::read(word, &arguments).map_err(|wrong| {
            let reason = wrong.map_or(String::new(), |reason| format!("{reason}; "));
            format!("{reason}usage: {}", known.usage())
        })
    }

    /// The mapping that a step would make which cannot be read for anything else that is wrong with it.
    pub fn meant_to_map(text: &str) -> Option<Name> {
        let mut words = text.split_whitespace();
        let makes = words.next() == Some("map");
        words.next().filter(|_| makes).map(|name| Name(name.to_owned()))
    }

    /// The mapping and the pages that the step is about, if it is about some that are there.
    pub fn pages(&self) -> Option<(&Name, Option<Range<u32>>)> {
        match self {
            Self::Touch(on)
            | Self::Read(on)
            | Self::Mlock(on)
            | Self::Munlock(on)
            | Self::Cold(on)
            | Self::Lazyfree(on)
            | Self::Dontneed(on)
            | Self::Remove(on)
            | Self::Rdonly(on)
            | Self::Pmdsplit(on)
            | Self::Alias(on)
            | Self::Write(on)
            | Self::Share(on)
            | Self::Sharew(on)
            | Self::Unmap(on)
            | Self::Vfpin(on)
            | Self::Vfpinro(on)
            | Self::Udpin(on) => Some((&on.name, on.range.clone())),
            Self::Pin(on) | Self::Pinro(on) => Some((&on.pages.name, on.pages.range.clone())),
            Self::Hold(on)
            | Self::Vhold(on)
            | Self::Release(Some(on))
            | Self::Lock(on)
            | Self::Unlock(on)
            | Self::Startwriteback(on)
            | Self::Endwriteback(on) => Some((&on.name, Some(on.range.clone()))),
            Self::Unpin(name) | Self::Mremap(name) | Self::Split(name) => Some((name, None)),
            Self::Cpu(_)
            | Self::Map(_)
            | Self::Fill(_)
            | Self::Childexit(_)
            | Self::Exec(_)
            | Self::Exit(_)
            | Self::Drain(_)
            | Self::Contig(_)
            | Self::Offline(_)
            | Self::Settle(_)
            | Self::Hugepool(_)
            | Self::Overcommit(_)
            | Self::Memlock(_)
            | Self::DmaEntries(_)
            | Self::Fragment(_)
            | Self::Sleep(_)
            | Self::Thpon(_)
            | Self::Release(None) => None,
        }
    }

    /// What it has of pages from then on that a later step gives back, and of which.
    pub fn takes(&self) -> Option<(Has, &Part)> {
        Some(match self {
            Self::Hold(on) | Self::Vhold(on) => (Has::Reference, on),
            Self::Lock(on) => (Has::Lock, on),
            Self::Startwriteback(on) => (Has::Writeback, on),
            _ => return None,
        })
    }

    /// What it gives back of that.
    pub fn gives_back(&self) -> Option<(Has, &Part)> {
        Some(match self {
            Self::Release(Some(on)) => (Has::Reference, on),
            Self::Unlock(on) => (Has::Lock, on),
            Self::Endwriteback(on) => (Has::Writeback, on),
            _ => return None,
        })
    }

    /// What it pins, if it pins: the pages, by whom, and whether for writing.
    pub fn as_pin(&self) -> Option<(&Pages, Caller, bool)> {
        Some(match self {
            Self::Pin(on) => (&on.pages, on.caller, true),
            Self::Pinro(on) => (&on.pages, on.caller, false),
            Self::Vfpin(on) => (on, Caller::Vfio, true),
            Self::Vfpinro(on) => (on, Caller::Vfio, false),
            Self::Udpin(on) => (on, Caller::Udmabuf, true),
            _ => return None,
        })
    }

    /// Whether it pins.
    pub fn is_pin(&self) -> bool {
        self.as_pin().is_some()
    }

    /// Whether a program goes on when the kernel refuses it, as after an `madvise`.
    pub fn is_advice(&self) -> bool {
        use Op::{Cold, Contig, Dontneed, Lazyfree, Remove};
        matches!(self, Cold(_) | Lazyfree(_) | Dontneed(_) | Remove(_) | Contig(_))
    }
}

impl Word {
    /// The word and what follows it.
    pub fn usage(&self) -> String {
        format!("{} {}", self.word, self.usage).trim_end().to_owned()
    }
}

/// The kinds of mapping by name.
const KINDS: [(&str, Kind); 9] = [
    ("anon", Kind::Anon),
    ("shmem", Kind::Shmem),
    ("tmpfs", Kind::Tmpfs),
    ("hugetlb", Kind::Hugetlb),
    ("hugeshm", Kind::Hugeshm),
    ("ramfs", Kind::Ramfs),
    ("file", Kind::File),
    ("secret", Kind::Secret),
    ("pfnmap", Kind::Pfnmap),
];

/// Whether mappings of a kind may be made of larger folios, by a word of their own.
fn has_orders(kind: Kind) -> bool {
    matches!(kind, Kind::Anon | Kind::Shmem)
}

/// What a mapping is made of by its name: a kind, and for some the order of its folios.
///
/// # Errors
/// There is none of that name; which is nearest.
pub fn kind_named(name: &str) -> Result<Backing, String> {
    let (kind, order) = name.split_once('/').map_or((name, None), |(kind, order)| (kind, Some(order)));
    let Some(&(known, found)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        let near = nearest(kind, KINDS.map(|(known, _)| known)).unwrap_or_default();
        return Err(format!("no kind of mapping {name:?}; nearest: {near}"));
    };
    let Some(order) = order else {
        let order = if found.is_hugetlb() { MAX_ORDER } else { 0 };
        return Ok(Backing { kind: found, order });
    };
    if !has_orders(found) {
        return Err(format!("{known} has no folios of an order; nearest: {known}"));
    }
    match order.parse() {
        Ok(order) if (1..=MAX_ORDER).contains(&order) => Ok(Backing { kind: found, order }),
        _ => Err(format!("{name}: folios have orders 1 to {MAX_ORDER}; nearest: {known}/{MAX_ORDER}")),
    }
}

/// The name of what a mapping is made of.
pub fn kind_name(backing: impl Into<Backing>) -> String {
    let Backing { kind, order } = backing.into();
    let name = KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| name);
    if order == 0 || !has_orders(kind) { name.to_owned() } else { format!("{name}/{order}") }
}

/// A number of a script.
fn whole(word: &str) -> Result<u32, Wrong> {
    word.parse().map_err(|_| {
        let near = number(word).unwrap_or(1.0).clamp(0.0, f64::from(u32::MAX)) as u32;
        Some(format!("{word:?} is not a whole number from 0 to {}; nearest: {near}", u32::MAX))
    })
}

impl Arguments for CpuId {
    const USAGE: &'static str = "N";
    fn parse(words: &[&str]) -> Result<Self, Wrong> {
        u32::parse(words).map(Self)
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {self}")
    }
}

impl Arguments for u32 {
    const USAGE: &'static str = "N";
    fn parse(words: &[&str]) -> Result<Self, Wrong> {
        let [number] = words else { return Err(None) };
        whole(number)
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {self}")
    }
}

impl Arguments for Nothing {
    const USAGE: &'static str = "";
    fn parse(words: &[&str]) -> Result<Self, Wrong> {
        if words.is_empty() { Ok(Self) } else { Err(None) }
    }
    fn show(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl Arguments for Name {
    const USAGE: &'static str = "A";
    fn parse(words: &[&str]) -> Result<Self, Wrong> {
        let [name] = words else { return Err(None) };
        Ok(Self((*name).to_owned()))
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {}", self.0)
    }
}

impl Arguments for Fresh {
    const USAGE: &'static str = "A N anon[/O]|shmem[/O]|tmpfs|hugetlb|hugeshm|ramfs|file|secret|pfnmap";
    fn parse(words: &[&str]) -> Result<Self, Wrong> {
        let [name, pages, kind] = words else { return Err(None) };
        let (pages, backing) = (whole(pages)?, kind_named(kind).map_err(Some)?);
        Ok(Self { name: Name((*name).to_owned()), pages, backing })
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {} {} {}", self.name.0, self.pages, kind_name(self.backing))
    }
}

impl Arguments for Pages {
    const USAGE: &'static str = "A [lo hi]";
    fn parse(words: &[&str]) -> Result<Self, Wrong> {
        let (name, range) = match words {
            [name] => (name, None),
            [name, lo, hi] => (name, Some(whole(lo)?..whole(hi)?)),
            _ => return Err(None),
        };
        Ok(Self { name: Name((*name).to_owned()), range })
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.range {
            None => write!(f, " {}", self.name.0),
            Some(range) => write!(f, " {} {} {}", self.name.0, range.start, range.end),
        }
    }
}

/// A caller by its name.
///
/// # Errors
/// There is none of that name; which is nearest.
pub fn caller_named(name: &str) -> Result<Caller, String> {
    let known = Caller::WORDS.iter().find(|(known, _)| *known == name);
    known.map(|&(_, caller)| caller).ok_or_else(|| {
        let near = nearest(name, Caller::WORDS.iter().map(|(known, _)| *known)).unwrap_or_default();
        format!("no caller {name:?}; nearest: {near}")
    })
}

impl Arguments for Pinned {
    const USAGE: &'static str = "A [lo hi] [by CALLER]";
    fn parse(words: &[&str]) -> Result<Self, Wrong> {
        let (pages, caller) = match words {
            [pages @ .., "by", caller] => (pages, caller_named(caller).map_err(Some)?),
            pages => (pages, Caller::IoUring),
        };
        Ok(Self { pages: Pages::parse(pages)?, caller })
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pages.show(f)?;
        match self.caller {
            Caller::IoUring => Ok(()),
            other => write!(f, " by {}", other.name()),
        }
    }
}

impl Arguments for Option<Part> {
    const USAGE: &'static str = "[A i|lo hi]";
    fn parse(words: &[&str]) -> Result<Self, Wrong> {
        if words.is_empty() { Ok(None) } else { Part::parse(words).map(Some) }
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().map_or(Ok(()), |arguments| arguments.show(f))
    }
}

impl Arguments for Part {
    const USAGE: &'static str = "A i|lo hi";
    fn parse(words: &[&str]) -> Result<Self, Wrong> {
        let (name, range) = match words {
            [name, page] => {
                let page = whole(page)?;
                (name, page..page.saturating_add(1))
            }
            [name, lo, hi] => (name, whole(lo)?..whole(hi)?),
            _ => return Err(None),
        };
        Ok(Self { name: Name((*name).to_owned()), range })
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.range;
        if start.checked_add(1) == Some(end) {
            write!(f, " {} {start}", self.name.0)
        } else {
            write!(f, " {} {start} {end}", self.name.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back_from_what_it_shows() {
        for known in Op::WORDS {
            let mut read = 0;
            for arguments in
                ["", "3", "a", "a 4 anon", "a 4 shmem", "a 1", "a 1 3", "a by umem", "a 1 3 by gup-slow"]
            {
                let text = format!("{} {arguments}", known.word);
                let Ok(op) = Op::parse(&text) else { continue };
                assert_eq!(op.to_string(), text.trim_end());
                assert_eq!((op.word(), Op::parse(&op.to_string())), (known.word, Ok(op.clone())));
                read += 1;
            }
            assert!(read > 0, "{known:?}");
            assert!(!known.does.is_empty());
        }
    }

    #[test]
    fn a_wrong_step_says_what_would_be_right() {
        for (text, said) in [
            ("tuch a", "nearest: touch"),
            ("", "words: cpu map"),
            ("map a four anon", "usage: map A N anon[/O]|shmem[/O]"),
            ("pin a by hand", "usage: pin A [lo hi] [by CALLER]"),
            ("map a 4 huge", "usage: map"),
            ("touch a 1", "usage: touch A [lo hi]"),
            ("hold a", "usage: hold A i|lo hi"),
            ("drain now", "usage: drain"),
            ("lock a", "usage: lock A i|lo hi"),
            ("contig a", "usage: contig N"),
            ("cpu -1", "\"-1\" is not a whole number from 0 to 4294967295; nearest: 0; usage: cpu N"),
            ("memlock", "usage: memlock N"),
            ("memlock 1e99", "nearest: 4294967295; usage: memlock N"),
            ("overcommit 2.7", "\"2.7\" is not a whole number from 0 to 4294967295; nearest: 2"),
            ("map a 4 anon/10", "anon/10: folios have orders 1 to 9; nearest: anon/9"),
            ("map a 4 hugetbl", "no kind of mapping \"hugetbl\"; nearest: hugetlb"),
            ("touch a 0 x", "\"x\" is not a whole number"),
            ("hold a -1", "\"-1\" is not a whole number"),
            ("pin a by vfoi", "no caller \"vfoi\"; nearest: vfio"),
        ] {
            let reason = Op::parse(text).unwrap_err();
            assert!(reason.contains(said), "{text}: {reason}");
        }
    }
}
