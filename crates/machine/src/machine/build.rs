//! What can go wrong where a machine is made, however large somebody wants it.

/// Why a machine was not built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unbuilt {
    /// The host refused so many bytes.
    NoMemory(usize),
}

impl std::fmt::Display for Unbuilt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::NoMemory(bytes) = self;
        write!(f, "the host refused {bytes} bytes of memory")
    }
}

impl std::error::Error for Unbuilt {}

/// Asked now and then by what takes long.
pub type GoOn<'g> = dyn FnMut() -> bool + 'g;
