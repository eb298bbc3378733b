//! Many answers under one signature: a Merkle tree, its hashes as in RFC 9162 §2.1 (leaves and nodes are hashed
//! apart). Pure.

use aws_lc_rs::digest::{Context, SHA256, digest};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// As many answers as one signature is for.
pub const MOST_LEAVES: usize = 64;
/// The longest path: 64 leaves.
pub const MOST_DEPTH: usize = 6;

/// The tree over one to [`MOST_LEAVES`] bodies.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The leaves with what makes them a power of two, then the level above them, and so on to the root.
    nodes: Vec<Hash>,
    depth: usize,
}

impl Tree {
    /// `None` without a leaf, and with too many.
    pub fn over(leaves: &[Hash]) -> Option<Self> {
        if leaves.is_empty() || leaves.len() > MOST_LEAVES {
            return None;
        }
        let width = leaves.len().next_power_of_two();
        let mut nodes = Vec::with_capacity(2 * width - 1);
        nodes.extend_from_slice(leaves);
        nodes.resize(width, PADDING);
        let (mut begin, mut level) = (0, width);
        while level > 1 {
            for pair in 0..level / 2 {
                let left = *nodes.get(begin + 2 * pair)?;
                let right = *nodes.get(begin + 2 * pair + 1)?;
                nodes.push(node(&left, &right));
            }
            begin += level;
            level /= 2;
        }
        Some(Self { nodes, depth: width.trailing_zeros() as usize })
    }

    /// What is signed.
    pub fn root(&self) -> Hash {
        self.nodes.last().copied().unwrap_or(PADDING)
    }

    /// How long each path is.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The hashes beside the way from a leaf to the root, the leaf's own level first.
    pub fn path(&self, leaf: usize) -> impl Iterator<Item = &Hash> {
        let (mut begin, mut level, mut place) = (0, 1 << self.depth, leaf);
        (0..self.depth).filter_map(move |_| {
            let sibling = self.nodes.get(begin + (place ^ 1));
            begin += level;
            level /= 2;
            place /= 2;
            sibling
        })
    }
}

/// The hash of an answer's body.
pub fn leaf(body: &[u8]) -> Hash {
    hash(&[&[0], body])
}

/// The root that a leaf's place and path lead to.
pub fn root_of(leaf: Hash, index: usize, path: &[Hash]) -> Hash {
    let step = |below: Hash, (level, beside): (usize, &Hash)| {
        if index >> level & 1 == 1 { node(beside, &below) } else { node(&below, beside) }
    };
    path.iter().enumerate().fold(leaf, step)
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut whole = [1; 65];
    let (_, rest) = whole.split_at_mut(1);
    let (first, second) = rest.split_at_mut(32);
    first.copy_from_slice(left);
    second.copy_from_slice(right);
    into_hash(digest(&SHA256, &whole).as_ref())
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    into_hash(context.finish().as_ref())
}

fn into_hash(bytes: &[u8]) -> Hash {
    // SHA-256 has 32 bytes
    bytes.try_into().unwrap_or(PADDING)
}

/// Stands for a leaf that is not there.
const PADDING: Hash = [0; 32];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_of_every_size_leads_to_the_root() {
        for size in 1..=MOST_LEAVES {
            let leaves: Vec<Hash> = (0..size).map(|i| leaf(&[i as u8])).collect();
            let tree = Tree::over(&leaves).unwrap();
            assert_eq!(1 << tree.depth(), size.next_power_of_two());
            for (index, leaf) in leaves.iter().enumerate() {
                let path: Vec<Hash> = tree.path(index).copied().collect();
                assert_eq!(path.len(), tree.depth());
                assert_eq!(root_of(*leaf, index, &path), tree.root(), "{index} of {size}");
                if size > 1 {
                    assert_ne!(root_of(*leaf, index ^ 1, &path), tree.root(), "{index} of {size}");
                }
            }
        }
    }

    #[test]
    fn there_is_no_tree_without_leaves_nor_over_too_many() {
        assert!(Tree::over(&[]).is_none());
        assert!(Tree::over(&[PADDING; MOST_LEAVES + 1]).is_none());
        assert_eq!(Tree::over(&[leaf(b"x")]).unwrap().root(), leaf(b"x"));
    }
}
