//! `convene jobs …`.

use serde_json::{Value, json};

use crate::installation::Installation;

/// A job that waits for tomorrow (1), one that is due (2) and one that runs (3); and dead ones: 11 and 12 of one key, 13.
async fn installation() -> Installation {
    let convene = Installation::new().await;
    convene
        .execute(
            "INSERT INTO jobs (kind, queue, payload, unique_key, priority, run_at, max_attempts, attempt, leased_by,
                               leased_until, last_error)
             VALUES ('a.later', 'default', '{\"secret\": \"sesame\"}', NULL, 100, now() + interval '1 day', 20, 3,
                     NULL, NULL, 'refused'),
                    ('b.due', 'default', 'null', 'key', 100, now() - interval '1 hour', 20, 0, NULL, NULL, NULL),
                    ('b.running', 'default', 'null', NULL, 100, now(), 20, 1, gen_random_uuid(),
                     now() + interval '1 hour', NULL);
             INSERT INTO jobs_dead (job_id, kind, queue, payload, unique_key, priority, attempt, max_attempts,
                                    last_error, created_at, died_at)
             VALUES (11, 'c.dead', 'mail', '1', 'once', 50, 20, 20, 'gone', now(), now() - interval '2 hours'),
                    (12, 'c.dead', 'mail', '2', 'once', 50, 20, 20, 'gone', now(), now() - interval '1 hour'),
                    (13, 'd.dead', 'mail', '3', NULL, 50, 1, 1, 'bad payload', now(), now() - interval '3 hours')",
        )
        .await;
    convene
}

fn ids(listed: &Value) -> Vec<i64> {
    listed["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_listed_in_every_state_without_their_payload() {
    let convene = installation().await;
    let listed = convene.json(&["jobs", "list"]);
    assert_eq!(ids(&listed), [12, 11, 13, 2, 3, 1]);
    let states: Vec<&str> = listed["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["dead", "dead", "dead", "due", "running", "scheduled"]);
    assert!(listed["jobs"][0]["died_at"].is_string() && listed["jobs"][0]["run_at"].is_null());
    assert!(listed["jobs"][3]["run_at"].is_string() && listed["jobs"][3]["died_at"].is_null());

    assert_eq!(ids(&convene.json(&["jobs", "list", "--state", "scheduled"])), [1]);
    assert_eq!(ids(&convene.json(&["jobs", "list", "--kind", "c.dead", "--limit", "1"])), [12]);
    let text = convene.text(&["jobs", "list"]);
    let first: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(first[..4], ["12", "c.dead", "dead", "20/20"]);
    assert!(!text.contains("sesame"), "{text}");
    assert_eq!(convene.text(&["jobs", "list", "--kind", "unheard.of"]), "No jobs.\n");
    assert_eq!(convene.run(&["jobs", "list", "--state", "asleep"]).code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_job_is_tried_again_as_a_new_one() {
    let convene = installation().await;
    let retried = convene.json(&["jobs", "retry", "13"]);
    let now = retried["now"][0].as_i64().unwrap();
    assert_eq!(retried, json!({ "job": 13, "outcome": "revived", "now": [now] }));
    assert_ne!(now, 13, "the late finisher of an old lease must not pass for it");
    let jobs = convene.json(&["jobs", "list", "--kind", "d.dead"]);
    assert_eq!(ids(&jobs), [now]);
    let job = &jobs["jobs"][0];
    assert_eq!(
        (&job["state"], &job["attempt"], &job["queue"]),
        (&json!("due"), &json!(0), &json!("mail"))
    );
    assert_eq!(convene.audit("job.retry").await, ["system job:13 {}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_is_due_and_one_that_runs_is_left_alone() {
    let convene = installation().await;
    assert_eq!(convene.text(&["jobs", "retry", "1"]), "Job 1 is due now, with all its attempts.\n");
    let due = convene.json(&["jobs", "list", "--state", "due", "--kind", "a.later"]);
    assert_eq!((ids(&due), &due["jobs"][0]["attempt"]), (vec![1], &json!(0)));

    assert!(convene.refusal(&["jobs", "retry", "3"]).contains("The job 3 is running."));
    assert!(convene.refusal(&["jobs", "retry", "99"]).contains("There is no job 99"));
    assert_eq!(convene.audit("job.retry").await, ["system job:1 {}"], "refusals change nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_dead_jobs_are_tried_again_and_those_of_one_key_are_one() {
    let convene = installation().await;
    let revived = convene.json(&["jobs", "retry", "--dead", "--kind", "c.dead"]);
    assert_eq!(revived, json!({ "kind": "c.dead", "revived": 2 }));
    let live = convene.json(&["jobs", "list", "--kind", "c.dead"]);
    assert_eq!(live["jobs"].as_array().unwrap().len(), 1, "{live}");
    assert_eq!(
        convene.value("SELECT payload FROM jobs WHERE kind = 'c.dead'").await,
        "2",
        "the latest"
    );

    assert_eq!(convene.text(&["jobs", "retry", "--dead"]), "1 dead job(s) live again.\n");
    assert_eq!(convene.text(&["jobs", "retry", "--dead"]), "0 dead job(s) live again.\n");
    assert_eq!(
        convene.audit("job.retry_dead").await,
        [r#"system c.dead {"jobs": 2}"#, r#"system * {"jobs": 1}"#]
    );
}

/// The job of that key runs: it runs once more, and nothing is there twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_job_whose_key_is_live_becomes_one_with_that() {
    let convene = installation().await;
    convene
        .execute(
            "INSERT INTO jobs (kind, queue, payload, unique_key, priority, run_at, max_attempts, leased_by, leased_until)
             VALUES ('c.dead', 'mail', '9', 'once', 50, now(), 20, gen_random_uuid(), now() + interval '1 hour')",
        )
        .await;
    let retried = convene.json(&["jobs", "retry", "11"]);
    assert_eq!(retried["now"], json!([4]));
    assert_eq!(convene.value("SELECT rerun FROM jobs WHERE id = 4").await, "true");
    assert_eq!(convene.value("SELECT count(*) FROM jobs WHERE kind = 'c.dead'").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_tells_first_and_removes_only_when_it_is_meant() {
    let convene = installation().await;
    for (id, state) in [("1", "scheduled"), ("3", "running"), ("12", "dead")] {
        let preview = convene.run(&["jobs", "cancel", id]);
        assert_eq!(preview.code, Some(1));
        assert!(preview.stdout.contains(state), "{preview:?}");
        assert!(preview.stderr.contains("nothing was removed"), "{preview:?}");
        assert!(preview.stderr.contains("--destructive"), "{preview:?}");
        assert_eq!(
            convene.json(&["jobs", "cancel", id, "--destructive"]),
            json!({ "job": id.parse::<i64>().unwrap(), "removed": [state] })
        );
    }
    assert_eq!(ids(&convene.json(&["jobs", "list"])), [11, 13, 2]);
    assert!(convene.refusal(&["jobs", "cancel", "1"]).contains("there is no job 1"));
    assert!(
        convene.refusal(&["jobs", "cancel", "1", "--destructive"]).contains("There is no job 1")
    );
    assert_eq!(convene.text(&["jobs", "cancel", "2", "--destructive"]), "Removed job 2 (due).\n");
    assert_eq!(
        convene.audit("job.cancel").await,
        [
            r#"system job:1 {"states": ["scheduled"]}"#,
            r#"system job:3 {"states": ["running"]}"#,
            r#"system job:12 {"states": ["dead"]}"#,
            r#"system job:2 {"states": ["due"]}"#,
        ]
    );
}
