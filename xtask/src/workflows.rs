//! The files for CI services call what there is: targets of the Makefile, and scripts of this repository. Of the one for GitLab, which no linter
//! without a server checks, also the keywords. actionlint has those of GitHub (`make verify-workflows`).

use std::{fs, path::Path};

use anyhow::Context;
use serde_json::Value;

use crate::{links::tracked, yaml};

const GITLAB: &str = ".gitlab-ci.yml";

const GITHUB: &str = ".github/workflows/*.yaml";

/// The keywords at the top of a file for GitLab; all others are jobs (docs.gitlab.com/ci/yaml).
const TOP_KEYWORDS: [&str; 9] = [
    "after_script",
    "before_script",
    "cache",
    "default",
    "image",
    "include",
    "stages",
    "variables",
    "workflow",
];

/// The keywords of a job, as far as we would use them.
const JOB_KEYWORDS: [&str; 20] = [
    "after_script",
    "allow_failure",
    "artifacts",
    "before_script",
    "cache",
    "dependencies",
    "environment",
    "extends",
    "image",
    "interruptible",
    "needs",
    "parallel",
    "resource_group",
    "retry",
    "rules",
    "script",
    "stage",
    "tags",
    "timeout",
    "variables",
];

/// One line for each keyword, stage, script or target that does not exist.
pub(crate) fn wrong(root: &Path) -> anyhow::Result<Vec<String>> {
    let makefile = fs::read_to_string(root.join("Makefile")).context("read Makefile")?;
    let gitlab = yaml::read(&root.join(GITLAB))?;
    let mut wrong: Vec<_> = of_gitlab(&gitlab)
        .into_iter()
        .map(|complaint| format!("{GITLAB}: {complaint}"))
        .collect();
    let mut files = tracked(root, GITHUB)?;
    files.push(GITLAB.to_owned());
    for file in files {
        let mut commands = Vec::new();
        collect_commands(&yaml::read(&root.join(&file))?, &mut commands);
        if commands.is_empty() {
            wrong.push(format!("{file}: it calls nothing"));
        }
        for command in commands.iter().flat_map(|command| command.lines()) {
            if let Some(complaint) = missing(root, &makefile, command) {
                wrong.push(format!("{file}: `{command}`: {complaint}"));
            }
        }
    }
    Ok(wrong)
}

/// What is wrong with the keywords and stages of a file for GitLab.
fn of_gitlab(file: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let stages = texts(yaml::at(file, "/stages"));
    let jobs = file.as_object().into_iter().flatten();
    for (name, job) in jobs.filter(|(name, _)| !TOP_KEYWORDS.contains(&name.as_str())) {
        let Some(fields) = job.as_object() else {
            wrong.push(format!("{name} is neither a keyword nor a job"));
            continue;
        };
        let unknown = fields.keys().filter(|field| !JOB_KEYWORDS.contains(&field.as_str()));
        wrong.extend(unknown.map(|field| format!("{name}.{field}: no keyword of a job")));
        let stage = fields.get("stage").and_then(Value::as_str).unwrap_or_default();
        if !stages.contains(&stage) {
            wrong.push(format!("{name}.stage: {stage:?} is not in stages, {stages:?}"));
        }
        if texts(yaml::at(job, "/script")).is_empty() {
            wrong.push(format!("{name}.script: it has no command"));
        }
    }
    wrong
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The values of `run` and `script`, wherever they stand.
fn collect_commands(value: &Value, commands: &mut Vec<String>) {
    let Some(fields) = value.as_object() else {
        for item in value.as_array().into_iter().flatten() {
            collect_commands(item, commands);
        }
        return;
    };
    for (name, field) in fields {
        match (name.as_str(), field) {
            ("run", Value::String(command)) => commands.push(command.clone()),
            ("script", Value::Array(_)) => commands.extend(texts(field).into_iter().map(str::to_owned)),
            _ => collect_commands(field, commands),
        }
    }
}

/// What of a command's words is a script of ours, or a target, that does not exist.
fn missing(root: &Path, makefile: &str, command: &str) -> Option<String> {
    let words: Vec<_> = command.split_whitespace().collect();
    let script = words
        .iter()
        .find(|word| (word.starts_with(".ci/") || word.starts_with("hack/")) && !root.join(word).exists());
    if let Some(script) = script {
        return Some(format!("{script} does not exist"));
    }
    let mut behind_make = words.iter().skip_while(|word| **word != "make").skip(1);
    let target = behind_make.find(|word| !word.contains('=') && !has_target(makefile, word))?;
    Some(format!("the Makefile has no target {target}"))
}

fn has_target(makefile: &str, target: &str) -> bool {
    makefile.lines().any(|line| {
        let names = line.split_once(':').map_or("", |(names, _)| names);
        !line.starts_with(['\t', '#', '.']) && names.split_whitespace().any(|name| name == target)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keywords_and_stages_of_gitlab_are_known() {
        let good = json!({"stages": ["a"], "default": {"tags": ["x"]}, "job": {"stage": "a", "script": ["make test"]}});
        assert_eq!(of_gitlab(&good), Vec::<String>::new());
        let bad = json!({"stages": ["a"], "job": {"stage": "b", "scripts": ["make test"]}, "variable": "x"});
        assert_eq!(
            of_gitlab(&bad),
            [
                "job.scripts: no keyword of a job",
                "job.stage: \"b\" is not in stages, [\"a\"]",
                "job.script: it has no command",
                "variable is neither a keyword nor a job",
            ]
        );
    }

    #[test]
    fn commands_are_found_and_what_they_call_has_to_exist() {
        let file = json!({"jobs": {"a": {"steps": [{"run": "make a b"}, {"uses": "x"}]}}, "b": {"script": ["make c"]}});
        let mut commands = Vec::new();
        collect_commands(&file, &mut commands);
        commands.sort();
        assert_eq!(commands, ["make a b", "make c"]);

        let (root, makefile) = (
            Path::new("/nowhere"),
            "A := b: c\na b: d ## does\n\techo e: f\n.PHONY: g\n",
        );
        assert_eq!(missing(root, makefile, "sudo make a X=y b"), None);
        for (command, complaint) in [
            ("make a e", "the Makefile has no target e"),
            ("make g", "the Makefile has no target g"),
            (".ci/container make a", ".ci/container does not exist"),
        ] {
            assert_eq!(
                missing(root, makefile, command).as_deref(),
                Some(complaint),
                "{command}"
            );
        }
    }
}
