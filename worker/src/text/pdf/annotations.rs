//! Annotations of a page: links, and the text that form fields and notes show on the page.

use lopdf::{Dictionary, Document, Object, Stream, decode_text_string};

use super::layout::{PageReader, dictionary};
use crate::text::{ExtractError, Structure, VisibleText};

/// Maximum number of annotations that are read in the whole document, because pages may share a list of any length.
const MAX_ANNOTATIONS: usize = 100_000;

/// Maximum levels of fields from which an entry is inherited.
const MAX_FIELD_DEPTH: usize = 16;

/// Flags of an annotation that is not on the page: hidden, and not viewed.
const UNSEEN: i64 = 1 << 1 | 1 << 5;

/// Flag of a text field that hides what is typed.
const PASSWORD: i64 = 1 << 13;

/// Reads annotations, up to a maximum over all pages.
pub(super) struct Annotations {
    left: usize,
}

impl Default for Annotations {
    fn default() -> Self {
        Self { left: MAX_ANNOTATIONS }
    }
}

impl Annotations {
    /// Adds the links of a page that lead out of the document, and appends the text that its annotations show.
    pub(super) fn read<'d>(
        &mut self,
        page: &'d Dictionary,
        reader: &mut PageReader<'d, '_>,
        structure: &mut Structure,
        out: &mut VisibleText,
    ) -> Result<(), ExtractError> {
        let document = reader.document();
        let Ok(listed) = page.get_deref(b"Annots", document).and_then(Object::as_array) else {
            return Ok(());
        };
        let looked_at = listed.len().min(self.left);
        self.left -= looked_at;
        let forms = document.catalog().ok().and_then(|catalog| dictionary(document, catalog, b"AcroForm"));
        let resources = forms.and_then(|forms| dictionary(document, forms, b"DR"));
        let listed =
            listed[..looked_at].iter().filter_map(|listed| document.dereference(listed).ok()?.1.as_dict().ok());
        for annotation in listed {
            if let Some(address) = address(document, annotation) {
                structure.link(&address, "");
            }
            if !is_seen(document, annotation) {
                continue;
            }
            let before = out.as_str().len();
            if let Some(appearance) = appearance(document, annotation) {
                reader.read_appearance(appearance, resources, page, out)?;
            }
            if out.as_str().len() == before
                && let Some(text) = text(document, annotation)
            {
                reader.read_value(&text, out)?;
            }
        }
        Ok(())
    }
}

/// Where a link leads.
fn address(document: &Document, annotation: &Dictionary) -> Option<String> {
    let action = dictionary(document, annotation, b"A")?;
    let address = action.get_deref(b"URI", document).and_then(Object::as_str).ok()?;
    Some(String::from_utf8_lossy(address).into_owned())
}

fn is_seen(document: &Document, annotation: &Dictionary) -> bool {
    let flags = annotation.get_deref(b"F", document).and_then(Object::as_i64).unwrap_or(0);
    flags & UNSEEN == 0 && !is(document, annotation, b"Popup")
}

fn is(document: &Document, annotation: &Dictionary, subtype: &[u8]) -> bool {
    annotation.get_deref(b"Subtype", document).and_then(Object::as_name).is_ok_and(|found| found == subtype)
}

/// How an annotation looks, if the file says so. A checkbox has an appearance for each of its states.
fn appearance<'d>(document: &'d Document, annotation: &'d Dictionary) -> Option<&'d Stream> {
    match dictionary(document, annotation, b"AP")?.get_deref(b"N", document).ok()? {
        Object::Stream(appearance) => Some(appearance),
        Object::Dictionary(states) => {
            let state = annotation.get_deref(b"AS", document).and_then(Object::as_name).ok()?;
            states.get_deref(state, document).and_then(Object::as_stream).ok()
        }
        _ => None,
    }
}

/// The text of an annotation that a viewer has to draw by itself: a field's value, or a note on the page.
fn text(document: &Document, annotation: &Dictionary) -> Option<String> {
    if is(document, annotation, b"FreeText") {
        return decode_text_string(annotation.get_deref(b"Contents", document).ok()?).ok();
    }
    let kind = inherited(document, annotation, b"FT")?.as_name().ok()?;
    let flags = inherited(document, annotation, b"Ff").and_then(|flags| flags.as_i64().ok()).unwrap_or(0);
    let typed = kind == b"Tx" && flags & PASSWORD == 0;
    if !typed && kind != b"Ch" {
        return None;
    }
    match inherited(document, annotation, b"V")? {
        Object::Array(chosen) => {
            let chosen =
                chosen.iter().filter_map(|chosen| decode_text_string(document.dereference(chosen).ok()?.1).ok());
            Some(chosen.collect::<Vec<_>>().join("\n"))
        }
        value => decode_text_string(value).ok(),
    }
}

/// An entry of a field, or of its nearest ancestor that has it.
fn inherited<'d>(document: &'d Document, field: &'d Dictionary, key: &[u8]) -> Option<&'d Object> {
    let mut node = field;
    for _ in 0..MAX_FIELD_DEPTH {
        if let Ok(found) = node.get_deref(key, document) {
            return Some(found);
        }
        node = dictionary(document, node, b"Parent")?;
    }
    None
}

#[cfg(test)]
mod tests {
    use lopdf::{StringFormat, dictionary};

    use super::*;
    use crate::text::{Cancel, pdf::Budget};

    #[test]
    fn annotations_shared_by_many_pages_are_read_up_to_the_maximum() {
        let mut document = Document::new();
        let address = Object::String(b"https://example.org/".to_vec(), StringFormat::Literal);
        let link = dictionary! { "A" => dictionary! { "S" => "URI", "URI" => address } };
        let shared = document.add_object(vec![Object::Dictionary(link); MAX_ANNOTATIONS - 1]);
        let page = dictionary! { "Annots" => shared };
        let (mut annotations, mut structure) = (Annotations::default(), Structure::default());
        let (mut budget, cancel, mut visible) = (Budget::of_file(0), Cancel::default(), VisibleText::default());
        let mut reader = PageReader::new(&document, &mut budget, usize::MAX, &cancel);
        for _ in 0..3 {
            annotations.read(&page, &mut reader, &mut structure, &mut visible).unwrap();
        }
        assert_eq!(structure.link_count as usize, MAX_ANNOTATIONS);
        assert_eq!(structure.links[0].target, "https://example.org/");
    }
}
