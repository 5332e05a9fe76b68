//! Writes a declaration as YAML, so that `rekeyctl show NAME > NAME.yaml` can be edited and applied again.

use serde_json::Value;

/// `value` as a YAML document.
pub(crate) fn document(value: &Value) -> String {
    let mut text = String::new();
    if let Value::Object(map) = value {
        for (key, value) in map {
            entry(key, value, 0, &mut text);
        }
    } else {
        text = flow(value) + "\n";
    }
    text
}

fn entry(key: &str, value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let sub = value.as_object().filter(|map| !map.is_empty());
    let list = value.as_array().filter(|list| !list.is_empty() && list.iter().all(Value::is_string));
    if sub.is_none() && list.is_none() {
        text.push_str(&format!("{indent}{}: {}\n", scalar(key), flow(value)));
        return;
    }
    text.push_str(&format!("{indent}{}:\n", scalar(key)));
    for (key, value) in sub.into_iter().flatten() {
        entry(key, value, depth + 1, text);
    }
    for item in list.into_iter().flatten() {
        text.push_str(&format!("{indent}  - {}\n", flow(item)));
    }
}

/// In one line. JSON is YAML.
fn flow(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), scalar)
}

/// Without quotes where no reader could take it for something else.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
        && !matches!(text, "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_declaration_is_written_as_people_write_it() {
        let spec = json!({
            "credential": "orders/db", "owner": "Team Orders",
            "grace": {"floor": "1h"}, "deliver": {"to": ["spiffe://d/sidecar/*"]}, "labels": {}, "yes": true,
        });
        let wanted = "\
credential: orders/db
deliver:
  to:
    - \"spiffe://d/sidecar/*\"
grace:
  floor: \"1h\"
labels: {}
owner: \"Team Orders\"
\"yes\": true
";
        assert_eq!(document(&spec), wanted);
    }
}
