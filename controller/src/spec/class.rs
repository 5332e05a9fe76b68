//! What a declaration took from its class: stored beside what it says, and read as if it had said it.

use std::borrow::Cow;

use rekey_model::Label;
use serde_json::{Map, Value};

/// Where a stored declaration has what it took. Nobody may declare it.
pub const TAKEN: &str = "from_class";

/// What a credential has from its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The class.
    pub class: Label,
    /// Which fields, such as `grace.floor`.
    pub fields: Vec<String>,
}

/// The declaration with what it took in its place.
pub(super) fn whole(stored: &Value) -> Cow<'_, Value> {
    let Some(taken) = stored.get(TAKEN) else { return Cow::Borrowed(stored) };
    let mut whole = stored.clone();
    if let Some(map) = whole.as_object_mut() {
        map.remove(TAKEN);
        for (section, values) in taken.as_object().into_iter().flatten() {
            let own = map.entry(section).or_insert(Value::Null);
            if own.is_null() {
                *own = Value::Object(Map::new());
            }
            let (Some(own), Some(values)) = (own.as_object_mut(), values.as_object()) else { continue };
            for (key, value) in values {
                let place = own.entry(key).or_insert(Value::Null);
                if place.is_null() {
                    *place = value.clone();
                }
            }
        }
    }
    Cow::Owned(whole)
}

/// What a declaration took, field by field.
pub(super) fn fields(stored: &Value) -> Vec<String> {
    let sections = stored.get(TAKEN).and_then(Value::as_object).into_iter().flatten();
    let keys = |(section, values): (&String, &Value)| -> Vec<String> {
        values.as_object().into_iter().flatten().map(|(key, _)| format!("{section}.{key}")).collect()
    };
    sections.flat_map(keys).collect()
}
