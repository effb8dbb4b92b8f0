//! The hierarchy that sums are formed along: leaves are ranks, groups are zones. Ranks that sum among themselves
//! below the zone ([`super::NodeGroup`]) are leaves too, of which one speaks for all.

use crate::ids::Rank;

use super::Level;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    Rank(Rank),
    Group(Vec<Tree>),
}

impl Tree {
    /// A single zone is the whole tree: nothing has to be exchanged above it.
    pub(super) fn of_zones(zones: &[Vec<Rank>]) -> Tree {
        let group = |zone: &Vec<Rank>| Tree::Group(zone.iter().copied().map(Tree::Rank).collect());
        match zones {
            [zone] => group(zone),
            zones => Tree::Group(zones.iter().map(group).collect()),
        }
    }

    /// The buffer level that holds the subtree's sum: its height, 0 for a rank.
    pub(super) fn level(&self) -> Level {
        match self {
            Tree::Rank(_) => Level(0),
            Tree::Group(children) => {
                Level(1 + children.iter().map(|child| child.level().0).max().unwrap_or(0))
            }
        }
    }

    pub(super) fn contains(&self, rank: Rank) -> bool {
        match self {
            Tree::Rank(own) => *own == rank,
            Tree::Group(children) => children.iter().any(|child| child.contains(rank)),
        }
    }
}
