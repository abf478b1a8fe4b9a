use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    slice,
};

use novasphere_crd::CloseReason;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::console_session::{
    samples::{at, outcome, ready, ready_status, references, session},
    single_use::{KEY_MADE_FOR, MADE_FOR_CONSOLE},
    status::close,
    validate::validate,
};

fn named(uid: &str, version: u64) -> ConsoleSession {
    let mut session = session(json!({}));
    session.metadata.uid = Some(uid.to_owned());
    session.metadata.resource_version = Some(version.to_string());
    session
}

/// For a connection of ann.
fn for_connection(mut session: ConsoleSession) -> ConsoleSession {
    let labels = session.metadata.labels.get_or_insert_default();
    labels.insert(KEY_MADE_FOR.to_owned(), MADE_FOR_CONSOLE.to_owned());
    session.spec.users = vec!["ann".to_owned()];
    session
}

fn started(mut session: ConsoleSession) -> ConsoleSession {
    session.status = Some(ready_status());
    session
}

/// Somebody has a token.
fn entered(mut session: ConsoleSession) -> ConsoleSession {
    session.status.as_mut().unwrap().user = Some("ann".to_owned());
    session
}

fn verdict(session: &ConsoleSession, others: &[ConsoleSession], limit: usize, second: i64) -> StartVerdict {
    places_of_target(session, others, ConsoleInput::Control, at(second)).verdict(limit)
}

#[test]
fn who_wrote_last_goes_back_and_the_first_waits_for_that() {
    let (first, second) = (for_connection(named("z", 7)), named("a", 8));
    let (first, second) = (started(first), started(second));
    let both = [first.clone(), second.clone()];
    assert_eq!(verdict(&first, &both, 2, 1), StartVerdict::Begins);
    assert_eq!(verdict(&first, &both, 1, 1), StartVerdict::Undecided);
    assert_eq!(verdict(&second, &both, 1, 1), StartVerdict::Full { open: 1 });
    assert_eq!(verdict(&first, slice::from_ref(&first), 1, 1), StartVerdict::Begins);
    assert_eq!(StartCheck::Unseen.verdict(100), StartVerdict::Undecided);
}

#[test]
fn who_has_begun_comes_first_whatever_was_written_of_it_since() {
    let late = started(named("a", 8));
    let runs = entered(started(named("b", 900)));
    assert_eq!(verdict(&late, &[runs], 1, 1), StartVerdict::Full { open: 1 });
    let connection = started(for_connection(named("c", 900)));
    assert_eq!(
        verdict(&late, slice::from_ref(&connection), 1, 1),
        StartVerdict::Undecided,
        "it may go back"
    );
    assert_eq!(
        verdict(&late, &[connection], 1, 10),
        StartVerdict::Full { open: 1 },
        "it would have gone"
    );
}

#[test]
fn who_only_views_takes_no_place_from_who_may_control() {
    let view = |uid: &str, version| {
        let mut view = named(uid, version);
        view.spec.input = Some(ConsoleInput::ViewOnly);
        let status = ready(json!({"input": "ViewOnly"})).status;
        ConsoleSession { status, ..view }
    };
    let (controls, views) = (started(named("a", 9)), view("b", 1));
    assert_eq!(verdict(&controls, slice::from_ref(&views), 1, 1), StartVerdict::Begins);
    assert_eq!(verdict(&views, &[controls], 1, 1), StartVerdict::Full { open: 1 });
    assert_eq!(verdict(&views, &[view("c", 0)], 1, 1), StartVerdict::Full { open: 1 });
}

#[test]
fn sessions_for_connections_are_counted_for_their_user_those_that_are_over_too() {
    let own = started(for_connection(named("own", 50)));
    let mut others = vec![
        started(for_connection(named("a", 1))),
        started(for_connection(named("b", 60))),
        for_connection(named("not started", 2)),
        started(named("by hand", 3)),
    ];
    let mut over = started(for_connection(named("over", 70)));
    over.status = Some(close(&over, CloseReason::Finished, at(1)));
    others.push(over);
    let mut of_ben = started(for_connection(named("ben's", 4)));
    of_ben.spec.users = vec!["ben".to_owned()];
    others.push(of_ben);
    let check = places_of_user(&own, "ann", &others, at(2));
    assert_eq!(check, StartCheck::Seen { others: 3, ahead: 2 });
}

#[test]
fn a_start_for_which_there_is_no_room_is_taken_back_before_anybody_is_let_in() {
    let (session, mut full) = (ready(json!({})), references(&json!({"maxConcurrentSessions": 2})));
    assert!(awaits_entry(&session) && !awaits_entry(&entered(session.clone())));
    full.start = StartCheck::Seen { others: 2, ahead: 1 };
    assert!(validate(&session, &full).is_ok(), "those that come later go back");
    full.start = StartCheck::Seen { others: 2, ahead: 2 };
    let back = outcome(&session, &full, &[], at(1)).status;
    assert_eq!(back.conditions[0].reason, "TooManySessions");
    assert_eq!(
        (&back.started_at, &back.expires_at, &back.policy),
        (&None, &None, &None)
    );
    let waits = ConsoleSession {
        status: Some(back.clone()),
        ..session.clone()
    };
    assert!(!is_started(&waits));
    full.sessions_ahead = 2;
    assert_eq!(
        outcome(&waits, &full, &[], at(2)).status,
        back,
        "it waits, and costs nothing"
    );
    assert!(validate(&entered(session), &full).is_ok(), "who was let in stays");
}

/// Several processes that start sessions of one target, each by what its own watch has shown.
struct Contest {
    limit: usize,
    /// Every write, as the API server stored it; its place is its version.
    log: Vec<(usize, ConsoleSession)>,
    /// How many writes each process has seen. The first is the controller, which lets nobody in.
    seen: Vec<usize>,
    /// Which process starts each session; those that the controller does not start are for connections.
    owners: Vec<usize>,
    /// The version of the write by which each was started, until it is decided.
    wants: HashMap<usize, usize>,
    begun: BTreeSet<usize>,
    over: BTreeSet<usize>,
}

impl Contest {
    fn new(limit: usize, processes: usize, owners: Vec<usize>) -> Self {
        let mut contest = Self {
            limit,
            log: Vec::new(),
            seen: vec![0; processes],
            owners,
            wants: HashMap::new(),
            begun: BTreeSet::new(),
            over: BTreeSet::new(),
        };
        for index in 0..contest.owners.len() {
            let session = named(&format!("s{index}"), 0);
            let is_controllers = contest.owners[index] == 0;
            contest.write(
                index,
                if is_controllers {
                    session
                } else {
                    for_connection(session)
                },
            );
        }
        contest
    }

    fn write(&mut self, index: usize, mut session: ConsoleSession) -> usize {
        let version = self.log.len() + 1;
        session.metadata.resource_version = Some(version.to_string());
        self.log.push((index, session));
        version
    }

    fn newest(&self, index: usize) -> ConsoleSession {
        let newest = self.log.iter().rfind(|(of, _)| *of == index);
        newest.unwrap().1.clone()
    }

    /// The sessions as one process knows them.
    fn view(&self, process: usize) -> Vec<ConsoleSession> {
        let shown = self.log[..self.seen[process]].iter().cloned();
        shown.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// What a process does next for a session: its own one for a connection, or one of the controller's into which it may let somebody.
    fn act(&mut self, index: usize, process: usize) {
        if self.begun.contains(&index) || self.over.contains(&index) {
            return;
        }
        let (owner, session) = (self.owners[index], self.newest(index));
        let Some(version) = self.wants.get(&index).copied() else {
            if self.view(owner).iter().filter(|other| is_active(other)).count() < self.limit {
                let version = self.write(index, started(session));
                self.wants.insert(index, version);
            }
            return;
        };
        let process = if owner == 0 { process } else { owner };
        if self.seen[process] < version {
            return;
        }
        match (verdict(&session, &self.view(process), self.limit, 1), owner, process) {
            (StartVerdict::Begins, 0, 1..) => {
                self.begun.insert(index);
                self.write(index, entered(session));
            }
            (StartVerdict::Begins, 1.., _) => {
                self.begun.insert(index);
            }
            (StartVerdict::Full { .. }, 0, 0) => {
                let waits = ConsoleSession {
                    status: None,
                    ..session
                };
                self.write(index, waits);
            }
            (StartVerdict::Full { .. }, 1.., _) => self.end(index),
            _ => return,
        }
        self.wants.remove(&index);
    }

    fn end(&mut self, index: usize) {
        let mut session = self.newest(index);
        session.status = Some(close(&session, CloseReason::Finished, at(1)));
        self.write(index, session);
        self.begun.remove(&index);
        self.over.insert(index);
    }

    /// Everything is seen and done that there is to see and do.
    fn settle(&mut self) {
        for _ in 0..2 * self.owners.len() {
            for index in 0..self.owners.len() {
                for process in 0..self.seen.len() {
                    self.seen.fill(self.log.len());
                    self.act(index, process);
                    assert!(self.begun.len() <= self.limit);
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    See(prop::sample::Index, usize),
    Act(prop::sample::Index, prop::sample::Index),
    End(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        4 => (index(), 1..8_usize).prop_map(|(process, writes)| Step::See(process, writes)),
        8 => (index(), index()).prop_map(|(session, process)| Step::Act(session, process)),
        1 => index().prop_map(Step::End),
    ];
    prop::collection::vec(step, 0..200)
}

fn run(contest: &mut Contest, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::See(process, writes) => {
                let process = process.index(contest.seen.len());
                contest.seen[process] = (contest.seen[process] + writes).min(contest.log.len());
            }
            Step::Act(session, process) => {
                contest.act(session.index(contest.owners.len()), process.index(contest.seen.len()));
            }
            Step::End(session) => {
                let session = session.index(contest.owners.len());
                if contest.begun.contains(&session) {
                    contest.end(session);
                }
            }
        }
        assert!(contest.begun.len() <= contest.limit, "{:?}", contest.begun);
    }
    contest.settle();
}

proptest! {
    /// However late the watches are and however the writes fall, never more have begun than may, and no place stays empty.
    #[test]
    fn replicas_and_the_controller_never_let_more_begin_than_may(
        limit in 1..4_usize,
        owners in prop::collection::vec(0..3_usize, 1..12),
        steps in steps(),
    ) {
        let mut contest = Contest::new(limit, 3, owners);
        run(&mut contest, steps);
        let waits = contest.owners.len() - contest.begun.len() - contest.over.len();
        prop_assert!(contest.begun.len() == limit || waits == 0, "{:?} of {:?}", contest.begun, contest.owners);
    }

    /// Of sessions for connections that come at the same moment as many are let in as may be.
    #[test]
    fn of_a_crowd_exactly_as_many_begin_as_may(limit in 1..5_usize, crowd in 1..20_usize, mut steps in steps()) {
        steps.retain(|step| !matches!(step, Step::End(_)));
        let owners = (0..crowd).map(|number| 1 + number % 2).collect();
        let mut contest = Contest::new(limit, 3, owners);
        run(&mut contest, steps);
        prop_assert_eq!(contest.begun.len(), limit.min(crowd));
    }
}
