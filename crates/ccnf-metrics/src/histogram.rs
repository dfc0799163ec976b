//! Counts of scores by the leading bits of their ordered keys, in bounded memory.

/// Key prefixes: one possible page each.
const PAGES: usize = 1 << PAGE_BITS;
const PAGE_BITS: u32 = 16;
/// A page that no score has touched.
const NONE: u32 = u32::MAX;

/// A histogram over keys whose bins are single scores until they become too many; then neighbouring bins are
/// joined in pairs, everywhere and as often as it takes.
///
/// A key (`ranking::key_of`) keeps the order of the scores. Its first 16 bits name a page, which gets memory
/// when a score first falls into it; the other 16 bits, without the last `shift`, name a bin of the page.
/// All bins are therefore aligned intervals of 2^shift keys, joining two of them loses nothing but
/// resolution, and the result depends neither on the order nor on the grouping of what was counted (except
/// for the rounding of `overlaps`). A bin is at most 2^(shift - 23) wide relative to its score.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    /// Most bins, at least [`PAGES`]: then every page can have one.
    limit: usize,
    shift: u32,
    /// Where the bins of a page are, in units of pages.
    slots: Box<[u32]>,
    /// Pages that have memory.
    pages: usize,
    /// Normal samples per bin.
    negatives: Vec<u32>,
    /// Anomalous samples per bin.
    positives: Vec<u32>,
    /// Sum over a bin's anomalous samples of 1 / (size of the sample's region).
    overlaps: Vec<f64>,
}

/// A bin that is not empty.
pub(crate) struct Bin {
    /// The last key of the interval, which is the lowest score.
    pub(crate) last_key: u32,
    pub(crate) negatives: u32,
    pub(crate) positives: u32,
    pub(crate) overlap: f64,
}

impl Histogram {
    /// An empty histogram of at most `limit` bins, of 16 bytes each.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(PAGES),
            shift: 0,
            slots: vec![NONE; PAGES].into(),
            pages: 0,
            negatives: Vec::new(),
            positives: Vec::new(),
            overlaps: Vec::new(),
        }
    }

    /// Whether every bin is a single score.
    pub(crate) fn is_exact(&self) -> bool {
        self.shift == 0
    }

    /// Counts normal samples. No bin may get more than fit in 32 bits.
    pub(crate) fn add_negatives(&mut self, keys: impl Iterator<Item = u32>) {
        for key in keys {
            let bin = self.bin(key);
            self.negatives[bin] += 1;
        }
    }

    /// Counts anomalous samples of a region of `size` pixels. No bin may get more than fit in 32 bits.
    pub(crate) fn add_positives(&mut self, keys: impl Iterator<Item = u32>, size: u32) {
        let overlap = 1.0 / f64::from(size);
        for key in keys {
            let bin = self.bin(key);
            self.positives[bin] += 1;
            self.overlaps[bin] += overlap;
        }
    }

    /// Adds all counts of another histogram.
    pub(crate) fn absorb(&mut self, other: &Histogram) {
        while self.shift < other.shift {
            self.coarsen();
        }
        for (first_key, bins) in other.used_pages() {
            for (offset, bin) in bins.enumerate() {
                if other.negatives[bin] == 0 && other.positives[bin] == 0 {
                    continue;
                }
                let own = self.bin(first_key | ((offset as u32) << other.shift));
                self.negatives[own] += other.negatives[bin];
                self.positives[own] += other.positives[bin];
                self.overlaps[own] += other.overlaps[bin];
            }
        }
    }

    /// The bins that are not empty, ascending by key: descending by score.
    pub(crate) fn bins(&self) -> impl Iterator<Item = Bin> {
        self.used_pages().flat_map(move |(first_key, bins)| {
            bins.enumerate().filter_map(move |(offset, bin)| {
                let (negatives, positives) = (self.negatives[bin], self.positives[bin]);
                let first_key = first_key | ((offset as u32) << self.shift);
                (negatives > 0 || positives > 0).then(|| Bin {
                    last_key: first_key | ((1 << self.shift) - 1),
                    negatives,
                    positives,
                    overlap: self.overlaps[bin],
                })
            })
        })
    }

    /// First key and bins of every page that has memory, ascending.
    fn used_pages(&self) -> impl Iterator<Item = (u32, std::ops::Range<usize>)> {
        let size = self.page_size();
        let used = self.slots.iter().enumerate().filter(|(_, slot)| **slot != NONE);
        used.map(move |(page, &slot)| {
            let begin = slot as usize * size;
            ((page as u32) << PAGE_BITS, begin..begin + size)
        })
    }

    fn page_size(&self) -> usize {
        1 << (PAGE_BITS - self.shift)
    }

    /// The bin of a key, which gets memory if its page has none.
    #[inline]
    fn bin(&mut self, key: u32) -> usize {
        let page = (key >> PAGE_BITS) as usize;
        let slot = match self.slots[page] {
            NONE => self.open(page),
            slot => slot,
        };
        ((slot as usize) << (PAGE_BITS - self.shift)) + ((key as usize & (PAGES - 1)) >> self.shift)
    }

    #[cold]
    fn open(&mut self, page: usize) -> u32 {
        while (self.pages + 1) * self.page_size() > self.limit {
            self.coarsen();
        }
        let slot = self.pages as u32;
        self.slots[page] = slot;
        self.pages += 1;
        let bins = self.pages * self.page_size();
        self.negatives.resize(bins, 0);
        self.positives.resize(bins, 0);
        self.overlaps.resize(bins, 0.0);
        slot
    }

    /// Joins the bins 2i and 2i + 1. Never needed at one bin per page, since `limit` has room for all pages.
    fn coarsen(&mut self) {
        fn halve<T: Copy + std::ops::Add<Output = T>>(bins: &mut Vec<T>) {
            for i in 0..bins.len() / 2 {
                bins[i] = bins[2 * i] + bins[2 * i + 1];
            }
            bins.truncate(bins.len() / 2);
        }
        self.shift += 1;
        halve(&mut self.negatives);
        halve(&mut self.positives);
        halve(&mut self.overlaps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn counted(keys: &[(u32, bool)], limit: usize) -> Histogram {
        let mut histogram = Histogram::new(limit);
        for &(key, positive) in keys {
            if positive {
                histogram.add_positives([key].into_iter(), 4);
            } else {
                histogram.add_negatives([key].into_iter());
            }
        }
        histogram
    }

    fn contents(histogram: &Histogram) -> Vec<(u32, u32, u32, f64)> {
        histogram.bins().map(|bin| (bin.last_key, bin.negatives, bin.positives, bin.overlap)).collect()
    }

    #[test]
    fn one_page_is_exact_and_all_pages_still_fit() {
        let exact = counted(&[(7, false), (7, true), (65_535, false)], 0);
        assert_eq!(contents(&exact), [(7, 1, 1, 0.25), (65_535, 1, 0, 0.0)]);
        assert!(exact.is_exact());
        let all: Vec<(u32, bool)> = (0..=u32::MAX >> 16).map(|page| (page << 16, false)).collect();
        let coarse = counted(&all, 0);
        assert_eq!((coarse.shift, coarse.negatives.len()), (16, PAGES));
        assert!(
            contents(&coarse).iter().all(|&(last_key, count, ..)| last_key & 0xffff == 0xffff && count == 1)
        );
    }

    proptest! {
        #[test]
        fn counts_equal_those_of_a_map_at_the_same_resolution(
            keys in prop::collection::vec((any::<u32>(), any::<bool>()), 0..200),
            spread in 0_u32..32,
            cut in 0_usize..200,
        ) {
            let keys: Vec<(u32, bool)> = keys.into_iter().map(|(key, label)| (key >> spread, label)).collect();
            let whole = counted(&keys, 0);
            let mut map = BTreeMap::<u32, (u32, u32)>::new();
            for &(key, positive) in &keys {
                let counts = map.entry(key | ((1 << whole.shift) - 1)).or_default();
                *if positive { &mut counts.1 } else { &mut counts.0 } += 1;
            }
            let expected: Vec<_> = map.into_iter().map(|(key, (n, p))| (key, n, p, f64::from(p) / 4.0)).collect();
            prop_assert_eq!(contents(&whole), expected.clone());

            let (left, right) = keys.split_at(cut.min(keys.len()));
            let mut joined = counted(left, 0);
            joined.absorb(&counted(right, 0));
            prop_assert_eq!(contents(&joined), expected);
        }
    }
}
