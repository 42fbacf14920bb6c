//! Every check is tripped by a mutation: a recorded run that passed is altered, and the verdict must notice.
//!
//! The recorded runs lie in `recorded/`: facts and samples of a run of each suite that passed, compressed.
//! `docs/mutations.md` has the table; `UPDATE_MUTATIONS=1 cargo test -p kind-e2e --test mutations` writes it. A check that
//! no mutation trips must go: this test fails where one is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use kind_e2e::cluster::reading::Reading;
use kind_e2e::conclude::judge;
use kind_e2e::facts::{FACTS, Facts, SAMPLES, samples};
use kind_e2e::judge::verdict::{Check, Outcome, Verdict};
use kind_e2e::load::Start;
use kind_e2e::observe::sample::Sample;
use kind_e2e::oracle::ending::{Beyond, Ending};
use serde_json::Value;

/// A recorded run.
#[derive(Clone)]
struct Run {
    facts: Facts,
    samples: Vec<Sample>,
}

/// The recorded runs by suite. A scenario that is not of its suite's run has one of its own.
static RECORDED: LazyLock<BTreeMap<&'static str, Run>> =
    LazyLock::new(|| ["core", "security", "scaling", "overload"].map(|suite| (suite, recorded(suite))).into());

fn recorded(suite: &str) -> Run {
    let text = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded").join(suite).join(format!("{name}.gz"));
        let file = std::fs::File::open(&path).unwrap_or_else(|error| {
            panic!(
                "{}: {error}; record a run that passed: kind-e2e/recorded/record target/e2e/<run> {suite}",
                path.display()
            )
        });
        let mut text = String::new();
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
        text
    };
    Run { facts: serde_json::from_str(&text(FACTS)).unwrap(), samples: samples(&text(SAMPLES)).unwrap() }
}

impl Run {
    fn verdict(&self) -> Verdict {
        judge(&self.facts, &self.samples)
    }

    /// Alters the facts of a scenario.
    fn detail(&mut self, scenario: &str, change: impl FnOnce(&mut Value)) {
        let found = self.facts.scenarios.iter_mut().find(|one| one.name == scenario);
        change(&mut found.unwrap_or_else(|| panic!("no scenario {scenario} is recorded")).detail);
    }

    /// Alters every start of a scenario's loads.
    fn starts(&mut self, scenario: &str, mut change: impl FnMut(usize, &mut Start)) {
        self.detail(scenario, |detail| starts(detail, &mut change));
    }

    /// Alters every start of every load.
    fn all_starts(&mut self, mut change: impl FnMut(usize, &mut Start)) {
        self.facts.scenarios.iter_mut().for_each(|one| starts(&mut one.detail, &mut change));
    }

    /// Alters what is stored of each of a scenario's loads.
    fn ending(&mut self, scenario: &str, mut change: impl FnMut(&mut Ending)) {
        self.detail(scenario, |detail| each(detail, "ending", &mut change));
    }

    /// Alters what is stored of every load.
    fn endings(&mut self, mut change: impl FnMut(&mut Ending)) {
        self.facts.scenarios.iter_mut().for_each(|one| each(&mut one.detail, "ending", &mut change));
    }

    /// Alters what is known of the claims that are no large document's body.
    fn beyond(&mut self, scenario: &str, mut change: impl FnMut(&mut Beyond)) {
        self.ending(scenario, |ending| match &mut ending.claims_beyond {
            Some(Reading::Seen(beyond)) => change(beyond),
            other => panic!("{other:?}"),
        });
    }

    /// Sets what the cluster said of each outage.
    fn outages(&mut self, when: &str, condition: &str) {
        self.detail("outage", |found| {
            found["outages"].as_array_mut().unwrap().iter_mut().for_each(|one| one[when] = vec![condition].into());
        });
    }

    /// Alters the samples of the phases that begin so.
    fn samples(&mut self, phase: &str, mut change: impl FnMut(&mut Sample)) {
        let mut any = false;
        for sample in self.samples.iter_mut().filter(|sample| sample.phase.starts_with(phase)) {
            any = true;
            change(sample);
        }
        assert!(any, "no sample of {phase} is recorded");
    }

    /// Alters the workers' counts in the phases that begin so.
    fn fleet(&mut self, phase: &str, change: impl Fn(i32) -> i32) {
        self.samples(phase, |sample| {
            let read = match &mut sample.fleet {
                Reading::Seen(fleet) => Some(fleet),
                Reading::Gap(_) => None,
            };
            for fleet in sample.changes.iter_mut().map(|(_, fleet)| fleet).chain(read) {
                fleet.wanted = change(fleet.wanted);
                fleet.present = change(fleet.present);
                fleet.ready = change(fleet.ready);
            }
        });
    }

    /// Sets the depth of a queue in the phases that begin so.
    fn depth(&mut self, phase: &str, queue: &str, depth: f64) {
        self.samples(phase, |sample| {
            if let Reading::Seen(depths) = &mut sample.depth {
                depths.insert(queue.to_owned(), depth);
            }
        });
    }
}

fn starts(detail: &mut Value, change: &mut impl FnMut(usize, &mut Start)) {
    each(detail, "starts", &mut |starts: &mut Vec<Start>| {
        starts.iter_mut().enumerate().for_each(|(number, start)| change(number, start));
    });
}

/// Alters every value under a key, wherever it is.
fn each<T: serde::de::DeserializeOwned + serde::Serialize>(
    value: &mut Value,
    key: &str,
    change: &mut impl FnMut(&mut T),
) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|one| each(one, key, change)),
        Value::Object(map) => {
            for (name, one) in map.iter_mut() {
                if name == key {
                    let mut typed: T = serde_json::from_value(one.take()).unwrap();
                    change(&mut typed);
                    *one = serde_json::to_value(typed).unwrap();
                } else {
                    each(one, key, change);
                }
            }
        }
        _ => {}
    }
}

const WORKFLOW: &str = "document-workflow-queue";
const IO: &str = "document-io-activity-queue";
const CPU: &str = "document-cpu-activity-queue";

/// A mutation: what it does to a recorded run, and the checks that must notice.
struct Mutation {
    suite: &'static str,
    what: &'static str,
    change: fn(&mut Run),
    noticed: &'static [&'static str],
}

const fn mutation(
    suite: &'static str,
    what: &'static str,
    noticed: &'static [&'static str],
    change: fn(&mut Run),
) -> Mutation {
    Mutation { suite, what, change, noticed }
}

/// The mutations of every load in every suite.
const EVERY: &[Mutation] = &[
    mutation("every", "a document in a hundred is missing", &["stored-once", "errors"], |run| {
        let mut lost = BTreeSet::new();
        run.all_starts(|number, start| {
            if number % 99 == 0 {
                start.stored = None;
                lost.insert(start.id.clone());
            }
        });
        run.endings(|ending| {
            ending.stored.retain(|one| !lost.contains(&one.id));
        });
    }),
    mutation("every", "a document is stored twice", &["stored-once"], |run| {
        run.endings(|ending| ending.stored.push(ending.stored[0].clone()));
    }),
    mutation("every", "a document that nobody loaded is stored", &["stored-once"], |run| {
        run.endings(|ending| ending.stored[0].id.push('x'));
    }),
    mutation("every", "two passages of a document are swapped", &["text"], |run| {
        run.endings(|ending| {
            ending.stored[0].text.words.1 = "swapped".to_owned();
        });
    }),
    mutation("every", "a document has the text of another one of the same length", &["text"], |run| {
        run.endings(|ending| {
            let other = ending.stored[1].text.words.1.clone();
            ending.stored[0].text.words.1 = other;
        });
    }),
    mutation("every", "a passage covers a word twice", &["passages"], |run| {
        run.endings(|ending| {
            ending.stored[0].passages = Some("5 words in its passages, 4 by their rows".to_owned());
        });
    }),
    mutation("every", "a step takes effect twice", &["effects"], |run| {
        run.endings(|ending| {
            ending.stored[0].effects.insert("store_document".to_owned(), 2);
        });
    }),
    mutation("every", "a workflow fails", &["completed"], |run| {
        run.endings(|ending| {
            ending.statuses.insert("Failed".to_owned(), 1);
        });
    }),
    mutation("every", "a claim is missing", &["claims"], |run| {
        run.endings(|ending| {
            ending.claims_missing = Reading::Seen(vec!["corpus/a".to_owned()]);
        });
    }),
    mutation("every", "a worker calls an LLM that nobody set up", &["llm"], |run| {
        run.endings(|ending| ending.llm_calls = Reading::Seen(3.0));
    }),
    mutation("every", "one first attempt is lost at scale-in", &["first-attempts"], |run| {
        run.endings(|ending| ending.retried = vec![Default::default()]);
    }),
    mutation("every", "the load is sent late", &["schedule"], |run| {
        run.all_starts(|_, start| start.sent += 2.0);
    }),
    mutation("every", "a document of the calibration is lost", &["calibration-kept"], |run| {
        if let Some(Reading::Seen(calibration)) = &mut run.facts.calibration {
            calibration.kept.1 -= 1;
        }
    }),
    mutation("every", "the host could not be measured", &["capacity"], |run| {
        run.facts.calibration = Some(Reading::Gap("no worker started".to_owned()));
    }),
    mutation("every", "a scenario ends early", &["end"], |run| {
        run.facts.scenarios.iter_mut().for_each(|one| one.error = Some("toxiproxy: refused".to_owned()));
    }),
    mutation("every", "an image is pulled", &["no-pull"], |run| {
        if let Reading::Seen(survey) = &mut run.facts.ended {
            survey.pulls.insert("x:1".to_owned(), "Pulling image".to_owned());
        }
    }),
    mutation("every", "an image is pulled by its digest", &["no-pull"], |run| {
        if let Reading::Seen(survey) = &mut run.facts.ended {
            survey.pulls.insert("x@sha256:ab".to_owned(), "Pulling image".to_owned());
        }
    }),
    mutation("every", "KEDA's operator restarts", &["no-restart"], |run| {
        if let Reading::Seen(survey) = &mut run.facts.ended {
            *survey.restarts.values_mut().next().unwrap() += 1;
        }
    }),
];

/// The mutations of the core suite: documents, then the fleet, then the host and the harness.
const CORE: &[Mutation] = &[
    mutation("core", "a title is lost", &["text"], |run| {
        run.ending("step", |ending| {
            let titled = ending.stored.iter_mut().find(|one| one.text.title.is_some());
            titled.unwrap().text.title = None;
        });
    }),
    mutation("core", "a link too many", &["text"], |run| {
        run.ending("step", |ending| ending.stored[0].text.links.0 += 1);
    }),
    mutation("core", "a heading is changed", &["text"], |run| {
        run.ending("step", |ending| ending.stored[0].text.headings.1.clear());
    }),
    mutation("core", "a charset is guessed wrong", &["text"], |run| {
        run.ending("step", |ending| {
            ending.stored[0].text.charset = Some("windows-1252".to_owned() + "?");
        });
    }),
    mutation("core", "a language is guessed wrong", &["text"], |run| {
        run.ending("step", |ending| {
            let known: BTreeSet<String> = ending
                .expected
                .iter()
                .filter(|(_, facts)| facts.language.is_some())
                .map(|(key, _)| format!("{}{key}", ending.root))
                .collect();
            let one = ending.stored.iter_mut().find(|one| known.contains(&one.source)).unwrap();
            one.text.language = Some("epo".to_owned());
        });
    }),
    mutation("core", "a small document travels as a claim", &["claims"], |run| {
        run.beyond("step", |beyond| beyond.needless.push("corpus/a".to_owned()));
    }),
    mutation("core", "every document's passages travel as a claim", &["claims"], |run| {
        run.beyond("step", |beyond| beyond.others += beyond.most_others + 1);
    }),
    mutation("core", "answers come 3 s late", &["service", "p99", "recovery"], |run| {
        run.starts("step", |_, start| {
            start.stored = start.stored.map(|stored| stored + 3.0);
        });
    }),
    mutation("core", "with the most workers answers come 3 s late", &["p99"], |run| {
        run.starts("fleet", |_, start| {
            start.stored = start.stored.map(|stored| stored + 3.0);
        });
    }),
    mutation("core", "a document in twenty takes 10 s longer", &["p99"], |run| {
        run.starts("step", |number, start| {
            if number % 20 == 0 {
                start.stored = start.stored.map(|stored| stored + 10.0);
            }
        });
    }),
    mutation("core", "a document comes minutes after the load", &["drain"], |run| {
        run.starts("step", |number, start| {
            if number == 200 {
                start.stored = start.stored.map(|stored| stored + 600.0);
            }
        });
    }),
    mutation("core", "a fourth worker comes below the thresholds", &["stays"], |run| {
        run.fleet("step/stays", |_| 4);
    }),
    mutation("core", "tasks wait below the thresholds", &["below-threshold"], |run| {
        run.depth("step/stays", IO, 16.0);
        run.depth("step/stays", WORKFLOW, 11.0);
    }),
    mutation("core", "the fleet ignores the step", &["decision", "ready", "size"], |run| {
        run.fleet("step/out", |_| 3);
        run.fleet("step/steady", |_| 3);
    }),
    mutation("core", "the decision comes a minute late", &["decision"], |run| {
        run.fleet("step/out", |_| 3);
    }),
    mutation("core", "new workers are not Ready for a minute", &["ready"], |run| {
        run.samples("step/out", |sample| {
            sample.changes.iter_mut().for_each(|(_, fleet)| fleet.ready = 3);
            if let Reading::Seen(fleet) = &mut sample.fleet {
                fleet.ready = 3;
            }
        });
    }),
    mutation("core", "the fleet runs away", &["overshoot", "size", "utilization"], |run| {
        run.fleet("step/steady", |_| 20);
    }),
    mutation("core", "the fleet keeps three workers too few", &["size"], |run| {
        run.fleet("step/steady", |count| count - 3);
    }),
    mutation("core", "half of the slots stand idle", &["utilization"], |run| {
        run.samples("step/steady", |sample| {
            if let Reading::Seen(used) = &mut sample.slots_used {
                used.values_mut().for_each(|used| *used /= 2.0);
            }
        });
    }),
    mutation("core", "tasks wait under normal load", &["depth-normal"], |run| {
        for queue in [WORKFLOW, IO, CPU] {
            run.depth("step/steady", queue, 10.0);
        }
    }),
    mutation("core", "the fleet flaps", &["smooth"], |run| {
        let mut turn = 0;
        run.samples("step/steady", |sample| {
            turn += 1;
            if let Reading::Seen(fleet) = &mut sample.fleet {
                fleet.wanted += turn / 10 % 2;
            }
        });
    }),
    mutation("core", "scale-in takes slots that are in use", &["scale-in-in-use"], |run| {
        run.samples("step", |sample| {
            if let Reading::Seen(used) = &mut sample.slots_used {
                used.insert(IO.to_owned(), 40.0);
            }
        });
    }),
    mutation("core", "the fleet does not shrink when the load ends", &["scale-in"], |run| {
        run.fleet("step/drain", |_| 7);
        run.fleet("step/in", |_| 7);
        run.fleet("step/hold", |_| 7);
    }),
    mutation("core", "a worker comes back after the scale-in", &["hold"], |run| {
        run.fleet("step/hold", |_| 4);
    }),
    mutation("core", "a worker crashes", &["no-crash"], |run| {
        for phase in ["step/steady", "fleet/load"] {
            let mut seen = 0;
            run.samples(phase, |sample| {
                seen += 1;
                if let (Reading::Seen(pods), true) = (&mut sample.pods, seen > 10) {
                    pods[0].restarts += 1;
                }
            });
        }
    }),
    mutation("core", "a worker's memory nears its limit", &["memory"], |run| {
        run.samples("", |sample| {
            if let Some(Reading::Seen(memory)) = &mut sample.memory {
                memory.values_mut().for_each(|bytes| *bytes = 290_000_000);
            }
        });
    }),
    mutation("core", "a worker opens more connections than the guide allows", &["connections-worker"], |run| {
        run.detail("fleet", |fleet| {
            let workers = fleet["connections"]["workers"].as_object_mut().unwrap();
            *workers.values_mut().next().unwrap() = 21.into();
        });
    }),
    mutation("core", "the workers together open more connections than planned", &["connections-all"], |run| {
        run.detail("fleet", |fleet| {
            let workers = fleet["connections"]["workers"].as_object_mut().unwrap();
            workers.values_mut().for_each(|count| *count = 7.into());
        });
    }),
    mutation("core", "a worker holds no connection", &["connections-seen"], |run| {
        run.detail("fleet", |fleet| {
            let workers = fleet["connections"]["workers"].as_object_mut().unwrap();
            let first = workers.keys().next().unwrap().clone();
            workers.remove(&first);
        });
    }),
    mutation("core", "every worker asks Temporal many times a second", &["questions"], |run| {
        run.detail("fleet", |fleet| {
            fleet["asked"] = (fleet["asked"].as_f64().unwrap() * 20.0).into();
        });
    }),
    mutation("core", "nobody asks Temporal for the depths", &["questions"], |run| {
        run.detail("fleet", |fleet| fleet["asked"] = 0.0.into());
    }),
    mutation("core", "a cluster has another maximum than the guide's", &["guide"], |run| {
        run.detail("fleet", |fleet| fleet["numbers"]["maxReplicaCount"] = 15.into());
    }),
    mutation("core", "busy workers leave while idle ones stay", &["idle-first"], |run| {
        // Who leaves and who stays change places: each has the other's slots.
        run.samples("fleet/leave", |sample| {
            if let Reading::Seen(slots) = &mut sample.slots_by_worker {
                slots.values_mut().for_each(|used| *used = f64::from(*used == 0.0));
            }
        });
    }),
    mutation("core", "the commands of the guide fail", &["monitoring"], |run| {
        run.detail("monitoring", |monitoring| {
            monitoring["ran"].as_array_mut().unwrap().iter_mut().for_each(|ran| ran["code"] = 1.into());
        });
    }),
    mutation("core", "the observer saw nothing for a minute", &["stays", "size", "smooth"], |run| {
        for phase in ["step/stays", "step/steady"] {
            run.samples(phase, |sample| sample.fleet = Reading::Gap("refused".to_owned()));
        }
    }),
];

/// The first connection from a pod with this answer has another.
fn knocked(run: &mut Run, from: &str, answer: &str, other: &str) {
    run.detail("security", |found| {
        let mut tried = found["doors"]["tried"].as_array_mut().into_iter().flatten();
        let first = tried.find(|one| one["from"] == from && one["answer"] == answer);
        first.unwrap_or_else(|| panic!("{from} has no connection that is {answer}"))["answer"] = other.into();
    });
}

/// The mutations of the scenario `security`, which is recorded alone.
const SECURITY: &[Mutation] = &[
    mutation("security", "a privileged pod is admitted", &["pod-security"], |run| {
        run.detail("security", |found| found["tried"][2]["refused"] = Value::Null);
    }),
    mutation("security", "a restricted pod is refused", &["pod-admitted"], |run| {
        run.detail("security", |found| found["tried"][0]["refused"] = "violates PodSecurity".into());
    }),
    mutation("security", "the worker reaches a port that no policy allows", &["policies-refuse"], |run| {
        knocked(run, "worker", "silent", "open");
    }),
    mutation("security", "a port that no policy allows answers that nobody listens", &["policies-refuse"], |run| {
        knocked(run, "worker", "silent", "refused");
    }),
    mutation("security", "the worker does not reach what it needs", &["policies-allow"], |run| {
        knocked(run, "worker", "open", "silent");
    }),
    mutation("security", "Postgres admits a connection without TLS", &["doors-closed"], |run| {
        attempt(run, "Postgres", "the password without TLS", Value::Null);
    }),
    mutation("security", "Temporal admits a client without a certificate", &["doors-closed"], |run| {
        attempt(run, "Temporal", "gRPC without a certificate", Value::Null);
    }),
    mutation("security", "the worker may create a table", &["doors-closed"], |run| {
        attempt(run, "Postgres", "the worker creates a table", Value::Null);
    }),
    mutation("security", "Postgres refuses everybody", &["doors-open"], |run| {
        attempt(run, "Postgres", "TLS and the password", "timeout".into());
    }),
    mutation("security", "a log has a password", &["secrets-unshown"], |run| {
        run.detail("security", |found| found["secrets"]["found"] = vec!["log of a/b c: password of a/d"].into());
    }),
    mutation("security", "a file of the run has a password", &["no-secret"], |run| {
        if let Some(Reading::Seen(search)) = &mut run.facts.secrets {
            search.found.insert("run.json: password of a/d".to_owned());
        }
    }),
    mutation("security", "a pod may run as root", &["pods-hardened"], |run| {
        run.detail("security", |found| found["pods"][0]["faults"] = vec!["may run as root".to_owned()].into());
    }),
    mutation("security", "the API server answers with profiles", &["benchmark"], |run| {
        run.detail("security", |found| found["benchmark"]["a"]["kube-apiserver"]["profiling"] = vec!["true"].into());
    }),
];

/// Sets how an attempt at a service was answered: why it was refused, or null.
fn attempt(run: &mut Run, door: &str, attempt: &str, refused: Value) {
    run.detail("security", |found| {
        let attempts = found["attempts"].as_array_mut().unwrap();
        let one = attempts.iter_mut().find(|one| one["door"] == door && one["attempt"] == attempt);
        one.unwrap_or_else(|| panic!("{door}, {attempt} was not tried"))["refused"] = refused;
    });
}

/// The mutations of the suite `scaling`.
const SCALING: &[Mutation] = &[
    mutation("scaling", "the first new worker comes 10 s late", &["goal-first", "goal-all"], |run| {
        late(run, "comparison/slipway/step", 14.0);
    }),
    mutation(
        "scaling",
        "with the HPA's default period workers come 10 s late",
        &["goal-first", "goal-all", "simulator", "all-needed"],
        |run| {
            late(run, "default-period/step/step", 28.0);
            late(run, "default-period/waves/high0", 28.0);
        },
    ),
    mutation("scaling", "documents of the step wait 4 s longer", &["p99"], |run| {
        run.starts("comparison", |_, start| {
            start.stored = start.stored.map(|stored| stored + 4.0);
        });
    }),
    mutation("scaling", "the fleet asks for all workers at once", &["overshoot", "cost"], |run| {
        for load in ["comparison/slipway", "default-period/step", "oscillation/waves", "default-period/waves"] {
            run.fleet(load, |_| 20);
        }
    }),
    mutation("scaling", "the cluster has twice the workers that the simulator has", &["simulator"], |run| {
        run.fleet("comparison", |count| 2 * count);
        run.fleet("default-period/step", |count| 2 * count);
    }),
    mutation("scaling", "the fleet follows a dip that is shorter than the cool-down", &["smooth"], |run| {
        for load in ["oscillation/waves", "default-period/waves"] {
            run.fleet(&format!("{load}/dip1"), |_| 3);
            run.fleet(&format!("{load}/high2"), |_| 8);
            run.fleet(&format!("{load}/fall"), |_| 4);
        }
    }),
    mutation("scaling", "the fleet keeps its size after the load fell", &["back"], |run| {
        run.fleet("oscillation/waves/fall", |_| 8);
        run.fleet("default-period/waves/fall", |_| 8);
    }),
    mutation("scaling", "the fleet shrinks under high load", &["scale-in-in-use"], |run| {
        for load in ["oscillation/waves/high2", "default-period/waves/high2"] {
            let mut seen = 0;
            run.samples(load, |sample| {
                seen += 1;
                if let (Reading::Seen(fleet), true) = (&mut sample.fleet, seen > 10) {
                    fleet.wanted = 3;
                }
            });
        }
    }),
    mutation("scaling", "documents of the second high come late", &["p99"], |run| {
        for scenario in ["oscillation", "default-period"] {
            run.starts(scenario, |_, start| {
                start.stored = start.stored.map(|stored| stored + 10.0);
            });
        }
    }),
    mutation("scaling", "each row of the load table has six workers too many", &["table-guide", "table-plan"], |run| {
        run.fleet("table", |count| count + 6);
    }),
    mutation("scaling", "the CPU queue waits behind the flood", &["isolation-cpu"], |run| {
        run.depth("isolation/flood", CPU, 7.0);
    }),
    mutation("scaling", "workflow tasks wait behind the flood", &["isolation-workflow"], |run| {
        run.depth("isolation/flood", WORKFLOW, 11.0);
    }),
    mutation("scaling", "the flood is none", &["isolation-flood"], |run| {
        run.depth("isolation/flood", IO, 2.0);
    }),
    mutation("scaling", "the CPU queue has nothing to do", &["isolation-work"], |run| {
        run.starts("isolation", |_, start| {
            start.stored = start.stored.map(|stored| stored + 1000.0);
        });
    }),
    mutation("scaling", "workers leave while Prometheus or KEDA is away", &["outage-holds"], |run| {
        for phase in ["outage/prometheus", "outage/keda"] {
            let mut seen = 0;
            run.samples(phase, |sample| {
                seen += 1;
                if let (Reading::Seen(fleet), true) = (&mut sample.fleet, seen > 10) {
                    fleet.wanted = 3;
                }
            });
        }
    }),
    mutation("scaling", "nobody can see that Prometheus or KEDA is away", &["outage-visible"], |run| {
        run.outages("conditions", "hpa ScalingActive=True (x)");
    }),
    mutation("scaling", "scaling stays broken after an outage", &["outage-ends"], |run| {
        run.outages("conditions_after", "hpa ScalingActive=False (FailedGetExternalMetric)");
    }),
    mutation("scaling", "the depth is not read again", &["outage-depth"], |run| {
        run.samples("outage/after-prometheus", |sample| {
            sample.depth = Reading::Gap("refused".to_owned());
        });
        run.samples("outage/keda", |sample| {
            sample.depth = Reading::Gap("refused".to_owned());
        });
    }),
    mutation("scaling", "an outage is not carried out", &["outages"], |run| {
        run.detail("outage", |found| {
            drop(found["outages"].as_array_mut().unwrap().pop());
        });
    }),
    mutation("scaling", "the fleet does not shrink after the outages", &["scale-in"], |run| {
        run.fleet("outage/drain", |_| 6);
        run.fleet("outage/in", |_| 6);
    }),
    mutation("scaling", "a worker runs while the fleet is paused at 0", &["pause-holds"], |run| {
        run.fleet("pause/zero", |_| 1);
    }),
    mutation("scaling", "a fleet of 0 workers stays there after the pause", &["pause-ends"], |run| {
        run.fleet("pause/back", |_| 0);
    }),
];

/// The mutations of the suite `overload`.
const OVERLOAD: &[Mutation] = &[
    mutation("overload", "the fleet runs away when the host is saturated", &["overload-cost"], |run| {
        run.fleet("overload/slipway", |count| 3 * count);
    }),
    mutation("overload", "documents of what ships come twice as late as the rival's", &["overload-p99"], |run| {
        slipway(run, |start| {
            start.stored = start.stored.map(|stored| stored + 2.0 * (stored - start.due));
        });
    }),
    mutation("overload", "the queues stay long after the overload", &["overload-recovery"], |run| {
        run.depth("overload/slipway/tail", IO, 50.0);
    }),
    mutation("overload", "the host carries the load", &["overload-load"], |run| {
        run.starts("overload", |_, start| start.stored = Some(start.due + 3.0));
    }),
];

/// Alters the starts of what ships in the scenario `overload`.
fn slipway(run: &mut Run, change: fn(&mut Start)) {
    run.detail("overload", |detail| {
        let entrants = detail["entrants"].as_array_mut().unwrap();
        let ours = entrants.iter_mut().find(|entrant| entrant["scaler"] == "slipway").unwrap();
        starts(ours, &mut |_, start| change(start));
    });
}

/// The workers' counts stay what they were in the first sample of a phase for so many seconds.
fn late(run: &mut Run, phase: &str, seconds: f64) {
    let first = run.samples.iter().find(|sample| sample.phase.starts_with(phase)).map(|sample| sample.at);
    let until = first.unwrap() + seconds;
    run.samples(phase, |sample| {
        sample.changes.retain(|(at, _)| *at >= until);
        if let (Reading::Seen(fleet), true) = (&mut sample.fleet, sample.at < until) {
            (fleet.wanted, fleet.present, fleet.ready) = (3, 3, 3);
        }
    });
}

fn all() -> impl Iterator<Item = &'static Mutation> {
    EVERY.iter().chain(CORE).chain(SECURITY).chain(SCALING).chain(OVERLOAD)
}

/// A check of a verdict: its scenario, its id, and its name, which tells the loads of a scenario apart.
type Name<'a> = (&'a str, &'a str, &'a str);

fn names<'a>(verdict: &'a Verdict, pick: impl Fn(&Check) -> bool) -> BTreeSet<Name<'a>> {
    let checks =
        verdict.scenarios.iter().flat_map(|scenario| scenario.checks.iter().map(move |check| (scenario, check)));
    let picked = checks.filter(|(_, check)| pick(check));
    picked.map(|(scenario, check)| (scenario.name.as_str(), check.id.as_str(), check.name.as_str())).collect()
}

#[test]
fn the_recorded_runs_passed() {
    for (suite, run) in &*RECORDED {
        let verdict = run.verdict();
        assert_eq!(verdict.outcome, Outcome::Pass, "{suite}");
    }
}

#[test]
fn each_mutation_is_noticed_and_each_check_notices_one_in_every_load_that_it_judges() {
    let passed: BTreeMap<&str, Verdict> = RECORDED.iter().map(|(suite, run)| (*suite, run.verdict())).collect();
    let mut idle: BTreeMap<&str, BTreeSet<Name<'_>>> =
        passed.iter().map(|(suite, verdict)| (*suite, names(verdict, |_| true))).collect();
    for one in all() {
        for (suite, idle) in idle.iter_mut().filter(|(suite, _)| one.suite == "every" || one.suite == **suite) {
            let mut run = RECORDED[suite].clone();
            (one.change)(&mut run);
            let verdict = run.verdict();
            let found = names(&verdict, |check| check.outcome != Outcome::Pass);
            // A mutation of every load need not be noticed by a check that a suite does not have.
            let has =
                |id: &str| one.suite != "every" || names(&passed[suite], |check| check.id == id).first().is_some();
            let missed: Vec<_> =
                one.noticed.iter().filter(|id| has(id) && found.iter().all(|(_, found, _)| found != *id)).collect();
            assert!(missed.is_empty(), "{suite}, {}: {missed:?} did not notice; {found:?} did", one.what);
            idle.retain(|name| !found.contains(name));
        }
    }
    idle.retain(|_, names| !names.is_empty());
    assert!(idle.is_empty(), "no mutation trips {idle:#?}");
}

#[test]
fn the_page_has_the_table() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mutations.md");
    let wanted = text();
    if std::env::var_os("UPDATE_MUTATIONS").is_some() {
        std::fs::write(&page, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&page).unwrap_or_default();
    assert_eq!(found, wanted, "write it with UPDATE_MUTATIONS=1 cargo test -p kind-e2e --test mutations");
}

/// The page: a table of mutations, the checks of each, and those that were played in a cluster.
fn text() -> String {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded");
    let played = std::fs::read_to_string(folder.join("played.md")).unwrap_or_default();
    let mut page = String::from(include_str!("../recorded/page.md"));
    let _ = writeln!(page, "\n## Played in a cluster\n\n{}", played.trim_end());
    let tables = [
        ("every load", EVERY),
        ("suite `core`", CORE),
        ("scenario `security`", SECURITY),
        ("suite `scaling`", SCALING),
        ("suite `overload`", OVERLOAD),
    ];
    for (of, mutations) in tables {
        let _ = writeln!(page, "\n## Alterations of a recorded run: {of}\n");
        let _ = writeln!(page, "| mutation | checks that notice it |\n|---|---|");
        for one in mutations {
            let ids: Vec<String> = one.noticed.iter().map(|id| format!("`{id}`")).collect();
            let _ = writeln!(page, "| {} | {} |", one.what, ids.join(", "));
        }
    }
    page
}
