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
    assert_eq!(ids(&convene.json(&["jobs", "list"])), [11, 13, 2, 3]);
    let running = convene.json(&["jobs", "show", "3"]);
    assert_eq!(running["jobs"][0]["ending"], json!(true), "it leaves when its run has ended");
    assert_eq!(ids(&convene.json(&["jobs", "list", "--state", "cancelled"])), [1]);
    assert!(
        convene.refusal(&["jobs", "cancel", "1", "--destructive"]).contains("There is no job 1,")
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

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_shown_with_its_progress_and_after_its_end() {
    let convene = installation().await;
    convene
        .execute(
            "UPDATE jobs SET job_group = 'one', progress_done = 3, progress_total = 10,
                 started_at = '2027-04-01T10:00:00Z' WHERE id = 3;
             INSERT INTO jobs_archive (job_id, kind, queue, outcome, priority, attempt, max_attempts, created_at,
                                       finished_at)
             VALUES (21, 'e.ended', 'default', 'done', 100, 1, 20, now(), '2027-04-01T10:00:09Z')",
        )
        .await;
    let running = &convene.json(&["jobs", "show", "3"])["jobs"][0];
    assert_eq!(running["progress"], json!({ "done": 3, "total": 10 }));
    assert_eq!((&running["group"], &running["ending"]), (&json!("one"), &json!(false)));
    assert!(convene.text(&["jobs", "list", "--kind", "b.running"]).contains("running 3/10"));
    let ended = &convene.json(&["jobs", "show", "21"])["jobs"][0];
    assert_eq!(
        (&ended["state"], &ended["ended_at"]),
        (&json!("done"), &json!("2027-04-01T10:00:09Z"))
    );
    assert!(convene.text(&["jobs", "show", "21"]).contains("state           done"));
    assert_eq!(ids(&convene.json(&["jobs", "list", "--state", "done"])), [21]);
    assert!(!ids(&convene.json(&["jobs", "list"])).contains(&21));
    assert!(convene.refusal(&["jobs", "show", "99"]).contains("there is no job 99"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_jobs_are_redriven_by_what_fits() {
    let convene = installation().await;
    let redrive = ["jobs", "redrive", "--error", "payload"];
    let dry: Vec<&str> = redrive.iter().copied().chain(["--dry-run"]).collect();
    assert_eq!(convene.json(&dry), json!({ "fitting": 1, "revived": 0 }));
    assert_eq!(convene.value("SELECT count(*) FROM jobs_dead").await, "3");
    assert_eq!(convene.json(&redrive), json!({ "fitting": 1, "revived": 1 }));
    assert_eq!(ids(&convene.json(&["jobs", "list", "--kind", "d.dead"])).len(), 1);
    let since = convene
        .value("SELECT to_char(now() - interval '90 minutes', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
        .await;
    let recent = ["jobs", "redrive", "--kind", "c.dead", "--since", &since, "--rate", "1/s"];
    assert_eq!(convene.text(&recent), "1 dead job(s) live again.\n");
    assert_eq!(convene.value("SELECT job_id FROM jobs_dead").await, "11");
    assert_eq!(convene.audit("job.redrive").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_and_groups_are_paused_and_limited() {
    let convene = installation().await;
    let paused = convene.json(&["jobs", "pause", "mail"]);
    assert_eq!((&paused["queue"], &paused["paused"]), (&json!("mail"), &json!(true)));
    assert_eq!(convene.text(&["jobs", "resume", "mail"]), "The queue mail: no limits.\n");
    let limits =
        ["jobs", "limit", "webhooks", "--at-once", "4", "--rate", "30/m", "--each-group", "2"];
    assert_eq!(
        convene.json(&limits),
        json!({
            "queue": "webhooks", "paused": false, "at_once": 4, "rate_per_second": 0.5, "burst": 1,
            "group_at_once": 2,
        })
    );
    convene.json(&["jobs", "limit", "webhooks", "--rate", "none"]);
    let queues = convene.json(&["jobs", "queues"]);
    let names: Vec<&str> = queues["queues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|queue| queue["queue"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["default", "mail", "webhooks"]);
    let (default, webhooks) = (&queues["queues"][0], &queues["queues"][2]);
    assert_eq!((&default["due"], &default["running"]), (&json!(1), &json!(1)));
    assert_eq!((&webhooks["at_once"], &webhooks["rate_per_second"]), (&json!(4), &Value::Null));
    assert!(convene.text(&["jobs", "queues"]).contains("4 at once; 2 at once of each group"));

    convene.json(&["jobs", "pause", "webhooks", "--group", "community:1"]);
    convene.json(&["jobs", "limit", "webhooks", "--group", "community:1", "--at-once", "3"]);
    assert_eq!(
        convene.json(&["jobs", "groups", "--queue", "webhooks"]),
        json!({ "groups": [{
            "queue": "webhooks", "group": "community:1", "paused": true, "at_once": 3, "due": 0, "running": 0,
        }]})
    );
    assert_eq!(convene.text(&["jobs", "groups", "--queue", "mail"]), "No groups.\n");
    assert_eq!(convene.audit("queue.pause").await.len(), 1);
    assert_eq!(convene.audit("queue.resume").await.len(), 1);
    assert_eq!(convene.audit("queue.limit").await.len(), 2);
    assert_eq!(
        convene.audit("group.limit").await,
        [r#"system queue:webhooks/group:community:1 {"paused": true, "at_once": 3}"#]
    );
}
