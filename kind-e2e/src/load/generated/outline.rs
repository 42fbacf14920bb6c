//! The tree of bookmarks that a list of levels means.

/// Where a bookmark is in the tree, by the places of others in the list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bookmark {
    pub(super) parent: Option<usize>,
    pub(super) before: Option<usize>,
    pub(super) after: Option<usize>,
    /// The first and the last of those below it.
    pub(super) children: Option<(usize, usize)>,
}

/// The bookmarks of headings with these levels. None is more than one level below the one before it.
pub(super) fn bookmarks(levels: &[u8]) -> Vec<Bookmark> {
    let mut tree = vec![Bookmark::default(); levels.len()];
    // The last bookmark of each level, as far as the current one is below it or beside it.
    let mut open: Vec<usize> = Vec::new();
    for (index, level) in levels.iter().enumerate() {
        let above = usize::from(*level).saturating_sub(1);
        open.truncate(above + 1);
        let before = open.get(above).copied();
        open.truncate(above);
        let parent = open.last().copied();
        tree[index] = Bookmark { parent, before, ..Bookmark::default() };
        if let Some(before) = before {
            tree[before].after = Some(index);
        }
        if let Some(parent) = parent {
            let first = tree[parent].children.map_or(index, |(first, _)| first);
            tree[parent].children = Some((first, index));
        }
        open.push(index);
    }
    tree
}

/// The first and the last bookmark of the highest level.
pub(super) fn ends(levels: &[u8]) -> Option<(usize, usize)> {
    let first = levels.iter().position(|level| *level == 1)?;
    let last = levels.iter().rposition(|level| *level == 1)?;
    Some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_make_a_tree() {
        let tree = bookmarks(&[1, 2, 3, 2, 1]);
        let shown: Vec<_> = tree.iter().map(|one| (one.parent, one.before, one.after, one.children)).collect();
        assert_eq!(
            shown,
            [
                (None, None, Some(4), Some((1, 3))),
                (Some(0), None, Some(3), Some((2, 2))),
                (Some(1), None, None, None),
                (Some(0), Some(1), None, None),
                (None, Some(0), None, None),
            ]
        );
        assert_eq!(ends(&[1, 2, 3, 2, 1]), Some((0, 4)));
        assert_eq!(ends(&[]), None);
    }
}
