//! `/proc/zoneinfo`: the zones of each node, their sizes in pages and where they start.

use std::ops::Range;

/// One zone of one node; counts are pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// The node.
    pub node: u32,
    /// `Normal`, `Movable` …
    pub name: String,
    /// Free ones.
    pub free: u64,
    /// Given to the buddy allocator.
    pub managed: u64,
    /// Of them, in CMA areas; none: this kernel does not say.
    pub cma: Option<u64>,
    /// Page frames that it spans, holes included; empty for an empty zone.
    pub frames: Range<u64>,
}

/// Every zone, in the order of the file.
pub fn zoneinfo(text: &str) -> Vec<Zone> {
    let mut zones: Vec<Zone> = Vec::new();
    let mut spanned = 0;
    for line in text.lines() {
        if let Some((node, name)) = line.strip_prefix("Node ").and_then(|rest| rest.split_once(", zone")) {
            let Ok(node) = node.trim().parse() else { continue };
            let name = name.trim().to_owned();
            zones.push(Zone { node, name, free: 0, managed: 0, cma: None, frames: 0..0 });
            spanned = 0;
            continue;
        }
        let (Some(zone), mut words) = (zones.last_mut(), line.split_whitespace()) else { continue };
        let Some(key) = words.next() else { continue };
        let value = words.next();
        let number = || value.and_then(|value| value.parse::<u64>().ok());
        match key {
            "pages" if value == Some("free") => {
                zone.free = words.next().and_then(|free| free.parse().ok()).unwrap_or(0);
            }
            "spanned" => spanned = number().unwrap_or(0),
            "managed" => zone.managed = number().unwrap_or(0),
            "cma" => zone.cma = number(),
            // Comes after `spanned`, and not at all for an empty zone.
            "start_pfn:" => zone.frames = number().map_or(0..0, |start| start..start + spanned),
            _ => {}
        }
    }
    zones
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_text_of_6_12_with_movablecore_is_read() {
        let zones = zoneinfo(include_str!("../../tests/texts/zoneinfo-6.12.117"));
        let names: Vec<&str> = zones.iter().map(|zone| zone.name.as_str()).collect();
        assert_eq!(names, ["DMA", "DMA32", "Normal", "Movable", "Device"]);
        let movable = &zones[3];
        assert_eq!((movable.node, movable.frames.clone()), (0, 65536..131_040));
        assert_eq!((movable.managed, movable.cma), (53525, Some(0)));
        assert!(movable.free > 50_000 && movable.free <= movable.managed);
        assert!(zones[2].frames.is_empty() && zones[2].managed == 0, "an empty zone has no frames");
        assert!(zones[1].frames.contains(&50_000) && !zones[1].frames.contains(&65536));
    }

    #[test]
    fn a_text_that_is_none_has_no_zones() {
        assert!(zoneinfo("").is_empty());
        assert!(zoneinfo("spanned 3\nNode x, zone Normal\n").is_empty());
    }
}
