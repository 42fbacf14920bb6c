//! The title and bookmarks of a PDF. Bookmarks are its headings.

use std::collections::HashSet;

use lopdf::{Dictionary, Document, Object, ObjectId, decode_text_string};

use crate::text::{Structure, structure};

/// Maximum number of bookmarks that are read.
const MAX_BOOKMARKS: usize = 10_000;

/// The title from the document information.
pub(super) fn title(document: &Document) -> Option<String> {
    let information = document.trailer.get_deref(b"Info", document).and_then(Object::as_dict).ok()?;
    text(document, information, b"Title", structure::MAX_TITLE_CHARACTERS)
}

/// Adds the bookmarks in their order, and returns the text of the first.
pub(super) fn bookmarks(document: &Document, structure: &mut Structure) -> Option<String> {
    let outlines = document.catalog().and_then(|catalog| catalog.get_deref(b"Outlines", document));
    let outlines = outlines.and_then(Object::as_dict).ok()?;
    let mut first = None;
    let mut seen = HashSet::new();
    // The next bookmarks with their levels. The siblings of a bookmark wait while its children are read.
    let mut waiting: Vec<(ObjectId, usize)> = reference(outlines, b"First").map(|id| (id, 1)).into_iter().collect();
    while let Some((id, level)) = waiting.pop() {
        if seen.len() >= MAX_BOOKMARKS || !seen.insert(id) {
            continue;
        }
        let Ok(bookmark) = document.get_dictionary(id) else {
            continue;
        };
        if let Some(title) = text(document, bookmark, b"Title", structure::MAX_TITLE_CHARACTERS) {
            structure.heading(level, &title);
            first.get_or_insert(title);
        }
        waiting.extend(reference(bookmark, b"Next").map(|next| (next, level)));
        waiting.extend(reference(bookmark, b"First").map(|child| (child, level + 1)));
    }
    first
}

fn text(document: &Document, dictionary: &Dictionary, key: &[u8], longest: usize) -> Option<String> {
    let text = decode_text_string(dictionary.get_deref(key, document).ok()?).ok()?;
    Some(structure::one_line(&text, longest)).filter(|text| !text.is_empty())
}

fn reference(dictionary: &Dictionary, key: &[u8]) -> Option<ObjectId> {
    dictionary.get(key).and_then(Object::as_reference).ok()
}

#[cfg(test)]
mod tests {
    use lopdf::{StringFormat, dictionary};

    use super::*;

    fn string(text: &str) -> Object {
        Object::String(text.as_bytes().to_vec(), StringFormat::Literal)
    }

    #[test]
    fn bookmarks_come_in_order_with_their_levels_and_a_cycle_ends() {
        let mut document = Document::new();
        let [root, outlines, one, inner, two] = std::array::from_fn(|_| document.new_object_id());
        document.trailer.set("Root", root);
        document.set_object(root, dictionary! { "Type" => "Catalog", "Outlines" => outlines });
        document.set_object(outlines, dictionary! { "First" => one });
        document.set_object(one, dictionary! { "Title" => string("One"), "First" => inner, "Next" => two });
        document.set_object(inner, dictionary! { "Title" => string("Inner"), "First" => one });
        document.set_object(two, dictionary! { "Title" => string("Two"), "Next" => one });
        let mut structure = Structure::default();
        assert_eq!(bookmarks(&document, &mut structure).as_deref(), Some("One"));
        let found: Vec<_> = structure.headings.iter().map(|heading| (heading.level, heading.text.as_str())).collect();
        assert_eq!(found, [(1, "One"), (2, "Inner"), (1, "Two")]);
    }
}
