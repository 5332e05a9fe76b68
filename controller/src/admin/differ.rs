//! What differs between two declarations, field by field.

use std::collections::BTreeMap;

use rekey_proto::admin::FieldDifference;
use serde_json::Value;

/// The fields in which `before` and `after` differ, in the order of their paths.
pub(super) fn differences(before: &Value, after: &Value) -> Vec<FieldDifference> {
    let (old, new) = (fields(before), fields(after));
    let mut paths: Vec<&String> = old.keys().chain(new.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let text = |value: Option<&&Value>| value.map(ToString::to_string).unwrap_or_default();
    let differ = paths.into_iter().filter(|path| old.get(*path) != new.get(*path));
    differ
        .map(|path| FieldDifference {
            field: path.clone(),
            before: text(old.get(path)),
            after: text(new.get(path)),
        })
        .collect()
}

/// The paths of the fields in which `before` and `after` differ.
pub(crate) fn differing(before: &Value, after: &Value) -> Vec<String> {
    differences(before, after).into_iter().map(|difference| difference.field).collect()
}

/// Every field that is no section, by its path. A null is no field.
fn fields(spec: &Value) -> BTreeMap<String, &Value> {
    fn below<'a>(path: &str, value: &'a Value, found: &mut BTreeMap<String, &'a Value>) {
        match value {
            Value::Null => {}
            Value::Object(map) => {
                for (key, value) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    below(&path, value, found);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                found.insert(path.to_owned(), value);
            }
        }
    }
    let mut found = BTreeMap::new();
    below("", spec, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_named() {
        let before = json!({"owner": "a", "grace": {"floor": "1h", "quiet": "1m"}, "labels": {"x": "1"}});
        let after = json!({"owner": "a", "grace": {"floor": "2h", "quiet": "1m"}, "deliver": {"to": ["s"]}});
        let found = differences(&before, &after);
        let found: Vec<_> =
            found.iter().map(|d| (d.field.as_str(), d.before.as_str(), d.after.as_str())).collect();
        assert_eq!(
            found,
            [("deliver.to", "", "[\"s\"]"), ("grace.floor", "\"1h\"", "\"2h\""), ("labels.x", "\"1\"", "")]
        );
        assert!(differences(&before, &before).is_empty());
    }
}
