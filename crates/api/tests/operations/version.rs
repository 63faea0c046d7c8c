//! `convene --version`.

use crate::installation::Installation;

#[tokio::test(flavor = "multi_thread")]
async fn it_names_the_commit_and_its_day() {
    let printed = Installation::new().await.text(&["--version"]);
    let stamp = printed.trim_end().strip_prefix("convene 0.1.0 (").unwrap();
    let stamp = stamp.strip_suffix(')').unwrap();
    assert_eq!(printed.trim_end(), format!("convene {}", convene_api::version()));
    if let Some((commit, day)) = stamp.split_once(", ") {
        assert!(commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
        day.parse::<jiff::civil::Date>().unwrap();
    } else {
        assert_eq!(stamp, "unknown", "built without a repository");
    }
}
