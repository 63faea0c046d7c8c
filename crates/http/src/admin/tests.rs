use super::*;

#[test]
fn every_change_needs_a_reason_and_says_so() {
    let document = serde_json::to_value(admin_openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 8);
    for (path, item) in paths {
        assert!(path.starts_with("/admin/"), "{path}");
        for (method, operation) in item.as_object().unwrap() {
            let headers: Vec<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "header" && parameter["required"] == true)
                .filter_map(|parameter| parameter["name"].as_str())
                .collect();
            let expected: &[&str] = if method == "get" { &[] } else { &["Convene-Reason"] };
            assert_eq!(headers, expected, "{method} {path}");
        }
    }
}

#[test]
fn the_public_document_knows_nothing_of_it() {
    assert!(crate::routes().iter().all(|route| !route.path.starts_with("/admin")));
}
