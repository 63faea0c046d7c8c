//! Pages, cursors and filters.

use actix_web::test::TestRequest;
use serde_json::json;

use super::{Answer, as_user, ask};

async fn get(query: &str) -> Answer {
    ask(TestRequest::get().uri(&format!("/v1/notes{query}"))).await
}

#[actix_web::test]
async fn walks_forth_and_back() {
    let first = get("?limit=2").await.json();
    assert_eq!(first["data"], json!([1, 2]));
    assert_eq!((&first["has_more"], &first["prev_cursor"]), (&json!(true), &json!(null)));
    let cursor = |page: &serde_json::Value, name: &str| page[name].as_str().unwrap().to_owned();
    // The limit may change between pages.
    let second = get(&format!("?limit=3&after={}", cursor(&first, "next_cursor"))).await.json();
    assert_eq!(second["data"], json!([3, 4, 5]));
    assert_eq!((&second["has_more"], &second["next_cursor"]), (&json!(false), &json!(null)));
    let back = get(&format!("?limit=1&before={}", cursor(&second, "prev_cursor"))).await.json();
    assert_eq!((&back["data"], &back["has_more"]), (&json!([2]), &json!(true)));
}

#[actix_web::test]
async fn links_keep_the_filters() {
    let page = get("?limit=1&colour=dark_blue").await;
    assert_eq!(page.json()["data"], json!([11]));
    let next = page.json()["next_cursor"].as_str().unwrap().to_owned();
    let link = format!("</v1/notes?colour=dark_blue&limit=1&after={next}>; rel=\"next\"");
    assert_eq!(page.header("link"), Some(link.as_str()));
    let path = link.split(['<', '>']).nth(1).unwrap();
    let followed = ask(TestRequest::get().uri(path)).await;
    assert_eq!(followed.json()["data"], json!([12]));
    assert!(followed.header("link").is_some_and(|link| link.contains("rel=\"prev\"")));
}

#[actix_web::test]
async fn parameters_have_rules() {
    for (query, place, code) in [
        ("?limit=0", "limit", "out_of_range"),
        ("?limit=101", "limit", "out_of_range"),
        ("?limit=", "limit", "out_of_range"),
        ("?limit=%2B5", "limit", "out_of_range"),
        ("?limit=ten", "limit", "out_of_range"),
        ("?limit=1&limit=1", "limit", "duplicate_parameter"),
        ("?colour=red&colour=red", "colour", "duplicate_parameter"),
        ("?colour=green", "colour", "unknown_value"),
        ("?color=red", "color", "unknown_parameter"),
        ("?colour=re%00d", "colour", "control_character"),
        ("?after=a&before=b", "before", "not_allowed"),
    ] {
        let refused = get(query).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (422, "validation_failed"),
            "{query}"
        );
        assert_eq!(refused.mistakes(), [(place.to_owned(), code.to_owned())], "{query}");
    }
    let all = get("?limit=0&colour=green&other=1").await;
    assert_eq!(all.mistakes().len(), 3);
}

#[actix_web::test]
async fn cursors_are_good_for_one_list_and_one_caller() {
    let mine = ask(as_user(TestRequest::get().uri("/v1/notes?limit=1"), 1)).await.json();
    let cursor = mine["next_cursor"].as_str().unwrap().to_owned();
    let with =
        |query: String, user| as_user(TestRequest::get().uri(&format!("/v1/notes?{query}")), user);
    assert_eq!(ask(with(format!("after={cursor}"), 1)).await.status.as_u16(), 200);
    for (query, user) in [
        (format!("after={cursor}"), 2),
        (format!("after={cursor}&colour=red"), 1),
        (format!("after={cursor}A"), 1),
        ("after=".to_owned(), 1),
        ("before=nonsense".to_owned(), 1),
    ] {
        let refused = ask(with(query.clone(), user)).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (400, "invalid_cursor"),
            "{query}"
        );
    }
}
