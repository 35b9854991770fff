//! Making a machine's tables: as large as somebody likes, so neither without an end nor without an answer.

/// Why a machine was not built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unbuilt {
    /// The host refused so many bytes.
    NoMemory(usize),
    /// Whoever was asked whether to go on said no.
    CutOff,
}

impl std::fmt::Display for Unbuilt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoMemory(bytes) => write!(f, "the host refused {bytes} bytes of memory"),
            Self::CutOff => f.write_str("cut off while it was built"),
        }
    }
}

impl std::error::Error for Unbuilt {}

/// Asked now and then by what takes long.
pub type GoOn<'g> = dyn FnMut() -> bool + 'g;

/// Entries made between two such questions.
const ASK_EVERY: usize = 1 << 16;

/// A table of `length` entries.
pub fn table<T>(
    length: usize,
    go_on: &mut GoOn<'_>,
    mut entry: impl FnMut(usize) -> T,
) -> Result<Vec<T>, Unbuilt> {
    let mut all = Vec::new();
    all.try_reserve_exact(length).map_err(|_| Unbuilt::NoMemory(length.saturating_mul(size_of::<T>())))?;
    while all.len() < length {
        let until = (all.len() + ASK_EVERY).min(length);
        all.extend((all.len()..until).map(&mut entry));
        if !go_on() {
            return Err(Unbuilt::CutOff);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_whole_or_says_why_not() {
        assert_eq!(table(200_000, &mut || true, |n| n).unwrap(), (0..200_000).collect::<Vec<_>>());
        assert_eq!(table(usize::MAX / 16, &mut || true, |n| n), Err(Unbuilt::NoMemory(usize::MAX / 16 * 8)));
        let mut asked = 0;
        let mut twice = || {
            asked += 1;
            asked < 3
        };
        assert_eq!(table(1 << 30, &mut twice, |_| ()), Err(Unbuilt::CutOff));
    }
}
