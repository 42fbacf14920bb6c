//! The tree of an HTML page: only what the reader needs of it, in as little memory as possible.
//!
//! A node takes 48 bytes and no allocation. All text is in one string. Comments, attributes other than the targets of
//! links, and the text of scripts and styles are dropped.

use std::{
    borrow::Cow,
    cell::{Ref, RefCell},
};

use html5ever::{
    Attribute, ExpandedName, LocalName, Namespace, QualName, expanded_name, local_name, ns,
    tendril::StrTendril,
    tree_builder::{ElemName, ElementFlags, NodeOrText, QuirksMode, TreeSink},
};

/// A node: its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(u32);

impl Id {
    /// The root.
    pub(super) const DOCUMENT: Self = Self(0);
    const NONE: Self = Self(u32::MAX);

    fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Memory of a node in bytes, and of its link.
pub(super) const NODE: u64 = size_of::<Node>() as u64 + size_of::<StrTendril>() as u64;

#[derive(Debug)]
struct Node {
    parent: Id,
    previous: Id,
    next: Id,
    first: Id,
    last: Id,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Element {
        name: Name,
        /// Index of the link's target.
        link: u32,
    },
    /// A part of the tree's text.
    Text { start: u32, length: u32 },
    /// The document, a comment, or the content of a template.
    Other,
}

#[derive(Debug, PartialEq, Eq)]
struct Name(Namespace, LocalName);

/// What a node is to the reader.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// An element, and the target of its link.
    Element {
        name: &'a LocalName,
        html: bool,
        link: Option<&'a str>,
    },
    Text(&'a str),
    Other,
}

/// A place in the tree, in the order of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    Open(Id),
    Close(Id),
}

/// The tree of a page.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    text: String,
    /// The parser copies elements together with their targets, which then share one buffer.
    links: Vec<StrTendril>,
}

impl Default for Tree {
    fn default() -> Self {
        let mut tree = Self { nodes: Vec::new(), text: String::new(), links: Vec::new() };
        tree.add(Kind::Other);
        tree
    }
}

impl Tree {
    /// Number of nodes.
    pub(super) fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the newest node is nested deeper than this.
    pub(super) fn is_deeper_than(&self, depth: usize) -> bool {
        let newest = self.nodes.last().map(|node| node.parent);
        std::iter::successors(newest.and_then(Id::some), |id| self.nodes[id.index()].parent.some()).nth(depth).is_some()
    }

    /// What a node is.
    pub(super) fn content(&self, id: Id) -> Content<'_> {
        match &self.nodes[id.index()].kind {
            Kind::Element { name, link } => Content::Element {
                name: &name.1,
                html: name.0 == ns!(html),
                link: self.links.get(*link as usize).map(|target| &**target),
            },
            Kind::Text { start, length } => {
                let start = *start as usize;
                Content::Text(&self.text[start..start + *length as usize])
            }
            Kind::Other => Content::Other,
        }
    }

    /// All places of the tree. Without recursion, because a page may be nested deeper than the stack allows.
    pub(super) fn edges(&self) -> impl Iterator<Item = Edge> + '_ {
        std::iter::successors(Some(Edge::Open(Id::DOCUMENT)), |edge| match *edge {
            Edge::Open(id) => Some(self.nodes[id.index()].first.some().map_or(Edge::Close(id), Edge::Open)),
            Edge::Close(id) => {
                let node = &self.nodes[id.index()];
                node.next.some().map(Edge::Open).or_else(|| node.parent.some().map(Edge::Close))
            }
        })
    }

    fn add(&mut self, kind: Kind) -> Id {
        let id = Id(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let none = Id::NONE;
        self.nodes.push(Node { parent: none, previous: none, next: none, first: none, last: none, kind });
        id
    }

    fn of(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    fn detach(&mut self, id: Id) {
        let Node { parent, previous, next, .. } = *self.of(id);
        match previous.some() {
            Some(previous) => self.of(previous).next = next,
            None if parent != Id::NONE => self.of(parent).first = next,
            None => {}
        }
        match next.some() {
            Some(next) => self.of(next).previous = previous,
            None if parent != Id::NONE => self.of(parent).last = previous,
            None => {}
        }
        let node = self.of(id);
        (node.parent, node.previous, node.next) = (Id::NONE, Id::NONE, Id::NONE);
    }

    /// Puts a node without a parent into one, before another of its children or at the end.
    fn insert(&mut self, id: Id, parent: Id, before: Option<Id>) {
        let previous = match before {
            Some(before) => std::mem::replace(&mut self.of(before).previous, id),
            None => std::mem::replace(&mut self.of(parent).last, id),
        };
        match previous.some() {
            Some(previous) => self.of(previous).next = id,
            None => self.of(parent).first = id,
        }
        let node = self.of(id);
        (node.parent, node.previous, node.next) = (parent, previous, before.unwrap_or(Id::NONE));
    }

    fn insert_text(&mut self, text: &str, parent: Id, before: Option<Id>) {
        const NOT_READ: [ExpandedName<'static>; 2] = [expanded_name!(html "script"), expanded_name!(html "style")];
        if let Kind::Element { name, .. } = &self.of(parent).kind
            && NOT_READ.contains(&name.expanded())
        {
            return;
        }
        let last = match before {
            Some(before) => self.of(before).previous,
            None => self.of(parent).last,
        };
        let (start, added) = (self.text.len(), text.len());
        self.text.push_str(text);
        let (start, added) = (u32::try_from(start).unwrap_or(u32::MAX), u32::try_from(added).unwrap_or(u32::MAX));
        if let Some(last) = last.some()
            && let Kind::Text { start: begun, length } = &mut self.of(last).kind
            && *begun + *length == start
        {
            *length += added;
            return;
        }
        let id = self.add(Kind::Text { start, length: added });
        self.insert(id, parent, before);
    }

    fn place(&mut self, child: NodeOrText<Id>, parent: Id, before: Option<Id>) {
        match child {
            NodeOrText::AppendNode(id) => {
                self.detach(id);
                self.insert(id, parent, before);
            }
            NodeOrText::AppendText(text) => self.insert_text(&text, parent, before),
        }
    }
}

/// Builds a tree.
#[derive(Debug, Default)]
pub(super) struct Sink(pub(super) RefCell<Tree>);

/// The name of an element, while the tree is borrowed.
#[derive(Debug)]
pub(super) struct BorrowedName<'a>(Ref<'a, Name>);

impl ElemName for BorrowedName<'_> {
    fn ns(&self) -> &Namespace {
        &self.0.0
    }

    fn local_name(&self) -> &LocalName {
        &self.0.1
    }
}

impl Name {
    fn expanded(&self) -> ExpandedName<'_> {
        ExpandedName { ns: &self.0, local: &self.1 }
    }
}

impl TreeSink for Sink {
    type Handle = Id;
    type Output = Tree;
    type ElemName<'a> = BorrowedName<'a>;

    fn finish(self) -> Tree {
        self.0.into_inner()
    }

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> Id {
        Id::DOCUMENT
    }

    fn elem_name<'a>(&'a self, target: &'a Id) -> BorrowedName<'a> {
        BorrowedName(Ref::map(self.0.borrow(), |tree| match &tree.nodes[target.index()].kind {
            Kind::Element { name, .. } => name,
            other => unreachable!("the parser asks for the name of {other:?}"),
        }))
    }

    fn create_element(&self, name: QualName, attributes: Vec<Attribute>, _: ElementFlags) -> Id {
        let mut tree = self.0.borrow_mut();
        let (is_link, is_template) =
            (name.local == local_name!("a"), name.expanded() == expanded_name!(html "template"));
        let target = attributes.into_iter().find(|attribute| is_link && attribute.name.local == local_name!("href"));
        let link = match target {
            Some(target) => {
                tree.links.push(target.value);
                u32::try_from(tree.links.len() - 1).unwrap_or(u32::MAX)
            }
            None => u32::MAX,
        };
        let id = tree.add(Kind::Element { name: Name(name.ns, name.local), link });
        if is_template {
            let content = tree.add(Kind::Other);
            tree.insert(content, id, None);
        }
        id
    }

    fn create_comment(&self, _: StrTendril) -> Id {
        self.0.borrow_mut().add(Kind::Other)
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> Id {
        self.0.borrow_mut().add(Kind::Other)
    }

    fn append(&self, parent: &Id, child: NodeOrText<Id>) {
        self.0.borrow_mut().place(child, *parent, None);
    }

    fn append_based_on_parent_node(&self, element: &Id, previous: &Id, child: NodeOrText<Id>) {
        let mut tree = self.0.borrow_mut();
        match tree.of(*element).parent.some() {
            Some(parent) => tree.place(child, parent, Some(*element)),
            None => tree.place(child, *previous, None),
        }
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    fn get_template_contents(&self, target: &Id) -> Id {
        self.0.borrow_mut().of(*target).first
    }

    fn same_node(&self, one: &Id, other: &Id) -> bool {
        one == other
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &Id, child: NodeOrText<Id>) {
        let mut tree = self.0.borrow_mut();
        if let Some(parent) = tree.of(*sibling).parent.some() {
            tree.place(child, parent, Some(*sibling));
        }
    }

    fn add_attrs_if_missing(&self, _: &Id, _: Vec<Attribute>) {}

    fn remove_from_parent(&self, target: &Id) {
        self.0.borrow_mut().detach(*target);
    }

    fn reparent_children(&self, node: &Id, new_parent: &Id) {
        let mut tree = self.0.borrow_mut();
        while let Some(child) = tree.of(*node).first.some() {
            tree.detach(child);
            tree.insert(child, *new_parent, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_small() {
        assert!(size_of::<Node>() <= 48, "{}", size_of::<Node>());
    }
}
