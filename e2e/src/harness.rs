//! Runs the cases on threads, like cargo's own harness, and ends with what the
//! machine could not run.

use std::{
    future::Future,
    process::ExitCode,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::fixtures::{
    cluster::{self, Cluster},
    secrecy, used_rights,
};

/// Cases mostly wait, so run more than there are processors.
const THREADS: usize = 4;

/// How the names of cases begin that a run does only when its filter asks for them: what they need takes ten minutes to build.
const GATEWAYS: &str = "gateways::";

/// How many of the slowest cases are listed at the end: a run has a budget.
const SLOWEST_LIMIT: usize = 10;

/// How long each case took.
static TIMES: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());

/// What a case needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing that a plain user does not have.
    ControlPlane,
    /// Root, for a node with containers and KubeVirt.
    Node,
}

/// One case.
pub struct Case {
    name: String,
    needs: Needs,
    run: Box<dyn FnOnce() -> Result<()> + Send>,
}

impl Case {
    /// A case called `<module>::<name>`.
    pub fn new<F, Fut>(name: &str, needs: Needs, case: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>>,
    {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(case())
        };
        Self {
            name: name.to_owned(),
            needs,
            run: Box::new(run),
        }
    }
}

/// Runs the cases that the arguments of the process choose.
///
/// Without root, cases that need a node are not run, and the last lines say
/// which; with `CI=true` they fail instead. Those of the gateways are left out when
/// the filter does not begin like them, and the last lines say so, too.
#[must_use]
pub fn run(cases: Vec<Case>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    if arguments.list {
        return libtest_mimic::run(&arguments, cases.into_iter().map(|case| trial(case, false)).collect()).exit_code();
    }
    let _lock = match cluster::lock() {
        Ok(lock) => lock,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let (cases, elsewhere) = chosen(cases, filter);
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let cannot_run = |needs| needs == Needs::Node && !cluster::is_root();
    let left_out: Vec<_> = cases
        .iter()
        .filter(|case| cannot_run(case.needs))
        .map(|case| case.name.clone())
        .collect();
    let trials = cases
        .into_iter()
        .map(|case| {
            let ignored = cannot_run(case.needs) && !is_ci;
            trial(case, ignored)
        })
        .collect();
    // A part of the cases needs a part of the rights.
    let is_whole =
        left_out.is_empty() && arguments.filter.as_deref().is_none_or(str::is_empty) && arguments.skip.is_empty();
    if is_whole {
        used_rights::record();
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    list_slowest();
    let secrecy = secrecy::check_installed();
    let end = Cluster::end_shared();
    // A case that failed may be the one that needs a right.
    let rights = if conclusion.has_failed() {
        Ok(())
    } else {
        used_rights::check()
    };
    say_left_out(&left_out, &elsewhere);
    for result in [
        secrecy.context("what the installed programs said"),
        end.context("the shared clusters are not down"),
        rights,
    ] {
        if let Err(error) = result {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    }
    conclusion.exit_code()
}

/// The last lines say what was not run, and why.
fn say_left_out(without_root: &[String], elsewhere: &[String]) {
    for (why, names) in [
        ("Not run, because a node needs root", without_root),
        ("Left to `make test-gateways`", elsewhere),
    ] {
        if !names.is_empty() {
            eprintln!("{why} ({} cases):\n  {}", names.len(), names.join("\n  "));
        }
    }
}

/// The cases of a run with this filter, and the names of those that it chooses and another run does.
fn chosen(cases: Vec<Case>, filter: &str) -> (Vec<Case>, Vec<String>) {
    if filter.starts_with(GATEWAYS) {
        return (cases, Vec::new());
    }
    let (elsewhere, cases): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| case.name.starts_with(GATEWAYS));
    let names = elsewhere.into_iter().map(|case| case.name);
    (cases, names.filter(|name| name.contains(filter)).collect())
}

fn list_slowest() {
    let Ok(mut times) = TIMES.lock() else { return };
    times.sort_by(|a, b| b.cmp(a));
    let list: Vec<_> = times
        .iter()
        .take(SLOWEST_LIMIT)
        .map(|(took, name)| format!("{:6.1}  {name}", took.as_secs_f32()))
        .collect();
    let all: Duration = times.iter().map(|(took, _)| *took).sum();
    eprintln!(
        "The slowest cases, in seconds of {:.0}:\n{}",
        all.as_secs_f32(),
        list.join("\n")
    );
}

fn trial(case: Case, ignored: bool) -> Trial {
    let Case { name, needs, run } = case;
    let title = name.clone();
    let case = move || {
        if needs == Needs::Node && !cluster::is_root() {
            return Err(Failed::from("this case makes a node, which needs root"));
        }
        let start = Instant::now();
        let result = run();
        if let Ok(mut times) = TIMES.lock() {
            times.push((start.elapsed(), title.clone()));
        }
        result.map_err(|error| {
            // The list at the end of the run is minutes away.
            eprintln!("{title}: {error:#}");
            Failed::from(format!("{error:#}"))
        })
    };
    Trial::test(name, case).with_ignored_flag(ignored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(filter: &str) -> (Vec<String>, Vec<String>) {
        let cases = ["console::routes::traefik", "gateways::routes::both"]
            .map(|name| Case::new(name, Needs::ControlPlane, async || Ok(())));
        let (cases, elsewhere) = chosen(cases.into(), filter);
        (cases.into_iter().map(|case| case.name).collect(), elsewhere)
    }

    #[test]
    fn cases_with_several_gateways_run_only_when_they_are_asked_for() {
        let of_all = "console::routes::traefik".to_owned();
        let of_gateways = "gateways::routes::both".to_owned();
        for filter in ["", "routes"] {
            assert_eq!(names(filter), (vec![of_all.clone()], vec![of_gateways.clone()]));
        }
        assert_eq!(names("console::"), (vec![of_all.clone()], Vec::new()));
        // The library chooses among these by the filter.
        assert_eq!(names("gateways::"), (vec![of_all, of_gateways], Vec::new()));
    }
}
