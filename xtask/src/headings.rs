//! The anchors that GitHub gives to the headings of a Markdown page.

use std::collections::{BTreeMap, BTreeSet};

/// All anchors of a page: of its headings, and those that it sets itself by `<a id="..">` or `<a name="..">`.
pub(crate) fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for (_, line) in outside_fences(page) {
        anchors.extend(own_anchors(line).map(str::to_owned));
        let Some(heading) = heading(line) else { continue };
        let slug = slug(heading);
        // The second heading of a name is `name-1`.
        let earlier = times.entry(slug.clone()).or_default();
        anchors.insert(match *earlier {
            0 => slug,
            number => format!("{slug}-{number}"),
        });
        *earlier += 1;
    }
    anchors
}

/// Line numbers and lines of a page without its fenced code.
pub(crate) fn outside_fences(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    page.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            return None;
        }
        (!in_code).then_some((index + 1, line))
    })
}

/// The text of a heading such as `## Text ##`. What is indented by more than three spaces is code.
fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches(' ');
    let after = text.trim_start_matches('#');
    let level = text.len() - after.len();
    let is_heading = line.len() - text.len() <= 3 && (1..=6).contains(&level) && after.starts_with([' ', '\t']);
    let after = after.trim();
    let unclosed = after.trim_end_matches('#');
    // `C#` ends with a letter of the text.
    let closed = unclosed.is_empty() || unclosed.ends_with([' ', '\t']);
    is_heading.then(|| if closed { unclosed.trim_end() } else { after })
}

/// As GitHub makes it (`TableOfContentsFilter` of html-pipeline): what is shown, in lower case, without everything that is neither letter, digit,
/// `_`, `-` nor space, with `-` for each space.
fn slug(heading: &str) -> String {
    let mut slug = String::new();
    for (index, piece) in heading.split('`').enumerate() {
        // Every second piece between backquotes is code, where nothing is a mark.
        let shown = if index % 2 == 1 {
            piece.to_owned()
        } else {
            without_emphasis(&without_targets(piece))
        };
        for letter in shown.chars().flat_map(char::to_lowercase) {
            if letter.is_alphanumeric() || letter == '_' || letter == '-' {
                slug.push(letter);
            } else if letter == ' ' {
                slug.push('-');
            }
        }
    }
    slug
}

/// `[text](target)` shows its text.
fn without_targets(text: &str) -> String {
    let mut pieces = text.split("](");
    let mut shown = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        shown.push_str(piece.split_once(')').map_or("", |(_, rest)| rest));
    }
    shown
}

/// Underscores within a word are shown, those around words are emphasis.
fn without_emphasis(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let is_letter = |index: Option<usize>| {
        let letter = index.and_then(|index| letters.get(index));
        letter.is_some_and(|letter| letter.is_alphanumeric() || *letter == '_')
    };
    let shown = letters.iter().enumerate().filter(|(index, letter)| {
        let is_within = is_letter(index.checked_sub(1)) && is_letter(index.checked_add(1));
        **letter != '_' || is_within
    });
    shown.map(|(_, letter)| *letter).collect()
}

fn own_anchors(line: &str) -> impl Iterator<Item = &str> {
    let tags = line.split("<a ").skip(1).filter_map(|rest| rest.split('>').next());
    tags.filter_map(|tag| {
        let value = tag.split_once("id=\"").or_else(|| tag.split_once("name=\""))?.1;
        value.split('"').next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_those_of_github() {
        for (heading, wanted) in [
            ("Upgrade and remove", "upgrade-and-remove"),
            ("`gateways[].entryPoints[]`", "gatewaysentrypoints"),
            ("What `make verify` does not check", "what-make-verify-does-not-check"),
            ("Inside the test bed, `e2e/cluster`", "inside-the-test-bed-e2ecluster"),
            ("Ports: 80 & 443", "ports-80--443"),
            ("A -- B", "a----b"),
            ("`DEV_CLUSTER=` and _this_ word", "dev_cluster-and-this-word"),
            ("**Options:**", "options"),
            ("[Keep](https://keepachangelog.com/a) it", "keep-it"),
            ("快速开始（K3s）", "快速开始k3s"),
            ("网关、路由：怎么用？", "网关路由怎么用"),
            ("Ä und É", "ä-und-é"),
        ] {
            assert_eq!(slug(heading), wanted, "{heading}");
        }
    }

    #[test]
    fn headings_have_anchors_and_code_has_none() {
        let page = "# One\n## Two ##\n## Two\n```\n# in a fence\n```\n    # indented\n#hashtag\n### C#\n####### seven\n<a id=\"own\"></a>\n## Two\n";
        let found: Vec<_> = anchors(page).into_iter().collect();
        assert_eq!(found, ["c", "one", "own", "two", "two-1", "two-2"]);
    }
}
