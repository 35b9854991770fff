//! The error numbers that operations return.

/// An errno, as the kernel's functions return it (negated).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum Errno {
    /// Interrupted by a fatal signal.
    EINTR,
    /// Try again: passing.
    EAGAIN,
    /// No memory, or (to GUP's callers) any failed migration.
    ENOMEM,
    /// Only part of the range could be pinned (`io_uring`'s word for it).
    EFAULT,
    /// Given up after too many tries.
    EBUSY,
    /// Not possible for this mapping.
    EINVAL,
    /// The deadline passed.
    ETIMEDOUT,
    /// The page is poisoned.
    EHWPOISON,
    /// No DMA mapping is left (VFIO's word for it).
    ENOSPC,
}

impl Errno {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::EINTR,
        Self::EAGAIN,
        Self::ENOMEM,
        Self::EFAULT,
        Self::EBUSY,
        Self::EINVAL,
        Self::ETIMEDOUT,
        Self::EHWPOISON,
        Self::ENOSPC,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::EINTR => "EINTR",
            Self::EAGAIN => "EAGAIN",
            Self::ENOMEM => "ENOMEM",
            Self::EFAULT => "EFAULT",
            Self::EBUSY => "EBUSY",
            Self::EINVAL => "EINVAL",
            Self::ETIMEDOUT => "ETIMEDOUT",
            Self::EHWPOISON => "EHWPOISON",
            Self::ENOSPC => "ENOSPC",
        }
    }
}
